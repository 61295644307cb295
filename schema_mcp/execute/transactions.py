"""The transactions that are open over several calls: whose they are, how many there may be, when their time is over.

A transaction is named by an unguessable handle and belongs to the caller who began it. Whoever else shows the handle is
told, by the same path and in the same words, what is told of one that never was; its owner is told how it ended.
One task ends those whose time is over. Each has a connection of a pool apart, so that calls by themselves never wait.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from schema_mcp.caller import Caller
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, Unavailable
from schema_mcp.execute.engines import Database, Held
from schema_mcp.execute.outcome import Outcome
from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.execute.rows import too_long
from schema_mcp.execute.transaction import Transaction
from schema_mcp.execute.transaction_errors import ended, outcome_of
from schema_mcp.execute.writes import Writes
from schema_mcp.tools.transactions import BeginPlan, OpenTransaction, TransactionsStatus

#: So many that have ended are remembered, to tell their owners how.
MAX_REMEMBERED = 1_000
#: Bytes of chance in a handle.
_HANDLE_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionLimits:
    """`per_session`: open ones of one session or principal. `size`: open ones on one database, its connections."""

    idle_timeout_s: float
    max_age_s: float
    per_session: int
    size: int


class Transactions:
    """Those of one process. `databases`: by source, each with a pool of its own for them."""

    def __init__(self, databases: Mapping[str, Database], limits: TransactionLimits) -> None:
        self._databases = databases
        self._limits = limits
        self._open: dict[str, Transaction] = {}
        self._ended: OrderedDict[str, tuple[Caller, str]] = OrderedDict()
        #: Owner and source of those that are about to be opened: they count too.
        self._beginning: list[tuple[Caller, str]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        #: When the task of `run` wakes, by the loop's clock, and what wakes it before.
        self._wakes_at = float("inf")
        self._sooner = asyncio.Event()

    async def begin(
        self,
        plan: BeginPlan,
        owner: Caller,
        limits: ExecutionLimits,
        on_stale: Callable[[], None],
        writes: Writes,
        *,
        read_only: bool,
    ) -> OpenTransaction:
        """The transaction, open. It keeps these limits, whatever they become. Raises: CallError."""
        self._require_room(owner, plan.source)
        place = (owner, plan.source)
        self._beginning.append(place)
        try:
            transaction = await self._begin(plan, owner, limits, on_stale, writes, read_only=read_only)
        finally:
            self._beginning.remove(place)
        self._open[transaction.id] = transaction
        if self._closed:
            await transaction.end("the server is stopping")
            transaction.require_open()
        self._moved()
        return transaction.status

    def find(self, id_: str, caller: Caller, source: str | None = None) -> Transaction:
        """The open transaction of that handle. `source`: the only one that a call reaches; None: it reaches any.

        Raises: InvalidArgument (`unknown_transaction`).
        """
        transaction = self._open.get(id_)
        owner, reason = self._ended.get(id_, (None, "")) if transaction is None else (transaction.owner, "")
        if owner != caller:
            raise InvalidArgument(
                ErrorCode.UNKNOWN_TRANSACTION,
                "there is no such transaction",
                "'transaction_id' takes what begin_transaction answered, as long as that transaction is open: in the "
                "session that began it, until it is committed, rolled back, or idle for too long.",
            )
        if transaction is None:
            raise ended(reason)
        transaction.require_open()
        if source not in (None, transaction.source):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"the transaction is one of source '{transaction.source}', and the call is for source '{source}'",
                "A transaction has one database. Call without transaction_id, or begin another on that source.",
            )
        return transaction

    def outcome(self, id_: str, caller: Caller) -> Outcome | None:
        """How the caller's transaction of that handle has ended; None while it is open, and of whatever else."""
        transaction = self._open.get(id_)
        ended = self._ended.get(id_) if transaction is None else (transaction.owner, transaction.over)
        if ended is None or ended[0] != caller or not ended[1]:
            return None
        return outcome_of(ended[1])

    def status(self, caller: Caller) -> TransactionsStatus:
        """As they stand now. Whoever is nobody in particular is told of none: they may be somebody else's."""
        own = () if caller == Caller() else tuple(one.status for one in self._open.values() if one.owner == caller)
        return TransactionsStatus(own=own, open=len(self._open), size=self._limits.size * len(self._databases))

    def writing(self, caller: Caller, source: str, *, apart_from: str | None) -> tuple[OpenTransaction, ...]:
        """The caller's own on that database that may hold what another call of it waits for. As `status`."""
        own = self.status(caller).own
        return tuple(one for one in own if one.source == source and not one.read_only and one.id != apart_from)

    def forget(self, session: str) -> None:
        """Ends those of a session that has ended."""
        for transaction in [one for one in self._open.values() if one.owner.session == session]:
            self._end(transaction, "its session has ended")

    def end_writing(self, reason: str) -> None:
        """Ends those that may write."""
        for transaction in [one for one in self._open.values() if not one.status.read_only]:
            self._end(transaction, reason)

    async def run(self) -> None:
        """Ends those whose time is over, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._sooner.clear()
            self._wakes_at = min((one.due[0] for one in self._open.values()), default=float("inf"))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if self._wakes_at == float("inf") else self._wakes_at):
                    await self._sooner.wait()
            for transaction in list(self._open.values()):
                due, reason = transaction.due
                if due <= loop.time():
                    self._end(transaction, reason)

    async def close(self) -> None:
        """Ends all of them. Bounded."""
        self._closed = True
        for transaction in list(self._open.values()):
            self._end(transaction, "the server is stopping")
        while self._ending:
            await asyncio.wait(self._ending)

    def _require_room(self, owner: Caller, source: str) -> None:
        limits = self._limits
        taken = [*self._beginning, *((one.owner, one.source) for one in self._open.values())]
        if owner != Caller() and sum(one == owner for one, _ in taken) >= limits.per_session:
            raise Unavailable(
                ErrorCode.BUSY,
                f"{limits.per_session} transactions are open already in this session, and there may be no more "
                "(transactions.per_session)",
                "Commit one or roll one back; server_status tells them.",
                retry_after_s=self._free_in_s(lambda one: one.owner == owner),
            )
        if self._closed or sum(one == source for _, one in taken) >= limits.size:
            raise Unavailable(
                ErrorCode.BUSY,
                f"{limits.size} transactions are open already on database '{source}', and there may be no more "
                "(pool.transaction_size)",
                f"Try again in a moment: one that nobody uses ends after {limits.idle_timeout_s:g} s. A call without "
                "transaction_id, and run_batch, need none.",
                retry_after_s=self._free_in_s(lambda one: one.source == source),
            )

    def _free_in_s(self, is_in_the_way: Callable[[Transaction], bool]) -> float:
        """Seconds until the time of one of them can be over, whatever their owners do."""
        now = asyncio.get_running_loop().time()
        due = [one.due[0] - now for one in self._open.values() if is_in_the_way(one)]
        return max(0.1, min([self._limits.idle_timeout_s, *due]))

    async def _begin(
        self,
        plan: BeginPlan,
        owner: Caller,
        limits: ExecutionLimits,
        on_stale: Callable[[], None],
        writes: Writes,
        *,
        read_only: bool,
    ) -> Transaction:
        database = self._databases[plan.source]
        access = database.dialect.transactions
        isolation = access.isolates(plan.isolation or access.isolation)

        async def opened() -> Held:
            held = await database.hold()
            try:
                await access.begin(held.connection, isolation, read_only=read_only, max_age_s=self._limits.max_age_s)
            except BaseException:
                await held.throw_away()
                raise
            return held

        held = await _tried(opened, database, limits.call_timeout_s)
        facts = OpenTransaction(
            id=secrets.token_urlsafe(_HANDLE_BYTES),
            source=plan.source,
            isolation=isolation,
            read_only=read_only,
            description=plan.description,
            idle_timeout_s=self._limits.idle_timeout_s,
            max_age_s=self._limits.max_age_s,
            ends_at=time.time() + self._limits.max_age_s,
        )
        return Transaction(facts, owner, database, held, limits, on_stale, writes, self._has_ended, self._moved)

    def _end(self, transaction: Transaction, reason: str) -> None:
        task = asyncio.create_task(transaction.end(reason), name="end of a transaction")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _has_ended(self, transaction: Transaction) -> None:
        self._open.pop(transaction.id, None)
        self._ended[transaction.id] = (transaction.owner, transaction.over)
        while len(self._ended) > MAX_REMEMBERED:
            self._ended.popitem(last=False)

    def _moved(self) -> None:
        """A transaction's time may be over sooner than it was known to be."""
        if any(one.due[0] < self._wakes_at for one in self._open.values()):
            self._sooner.set()


async def _tried(opened: Callable[[], Coroutine[Any, Any, Held]], database: Database, timeout_s: float) -> Held:
    """What `opened` gives, tried once more where the database was away: nothing was written. Raises: CallError."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            for last in (False, True):
                try:
                    return await opened()
                except (CallError, asyncio.CancelledError):
                    raise
                except Exception as error:
                    known = database.dialect.translate(error, None)
                    if known is None:
                        raise
                    if known.code is ErrorCode.DATABASE_UNAVAILABLE:
                        database.renew()
                        if not last:
                            continue
                    raise known from error
    except TimeoutError:
        if not limit.expired():
            raise
        raise too_long("call", timeout_s, retryable=True) from None
    raise AssertionError("unreachable")
