"""Waiting for rows of one source to change: one task and one connection for all who wait, and none while nobody does.

    somebody waits -> connect, read the counts of what is waited for every `interval_s` -> compare -> who waits is told
                              and hear of commits at once, where the opt-in trigger tells of them (`hearing.py`)

The connection is kept for a while after the last of them, for whoever goes on from what an earlier wait saw. It does
not know what changed, only what the database counts and that it was told; of writes of this server `wrote` is told at
once, and a mark says how many there were, so that those between two waits are known. A mark is compared by what was
heard only with one of the same connection and the same triggers, and by the counts else, so that nothing is missed
where a connection or a trigger was lost for a while.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from secrets import token_hex

from schema_mcp.dialects.base import Connection
from schema_mcp.errors import CallError, ErrorCode, LimitReached, StaleSchema, Unavailable
from schema_mcp.execute.engines import Database
from schema_mcp.observe.events import InternalFailure, Observe
from schema_mcp.schema.model import TableName
from schema_mcp.tools.waiting import Heard, Own, RowMark, RowsSeen, ToldBy, told_by, wrote
from schema_mcp.watch.hearing import Hearing

#: Calls that may wait at a time for one source.
MAX_WAITING = 100
#: How long the connection is kept when nobody waits any more, how long one reading may take, and the wait after one
#: that failed.
LINGER_S, READ_TIMEOUT_S, RECONNECT_WAIT_S = 60.0, 10.0, 0.5


@dataclass(slots=True, eq=False)
class _Wait:
    table: TableName
    since: RowMark | None
    now: RowMark | None = None
    told_by: ToldBy | None = None
    own: bool = False
    gone: bool = False
    #: The database was asked, whether or not it could be.
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, mark: RowMark | None) -> None:
        """The table's counts as they were just read; None: it is not there."""
        self.asked.set()
        if self.over.is_set():
            return
        if mark is None:
            self.gone = True
            self.over.set()
            return
        if self.now is None and self.since is not None and wrote(self.since, mark):
            self.own = True
            self.over.set()
        self.since, self.now = self.since or mark, mark
        self.told_by = told_by(self.since, mark)
        # Of a write of this server a trigger tells in its own time, and once.
        if self.told_by is not None or (self.own and mark.heard is None):
            self.over.set()

    def hear(self, heard: Heard | None) -> None:
        """A trigger has told of the table. Not before the first reading, which finds what was heard until then."""
        if self.now is not None and not self.over.is_set():
            self.now = replace(self.now, heard=heard)
            self.told_by = ToldBy.TRIGGER
            self.over.set()

    def mark(self) -> RowMark:
        """For the wait that goes on from this one, once `now` is there.

        Where not all that was written since `since` was heard, it may not be counted yet either: the next wait goes by
        the counts too, and so on until a change was told, after which whoever was told looks.
        """
        assert self.since is not None
        assert self.now is not None
        before, now = self.since.heard, self.now.heard
        if self.over.is_set() or (before is not None and now is not None and before.epoch == now.epoch):
            return self.now
        return replace(self.now, heard=None)


