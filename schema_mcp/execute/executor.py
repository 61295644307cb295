"""Runs statement plans on connections of the pool, each once where it has an idempotency key.

A call runs in a task of its own (`server.calls` sees to it) that cancellation reaches as a plain `task.cancel()`: the
statement is stopped in the database and rolled back before the cancellation goes on, and a second one changes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from schema_mcp.errors import OutcomeUnknown
from schema_mcp.execute.attempts import Attempts
from schema_mcp.execute.engines import Database
from schema_mcp.execute.once import (
    REPEAT,
    Replayed,
    installed,
    no_key_in_a_batch,
    run_around,
)
from schema_mcp.execute.outcome import resolve
from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.execute.writes import UNTOLD, Writes
from schema_mcp.observe.events import Observe
from schema_mcp.schema.model import Table
from schema_mcp.state.keys import Keys
from schema_mcp.tools.base import Result, StatementPlan
from schema_mcp.tools.options import PLAIN, CallOptions


class Executor:
    """Runs plans against one database. `on_stale` is told when the database no longer knows what a plan names."""

    def __init__(
        self,
        database: Database,
        limits: ExecutionLimits,
        on_stale: Callable[[], None],
        keys: Keys | None = None,
        observe: Observe = lambda _: None,
        writes: Writes = UNTOLD,
    ) -> None:
        self.writes = writes
        self.database = database
        self.limits = limits
        self.on_stale = on_stale
        self.keys = keys
        self.observe = observe

    async def run(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions = PLAIN) -> Result:
        """The plan's result.

        Raises: CallError; asyncio.CancelledError once nothing of the call runs in the database any more.
        """
        if not plan.writes:
            return await self._run(plan, table, generation, options)
        try:
            result = await self._run(plan, table, generation, options)
        finally:
            self.writes.ended()
        if not plan.dry_run and result.affected:
            self.writes.committed([plan.table])
        return result

    async def _run(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions) -> Result:
        if plan.once is None or self.keys is None:
            return await _alone(self._attempts(plan, table, generation, options))
        if await self._keeps_keys(plan, table, generation, options):
            try:
                return await _alone(self._attempts(plan, table, generation, options))
            except OutcomeUnknown as unknown:
                raise OutcomeUnknown(unknown.message, REPEAT) from unknown
        attempts = self._attempts(replace(plan, once=None), table, generation, options)
        try:
            return await run_around(
                self.keys,
                plan,
                lambda: _alone(attempts),
                lambda: attempts.sent,
                lambda mark: resolve(self.database, mark, options.call_timeout_s(self.limits.call_timeout_s)),
            )
        except Replayed as done:
            return done.result(generation)

    async def run_all(self, steps: Sequence[Step], generation: int, options: CallOptions = PLAIN) -> list[list[Done]]:
        """What each step gave, all of them in one transaction if they are more than one.

        Raises: StepFailed, with the one that failed, if they are more than one; else as `run`.
        """
        for step in steps:
            if step.plan.once is not None:
                if await self._keeps_keys(step.plan, step.table, generation, options):
                    break
                raise StepFailed(step, no_key_in_a_batch())
        try:
            done = await self._steps(steps, generation, options).run()
        finally:
            if any(step.plan.writes and not step.plan.dry_run for step in steps):
                self.writes.ended()
        written = {each.step.plan.table for part in done for each in part if each.writes}
        if written:
            self.writes.committed(written)
        return done

    async def _keeps_keys(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions) -> bool:
        """Whether the database keeps idempotency keys beside its data. Raises: as `run`."""
        asked = installed(plan, self.database.dialect)
        unheard = replace(options, report=None)  # its row is none of the call's
        return (await _alone(self._attempts(asked, table, generation, unheard))).affected > 0

    def _attempts(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions) -> Attempts:
        return self._steps([Step(plan, table)], generation, options)

    def _steps(self, steps: Sequence[Step], generation: int, options: CallOptions) -> Attempts:
        return Attempts(self.database, self.limits, self.on_stale, steps, generation, options, self.observe)


async def _alone(attempts: Attempts) -> Result:
    ((done,),) = await attempts.run()
    return done.result
