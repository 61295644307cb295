"""Runs statement plans: a connection, a transaction where there is something to lose, limits, one retry.

A call runs in a task of its own (`server.calls` sees to it) that cancellation reaches as a plain `task.cancel()`: the
statement is stopped in the database and rolled back before the cancellation goes on, and a second one changes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from schema_mcp.dialects.base import Connection, DriverValue, Row, Statement
from schema_mcp.errors import CallError, ErrorCode, LimitReached, OutcomeUnknown, StaleSchema
from schema_mcp.execute.cut import cut
from schema_mcp.execute.engines import Database
from schema_mcp.schema.fingerprint import identity
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, StatementPlan

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


@dataclass(frozen=True, slots=True)
class Step:
    """A plan, and the table that it is for. `instead`: steps in its place where the database refuses it, to find out
    which part of it that is about. `tag`: what whoever made it knows it by.
    """

    plan: StatementPlan
    table: Table
    tag: int = 0
    instead: "Callable[[], Sequence[Step]] | None" = None


@dataclass(frozen=True, slots=True)
class Done:
    """What a step gave."""

    step: Step
    result: Result


class StepFailed(CallError):
    """One of several steps could not be done, and so none is."""

    def __init__(self, step: Step, error: CallError) -> None:
        super().__init__(error.code, error.message, error.hint, retryable=error.retryable)
        self.step = step
        self.error = error


class Executor:
    """Runs plans against one database. `on_stale` is told when the database no longer knows what a plan names."""

    def __init__(self, database: Database, limits: ExecutionLimits, on_stale: Callable[[], None]) -> None:
        self.database = database
        self.limits = limits
        self.on_stale = on_stale

    async def run(self, plan: StatementPlan, table: Table, generation: int) -> Result:
        """The plan's result.

        Raises: CallError; asyncio.CancelledError once nothing of the call runs in the database any more.
        """
        ((done,),) = await self.run_all([Step(plan, table)], generation)
        return done.result

    async def run_all(self, steps: Sequence[Step], generation: int) -> list[list[Done]]:
        """What each step gave, all of them in one transaction if they are more than one.

        Raises: StepFailed, with the one that failed, if they are more than one; else as `run`.
        """
        progress = _Progress()
        try:
            async with asyncio.timeout(self.limits.call_timeout_s) as limit:
                return await self._attempts(steps, generation, progress)
        except TimeoutError:
            if not limit.expired():
                raise
            if progress.committing:
                raise _unknown(steps[0].table) from None
            raise _too_long("call", self.limits.call_timeout_s, retryable=True) from None

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
        progress.table = steps[0].table
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
                raise _unknown(progress.table) from error
            translated = self.database.dialect.translate(error, progress.table)
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
            if writes or not alone or steps[0].plan.continues:
                await connection.execute(dialect.begin_write if writes else dialect.begin_read)
                begun = True
            left_bytes = self.limits.max_bytes
            for step in steps:
                progress.table = step.table
                try:
                    done.append(await self._step(connection, step, generation, left_bytes, begun=begun, alone=alone))
                    left_bytes -= sum(len(row) for each in done[-1] for row in each.result.rows)
                except CallError as error:
                    raise error if alone or isinstance(error, StepFailed) else StepFailed(step, error) from error
            if alone and steps[0].plan.dry_run:
                await connection.execute("ROLLBACK")
                begun = False
            if begun:
                progress.committing = writes
                await connection.execute("COMMIT")
                progress.committing = False
        except BaseException as error:
            # An error of ours may have one of the driver's for its cause.
            refused = None if isinstance(error, CallError) else dialect.translate(error, progress.table)
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
            return [Done(step, await self._perform(connection, step, generation, left_bytes, begun=begun))]
        kept = step.plan.dry_run or step.instead is not None
        if kept:
            await connection.execute("SAVEPOINT step")
        try:
            done = [Done(step, await self._perform(connection, step, generation, left_bytes, begun=begun))]
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
                    raise StepFailed(part, failed) from failed
        if step.plan.dry_run:
            await connection.execute("ROLLBACK TO SAVEPOINT step")
        if kept:
            await connection.execute("RELEASE SAVEPOINT step")
        return done

    async def _perform(
        self, connection: Connection, step: Step, generation: int, left_bytes: int, *, begun: bool
    ) -> Result:
        """Runs the plan's statements and checks what may only be known then."""
        plan = step.plan
        collected = _Rows(plan.limit, self.limits.max_bytes, left_bytes)
        for statement in plan.statements:
            await self._run(connection, statement, collected)
        if plan.identity and (begun or collected.full):
            await self._check_identity(connection, plan, step.table)
        if plan.max_affected is not None and collected.seen > plan.max_affected:
            raise _too_many(plan, step.table, collected.seen)
        return collected.result(generation, rolled_back=plan.dry_run)

    async def _run(self, connection: Connection, statement: Statement, collected: "_Rows") -> None:
        max_rows = 0 if collected.limit is None else collected.limit + 1
        limit_s = None if self.database.dialect.has_statement_timeout else self.limits.statement_timeout_s
        try:
            async with (
                asyncio.timeout(limit_s) as limit,
                aclosing(self.database.dialect.fetch(connection, statement, max_rows)) as batches,
            ):
                async for batch in batches:
                    collected.add(batch)
                    if collected.full and collected.limit is not None:
                        return
        except TimeoutError:
            if not limit.expired():
                raise
            raise _too_long("statement", limit_s or 0, retryable=False) from None

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
    """How far an attempt got. `table`: that of the step it is at. `connected`: it had a connection. `committing`:
    COMMIT may have reached the database.
    """

    table: Table | None = None
    connected: bool = False
    committing: bool = False


