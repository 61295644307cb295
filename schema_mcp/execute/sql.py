"""Runs a caller's own statement: on a connection opened for it and closed after it, so that nothing that it did to its
session meets anybody else; not more than a few at a time.

It is never tried again: what its functions do outside of the database, no rollback undoes.

The time limits are kept here, not by settings of the session alone, which a statement may change. It is committed
after it has ended, if it may write; else it is rolled back, whatever it was.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.sql import OpenSql, SqlStatement
from schema_mcp.errors import CallError, ErrorCode, LimitReached, OutcomeUnknown, Unavailable
from schema_mcp.execute.commit import answered, find_out
from schema_mcp.execute.cut import cut as shorten
from schema_mcp.execute.engines import Database
from schema_mcp.execute.exceeded import with_limit
from schema_mcp.execute.outcome import Outcome, take_mark
from schema_mcp.execute.perform import STOP_TIMEOUT_S, ExecutionLimits
from schema_mcp.execute.queue import FairQueue
from schema_mcp.execute.rows import begin, commit_too_long, still_committing, write
from schema_mcp.execute.telling import rows_so_far
from schema_mcp.execute.writes import UNTOLD, Writes
from schema_mcp.tools.base import SqlPlan, SqlResult
from schema_mcp.tools.options import PLAIN, CallOptions, Progress, Report, RowSink

#: Statements of callers' own that run at once, each on a connection besides the pool's.
MAX_AT_ONCE = 4
#: Rows taken at a time, and how many bytes of them are hoped for.
BATCH_ROWS, BATCH_BYTES = 500, 1_000_000


class SqlExecutor:
    """Runs `SqlPlan`s against one database. `on_write` is told of each commit: it may have changed the schema."""

    def __init__(
        self,
        database: Database,
        limits: ExecutionLimits,
        on_write: Callable[[], None],
        writes: Writes = UNTOLD,
    ) -> None:
        self.writes = writes
        self.database = database
        self.limits = limits
        self.on_write = on_write
        self.queue = FairQueue(
            f"places for statements of callers' own on database '{database.name}'",
            MAX_AT_ONCE,
            database.queue.limits,
            wait_limit_s=database.acquire_timeout_s,
        )
        #: How many have a place.
        self.running = 0
        #: Connections whose statement goes on though it was given up; each takes a place until it ends.
        self._lingering: list[Connection] = []

    async def run(self, plan: SqlPlan, generation: int, options: CallOptions = PLAIN) -> SqlResult:
        """The plan's result.

        Raises: CallError; asyncio.CancelledError once the statement runs no more.
        """
        access = self.database.dialect.sql
        prefix = access.explaining(analyze=plan.analyze) if plan.explain else ""
        limits = self.limits  # a call keeps those that it began with
        max_bytes = limits.max_bytes if plan.explain else options.max_bytes(limits.max_bytes)
        statement = SqlStatement(
            sql=plan.sql,
            parameters=plan.parameters,
            writes=plan.writes,
            prefix=prefix,
            max_bytes=max_bytes,
            all_rows=options.sink is not None,
        )
        run = (
            SqlRun(plan.limit, max_bytes, None if plan.explain else options.report)
            if options.sink is None
            else _SunkRun(plan.limit, options.sink, options)
        )
        timeout_s = options.call_timeout_s(limits.call_timeout_s)
        limited_by = options.limit(limits.call_timeout_s, limits.call_limit)
        ends_at = asyncio.get_running_loop().time() + timeout_s
        try:
            async with (
                asyncio.timeout_at(ends_at) as limit,
                self._place(options.client),
                self.database.single() as connection,
            ):
                await self._transact(connection, statement, run, limits.statement_timeout_s, ends_at)
        except (CallError, asyncio.CancelledError):
            raise
        except BaseException as error:
            if run.committed:
                pass  # a moment too late, and true
            elif run.committing:
                await self._resolve(
                    run, ends_at, error, timeout_s, options.limit(limits.call_timeout_s, limits.call_limit)
                )
            elif limit.expired():
                raise sql_too_long("call", timeout_s, limited_by) from None
            elif (translated := access.translate(error, statement)) is None:
                raise
            else:
                raise with_limit(translated, limits) from error
        finally:
            if plan.writes:
                self.writes.ended()
            if run.committing or run.committed:
                self.on_write()  # also where nobody waits for it any more, and it may be done
        return run.result(generation, access.plan_text(run.rows) if plan.explain else "")

    @asynccontextmanager
    async def _place(self, client: str | None) -> AsyncIterator[None]:
        self._lingering = [one for one in self._lingering if self.database.dialect.sql.lingers(one)]
        if len(self._lingering) >= MAX_AT_ONCE:
            raise _busy(self.database.name)
        async with self.queue.place(client):
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1

    async def _resolve(self, run: "SqlRun", ends_at: float, lost: BaseException, timeout_s: float, limit: str) -> None:
        """Returns if COMMIT has done what it was sent for.

        Raises: Unavailable or LimitReached if not; OutcomeUnknown.
        """
        outcome = await find_out(self.database, run.mark, ends_at - asyncio.get_running_loop().time(), lost)
        if outcome is Outcome.UNKNOWN:
            raise _unknown() from lost
        if outcome is Outcome.RUNNING:
            raise still_committing("the statement") from lost
        if outcome is Outcome.STOPPED:
            raise commit_too_long(timeout_s, limit, retryable=False) from lost
        if outcome is Outcome.ROLLED_BACK:
            raise _not_committed() from lost

    async def _transact(
        self, connection: Connection, statement: SqlStatement, run: "SqlRun", limit_s: float, ends_at: float
    ) -> None:
        access = self.database.dialect.sql
        try:
            async with asyncio.timeout(limit_s) as limit:
                run.opened = opened = await access.open(connection, statement)
                while not run.full and (rows := await opened.fetch(run.wanted)):
                    run.add(rows, opened.cut)
                    await run.settle()
            if statement.writes:
                if access.frees:
                    await connection.execute(access.frees)
                run.mark = await take_mark(connection, self.database.dialect)
                left_s = ends_at - asyncio.get_running_loop().time()
                run.committing = True
                try:
                    committing = access.commit(connection, opened)
                    await answered(self.database, connection, run.mark, left_s / 2 if run.mark else None, committing)
                except BaseException as error:
                    refused = access.translate(error, statement)
                    answered_no = refused is not None and refused.code is not ErrorCode.DATABASE_UNAVAILABLE
                    known = self.database.dialect.transactions.outcome(connection)
                    run.committing, run.committed = known is None and not answered_no, bool(known)
                    raise
                run.committing, run.committed = False, True
        except TimeoutError:
            if not limit.expired():
                raise
            raise sql_too_long("statement", limit_s, self.limits.statement_limit) from None
        finally:
            await self._stop(connection)
            if access.lingers(connection):
                self._lingering.append(connection)

    async def _stop(self, connection: Connection) -> None:
        """Bounded, and not cut short by a further cancel: it would leave the statement running."""
        stopping = asyncio.create_task(self._run_stop(connection))
        while not stopping.done():
            with suppress(asyncio.CancelledError):  # the caller passes the first one on
                await asyncio.wait({stopping})

    async def _run_stop(self, connection: Connection) -> None:
        with suppress(Exception):  # the connection is closed next, and ends what is left
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.database.dialect.sql.stop(connection)


class SqlRun:
    """Rows up to the limit and the byte cap, and how far it got. `committing`: COMMIT may have reached the database;
    `committed`: it was done."""

    def __init__(self, limit: int, max_bytes: int, report: Report | None) -> None:
        self.limit = limit
        self.report = report
        self.max_bytes = max_bytes
        self.rows: list[bytes] = []
        self.size = 0
        self.largest = 0
        self.full = False
        #: Columns of whose values the beginning alone is here.
        self.cut: set[str] = set()
        self.opened: OpenSql | None = None
        self.committing = self.committed = False
        #: Of the transaction, once it is about to be committed; see `outcome.py`.
        self.mark = ""

    @property
    def wanted(self) -> int:
        """How many rows to ask for next: one at first, then as many as are small enough together."""
        if not self.rows:
            return 1
        by_size = min(BATCH_BYTES, self.max_bytes - self.size) // max(1, self.largest)
        return max(1, min(BATCH_ROWS, by_size, self.limit + 1 - len(self.rows)))

    def add(self, rows: list[bytes], cut: Mapping[int, Sequence[str]]) -> None:
        """Takes the rows as far as they fit. `cut`: see `OpenSql`."""
        self._take(rows, cut)
        if self.report is not None:
            self.report(rows_so_far(len(self.rows), self.limit))

    def _take(self, rows: list[bytes], cut: Mapping[int, Sequence[str]]) -> None:
        for place, row in enumerate(rows):
            if len(self.rows) >= self.limit or (self.rows and self.size + len(row) > self.max_bytes):
                self.full = True
                return
            self.largest = max(self.largest, len(row))
            self.cut.update(cut.get(place, ()))
            if len(row) > self.max_bytes:
                row, shortened = shorten(row, self.max_bytes)
                self.cut.update(shortened)
            self.rows.append(row)
            self.size += len(row) + 1

    async def settle(self) -> None:
        """As `Rows.settle`."""

    def result(self, generation: int, plan: str, *, in_transaction: bool = False) -> SqlResult:
        assert self.opened is not None
        columns = self.opened.columns
        return SqlResult(
            rows=tuple(self.rows),
            columns=columns,
            truncated=self.full,
            cut_columns=tuple(column.name for column in columns or () if column.name in self.cut),
            affected=self.opened.affected,
            plan=plan,
            generation=generation,
            in_transaction=in_transaction,
        )


class _SunkRun(SqlRun):
    """Rows on their way into a sink: no more than those of one fetch are here."""

    def __init__(self, limit: int, sink: RowSink, options: CallOptions) -> None:
        super().__init__(limit, 0, options.report)
        self._sink = sink
        self._written = 0
        begin(sink)

    @property
    def wanted(self) -> int:
        if not self._written:
            return 1
        return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, self.largest), self.limit + 1 - self._written))

    def add(self, rows: list[bytes], cut: Mapping[int, Sequence[str]]) -> None:
        """See `SqlRun`."""
        room = self._sink.room
        for place, row in enumerate(rows):
            room -= len(row) + 1
            if self._written + len(self.rows) >= self.limit or room < 0:
                self.full = True
                return
            self.largest = max(self.largest, len(row))
            self.cut.update(cut.get(place, ()))
            self.rows.append(row)

    async def settle(self) -> None:
        """As `SunkRows.settle`."""
        rows, self.rows = self.rows, []
        if rows:
            await write(self._sink, rows)
            self._written += len(rows)
            if self.report is not None:
                self.report(Progress(done=self._written, message=f"{self._written} rows so far"))


def _busy(name: str) -> Unavailable:
    return Unavailable(
        ErrorCode.BUSY,
        f"{MAX_AT_ONCE} statements of callers' own run already on database '{name}'",
        "Try again in a moment, or send fewer at once.",
    )


def sql_too_long(what: str, limit_s: float, limit: str) -> LimitReached:
    return LimitReached(
        ErrorCode.TIMEOUT,
        f"the {what} took longer than {limit_s:.6g} s ({limit}) and was stopped",
        "Nothing was written. Ask for less: a condition on an indexed column, fewer joins; explain_query helps.",
    )


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown(
        "the connection was lost while the statement was being committed",
        "Look whether it was done before you send it again.",
    )


def _not_committed() -> Unavailable:
    return Unavailable(
        ErrorCode.DATABASE_UNAVAILABLE,
        "the connection was lost while the statement was being committed, and the database has rolled it back",
        "Nothing was written. Send it again.",
    )
