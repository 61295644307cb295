"""Where operations and their results are kept: the store, if there is one, and the folder of files.

Whatever of it fails, operations go on in memory: each method says what it could keep. It runs none itself.
"""

import asyncio
import json
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from schema_mcp.errors import ErrorCode, Unavailable
from schema_mcp.execute.spool import ANSWER, ROWS, ResultFolder, SpooledPage, read_page
from schema_mcp.state.operations import OperationRecord, OperationStatus, OperationStore
from schema_mcp.state.store import StoreError

#: How long the store may hold up an operation, and the end of the program.
STORE_TIMEOUT_S, LAST_TIMEOUT_S = 5.0, 0.5

Given = TypeVar("Given")


class Kept:
    """`size`: bytes of all results, measured now and then and counted between."""

    def __init__(self, folder: ResultFolder, store: OperationStore | None) -> None:
        self.folder = folder
        self.size = 0
        self._store = store
        self._opening = asyncio.Lock()
        self._opened = False
        self._store_opened = False
        self._timeout_s = STORE_TIMEOUT_S

    def grow(self, size: int) -> None:
        """Results have grown by so many bytes since they were measured."""
        self.size += size

    async def open(self) -> None:
        """Makes the folder, unless it is there. Raises: Unavailable (`busy`) where no result could be kept."""
        async with self._opening:
            try:
                await asyncio.to_thread(self.folder.open)
            except OSError as error:
                raise Unavailable(
                    ErrorCode.BUSY,
                    f"results of operations cannot be kept now: {error.strerror or type(error).__name__}",
                    "Nothing was started. Whoever runs the server can make room, or set state.url to another place.",
                ) from error
            self._opened = True

    async def put(self, record: OperationRecord) -> bool:
        """Whether the store holds the operation as it stands."""
        store = self._store

        async def work() -> bool:
            assert store is not None
            await store.put(record)
            return True

        return store is not None and await self._stored(work, False)

    async def get(self, id_: str) -> OperationRecord | None:
        """What the store holds of it. What a server has left running that is no more is interrupted by then.

        Raises: Unavailable (`busy`) where the store cannot be asked: it may hold it.
        """
        store = self._store
        if store is None:
            return None
        try:
            found = await self._asked(lambda: store.get(id_))
            if found is None or found.status is not OperationStatus.RUNNING:
                return found
            with suppress(OSError):
                await self._interrupt()
            return await self._asked(lambda: store.get(id_))
        except (StoreError, TimeoutError) as error:
            raise _away(error) from error

    async def want_stop(self, id_: str) -> None:
        """Another server of the store is to stop it. Raises: Unavailable (`busy`)."""
        store = self._store
        assert store is not None  # or nobody would know of it
        try:
            await self._asked(lambda: store.want_stop(id_, time.time()))
        except (StoreError, TimeoutError) as error:
            raise _away(error) from error

    async def to_stop(self) -> Collection[str]:
        """What runs here and another server was asked to stop."""
        store = self._store
        if store is None:
            return ()
        return await self._stored(lambda: store.to_stop(self.folder.instance), frozenset())

    async def write_answer(self, id_: str, answer: bytes) -> bool:
        """Whether the answer is in a file."""
        try:
            await self.open()
            await asyncio.to_thread(self.folder.write_answer, id_, answer)
        except (OSError, Unavailable):
            return False
        self.grow(len(answer))
        return True

    async def read_answer(self, record: OperationRecord) -> bytes:
        """The answer of one that succeeded. Raises: OSError, also where it is broken."""
        answer = await asyncio.to_thread(self.folder.path(record.instance, record.id, ANSWER).read_bytes)
        try:
            json.loads(answer, parse_int=str)  # of any number of digits
        except ValueError as error:
            raise OSError("the answer is broken") from error
        return answer

    async def read_rows(self, record: OperationRecord, offset: int, limit: int, max_bytes: int) -> SpooledPage:
        """A page of its rows. Raises: OSError, also where the file is broken."""
        path = self.folder.path(record.instance, record.id, ROWS)
        return await asyncio.to_thread(read_page, path, offset, limit, max_bytes)

    async def remove_files(self, record: OperationRecord) -> None:
        """Its result is no more."""
        with suppress(OSError):
            await asyncio.to_thread(self.folder.remove, record.instance, record.id)

    async def sweep(self, known: Collection[str], keep_s: float) -> None:
        """Says that this server lives; removes what is over and what dead servers have left, but for the results of
        `known`; measures the rest."""
        store = self._store
        if self._opened:
            with suppress(Unavailable):
                await self.open()
        if store is not None and self._opened:
            await self._stored(lambda: store.beat(self.folder.instance, time.time()), None)
            await self._stored(lambda: store.forget(keep_s), None)
        with suppress(OSError):
            dead = await self._interrupt()
            for instance in [*dead, self.folder.instance] if self._opened else dead:
                await self._clean(instance, known)
            self.size = await asyncio.to_thread(self.folder.size)

    def hurry(self) -> None:
        """The program ends: the store is not waited for as long as before."""
        self._timeout_s = LAST_TIMEOUT_S

    async def close(self) -> None:
        """Gives the folder back."""
        with suppress(OSError):
            await asyncio.to_thread(self.folder.close, drop=self._store is None)

    async def _interrupt(self) -> list[str]:
        """What dead servers have left running is interrupted. Those servers. Raises: OSError."""
        dead = await asyncio.to_thread(self.folder.dead)
        if (store := self._store) is not None and (dead or self._opened):
            await self._stored(lambda: store.interrupt(dead, time.time()), None)
        return dead

    async def _clean(self, instance: str, known: Collection[str]) -> None:
        """Removes the results of that server that nobody can ask for. Raises: OSError."""
        own = instance == self.folder.instance
        ids = await asyncio.to_thread(self.folder.results, instance)
        held: frozenset[str] | None = frozenset()
        if (store := self._store) is not None:
            held = await self._stored(lambda: store.succeeded(ids), None)
        elif own:
            return  # they are forgotten one by one, and go with the folder
        if held is None:
            return  # the store cannot be asked now
        for id_ in ids - held - frozenset(known):
            await asyncio.to_thread(self.folder.remove, instance, id_)
        if not own and not held:
            await asyncio.to_thread(self.folder.drop, instance)

    async def _stored(self, work: Callable[[], Coroutine[Any, Any, Given]], otherwise: Given) -> Given:
        """What the store gives, or `otherwise` where it cannot be used now."""
        try:
            return await self._asked(work)
        except (StoreError, TimeoutError):
            return otherwise

    async def _asked(self, work: Callable[[], Coroutine[Any, Any, Given]]) -> Given:
        """What the store gives. Raises: StoreError, TimeoutError."""
        assert self._store is not None
        async with asyncio.timeout(self._timeout_s):
            if not self._store_opened:
                await self._store.open()
                self._store_opened = True
            return await work()


def _away(error: StoreError | TimeoutError) -> Unavailable:
    reason = error.reason if isinstance(error, StoreError) else "it did not answer in time"
    passes = not isinstance(error, StoreError) or error.passes
    return Unavailable(
        ErrorCode.BUSY,
        f"the store of operations cannot be asked now: {reason}",
        "It may well hold the operation: do not start it again. "
        + ("Ask again in a moment." if passes else "Ask again once whoever runs the server has put that right."),
        retryable=passes,
    )
