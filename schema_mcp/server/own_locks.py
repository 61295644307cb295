"""What a caller is told where a lock cannot be had that its own open transaction may hold: no retry would help.

Transactions of others are not told of.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.execute.runs import Runs
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, StatementPlan
from schema_mcp.tools.options import PLAIN, CallOptions
from schema_mcp.tools.transactions import OpenTransaction

#: Of a handle, where its transaction has no description.
_SHOWN = 8


@contextmanager
def told_of(own: Callable[[], Sequence[OpenTransaction]], lock_timeout_s: float) -> Iterator[None]:
    """A lock timeout that passes through says which of the caller's `own` transactions may hold the lock."""
    try:
        yield
    except CallError as error:
        cause = error.error if isinstance(error, StepFailed) else error
        if cause.code is ErrorCode.LOCK_TIMEOUT and (holding := own()):
            cause.hint = _hint(holding, lock_timeout_s)
        raise


class Telling:
    """Runs plans as `runs` does (`Runs`), and tells of the caller's own transactions."""

    def __init__(self, runs: Runs, own: Callable[[], Sequence[OpenTransaction]]) -> None:
        self.limits = runs.limits
        self._runs = runs
        self._own = own

    async def run(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions = PLAIN) -> Result:
        """See `Runs`."""
        with told_of(self._own, self.limits.lock_timeout_s):
            return await self._runs.run(plan, table, generation, options)

    async def run_all(self, steps: Sequence[Step], generation: int, options: CallOptions = PLAIN) -> list[list[Done]]:
        """See `Runs`."""
        with told_of(self._own, self.limits.lock_timeout_s):
            return await self._runs.run_all(steps, generation, options)


def _hint(holding: Sequence[OpenTransaction], lock_timeout_s: float) -> str:
    names = ", ".join(f"'{one.description or one.id[:_SHOWN] + '...'}'" for one in holding)
    which, it = (
        ("Your own open transaction", "it") if len(holding) == 1 else ("One of your own open transactions", "one")
    )
    return (
        f"Nothing was written. {which} ({names}) may hold it, and then no retry helps: make the call in {it} "
        f"(transaction_id), or commit {it} or roll {it} back first. A statement waits {lock_timeout_s:g} s for a lock "
        "(limits.lock_timeout_s)."
    )
