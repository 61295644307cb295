"""One transaction that stays open over several calls: its connection, the order of its calls, its end.

    a call's turn -> mark (savepoint) -> the call's statements -> done, or undone to the mark

A call that fails, takes too long or is cancelled leaves what was done before it as it was. Where that cannot be had
(the connection is lost, the database has rolled everything back) the transaction has ended, and the call's error says
so. It does not know who may use it, nor when its time is over: `transactions` does.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.transactions import TransactionEnded
from schema_mcp.errors import (
    CallError,
    ErrorCode,
    InvalidArgument,
    OutcomeUnknown,
    StaleSchema,
    StatementRefused,
    Unavailable,
)
from schema_mcp.execute.engines import Database, Held
from schema_mcp.execute.exceeded import with_limit
from schema_mcp.execute.finished import finished
from schema_mcp.execute.outcome import Outcome, resolve, take_mark
from schema_mcp.execute.perform import STOP_TIMEOUT_S, ExecutionLimits, Performer, Replaced, explained
from schema_mcp.execute.rows import too_long
from schema_mcp.execute.sql_within import run_within, translated
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.schema.model import Table, TableName
from schema_mcp.tools.base import Action, Result, SqlPlan, SqlResult, StatementPlan
from schema_mcp.tools.options import PLAIN, CallOptions
from schema_mcp.tools.transactions import EndedTransaction, OpenTransaction, Operation

T = TypeVar("T")

#: Calls that wait for their turn in one transaction; more are told `busy`.
MAX_WAITING = 100
#: How long the mark before a call may take.
MARK_TIMEOUT_S = 5.0
#: SQLSTATE of a conflict with another transaction, after which only a transaction begun anew can succeed.
_SERIALIZATION_FAILURE = "40001"
#: As in `attempts`: the schema changed under a prepared statement, which may well fit the new schema.
_CACHED_PLAN = ("0A000", None)


class Transaction:
    """Runs plans (`runs.Runs`) in the transaction that is open on `held`, one call after the other, as they came.

    `ended` is told when nothing of it is left. `over`: why it has ended, for its owner; empty while it goes on.
    """

    def __init__(
        self,
        facts: OpenTransaction,
        owner: Caller,
        database: Database,
        held: Held,
        limits: ExecutionLimits,
        on_stale: Callable[[], None],
        ended: Callable[["Transaction"], None],
        moved: Callable[[], None],
    ) -> None:
        self.owner = owner
        self.database = database
        self.limits = limits
        self.over = ""
        self._facts = facts
        self._held = held
        self._on_stale = on_stale
        self._ended = ended
        self._moved = moved
        self._access = database.dialect.transactions
        self._turns = asyncio.Lock()
        self._waiting = 0
        self._began = self._idle_since = asyncio.get_running_loop().time()
        #: The limit of the call that runs, so that it can be ended now.
        self._limit: asyncio.Timeout | None = None
        self._marked = False
        self._committing = False
        self._left = False
        #: COMMIT may have reached the database; and what the transaction is known by then (see `outcome.py`).
        self._sent = False
        self._mark_of_all = ""
        #: Statements of the caller's own have run: the session may be left otherwise than it was.
        self._ran_sql = False
        self._operations: dict[tuple[str, TableName | None], Operation] = {}
        #: What an error of COMMIT is told by: the table that was written last, or one of which not all may be told.
        self._judged_by: Table | None = None

    @property
    def id(self) -> str:
        """What its owner names it by. Nobody else may learn it."""
        return self._facts.id

    @property
    def source(self) -> str:
        """The database that it is open on."""
        return self._facts.source

    @property
    def due(self) -> tuple[float, str]:
        """When its time is over, by the loop's clock, and what to say of it then. While a call runs it is not idle."""
        too_old = self._began + self._facts.max_age_s
        if self._committing:
            return float("inf"), ""
        if self._turns.locked() or self._idle_since + self._facts.idle_timeout_s >= too_old:
            return (
                too_old,
                f"it was rolled back {self._facts.max_age_s:g} s after it had begun (transactions.max_age_s)",
            )
        return (
            self._idle_since + self._facts.idle_timeout_s,
            f"it was rolled back after {self._facts.idle_timeout_s:g} s in which nothing was called in it "
            "(transactions.idle_timeout_s)",
        )

    @property
    def status(self) -> OpenTransaction:
        """As it stands now."""
        now = asyncio.get_running_loop().time()
        idle_s = 0.0 if self._turns.locked() else now - self._idle_since
        return replace(self._facts, age_s=now - self._began, idle_s=idle_s, operations=tuple(self._operations.values()))

    async def run(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions = PLAIN) -> Result:
        """See `Runs`."""
        ((done,),) = await self.run_all([Step(plan, table)], generation, options)
        return done.result

    async def run_all(self, steps: Sequence[Step], generation: int, options: CallOptions = PLAIN) -> list[list[Done]]:
        """See `Runs`."""
        alone = len(steps) == 1 and steps[0].instead is None
        for step in steps:
            try:
                self._check(step.plan)
            except CallError as error:
                raise error if alone else StepFailed(step, error) from error

        async def work() -> list[list[Done]]:
            return await self._perform(steps, generation, options, alone=alone)

        done = await self._call(work, options, lambda error: self.database.dialect.translate(error, steps[0].table))
        for each in (one for of_step in done for one in of_step if not one.step.plan.dry_run):
            plan, written = each.step.plan, each.result.affected
            self._count(_kind(plan.action), plan.table, written if plan.writes else 0)
            if plan.writes and not _keeps_something(self._judged_by):
                self._judged_by = each.step.table
        return done

    async def run_sql(self, plan: SqlPlan, generation: int, options: CallOptions = PLAIN) -> SqlResult:
        """The result of a caller's own statement. Raises: as `run`."""
        plan = replace(plan, writes=plan.writes and not self._facts.read_only)

        async def work() -> SqlResult:
            self._ran_sql = True
            result = await run_within(self._connection, self.database, plan, generation, self.limits, options.report)
            if not plan.writes:
                await self._access.undo(self._connection)  # whatever a function in it has done
            return result

        result = await self._call(work, options, lambda error: translated(error, self.database, plan))
        self._count("explain_query" if plan.explain else "execute_sql", None, result.affected or 0)
        return result

    async def commit(self) -> EndedTransaction:
        """What was done, all of it lasting. Waits for the call that runs.

        Raises: CallError, which says what became of it; asyncio.CancelledError, as `run`.
        """
        ends_at = asyncio.get_running_loop().time() + self.limits.call_timeout_s
        async with self._turn(self.limits.call_timeout_s):
            self._committing = True
            try:
                # A cancel that comes too late to stop it changes nothing in what there is to tell.
                sent, _ = await finished(self._send_commit(ends_at), STOP_TIMEOUT_S)
                error = asyncio.CancelledError() if sent.cancelled() else sent.exception()
                if error is not None:
                    await self._resolve(error, ends_at)
                elif sent.result():
                    await self._leave(_COMMITTED, clean=True)
                else:
                    await self._leave(_ROLLED_BACK, clean=True)
                    raise StatementRefused(ErrorCode.ROLLED_BACK, *_NOT_COMMITTED)
            finally:
                self._committing = False
        if self._ran_sql:
            self._on_stale()  # it may have changed the schema
        return self._summary(committed=True)

    async def roll_back(self) -> EndedTransaction:
        """What was done, none of it lasting. Waits for the call that runs. Raises: as `commit`."""
        async with self._turn(self.limits.call_timeout_s):
            ending, _ = await finished(self._roll_back(_ROLLED_BACK))
        ending.result()
        return self._summary(committed=False)

    async def end(self, reason: str) -> None:
        """Rolls it back; whatever runs in it is stopped, and told the reason. Bounded."""
        if self.over or self._committing:
            return
        self.over = reason
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(2 * STOP_TIMEOUT_S):
                await self._turns.acquire()
        except TimeoutError:
            await self._leave(reason, clean=False)
            return
        try:
            await self._roll_back(reason)
        finally:
            self._turns.release()

    @property
    def _connection(self) -> Connection:
        return self._held.connection

    def _check(self, plan: StatementPlan) -> None:
        """Raises: CallError for a plan that no transaction takes, or not this one."""
        if plan.once is not None:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                "'idempotency_key' does not go with 'transaction_id': what a call did in a transaction may be undone "
                "after it was answered",
                "Leave the key out; the answer of commit_transaction tells whether all of it was done.",
            )
        if plan.writes and self._facts.read_only:
            raise StatementRefused(
                ErrorCode.READ_ONLY,
                "the transaction is read-only",
                "Begin another without read_only, where the server's access.mode lets it write.",
            )

    async def _perform(
        self, steps: Sequence[Step], generation: int, options: CallOptions, *, alone: bool
    ) -> list[list[Done]]:
        performer = Performer(self.database, self.limits, options)
        done: list[list[Done]] = []
        left_bytes = self.limits.max_bytes
        for step in steps:
            try:
                made = await performer.step(self._connection, step, generation, left_bytes, begun=True, alone=False)
            except CallError as error:
                if isinstance(error, StepFailed):
                    raise
                raise explained(step.plan, error) if alone else StepFailed(step, explained(step.plan, error)) from error
            done.append([Done(one.step, replace(one.result, in_transaction=True)) for one in made])
            left_bytes -= sum(len(row) for each in made for row in each.result.rows)
        self._mark_of_all = performer.mark or self._mark_of_all
        return done

    async def _call(
        self,
        work: Callable[[], Awaitable[T]],
        options: CallOptions,
        translate: Callable[[BaseException], CallError | None],
    ) -> T:
        """What the work gives, in its turn. Raises: CallError; asyncio.CancelledError once nothing of it runs."""
        timeout_s = options.call_timeout_s(self.limits.call_timeout_s)
        limited_by = options.limit(self.limits.call_timeout_s)
        ends_at = asyncio.get_running_loop().time() + timeout_s
        async with self._turn(min(timeout_s, self.database.acquire_timeout_s)):
            for last in (False, True):
                await self._mark(translate)
                try:
                    async with asyncio.timeout_at(ends_at) as limit:
                        self._limit = limit
                        return await work()
                except BaseException as error:
                    late = isinstance(error, TimeoutError) and limit.expired()
                    failure = too_long("call", timeout_s, retryable=True, limit=limited_by) if late else error
                    told = await self._undone(failure, translate)
                    if not self.over and not last and _may_fit_now(told):
                        continue
                    if isinstance(told, CallError) and told.code is ErrorCode.STALE_SCHEMA:
                        self._on_stale()
                    if told is error:
                        raise
                    raise told from error
                finally:
                    self._limit = None
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _turn(self, wait_s: float) -> AsyncIterator[None]:
        """The calls one after the other, in the order they came. Raises: Unavailable (`busy`); InvalidArgument."""
        self.require_open()
        if self._waiting >= MAX_WAITING:
            raise _busy(f"{MAX_WAITING} calls wait for their turn in the transaction already")
        self._waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise _busy(f"another call in the transaction takes longer than {wait_s:g} s") from None
        finally:
            self._waiting -= 1
        try:
            self.require_open()
            yield
        finally:
            self._idle_since = asyncio.get_running_loop().time()
            self._turns.release()
            self._moved()

    def require_open(self) -> None:
        """Raises: InvalidArgument (`unknown_transaction`), with the reason, for its owner alone."""
        if self.over:
            raise ended_transaction(self.over)

    async def _mark(self, translate: Callable[[BaseException], CallError | None]) -> None:
        """Not cut short by a cancel: then it would not be known to where a call is undone."""
        first, self._marked = not self._marked, True

        async def mark() -> None:
            async with asyncio.timeout(MARK_TIMEOUT_S):
                await self._access.mark(self._connection, first=first)

        marking, cancelled = await finished(mark())
        error = marking.exception()
        if error is not None:
            raise await self._lost(error, translate) from error
        if cancelled:
            raise asyncio.CancelledError
        self.require_open()  # it may have been ended meanwhile

    async def _undone(
        self, error: BaseException, translate: Callable[[BaseException], CallError | None]
    ) -> BaseException:
        """The error to raise, once the call is undone, or the transaction with it."""
        if self.over:
            return ended_transaction(self.over)  # whoever has ended it rolls it back
        if isinstance(error, TransactionEnded):
            return await self._ended_by_statement(error)
        known = error if isinstance(error, CallError) else translate(error)
        if known is not None:
            with_limit(known, self.limits)
        conflict = known is not None and known.sqlstate == _SERIALIZATION_FAILURE
        if conflict or not self._access.is_open(self._connection):
            return await self._lost(error, translate)

        async def undo() -> None:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._access.undo(self._connection)

        undoing, _ = await finished(undo())
        if undoing.exception() is not None:
            return await self._lost(error, translate)
        return known or error

    async def _lost(
        self, error: BaseException, translate: Callable[[BaseException], CallError | None]
    ) -> BaseException:
        """The error to raise where the transaction cannot go on: it ends here."""
        known = error if isinstance(error, CallError) else translate(error)
        inner = known.error if isinstance(known, StepFailed) else known
        if isinstance(error, TimeoutError) or (inner is not None and inner.code is ErrorCode.DATABASE_UNAVAILABLE):
            self.database.renew()
        why = "because of a failure" if inner is None else f"because of an error ({inner.code})"
        ending, _ = await finished(self._roll_back(f"it was rolled back {why}"))
        ending.result()
        if known is None or inner is None:
            return error
        for each in {id(one): one for one in (known, inner)}.values():
            each.message = f"{each.message}; with it the transaction has ended, and everything in it was rolled back"
            each.hint = _NOT_COMMITTED[1]
            each.retryable = False
        return known

    async def _ended_by_statement(self, ended: TransactionEnded) -> CallError:
        became = {"COMMIT": "everything done in it is committed", "ROLLBACK": "everything done in it is undone"}
        what = became.get(ended.how, "look at the tables for what became of it")
        ending, _ = await finished(self._roll_back(f"a statement of its own has ended it ({ended.how}): {what}"))
        ending.result()
        return StatementRefused(
            ErrorCode.NOT_ALLOWED,
            f"the statement has ended the transaction that it ran in ({ended.how}): {what}",
            "Its transaction_id holds no longer. End one with commit_transaction or rollback_transaction.",
        )

    async def _send_commit(self, ends_at: float) -> bool:
        """Waits for the answer for half of the time that is left, where the other half can find out about it."""
        dialect = self.database.dialect
        if not self._mark_of_all and dialect.outcomes and not self._facts.read_only:
            self._mark_of_all = await take_mark(self._connection, dialect)
        left_s = ends_at - asyncio.get_running_loop().time()
        async with asyncio.timeout(left_s / 2 if self._mark_of_all else left_s):
            self._sent = True
            return await self._access.commit(self._connection)

    async def _resolve(self, error: BaseException, ends_at: float) -> None:
        """Returns where COMMIT has done what it was sent for, though it has failed here. Raises: CallError; the error.

        Where the database has refused it for a moment only (SQLite, while others read), the transaction goes on.
        """
        refused = self.database.dialect.translate(error, self._judged_by)
        if refused is not None and refused.code is not ErrorCode.DATABASE_UNAVAILABLE:
            if refused.retryable and self._access.is_open(self._connection):
                refused.message = f"{refused.message} The transaction is still open, and nothing of it is lost."
                refused.hint = "Call commit_transaction again in a moment."
                raise refused from error
            raise await self._lost(refused, lambda _: None) from error
        self.database.renew()
        if not self._sent:
            raise await self._lost(refused or error, lambda _: None) from error
        await self._leave("its commit was sent, and the answer was lost: it may have been done", clean=False)
        if self._mark_of_all:
            left_s = ends_at - asyncio.get_running_loop().time()
            outcome = await resolve(self.database, self._mark_of_all, left_s)
        else:  # nothing was written, where the database would have told a mark
            certain = self._facts.read_only or bool(self.database.dialect.outcomes)
            outcome = Outcome.COMMITTED if certain else Outcome.UNKNOWN
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown(
                "the connection was lost while the transaction was being committed: either all of it was done or "
                "nothing",
                "Query what it has written before you do it again: it may be there.",
            ) from error
        self.over = _COMMITTED if outcome is Outcome.COMMITTED else _ROLLED_BACK
        self._ended(self)
        if outcome is Outcome.ROLLED_BACK:
            raise StatementRefused(ErrorCode.DATABASE_UNAVAILABLE, *_NOT_COMMITTED) from error

    async def _roll_back(self, reason: str) -> None:
        """Ends it, clean where the database answers in time."""
        clean = False
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._access.roll_back(self._connection)
            clean = True
        except Exception:  # noqa: BLE001 - the connection is thrown away, and the transaction with it
            if not self._connection.is_closed():
                self.database.renew()
        await self._leave(reason, clean=clean)

    async def _leave(self, reason: str, *, clean: bool) -> None:
        """Nothing of it is left after this."""
        if self._left:
            return
        self.over, self._left = reason, True
        if clean and not self._ran_sql:
            await self._held.give_back()
        else:
            await self._held.throw_away()
        self._ended(self)

    def _count(self, tool: str, table: TableName | None, rows: int) -> None:
        before = self._operations.get((tool, table), Operation(tool=tool, table=table, calls=0, rows=0))
        self._operations[tool, table] = replace(before, calls=before.calls + 1, rows=before.rows + rows)

    def _summary(self, *, committed: bool) -> EndedTransaction:
        return EndedTransaction(
            id=self.id,
            committed=committed,
            operations=tuple(self._operations.values()),
            duration_ms=(asyncio.get_running_loop().time() - self._began) * 1000,
        )


