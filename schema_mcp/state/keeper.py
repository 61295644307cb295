"""The keeper: one task that opens the store, gives what an earlier process left, and records reading after reading.

Nobody waits for it. Readings are queued, and the queue is bounded: when it is full the oldest is dropped, and its
changes are part of the next difference. While the store cannot be used the server runs without history and says so
once; the store is tried again, and what was queued meanwhile is recorded then.
"""

import asyncio
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import replace

from schema_mcp.observe.events import HistoryKept, HistoryUnavailable, InternalFailure, Observe
from schema_mcp.state.history import History, Outcome
from schema_mcp.state.place import NoPlace, Place
from schema_mcp.state.records import HistoryAnswer, HistoryPage, HistoryQuery, HistoryStatus, Hooks, Seen
from schema_mcp.state.store import REVISIONS, Store, StoreError

#: Readings that wait to be recorded.
MAX_WAITING = 50
#: Waits between two tries: for what passes by itself, and for what somebody has to put right.
FIRST_WAIT_S = 0.25
MAX_SHORT_WAIT_S = 5.0
MAX_LONG_WAIT_S = 60.0
#: A schema that stands still is noted as still true this often, and at the end.
CONFIRM_EVERY_S = 600.0
#: After a reading that came too late for the store, a new one is asked for, later and later.
FIRST_REFRESH_S = 2.0
MAX_REFRESH_S = 300.0
#: How long a question about the history waits for the store to be opened, and the end for what is to be written.
OPEN_LIMIT_S = 5.0
FINISH_LIMIT_S = 0.4
#: A schema of an earlier time is loaded when the database does not answer within this time, or when its first reading
#: fails or takes longer than OPEN_LIMIT_S.
LOAD_AFTER_S = 0.2


