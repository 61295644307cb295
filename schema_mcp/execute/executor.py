"""Runs statement plans: a connection, a transaction where there is something to lose, limits, one retry.

A call runs in a task of its own (`server.calls` sees to it) that cancellation reaches as a plain `task.cancel()`: the
statement is stopped in the database and rolled back before the cancellation goes on, and a second one changes nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from schema_mcp.dialects.base import Connection, DriverValue, Row, Statement
from schema_mcp.errors import CallError, ErrorCode, LimitReached, OutcomeUnknown, StaleSchema, StatementRefused
from schema_mcp.execute.cut import cut
from schema_mcp.execute.engines import Database
from schema_mcp.schema.fingerprint import identity
from schema_mcp.schema.model import Table
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
        progress = _Progress()
        try:
            async with asyncio.timeout(self.limits.call_timeout_s) as limit:
                return await self._attempts(plan, table, generation, progress)
        except StatementRefused as refused:
            if plan.explain is None:
                raise
            raise plan.explain(refused) from refused
        except TimeoutError:
            if not limit.expired():
                raise
            if progress.committing:
                raise _unknown(plan, table) from None
            raise _too_long("call", self.limits.call_timeout_s, retryable=True) from None

    async def _attempts(self, plan: StatementPlan, table: Table, generation: int, progress: "_Progress") -> Result:
        for last in (False, True):
            try:
                return await self._attempt(plan, table, generation, progress)
            except OutcomeUnknown:
                self.database.renew()
                raise
            except StaleSchema as stale:
                if last or isinstance(stale, _Replaced) or stale.sqlstate not in _CACHED_PLAN:
                    self.on_stale()
                    raise
            except CallError as failure:
                if failure.code is not ErrorCode.DATABASE_UNAVAILABLE:
                    raise
                self.database.renew()
                if last or not progress.connected:
                    raise
        raise AssertionError("unreachable")

    async def _attempt(self, plan: StatementPlan, table: Table, generation: int, progress: "_Progress") -> Result:
        """One try. Every failure before COMMIT is sent leaves nothing written."""
        progress.connected = False
        collected = _Rows(plan.limit, self.limits.max_bytes, plan.max_affected)
        ended: BaseException | None = None
        try:
            async with self.database.connection() as connection:
                progress.connected = True
                ended = await self._transact(connection, plan, table, collected, progress)
        except (CallError, asyncio.CancelledError):
            raise
        except BaseException as error:
            if progress.committing:
                raise _unknown(plan, table) from error
            translated = self.database.dialect.translate(error, table)
            if translated is None:
                raise
            raise translated from error
        if ended is not None:
            raise ended
        return collected.result(generation, rolled_back=plan.dry_run)

    async def _transact(
        self, connection: Connection, plan: StatementPlan, table: Table, collected: "_Rows", progress: "_Progress"
    ) -> BaseException | None:
        """Runs the plan. What ends it early is returned if it leaves the connection usable, else raised."""
        dialect = self.database.dialect
        begun = False
        try:
            if plan.writes or plan.continues:
                await connection.execute(dialect.begin_write if plan.writes else dialect.begin_read)
                begun = True
            if plan.matching is not None:
                await self._refuse_too_many(connection, plan, table)
            for statement in plan.statements:
                await self._run(connection, statement, collected)
            if plan.identity and (begun or collected.full):
                await self._check_identity(connection, plan, table)
            if plan.max_affected is not None and collected.seen > plan.max_affected:
                raise _too_many(plan, table, f"more than {plan.max_affected}")
            if plan.dry_run:
                await self._run(connection, Statement(dialect.check_deferred, ()), _Rows(None, 0))
                await connection.execute("ROLLBACK")
                begun = False
            if begun:
                progress.committing = plan.writes
                await connection.execute("COMMIT")
                progress.committing = False
        except BaseException as error:
            refused = dialect.translate(error, table)
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

    async def _run(self, connection: Connection, statement: Statement, collected: "_Rows") -> None:
        most = collected.most
        max_rows = 0 if most is None else most + 1
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
                    if most is not None and collected.seen > most:
                        return
        except TimeoutError:
            if not limit.expired():
                raise
            raise _too_long("statement", limit_s or 0, retryable=False) from None

    async def _refuse_too_many(self, connection: Connection, plan: StatementPlan, table: Table) -> None:
        """Before anything is written. Raises: LimitReached (`too_many_rows`)."""
        assert plan.matching is not None
        assert plan.max_affected is not None
        counted = _Rows(1, self.limits.max_bytes)
        await self._run(connection, plan.matching, counted)
        count = int(str(counted.keys[0]))
        if count > plan.max_affected:
            raise _too_many(plan, table, str(count) if count <= COUNTED_ROWS else f"more than {count - 1}")

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
    """How far an attempt got. `connected`: it had a connection. `committing`: COMMIT may have reached the database."""

    connected: bool = False
    committing: bool = False


class _Rows:
    """Rows up to the limit and the byte cap, counting all that were written."""

    def __init__(self, limit: int | None, max_bytes: int, max_affected: int | None = None) -> None:
        self.limit = limit
        #: More rows than this and one are of no interest.
        self.most = limit if max_affected is None else max_affected
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
                self.rows and self.size + len(json) > self.max_bytes
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


def _too_many(plan: StatementPlan, table: Table, matching: str) -> LimitReached:
    return LimitReached(
        ErrorCode.TOO_MANY_ROWS,
        f"this would {plan.action} {matching} rows of table '{table.name.name}', and at most {plan.max_affected} may",
        "Nothing was written. Narrow the conditions; if that many are meant, raise 'max_affected' or go on in parts.",
        details={"max_affected": plan.max_affected},
    )


def _unknown(plan: StatementPlan, table: Table) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the connection was lost while the {plan.action} of table '{table.name.name}' was being committed",
        "Query the table before you call again: it may have been done.",
    )
