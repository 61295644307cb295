"""Whether a database server can be reached, known once for all who connect to it.

While it cannot, one connection is tried at a time, with growing waits at random; who wants one meanwhile waits a moment
for what the next try finds, and is told then that the database is unavailable. So a server that is away is not stormed
when it comes back, and no call waits for the network's own limits.

Only that nobody answers, or that the server lets nobody in for now, opens the circuit. What is refused to one role or
for want of connections is no business of it: connections that are open go on being used.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from schema_mcp.dialects.base import Connection, Dialect
from schema_mcp.errors import CallError, ErrorCode, Unavailable

#: Between the beginnings of two tries, in seconds: the first wait, and the longest. Each is shortened at random.
FIRST_WAIT_S, MAX_WAIT_S = 0.05, 0.5
#: How long somebody who wants a connection waits for the next try.
PATIENCE_S = 0.75

#: Who gives up connecting after so long has met a server that is slow to answer, if it does.
CUT_SHORT_S = 0.2

#: How the SQLSTATEs begin with which a server says that it lets nobody in now: connection exceptions; shutting down,
#: crashed, starting.
_LETS_NOBODY_IN = ("08", "57P01", "57P02", "57P03")


class Circuit:
    """Of one server. `open_`: opens a connection, which is closed again."""

    def __init__(self, dialect: Dialect, open_: Callable[[], Awaitable[Connection]]) -> None:
        self._dialect = dialect
        self._open = open_
        self._subscribers: list[Callable[[], None]] = []
        #: What the last try met, while the server is away; and when the try began.
        self._failure: CallError | None = None
        self._failed_at = 0.0
        self._failures = 0
        self._try_at = 0.0
        self._tries: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._closed = False

    @property
    def away(self) -> bool:
        """Nothing is to be expected of connecting now."""
        return self._failure is not None

    def subscribe(self, on_away: Callable[[], None]) -> None:
        """`on_away` is called when the server turns out to be away: open connections may lead nowhere."""
        self._subscribers.append(on_away)

    async def wait(self) -> None:
        """Returns when the server can be reached, as far as is known. Raises: Unavailable, after a moment."""
        if self._failure is None:
            return
        now = asyncio.get_running_loop().time
        arrived = now()
        while (failure := self._failure) is not None:
            if now() >= self._try_at:
                self._try()
            patience_s = arrived + PATIENCE_S - now()
            if self._failed_at >= arrived or patience_s <= 0:
                raise self._told(failure)
            news = self._news
            try:
                async with asyncio.timeout(min(patience_s, max(0.0, self._try_at - now()) + 0.001)):
                    await news.wait()
            except TimeoutError:
                continue

    async def connect(self, open_: Callable[[], Awaitable[Connection]]) -> Connection:
        """A connection, of which it is remembered how it went. Raises: Unavailable; whatever the driver raises."""
        await self.wait()
        began = asyncio.get_running_loop().time()
        try:
            connection = await open_()
        except asyncio.CancelledError:
            slow = asyncio.get_running_loop().time() - began >= CUT_SHORT_S
            if slow and not self._tries and not self._closed:
                self._try()  # with all the time that connecting may take, of which each call has less
            raise
        except Exception as error:
            self._heard(error, began)
            raise
        self._reached()
        return connection

    async def close(self) -> None:
        """Ends what tries, for good."""
        self._closed = True
        for task in self._tries:
            task.cancel()
        await asyncio.gather(*self._tries, return_exceptions=True)

    def _try(self) -> None:
        """Begins the next try, which nobody's impatience ends."""
        self._try_at = asyncio.get_running_loop().time() + self._wait_s()
        task = asyncio.create_task(self._tried())
        self._tries.add(task)
        task.add_done_callback(self._tries.discard)

    async def _tried(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            connection = await self._open()
        except Exception as error:  # noqa: BLE001 - the boundary of the task
            if not self._heard(error, began):
                self._reached()  # somebody answers: whoever connects is told what
            return
        connection.terminate()
        self._reached()

    def _heard(self, error: Exception, began: float) -> bool:
        """Whether that means that the server is away."""
        failure = error if isinstance(error, CallError) else self._dialect.translate(error, None)
        if failure is None or failure.code is not ErrorCode.DATABASE_UNAVAILABLE or not failure.retryable:
            return False
        if failure.sqlstate is not None and not failure.sqlstate.startswith(_LETS_NOBODY_IN):
            return False
        if self._failure is None:
            self._failures = 0
            for on_away in self._subscribers:
                on_away()
        self._failures += 1
        self._failure, self._failed_at = failure, began
        self._try_at = max(self._try_at, began + self._wait_s())
        self._tell()
        return True

    def _reached(self) -> None:
        self._failure = None
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _wait_s(self) -> float:
        return min(FIRST_WAIT_S * 2.0 ** min(self._failures, 10), MAX_WAIT_S) * random.uniform(0.5, 1.0)

    def _told(self, failure: CallError) -> Unavailable:
        """A failure of one's own for each: whoever takes it may add to it."""
        left_s = max(0.0, self._try_at - asyncio.get_running_loop().time())
        return Unavailable(
            failure.code, failure.message, failure.hint, sqlstate=failure.sqlstate, retry_after_s=left_s + MAX_WAIT_S
        )
