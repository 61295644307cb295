"""What runs plans for a call: the pool's executor, or an open transaction. The seam between them and who calls."""

from collections.abc import Sequence
from typing import Protocol

from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.execute.steps import Done, Step
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, StatementPlan
from schema_mcp.tools.options import PLAIN, CallOptions


class Runs(Protocol):
    """`limits`: those of each call."""

    limits: ExecutionLimits

    async def run(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions = PLAIN) -> Result:
        """The plan's result.

        Raises: CallError; asyncio.CancelledError once nothing of the call runs in the database any more.
        """
        ...

    async def run_all(self, steps: Sequence[Step], generation: int, options: CallOptions = PLAIN) -> list[list[Done]]:
        """What each step gave, all of them or none.

        Raises: StepFailed, with the one that failed, if they are more than one; else as `run`.
        """
        ...
