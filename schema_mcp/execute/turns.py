"""Calls of one transaction, one after the other, in the order they came: who waits, for how long, and since when nobody
does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from schema_mcp.errors import ErrorCode, Unavailable

#: Calls that wait for their turn; more are told `busy`.
MAX_WAITING = 100


class Turns:
    """`moved` is told whenever a turn is over. `idle_since`: when the last one was, by the loop's clock."""

    def __init__(self, moved: Callable[[], None]) -> None:
        self.idle_since = asyncio.get_running_loop().time()
        self._moved = moved
        self._lock = asyncio.Lock()
        self._waiting = 0

    @property
    def taken(self) -> bool:
        """It is somebody's turn."""
        return self._lock.locked()

    @asynccontextmanager
    async def turn(self, wait_s: float) -> AsyncIterator[None]:
        """A turn, after all who came before. Raises: Unavailable (`busy`)."""
        if self._waiting >= MAX_WAITING:
            raise _busy(f"{MAX_WAITING} calls wait for their turn in the transaction already")
        self._waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await self._lock.acquire()
        except TimeoutError:
            raise _busy(f"another call in the transaction takes longer than {wait_s:g} s") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self.idle_since = asyncio.get_running_loop().time()
            self._lock.release()
            self._moved()


def _busy(message: str) -> Unavailable:
    return Unavailable(
        ErrorCode.BUSY,
        message,
        "Nothing was done. Calls in one transaction run one after the other: send the next when the last has answered.",
    )
