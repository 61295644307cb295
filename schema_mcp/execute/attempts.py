"""One call from the pool: its steps in a transaction where there is something to lose, within its limits, and once more
where that is safe.

It knows what may have been written whenever it is cut short; keys that make a call repeatable are the executor's.
"""

import asyncio
from collections.abc import Callable, Sequence

from schema_mcp.dialects.base import Connection
from schema_mcp.errors import CallError, ErrorCode, OutcomeUnknown, StaleSchema, StatementRefused
from schema_mcp.execute.commit import GRACE_S, answered, find_out
from schema_mcp.execute.engines import Database
from schema_mcp.execute.exceeded import with_limit
from schema_mcp.execute.finished import finished
from schema_mcp.execute.once import Sent
from schema_mcp.execute.outcome import Outcome, take_mark
from schema_mcp.execute.perform import ExecutionLimits, Performer, Replaced, explained
from schema_mcp.execute.retry import tried
from schema_mcp.execute.rows import commit_too_long, not_committed, still_committing, too_long, unknown
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.observe.events import CallRetried, Observe
from schema_mcp.tools.options import PLAIN, CallOptions

#: The schema changed under a prepared statement: PostgreSQL's "cached plan must not change result type", and what a
#: driver finds out by itself. The statement may well fit the new schema.
_CACHED_PLAN = ("0A000", None)
#: When a write to a server that only reads is worth another try: another one may have taken over by then.
FAILOVER_S = 5.0
#: Others were in the way: serialization_failure, deadlock_detected, and too_many_connections, of which one may be free
#: again.
_IN_THE_WAY = frozenset({"40001", "40P01", "53300"})


