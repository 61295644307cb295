"""Runs statement plans: a connection, a transaction where there is something to lose, limits, one retry.

A call runs in a task of its own (`server.calls` sees to it) that cancellation reaches as a plain `task.cancel()`: the
statement is stopped in the database and rolled back before the cancellation goes on, and a second one changes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from schema_mcp.dialects.base import UPDATED, Connection, Statement
from schema_mcp.errors import CallError, ErrorCode, LimitReached, OutcomeUnknown, StaleSchema, StatementRefused
from schema_mcp.execute.engines import Database
from schema_mcp.execute.once import (
    REPEAT,
    Replayed,
    claim_beside,
    installed,
    keep_beside,
    no_key_in_a_batch,
    run_around,
)
from schema_mcp.execute.rows import Rows, too_long, too_many, unknown
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.schema.fingerprint import identity
from schema_mcp.schema.model import Table
from schema_mcp.state.keys import Keys
from schema_mcp.tools.base import Result, StatementPlan
from schema_mcp.tools.changes import COUNTED_ROWS

#: How long stopping a statement and rolling back may take after a cancel, before the connection is given up.
STOP_TIMEOUT_S = 1.0

#: The schema changed under a prepared statement: PostgreSQL's "cached plan must not change result type", and what a
#: driver finds out by itself. The statement may well fit the new schema.
_CACHED_PLAN = ("0A000", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionLimits:
    """Bounds of one call. `max_bytes`: of the rows in an answer."""

    statement_timeout_s: float
    call_timeout_s: float
    max_bytes: int
    idempotency_keep_s: float = 604_800.0


class Executor:
    """Runs plans against one database. `on_stale` is told when the database no longer knows what a plan names."""

    def __init__(
        self, database: Database, limits: ExecutionLimits, on_stale: Callable[[], None], keys: Keys | None = None
    ) -> None:
        self.database = database
        self.limits = limits
        self.on_stale = on_stale
        self.keys = keys

    async def run(self, plan: StatementPlan, table: Table, generation: int) -> Result:
        """The plan's result.

        Raises: CallError; asyncio.CancelledError once nothing of the call runs in the database any more.
        """
        if plan.once is None or self.keys is None:
            return await self._run_alone(plan, table, generation, _Progress(Step(plan, table)))
        if await self._keeps_keys(plan, table, generation):
            try:
                return await self._run_alone(plan, table, generation, _Progress(Step(plan, table)))
            except OutcomeUnknown as unknown:
                raise OutcomeUnknown(unknown.message, REPEAT) from unknown
        progress = _Progress(Step(plan, table))
        try:
            return await run_around(
                self.keys,
                plan,
                lambda plan: self._run_alone(plan, table, generation, progress),
                lambda: progress.committing,
            )
        except Replayed as done:
            return done.result(generation)

    async def run_all(self, steps: Sequence[Step], generation: int) -> list[list[Done]]:
        """What each step gave, all of them in one transaction if they are more than one.

        Raises: StepFailed, with the one that failed, if they are more than one; else as `run`.
        """
        for step in steps:
            if step.plan.once is not None:
                if await self._keeps_keys(step.plan, step.table, generation):
                    break
                raise StepFailed(step, no_key_in_a_batch())
        return await self._run_steps(steps, generation, _Progress(steps[0]))

    async def _run_alone(self, plan: StatementPlan, table: Table, generation: int, progress: "_Progress") -> Result:
        ((done,),) = await self._run_steps([Step(plan, table)], generation, progress)
        return done.result

    async def _keeps_keys(self, plan: StatementPlan, table: Table, generation: int) -> bool:
        """Whether the database keeps idempotency keys beside its data. Raises: as `run`."""
        asked = installed(plan, self.database.dialect)
        return (await self._run_alone(asked, table, generation, _Progress(Step(asked, table)))).affected > 0

    async def _run_steps(self, steps: Sequence[Step], generation: int, progress: "_Progress") -> list[list[Done]]:
        try:
            async with asyncio.timeout(self.limits.call_timeout_s) as limit:
                return await self._attempts(steps, generation, progress)
        except StatementRefused as refused:
            raise _explained(steps[0].plan, refused) from refused
        except TimeoutError:
            if not limit.expired():
                raise
            if progress.committing:
                raise unknown(steps[0].plan, steps[0].table) from None
            raise too_long("call", self.limits.call_timeout_s, retryable=True) from None

    async def _attempts(self, steps: Sequence[Step], generation: int, progress: "_Progress") -> list[list[Done]]:
        for last in (False, True):
            try:
                return await self._attempt(steps, generation, progress)
            except CallError as failure:
                cause = failure.error if isinstance(failure, StepFailed) else failure
                if isinstance(cause, StaleSchema):
                    if last or isinstance(cause, _Replaced) or cause.sqlstate not in _CACHED_PLAN:
                        self.on_stale()
                        raise
                    continue
                if isinstance(cause, OutcomeUnknown) or cause.code is ErrorCode.DATABASE_UNAVAILABLE:
                    self.database.renew()
                if cause.code is not ErrorCode.DATABASE_UNAVAILABLE or last or not progress.connected:
                    raise
        raise AssertionError("unreachable")

    async def _attempt(self, steps: Sequence[Step], generation: int, progress: "_Progress") -> list[list[Done]]:
        """One try. Every failure before COMMIT is sent leaves nothing written."""
        progress.connected = False
        progress.step = steps[0]
        done: list[list[Done]] = []
        ended: BaseException | None = None
        try:
            async with self.database.connection() as connection:
                progress.connected = True
                ended = await self._transact(connection, steps, generation, done, progress)
        except (CallError, asyncio.CancelledError):
            raise
        except BaseException as error:
            if progress.committing:
                raise unknown(progress.step.plan, progress.step.table) from error
            translated = self.database.dialect.translate(error, progress.step.table)
            if translated is None:
                raise
            raise translated from error
        if ended is not None:
            raise ended
        return done

    async def _transact(
        self,
        connection: Connection,
        steps: Sequence[Step],
        generation: int,
        done: list[list[Done]],
        progress: "_Progress",
    ) -> BaseException | None:
        """Runs the steps. What ends them early is returned if it leaves the connection usable, else raised."""
        dialect = self.database.dialect
        writes = any(step.plan.writes for step in steps)
        alone = len(steps) == 1 and steps[0].instead is None
        begun = False
        try:
            asked = 1 if steps[0].plan.total is None else 2
            held = not steps[0].plan.continues and self.database.holds_reading(connection, asked)
            if writes or not alone or not held:
                await connection.execute(dialect.begin_write if writes else dialect.begin_read)
                begun = True
            left_bytes = self.limits.max_bytes
            for step in steps:
                progress.step = step
                try:
                    done.append(await self._step(connection, step, generation, left_bytes, begun=begun, alone=alone))
                    left_bytes -= sum(len(row) for each in done[-1] for row in each.result.rows)
                except CallError as error:
                    if alone or isinstance(error, StepFailed):
                        raise
                    raise StepFailed(step, _explained(step.plan, error)) from error
            if alone and steps[0].plan.dry_run:
                await connection.execute("ROLLBACK")
                begun = False
            if begun:
                progress.committing = writes
                await connection.execute("COMMIT")
                progress.committing = False
        except BaseException as error:
            # An error of ours may have one of the driver's for its cause.
            refused = None if isinstance(error, CallError) else dialect.translate(error, progress.step.table)
            if refused is not None and refused.code is not ErrorCode.DATABASE_UNAVAILABLE:
                progress.committing = False  # the database has answered, and it was not yes
            if progress.committing:
                raise
            # After a cancel also where nothing was begun: the driver may still be stopping the statement.
            if (begun or refused is None) and not await self._roll_back(connection):
                raise
            if refused is None:
                return error
            refused.__cause__ = error
            return refused
        return None

    async def _step(
        self, connection: Connection, step: Step, generation: int, left_bytes: int, *, begun: bool, alone: bool
    ) -> list[Done]:
        """What the step gave. Raises: CallError where the database has refused; else what the driver raises."""
        if alone:
            return [Done(step, await self._perform(connection, step, generation, left_bytes, begun=begun, alone=True))]
        kept = step.plan.dry_run or step.instead is not None
        if kept:
            await connection.execute("SAVEPOINT step")
        try:
            done = [Done(step, await self._perform(connection, step, generation, left_bytes, begun=begun, alone=False))]
        except Exception as error:
            refused = error if isinstance(error, CallError) else self.database.dialect.translate(error, step.table)
            if refused is None or refused.code is ErrorCode.DATABASE_UNAVAILABLE:
                raise
            if step.instead is None or isinstance(refused, LimitReached):
                raise refused from error
            await connection.execute("ROLLBACK TO SAVEPOINT step")
            done = []
            for part in step.instead():
                try:
                    done += await self._step(connection, part, generation, left_bytes, begun=True, alone=False)
                except CallError as failed:
                    raise StepFailed(part, _explained(part.plan, failed)) from failed
        if step.plan.dry_run:
            await connection.execute("ROLLBACK TO SAVEPOINT step")
        if kept:
            await connection.execute("RELEASE SAVEPOINT step")
        return done

    async def _perform(
        self, connection: Connection, step: Step, generation: int, left_bytes: int, *, begun: bool, alone: bool
    ) -> Result:
        """Runs the plan's statements and checks what may only be known then."""
        plan = step.plan
        collected = Rows(plan.limit, self.limits.max_bytes, left_bytes=left_bytes, max_affected=plan.max_affected)
        if plan.once is not None:
            try:
                await claim_beside(connection, self.database.dialect, plan.once, self.limits.idempotency_keep_s)
            except Replayed as done:
                return done.result(generation)
        if plan.matching is not None:
            await self._refuse_too_many(connection, plan, step.table)
        for statement in plan.statements:
            await self._run(connection, statement, collected)
        if plan.total is not None and collected.lacks_total(plan):
            counted = Rows(1, self.limits.max_bytes)
            await self._run(connection, plan.total, counted)
            collected.total = counted.keys[0]
        if plan.identity and (begun or collected.full):
            await self._check_identity(connection, plan, step.table)
        if plan.max_affected is not None and collected.seen > plan.max_affected:
            raise too_many(plan, step.table, f"more than {plan.max_affected}")
        if plan.dry_run and alone:
            check = Statement(self.database.dialect.check_deferred, ())
            await self._run(connection, check, Rows(None, self.limits.max_bytes))
        result = collected.result(generation, rolled_back=plan.dry_run)
        if plan.once is not None:
            await keep_beside(connection, self.database.dialect, plan.once, plan.answer(result))
        return result

    async def _refuse_too_many(self, connection: Connection, plan: StatementPlan, table: Table) -> None:
        """Before anything is written. Raises: LimitReached (`too_many_rows`)."""
        assert plan.matching is not None
        assert plan.max_affected is not None
        counted = Rows(1, self.limits.max_bytes)
        await self._run(connection, plan.matching, counted)
        count = int(str(counted.keys[0]))
        if count > plan.max_affected:
            raise too_many(plan, table, str(count) if count <= COUNTED_ROWS else f"more than {count - 1}")

    async def _run(self, connection: Connection, statement: Statement, collected: Rows) -> None:
        max_rows = 0 if collected.most is None else collected.most + 1
        limit_s = None if self.database.dialect.has_statement_timeout else self.limits.statement_timeout_s
        try:
            async with (
                asyncio.timeout(limit_s) as limit,
                aclosing(self.database.dialect.fetch(connection, statement, max_rows)) as batches,
            ):
                async for batch in batches:
                    collected.add(batch)
                    if statement.given is not None and statement.given.tells_updates:
                        collected.updated += sum(row.keys == UPDATED for row in batch)
                    if collected.enough:
                        return
        except TimeoutError:
            if not limit.expired():
                raise
            raise too_long("statement", limit_s or 0, retryable=False) from None

    async def _check_identity(self, connection: Connection, plan: StatementPlan, table: Table) -> None:
        """After the statements, while their lock on the relation keeps its name and its columns as they are; at once
        after a first page, which needs no transaction.

        Raises: StaleSchema when it is not the one that the plan was made for.
        """
        question = Statement(self.database.dialect.identity, (plan.table.schema, plan.table.name))
        async with aclosing(self.database.dialect.fetch(connection, question, 1)) as batches:
            found = [str(row.keys[0]) async for batch in batches for row in batch]
        if [identity(text) for text in found] != [plan.identity]:
            raise _Replaced(
                f"table '{table.name.name}' was altered, or another table has its name now",
                "Nothing was written. Look at the table again with describe_table.",
            )

    async def _roll_back(self, connection: Connection) -> bool:
        """Ends the transaction, if one is open. False: the connection cannot be used, and with it the transaction ends.

        Bounded, and not cut short by a further cancel: it would leave the statement running.
        """
        rolling_back = asyncio.create_task(self._run_rollback(connection))
        while not rolling_back.done():
            with suppress(asyncio.CancelledError):  # the caller passes the first one on
                await asyncio.wait({rolling_back})
        return rolling_back.result()

    async def _run_rollback(self, connection: Connection) -> bool:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - the first error is the one to tell
            if isinstance(error, TimeoutError) or connection.is_closed():
                self.database.renew()  # where nobody answers, the other connections lead nowhere either
            return False
        return True


class _Replaced(StaleSchema):
    """Another table has the name, or other columns: no second try of the same plan can help."""


@dataclass(slots=True)
class _Progress:
    """How far an attempt got. `step`: the one that it is at. `connected`: it had a connection. `committing`: COMMIT may
    have reached the database.
    """

    step: Step
    connected: bool = False
    committing: bool = False


def _explained(plan: StatementPlan, error: CallError) -> CallError:
    """The error, with what the tool has to add to the database's refusal."""
    return plan.explain(error) if plan.explain is not None and isinstance(error, StatementRefused) else error
