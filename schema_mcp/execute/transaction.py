"""One transaction that stays open over several calls: its connection, the order of its calls, its end.

    a call's turn -> mark (savepoint) -> the call's statements -> done, or undone to the mark

A call that fails, takes too long or is cancelled leaves what was done before it as it was. Where that cannot be had
(the connection is lost, the database has rolled everything back) the transaction has ended, and the call's error says
so. It does not know who may use it, nor when its time is over: `transactions` does.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.transactions import TransactionEnded
from schema_mcp.errors import CallError, ErrorCode, OutcomeUnknown, Unavailable
from schema_mcp.execute import transaction_errors as errors
from schema_mcp.execute.commit import GRACE_S, Commit
from schema_mcp.execute.due import due
from schema_mcp.execute.engines import Database, Held
from schema_mcp.execute.exceeded import with_limit
from schema_mcp.execute.finished import finished
from schema_mcp.execute.outcome import Outcome, take_mark
from schema_mcp.execute.perform import STOP_TIMEOUT_S, ExecutionLimits, Performer, explained
from schema_mcp.execute.rows import too_long
from schema_mcp.execute.sql_within import run_within, translated
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.execute.tally import Tally
from schema_mcp.execute.turns import Turns
from schema_mcp.execute.unheard import unheard
from schema_mcp.execute.writes import Writes
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, SqlPlan, SqlResult, StatementPlan
from schema_mcp.tools.options import PLAIN, CallOptions
from schema_mcp.tools.transactions import EndedTransaction, OpenTransaction

T = TypeVar("T")

#: How long the mark before a call may take, where the call has so long.
MARK_TIMEOUT_S = 5.0


class Transaction:
    """Runs plans (`runs.Runs`) in the transaction that is open on `held`, one call after the other, as they came.

    `on_end` is told when nothing of it is left. `over`: why it has ended, for its owner; empty while it goes on.
    """

    def __init__(
        self,
        facts: OpenTransaction,
        owner: Caller,
        database: Database,
        held: Held,
        limits: ExecutionLimits,
        on_stale: Callable[[], None],
        writes: Writes,
        on_end: Callable[["Transaction"], None],
        moved: Callable[[], None],
    ) -> None:
        self.owner = owner
        self.database = database
        self.limits = limits
        self.over = ""
        self._facts = facts
        self._held = held
        self._on_stale = on_stale
        self._writes = writes
        self._on_end = on_end
        self._access = database.dialect.transactions
        self._turns = Turns(moved)
        self._began = self._turns.idle_since
        #: The limit of the call that runs, so that it can be ended now.
        self._limit: asyncio.Timeout | None = None
        self._marked = False
        self._committing = False
        self._left = False
        #: What the transaction is known by, as far as a call has heard (see `outcome.py`).
        self._mark = ""
        #: A statement of the caller's own runs that may end it.
        self._may_end = False
        #: Statements of the caller's own have run: the session may be left otherwise than it was.
        self._ran_sql = False
        self._tally = Tally()

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
        """When its time is over, by the loop's clock, and what to say of it then."""
        if self._committing:
            return float("inf"), ""
        return due(self._facts, self._began, None if self._turns.taken else self._turns.idle_since)

    @property
    def status(self) -> OpenTransaction:
        """As it stands now."""
        now = asyncio.get_running_loop().time()
        idle_s = 0.0 if self._turns.taken else now - self._turns.idle_since
        return replace(self._facts, age_s=now - self._began, idle_s=idle_s, operations=self._tally.operations)

    async def run(self, plan: StatementPlan, table: Table, generation: int, options: CallOptions = PLAIN) -> Result:
        """See `Runs`."""
        ((done,),) = await self.run_all([Step(plan, table)], generation, options)
        return done.result

    async def run_all(self, steps: Sequence[Step], generation: int, options: CallOptions = PLAIN) -> list[list[Done]]:
        """See `Runs`."""
        alone = len(steps) == 1 and steps[0].instead is None
        errors.refuse(steps, alone=alone, read_only=self._facts.read_only)

        async def work() -> list[list[Done]]:
            return await self._perform(steps, generation, options, alone=alone)

        done = await self._call(work, options, lambda error: self.database.dialect.translate(error, steps[0].table))
        for each in (one for of_step in done for one in of_step):
            self._tally.count(each)
        return done

    async def run_sql(self, plan: SqlPlan, generation: int, options: CallOptions = PLAIN) -> SqlResult:
        """The result of a caller's own statement. Raises: as `run`."""
        plan = replace(plan, writes=plan.writes and not self._facts.read_only)

        async def work() -> SqlResult:
            self._ran_sql = True
            if plan.writes:  # it may be a COMMIT, and not be heard to its end
                self._mark = self._mark or await take_mark(self._connection, self.database.dialect)
                self._may_end = bool(self._mark)
            result = await run_within(self._connection, self.database, plan, generation, self.limits, options)
            if not plan.writes:
                await self._access.undo(self._connection)  # whatever a function in it has done
            return result

        result = await self._call(work, options, lambda error: translated(error, self.database, plan))
        self._tally.count_sql(plan, result)
        return result

    async def commit(self) -> EndedTransaction:
        """What was done, all of it lasting. Waits for the call that runs.

        Raises: CallError, which says what became of it; asyncio.CancelledError, as `run`.
        """
        ends_at = asyncio.get_running_loop().time() + self.limits.call_timeout_s
        async with self._turn(self.limits.call_timeout_s):
            commit = Commit(self.database, self._connection, self._mark, ends_at, writes=not self._facts.read_only)
            self._committing = True
            try:
                # A cancel that comes too late to stop it changes nothing in what there is to tell.
                sent, _ = await finished(commit.send(), GRACE_S)
                error = asyncio.CancelledError() if sent.cancelled() else sent.exception()
                if error is not None:
                    await self._resolve(error, commit)
                elif sent.result():
                    await self._leave(errors.COMMITTED, clean=True)
                else:
                    await self._leave(errors.ROLLED_BACK, clean=True)
                    raise errors.not_committed(ErrorCode.ROLLED_BACK)
            finally:
                self._committing = False
        self._tell_committed()
        return self._summary(committed=True)

    async def roll_back(self) -> EndedTransaction:
        """What was done, none of it lasting. Waits for the call that runs. Raises: as `commit`."""
        async with self._turn(self.limits.call_timeout_s):
            ending, _ = await finished(self._roll_back(errors.ROLLED_BACK))
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
            async with self._turns.turn(2 * STOP_TIMEOUT_S):
                await self._roll_back(reason)
        except Unavailable:
            await self._leave(reason, clean=False)

    @property
    def _connection(self) -> Connection:
        return self._held.connection

    async def _perform(
        self, steps: Sequence[Step], generation: int, options: CallOptions, *, alone: bool
    ) -> list[list[Done]]:
        performer = Performer(self.database, self.limits, options)
        done: list[list[Done]] = []
        left_bytes = self.limits.max_bytes
        for step in steps:
            held_to_table = step.plan.writes or step.plan.continues  # as by itself: what only reads need not ask
            try:
                made = await performer.step(
                    self._connection, step, generation, left_bytes, begun=held_to_table, alone=False
                )
            except CallError as error:
                if isinstance(error, StepFailed):
                    raise
                raise explained(step.plan, error) if alone else StepFailed(step, explained(step.plan, error)) from error
            done.append([Done(one.step, replace(one.result, in_transaction=True)) for one in made])
            left_bytes -= sum(len(row) for each in made for row in each.result.rows)
        self._mark = performer.mark or self._mark
        return done

    async def _call(
        self,
        work: Callable[[], Awaitable[T]],
        options: CallOptions,
        translate: Callable[[BaseException], CallError | None],
    ) -> T:
        """What the work gives, in its turn. Raises: CallError; asyncio.CancelledError once nothing of it runs."""
        timeout_s = options.call_timeout_s(self.limits.call_timeout_s)
        limited_by = options.limit(self.limits.call_timeout_s, self.limits.call_limit)
        too_late = partial(too_long, "call", timeout_s, retryable=True, limit=limited_by)
        ends_at = asyncio.get_running_loop().time() + timeout_s
        async with self._turn(min(timeout_s, self.database.acquire_timeout_s)):
            for last in (False, True):
                self._may_end = False
                await self._begin_call(ends_at, too_late, translate)
                try:
                    async with asyncio.timeout_at(ends_at) as limit:
                        self._limit = limit
                        return await work()
                except BaseException as error:
                    late = isinstance(error, TimeoutError) and limit.expired()
                    told = await self._undone(too_late() if late else error, translate)
                    if not self.over and not last and errors.may_fit_now(told):
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
        """See `Turns`. Raises: Unavailable (`busy`); InvalidArgument where it is over before its turn, or by then."""
        self.require_open()
        async with self._turns.turn(wait_s):
            self.require_open()
            yield

    def require_open(self) -> None:
        """Raises: InvalidArgument (`unknown_transaction`), with the reason, for its owner alone."""
        if self.over:
            raise errors.ended(self.over)

    async def _begin_call(
        self, ends_at: float, too_late: Callable[[], CallError], translate: Callable[[BaseException], CallError | None]
    ) -> None:
        """After a cancel, or at the end of the call's time, the mark may be answered for `GRACE_S`. Where it is not,
        nobody knows to where the call could be undone, and the transaction ends."""
        first, self._marked = not self._marked, True
        limits_s = (self.limits.statement_timeout_s, self.limits.lock_timeout_s) if self._ran_sql else None
        left_s = max(GRACE_S, ends_at - asyncio.get_running_loop().time())

        async def mark() -> None:
            async with asyncio.timeout(min(MARK_TIMEOUT_S, left_s)):
                await self._access.mark(self._connection, first=first, limits_s=limits_s)

        marking, cancelled = await finished(mark(), GRACE_S)
        error = TimeoutError() if marking.cancelled() else marking.exception()
        if error is not None:
            silent = isinstance(error, TimeoutError)
            told = too_late() if silent and left_s < MARK_TIMEOUT_S else error
            lost = await self._lost(told, translate, answers=not silent)
        if cancelled:
            raise asyncio.CancelledError
        if error is not None:
            raise lost from (None if lost is error else error)
        self.require_open()  # it may have been ended meanwhile

    async def _undone(
        self, error: BaseException, translate: Callable[[BaseException], CallError | None]
    ) -> BaseException:
        """The error to raise, once the call is undone, or the transaction with it."""
        if self.over:
            return errors.ended(self.over)  # whoever has ended it rolls it back
        if isinstance(error, TransactionEnded):
            ending, _ = await finished(self._roll_back(errors.by_statement(error.how)))
            ending.result()
            if errors.outcome_of(self.over) is not Outcome.ROLLED_BACK:
                self._tell_committed()
            return errors.ended_by(error.how)
        known = error if isinstance(error, CallError) else translate(error)
        if known is not None:
            with_limit(known, self.limits)
        if errors.is_conflict(known):
            return await self._lost(error, translate)

        async def undo() -> None:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._access.undo(self._connection)

        if self._access.is_open(self._connection):
            undoing, _ = await finished(undo())
            if undoing.exception() is None:
                return known or error
        return await (self._unheard(error, known) if self._may_end else self._lost(error, translate))

    async def _unheard(self, error: BaseException, known: CallError | None) -> BaseException:
        """See `unheard`."""
        await self._leave(errors.IN_DOUBT, clean=False)
        asking, _ = await finished(unheard(self.database, self._mark, error, known))
        self.over, told = asking.result()
        if errors.outcome_of(self.over) is not Outcome.ROLLED_BACK:
            self._tell_committed()
        self._tell_end()
        return told

    async def _lost(
        self, error: BaseException, translate: Callable[[BaseException], CallError | None], *, answers: bool = True
    ) -> BaseException:
        """The error to raise where the transaction cannot go on: it ends here. Where the database does not answer, it
        would not answer ROLLBACK either, and the end of the connection does the same."""
        known = error if isinstance(error, CallError) else translate(error)
        inner = known.error if isinstance(known, StepFailed) else known
        if not answers or (inner is not None and inner.code is ErrorCode.DATABASE_UNAVAILABLE):
            self.database.renew()
        failed = "a call in it was cancelled" if isinstance(error, asyncio.CancelledError) else "of a failure"
        why = f"because {failed}" if inner is None else f"because of an error ({inner.code})"
        reason = f"it was rolled back {why}"
        ending, _ = await finished(self._roll_back(reason) if answers else self._leave(reason, clean=False))
        ending.result()
        return error if known is None else errors.with_the_transaction(known)

    async def _resolve(self, error: BaseException, commit: Commit) -> None:
        """Returns where COMMIT has done what it was sent for, though it has failed here. Raises: CallError; the error.

        One that others were in the way of is rolled back: on SQLite it would keep every new reader out.
        """
        refused = self.database.dialect.translate(error, self._tally.judged_by)
        known = self._access.outcome(self._connection) if commit.sent else False
        if known:
            await self._leave(errors.COMMITTED, clean=True)
            return
        if isinstance(refused, OutcomeUnknown):
            await self._leave(errors.ELSEWHERE, clean=False)
            raise refused from error
        if known is False or (refused is not None and refused.code is not ErrorCode.DATABASE_UNAVAILABLE):
            if not commit.sent:
                self.database.renew()
            stopped = errors.in_time(error, self.limits.call_timeout_s)
            lost = errors.waited_for(await self._lost(refused or stopped, lambda _: None))
            raise lost from (None if lost is error else error)
        self.database.renew()
        await self._leave(errors.IN_DOUBT, clean=False)
        outcome = await commit.outcome(error)
        failure = errors.uncommitted(outcome, self.limits.call_timeout_s)
        if isinstance(failure, OutcomeUnknown):
            raise failure from error
        self.over = errors.COMMITTED if outcome is Outcome.COMMITTED else errors.ROLLED_BACK
        self._tell_end()
        if failure is not None:
            raise failure from error

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
        self._tell_end()

    def _tell_committed(self) -> None:
        self._writes.committed(self._tally.written)
        if self._ran_sql:
            self._on_stale()  # it may have changed the schema

    def _tell_end(self) -> None:
        self._writes.ended()
        self._on_end(self)

    def _summary(self, *, committed: bool) -> EndedTransaction:
        return EndedTransaction(
            id=self.id,
            committed=committed,
            operations=self._tally.operations,
            duration_ms=(asyncio.get_running_loop().time() - self._began) * 1000,
        )