_COMMITTED = "it was committed"
_ROLLED_BACK = "it was rolled back"
_NOT_COMMITTED = (
    "the transaction could not be committed, and the database has rolled back everything in it",
    "Begin another with begin_transaction, and repeat in it all that is still wanted.",
)


def _kind(action: Action) -> str:
    return "query" if action is Action.READ else str(action)


def _keeps_something(table: Table | None) -> bool:
    return table is not None and (table.hides_columns or table.masks_columns)


def _may_fit_now(error: BaseException) -> bool:
    """Whether the same statements may well fit the new schema."""
    cause = error.error if isinstance(error, StepFailed) else error
    return isinstance(cause, StaleSchema) and not isinstance(cause, Replaced) and cause.sqlstate in _CACHED_PLAN


def open_facts(*, max_age_s: float, **facts: object) -> OpenTransaction:
    """A transaction that begins now."""
    return OpenTransaction(max_age_s=max_age_s, ends_at=time.time() + max_age_s, **facts)  # type: ignore[arg-type]


def ended_transaction(reason: str) -> InvalidArgument:
    """What the owner of one that has ended is told."""
    return InvalidArgument(
        ErrorCode.UNKNOWN_TRANSACTION,
        f"this transaction has ended: {reason}",
        "Begin another with begin_transaction.",
    )


def _busy(message: str) -> Unavailable:
    return Unavailable(
        ErrorCode.BUSY,
        message,
        "Nothing was done. Calls in one transaction run one after the other: send the next when the last has answered.",
    )