class _Rows:
    """Rows up to the limit and the byte cap, counting all that were written.

    `left_bytes`: what the steps before have left of the cap; one row is taken whatever they have.
    """

    def __init__(self, limit: int | None, max_bytes: int, left_bytes: int) -> None:
        self.limit = limit
        self.left_bytes = left_bytes
        self.max_bytes = max_bytes
        self.rows: list[bytes] = []
        self.keys: tuple[DriverValue, ...] = ()
        self.size = 0
        self.seen = 0
        self.full = False
        self.cut: tuple[str, ...] = ()

    def add(self, batch: list[Row]) -> None:
        self.seen += len(batch)
        for row in batch:
            if self.full:
                return
            json = row.json
            if (self.limit is not None and len(self.rows) >= self.limit) or (
                self.rows and self.size + len(json) > self.left_bytes
            ):
                self.full = True
                return
            if len(json) > self.max_bytes:
                json, self.cut = cut(json, self.max_bytes)
            self.rows.append(json)
            self.keys = row.keys
            self.size += len(json) + 1

    def result(self, generation: int, *, rolled_back: bool) -> Result:
        return Result(
            rows=tuple(self.rows),
            truncated=self.full,
            keys=self.keys,
            affected=self.seen,
            generation=generation,
            cut_columns=self.cut,
            rolled_back=rolled_back,
        )


def _too_long(what: str, limit_s: float, *, retryable: bool) -> LimitReached:
    return LimitReached(
        ErrorCode.TIMEOUT,
        f"the {what} took longer than {limit_s:g} s and was stopped",
        "Nothing was written. Narrow the filters, order by an indexed column, or ask for fewer rows.",
        retryable=retryable,
    )


def _too_many(plan: StatementPlan, table: Table, affected: int) -> LimitReached:
    return LimitReached(
        ErrorCode.TOO_MANY_ROWS,
        f"the conditions match {affected} rows of table '{table.name.name}', and at most {plan.max_affected} may be "
        "written",
        "Nothing was written. Narrow the conditions, or raise 'max_affected' if that many are meant.",
        details={"affected": affected, "max_affected": plan.max_affected},
    )


def _unknown(table: Table) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the connection was lost while the insert into '{table.name.name}' was being committed",
        "Query the table for the rows before you send them again: they may have been stored.",
    )