class Keeper:
    """History of one source.

    `opened`: the store was tried, and what can be had of an earlier time was given. `settled`: so was what the first
    reading changed.
    `looked`: set once the first reading was tried.
    """

    def __init__(
        self,
        place: Place | NoPlace,
        identity: str,
        source: str,
        hooks: Hooks,
        observe: Observe,
        *,
        looked: asyncio.Event,
        max_changes: int,
        lock_timeout_s: float,
    ) -> None:
        self._hooks = hooks
        self._observe = observe
        self._looked_at = looked
        self._waiting: deque[Seen] = deque()
        self._last: Seen | None = None
        self._wake = asyncio.Event()
        self._refresh_s = 0.0
        self._written = asyncio.Event()
        self.opened = asyncio.Event()
        self.settled = asyncio.Event()
        self._given = False
        self._recorded = False
        self._history: History | None = None
        if isinstance(place, NoPlace):
            self._status = HistoryStatus(kept=False, reason=place.reason, hint=place.hint)
            self.opened.set()
            self.settled.set()
        else:
            self._status = HistoryStatus(
                kept=False, where=place.shown, reason="it is being opened", hint="Ask again in a moment."
            )
            self._store = Store(place, lock_timeout_s=lock_timeout_s)
            self._history = History(self._store, identity, source, started_at=time.time(), max_changes=max_changes)

    @property
    def status(self) -> HistoryStatus:
        """How it stands now."""
        return replace(self._status, waiting=len(self._waiting))

    def note(self, seen: Seen, *, changed: bool) -> None:
        """A reading was accepted. Comes back at once; a schema that is the one before is not recorded again."""
        first, self._last = self._last is None, seen
        if self._history is not None and (first or changed or self._refresh_s):
            self._queue(seen)

    def _queue(self, seen: Seen) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
        self._waiting.append(seen)
        self._written.clear()
        self._wake.set()

    async def changes(self, query: HistoryQuery) -> HistoryAnswer:
        """Never fails: where the store cannot be asked, the status says why."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_LIMIT_S):
                await self.opened.wait()
        if self._history is None or not self._status.kept:
            return HistoryAnswer(status=self.status)
        try:
            page = await self._history.changes(query)
        except StoreError as error:
            return HistoryAnswer(
                status=replace(self.status, kept=False, reason=error.reason, hint=error.hint), page=HistoryPage()
            )
        return HistoryAnswer(status=self.status, page=page)

    async def run(self) -> None:
        """Keeps until it is cancelled."""
        if self._history is None:
            return
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._open(self._history)
                wait_s = FIRST_WAIT_S
                await self._keep(self._history)
            except StoreError as error:
                longest = MAX_SHORT_WAIT_S if error.passes else MAX_LONG_WAIT_S
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - the boundary of the keeper's task
                longest = MAX_LONG_WAIT_S
                self._broken(error)
            self.opened.set()
            self.settled.set()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, longest)

    async def finish(self) -> None:
        """Records what waits, and that the schema is still true. Bounded; called before the task is cancelled."""
        if self._history is None or not self._status.kept:
            return
        with suppress(TimeoutError, StoreError):
            async with asyncio.timeout(FINISH_LIMIT_S):
                if self._waiting:
                    await self._written.wait()
                await self._confirm(self._history)

    async def _open(self, history: History) -> None:
        if not self.opened.is_set() and await self._is_new():
            # Nothing to load, and making the tables takes a moment that the first answers have use for.
            await self._looked()
        await self._store.open()
        self._hooks.share_secret(await history.secret("cursor"))
        if not self._given:
            await self._looked(LOAD_AFTER_S)
            if self._hooks.reached():
                await self._looked()  # loading would only slow the reading down
            await self._hooks.give(await history.load(schema=self._last is None))
            self._given = True
        elif self._last is not None and not self._waiting:
            self._queue(self._last)  # what the store holds now may be another's, or nothing
        self._status = HistoryStatus(kept=True, where=self._status.where)
        self._observe(HistoryKept(where=self._status.where or ""))
        self.opened.set()
        if self._looked_at.is_set() and self._last is None:
            self.settled.set()  # the database does not answer: there is nothing to wait for

    async def _is_new(self) -> bool:
        try:
            return await self._store.revision() != REVISIONS[-1]
        except StoreError:
            return True

    async def _looked(self, limit_s: float = OPEN_LIMIT_S) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._looked_at.wait()

    async def _keep(self, history: History) -> None:
        while True:
            while self._waiting:
                seen = self._waiting[0]
                outcome = await history.record(seen)
                if self._waiting and self._waiting[0] is seen:
                    self._waiting.popleft()
                late = outcome is Outcome.OLDER
                self._refresh_s = min(max(self._refresh_s * 2, FIRST_REFRESH_S), MAX_REFRESH_S) if late else 0.0
                if outcome is Outcome.RECORDED and not self._recorded:
                    await self._hooks.give(await history.load(schema=False))
                self._recorded = True
                self.settled.set()
            self._written.set()
            try:
                async with asyncio.timeout(self._refresh_s or CONFIRM_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                if self._refresh_s:
                    self._hooks.refresh()
                else:
                    await self._confirm(history)
            self._wake.clear()

    async def _confirm(self, history: History) -> None:
        at = self._hooks.confirmed_at()
        if at is not None:
            await history.confirm(at)

    def _failed(self, error: StoreError) -> None:
        before = self._status
        self._status = HistoryStatus(kept=False, where=before.where, reason=error.reason, hint=error.hint)
        if self._status != before:
            self._observe(HistoryUnavailable(where=before.where or "", reason=error.reason, hint=error.hint))

    def _broken(self, error: Exception) -> None:
        before = self._status
        reason = f"it cannot be used: {type(error).__name__}, see the log"
        self._status = HistoryStatus(kept=False, where=before.where, reason=reason, hint="Please report it.")
        if self._status != before:
            frames = "".join(traceback.format_tb(error.__traceback__))
            self._observe(InternalFailure(where="the history", traceback=f"{type(error).__name__}\n{frames}"))