class RowWatch:
    """Of one source, from `run` on. Used from the event loop only."""

    def __init__(self, database: Database, observe: Observe, *, listens: bool = True) -> None:
        """`listens`: triggers are heard where they are."""
        self._database = database
        self._observe = observe
        self._listens = listens
        #: Who waits now.
        self.waiting: set[_Wait] = set()
        #: How often this process has written to each table.
        self._process = token_hex(4)
        self._written: Counter[TableName] = Counter()
        self._wake = asyncio.Event()
        self._error: CallError | None = None

    async def wait(self, table: TableName, since: RowMark | None, timeout_s: float, most_s: float) -> RowsSeen:
        """What was seen: at once where the counts are others than `since`, else when they change, or at the end.

        `timeout_s`: from when the database was asked first, which may mean to connect. `most_s`: with that.
        Raises: LimitReached (`busy`); StaleSchema; Unavailable where the database could not be asked.
        """
        if len(self.waiting) >= MAX_WAITING:
            raise LimitReached(
                ErrorCode.BUSY,
                f"{MAX_WAITING} calls wait for changes of '{self._database.name}', and more may not",
                "Try again in a few seconds.",
                retryable=True,
            )
        wait = _Wait(table, since)
        self.waiting.add(wait)
        self._wake.set()
        try:
            async with asyncio.timeout(most_s):
                async with asyncio.timeout(max(timeout_s, READ_TIMEOUT_S)):
                    await wait.asked.wait()
                async with asyncio.timeout(timeout_s):
                    await wait.over.wait()
        except TimeoutError:
            pass
        finally:
            self.waiting.discard(wait)
        if wait.gone:
            raise StaleSchema(
                f"table '{table.name}' is no longer there",
                "It was dropped or renamed. list_tables tells the tables there are now.",
            )
        if wait.now is None or (self._error is not None and not wait.over.is_set()):
            raise self._error or _no_answer(self._database.name)
        comparable = wait.since if wait.since is not None and wait.since.epoch == wait.now.epoch else None
        return RowsSeen(
            changed=wait.over.is_set(),
            since=comparable,
            now=wait.mark(),
            own=wait.own,
            told_by=None if comparable is None else wait.told_by,
        )

    def _hear(self, table: TableName, heard: Heard | None) -> None:
        for wait in self.waiting:
            if wait.table == table:
                wait.hear(heard)

    def wrote(self, tables: Iterable[TableName]) -> None:
        """This server has committed rows of these tables: who waits for them is told by a reading made now."""
        written = set(tables)
        self._written.update(written)
        for wait in self.waiting:
            wait.own = wait.own or (wait.now is not None and wait.table in written)
            if wait.own:
                self._wake.set()

    async def run(self) -> None:
        """Reads while somebody waits, until it is cancelled."""
        while True:
            await self._wake.wait()
            try:
                async with self._database.single() as connection:
                    await self._follow(connection)
            except Exception as error:  # noqa: BLE001 - the boundary of the task: who waits is told at their end
                self._failed(error)
                await asyncio.sleep(RECONNECT_WAIT_S)
                if self.waiting:
                    self._wake.set()

    async def _follow(self, connection: Connection) -> None:
        """Returns when nobody has waited for `LINGER_S`."""
        counters = self._database.dialect.counters
        epoch = token_hex(4) if counters.of_connection else ""
        hearing: Hearing | None = None
        if counters.triggers is not None and self._listens:
            hearing = Hearing(counters.triggers, connection, self._hear)
            async with asyncio.timeout(READ_TIMEOUT_S):
                await hearing.begin()

        def heard(table: TableName) -> Heard | None:
            return None if hearing is None else hearing.heard(table)

        wanted_at = time.monotonic()
        while time.monotonic() - wanted_at < LINGER_S:
            self._wake.clear()
            waiting = list(self.waiting)
            if waiting:
                wanted_at = time.monotonic()
                tables = list({wait.table for wait in waiting})
                async with asyncio.timeout(READ_TIMEOUT_S):
                    found = await counters.read(connection, tables)
                    # After the counts: what is written while a trigger is taken away is heard, or counted later.
                    if hearing is not None:
                        await hearing.read(tables)
                self._error = None
                for wait in waiting:
                    counts = found.get(wait.table)
                    own = Own(self._process, self._written[wait.table])
                    wait.take(None if counts is None else RowMark(epoch, counts, own, heard(wait.table)))
            try:
                async with asyncio.timeout(counters.interval_s if self.waiting else LINGER_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _failed(self, error: Exception) -> None:
        translated = error if isinstance(error, CallError) else self._database.dialect.translate(error, None)
        if translated is None and not isinstance(error, TimeoutError):
            self._observe(InternalFailure(where="waiting for changes of rows", traceback=type(error).__name__))
        self._error = translated or _no_answer(self._database.name)
        for wait in self.waiting:
            wait.asked.set()


def _no_answer(source: str) -> Unavailable:
    return Unavailable(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"database '{source}' could not be asked whether rows have changed",
        "Call again, with the same 'since' if you have one: nothing is missed.",
    )