class Attempts:
    """Runs the steps of one call, all of them in one transaction if they are more than one.

    `committing`: COMMIT may have reached the database, and its answer has not come. `committed`: what was done, once it
    has.
    """

    def __init__(
        self,
        database: Database,
        limits: ExecutionLimits,
        on_stale: Callable[[], None],
        steps: Sequence[Step],
        generation: int,
        options: CallOptions = PLAIN,
        observe: Observe = lambda _: None,
    ) -> None:
        self.committing = False
        self.committed: list[list[Done]] | None = None
        self._observe = observe
        self._database = database
        self._limits = limits
        self._on_stale = on_stale
        self._steps = steps
        self._generation = generation
        self._client = options.client
        self._limit = options.limit(limits.call_timeout_s, limits.call_limit)
        self._timeout_s = options.call_timeout_s(limits.call_timeout_s)
        self._performer = Performer(database, limits, options)
        #: What the latest attempt has done so far.
        self._done: list[list[Done]] = []
        #: The step that an attempt is at, and whether it had a connection.
        self._step = steps[0]
        self._connected = False
        self._ends_at = 0.0
        #: What a try before this one has left open.
        self._doubt: OutcomeUnknown | None = None

    @property
    def sent(self) -> Sent | None:
        """Of a single step that was cut short: what it has left in the database, or may have; None: nothing."""
        if self.committed is None and not self.committing:
            return None
        return Sent(self._done[0][0].result, self._performer.mark, committed=self.committed is not None)

    async def run(self) -> list[list[Done]]:
        """What each step gave.

        Raises: StepFailed, with the one that failed, if they are more than one; CallError; asyncio.CancelledError once
        nothing of the call runs in the database any more.
        """
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                self._ends_at = limit.when() or 0.0
                return await tried(
                    self._watched,
                    self._leaves_nothing,
                    attempts=self._limits.attempts,
                    left_s=self._left_s,
                    told=self._tell,
                )
        except CallError as failure:
            refused = _cause(failure)
            if isinstance(refused, StaleSchema):
                self._on_stale()
            if self._met_a_standby(refused):
                refused.retryable, refused.details = True, {"retry_after_s": FAILOVER_S}
            if self._doubt is not None and not isinstance(refused, StatementRefused):
                raise self._doubt from failure
            if isinstance(failure, StatementRefused):
                raise explained(self._steps[0].plan, failure) from failure
            with_limit(failure, self._limits)
            raise
        except TimeoutError:
            if not limit.expired():
                raise
            if self.committed is not None:
                return self.committed  # a moment too late, and true
            if self.committing or self._doubt is not None:
                raise unknown(self._steps[0].plan, self._steps[0].table) from None
            raise too_long("call", self._timeout_s, retryable=True, limit=self._limit) from None

    async def _watched(self) -> list[list[Done]]:
        """One try, of whose failure is kept what those after it have to know."""
        try:
            return await self._attempt()
        except CallError as failure:
            cause = _cause(failure)
            if isinstance(cause, OutcomeUnknown):
                self._doubt = cause
            lost = cause.code is ErrorCode.DATABASE_UNAVAILABLE and self._connected
            if lost or isinstance(cause, OutcomeUnknown) or self._met_a_standby(cause):
                self._database.renew()
            raise

    def _leaves_nothing(self, failure: CallError) -> bool:
        """Whether another try may follow and end better: nothing was written, or the key keeps it from being written
        twice."""
        cause = _cause(failure)
        if isinstance(cause, OutcomeUnknown):
            return all(step.plan.once is not None for step in self._steps if step.plan.writes)
        if isinstance(cause, StaleSchema):
            return not isinstance(cause, Replaced) and cause.sqlstate in _CACHED_PLAN
        if cause.code is ErrorCode.DATABASE_UNAVAILABLE and self._connected:
            return cause.retryable
        return cause.sqlstate in _IN_THE_WAY or self._met_a_standby(cause)

    def _met_a_standby(self, cause: CallError) -> bool:
        """A write reached a server that takes none: while a standby takes over, the address may lead elsewhere now."""
        return bool(
            cause.code is ErrorCode.READ_ONLY
            and self._database.dialect.outcomes
            and any(step.plan.writes for step in self._steps)
        )

    def _tell(self, attempt: int, failure: CallError, wait_s: float) -> None:
        self._observe(
            CallRetried(
                source=self._database.name,
                attempt=attempt,
                code=str(failure.code),
                sqlstate=_cause(failure).sqlstate,
                wait_ms=wait_s * 1000,
            )
        )

    async def _attempt(self) -> list[list[Done]]:
        """One try. Every failure before COMMIT is sent leaves nothing written."""
        self._connected = self.committing = False
        self._step = self._steps[0]
        self._performer.mark = ""
        done = self._done = []
        ended: BaseException | None = None
        try:
            async with self._database.connection(self._client) as connection:
                self._connected = True
                ended = await self._transact(connection, done)
        except (CallError, asyncio.CancelledError):
            raise
        except BaseException as error:
            if self.committing:
                await self._resolve(done, error)
                return done
            translated = self._database.dialect.translate(error, self._step.table)
            if translated is None:
                raise
            raise translated from error
        if ended is not None:
            raise ended
        return done

    async def _resolve(self, done: Sequence[Sequence[Done]], lost: BaseException) -> None:
        """Returns if COMMIT has done what it was sent for. Raises: Unavailable or LimitReached if not;
        OutcomeUnknown."""
        if self._performer.mark or any(each.result.affected for part in done for each in part):
            outcome = await find_out(self._database, self._performer.mark, self._left_s(), lost)
        else:
            outcome = Outcome.COMMITTED  # nothing was written, which is what the answer says
        self.committing = outcome in (Outcome.UNKNOWN, Outcome.RUNNING)
        if outcome is Outcome.RUNNING:
            raise still_committing(f"the {self._step.plan.action} of table '{self._step.table.name.name}'") from lost
        if outcome is Outcome.STOPPED:
            raise commit_too_long(self._timeout_s, self._limit, retryable=True) from lost
        if outcome is Outcome.UNKNOWN:
            told = self._database.dialect.translate(lost, self._step.table)
            raise (told if isinstance(told, OutcomeUnknown) else unknown(self._step.plan, self._step.table)) from lost
        if outcome is Outcome.ROLLED_BACK:
            raise not_committed(self._step.plan, self._step.table) from lost

    def _left_s(self) -> float:
        """Of the call's time."""
        return self._ends_at - asyncio.get_running_loop().time()

    async def _commit(self, connection: Connection) -> None:
        """Waits for the answer for half of the time that is left at most, where the other half can find out about it;
        cancelled, for a moment: as a rule it is on its way, and then there is no doubt.

        Raises: as `answered`; Unavailable where the database has rolled back instead.
        """
        database, dialect = self._database, self._database.dialect
        if dialect.outcomes and not self._performer.mark and not all(step.plan.identity for step in self._steps):
            self._performer.mark = await take_mark(connection, dialect)
        mark = self._performer.mark
        limit_s = self._left_s() / 2 if mark else None
        self.committing = True
        sending, cancelled = await finished(
            answered(database, connection, mark, limit_s, dialect.transactions.commit(connection)), GRACE_S
        )
        error = None if sending.cancelled() else sending.exception()
        answered_by = None if sending.cancelled() or error is not None else sending.result()
        known = dialect.transactions.outcome(connection) if answered_by is None else answered_by
        if known is not None:
            self.committing = False
            if known:
                self.committed = self._done
        if cancelled:
            if error is not None and self._refuses(error):
                self.committing = False
            elif self.committing and not connection.is_closed():
                await self._performer.roll_back(connection)  # what COMMIT has begun is stopped, not only left alone
            raise asyncio.CancelledError
        if error is not None:
            raise error
        if self.committed is None:
            raise not_committed(self._step.plan, self._step.table)

    def _refuses(self, error: BaseException) -> bool:
        """Whether the database has answered by this error, and not that it does not know either."""
        refused = None if isinstance(error, CallError) else self._database.dialect.translate(error, self._step.table)
        return refused is not None and refused.code not in (
            ErrorCode.DATABASE_UNAVAILABLE,
            ErrorCode.OUTCOME_UNKNOWN,
        )

    async def _transact(self, connection: Connection, done: list[list[Done]]) -> BaseException | None:
        """Runs the steps. What ends them early is returned if it leaves the connection usable, else raised."""
        dialect = self._database.dialect
        writes = any(step.plan.writes for step in self._steps)
        alone = len(self._steps) == 1 and self._steps[0].instead is None
        begun = False
        try:
            asked = 1 if self._steps[0].plan.total is None else 2
            held = not self._steps[0].plan.continues and self._database.holds_reading(connection, asked)
            if writes or not alone or not held:
                await connection.execute(dialect.begin_write if writes else dialect.begin_read)
                begun = True
            left_bytes = self._limits.max_bytes
            for step in self._steps:
                self._step = step
                try:
                    done.append(
                        await self._performer.step(
                            connection, step, self._generation, left_bytes, begun=begun, alone=alone
                        )
                    )
                    left_bytes -= sum(len(row) for each in done[-1] for row in each.result.rows)
                except CallError as error:
                    if alone or isinstance(error, StepFailed):
                        raise
                    raise StepFailed(step, explained(step.plan, error)) from error
            if alone and self._steps[0].plan.dry_run:
                await connection.execute("ROLLBACK")
                begun = False
            if begun and writes:
                await self._commit(connection)
            elif begun:
                await connection.execute("COMMIT")
        except BaseException as error:
            # An error of ours may have one of the driver's for its cause.
            refused = None if isinstance(error, CallError) else dialect.translate(error, self._step.table)
            if self._refuses(error):
                self.committing = False  # the database has answered, and it was not yes
            if self.committing:
                raise
            # After a cancel also where nothing was begun: the driver may still be stopping the statement.
            if (begun or refused is None) and not await self._performer.roll_back(connection):
                raise
            if refused is None:
                return error
            refused.__cause__ = error
            return refused
        return None


def _cause(failure: CallError) -> CallError:
    """The error itself, of whichever step it is."""
    return failure.error if isinstance(failure, StepFailed) else failure
