"""The tool calls in flight, and what else must be answered before a transport may close.

The SDK cancels by anyio's scopes, which cancel again and again at each await until the task has left them; drivers roll
back and release with awaits and expect one cancellation. Each call therefore runs in a task of its own, cancelled once.
"""

import asyncio
from collections.abc import Coroutine, Hashable, Mapping
from typing import Any, Generic, TypeVar

import anyio

from schema_mcp.errors import ErrorCode, LimitReached

#: How long calls may go on once the server is to stop.
GRACE_S = 0.5
#: How long a cancelled call may take to roll back and release before the transport closes over it.
UNWIND_S = 0.5
#: How long the last answers may take to reach the wire.
ANSWER_S = 0.25

#: Where the scope of a request over HTTP has its `Way`.
WAY = "schema_mcp.way"

Item = TypeVar("Item", bound=Hashable)
Given = TypeVar("Given")


class Way:
    """The way by which the answer to one request would go back. Once it is closed, its call is of use to nobody."""

    def __init__(self) -> None:
        self.closed = False
        self._call: asyncio.Task[Any] | None = None
        self._made: list[list[Any] | dict[str, Any]] = []

    def leads_from(self, call: asyncio.Task[Any]) -> None:
        """The call is cancelled when the way is closed."""
        self._call = call

    def has_answered(self, call: asyncio.Task[Any]) -> None:
        """Nothing is left to cancel, and its answer is not kept."""
        self._call = None

    def keeps(self, result: Mapping[str, Any]) -> None:
        """The result is on its way."""
        self._made = [value for value in result.values() if isinstance(value, list | dict)]

    def let_go(self) -> None:
        """Empties the result, which has been written: the SDK remembers the last one of each session."""
        for value in self._made:
            value.clear()
        self._made = []

    def close(self) -> None:
        """The client has gone."""
        self.closed = True
        if self._call is not None:
            self._call.cancel()


class Calls:
    """Runs calls until told to stop. `run` never returns while anything of its call still runs."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def run(self, call: Coroutine[Any, Any, Given], way: Way | None = None) -> Given:
        """The call's answer.

        Raises: LimitReached (`cancelled`) when the server stops or `way` is closed; asyncio.CancelledError when the
        client gave up; whatever the call raises.
        """
        gone = way is not None and way.closed
        if self._stopping or gone:
            call.close()
            raise _gone() if gone else _stopping()
        task = asyncio.create_task(call)
        if way is not None:
            way.leads_from(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if way is not None:
            task.add_done_callback(way.has_answered)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # looked at, so that asyncio does not report it as lost
            raise
        if task.cancelled():
            raise _gone() if way is not None and way.closed else _stopping()
        return task.result()

    async def stop(self) -> None:
        """Cancels what runs, waits `UNWIND_S` for it at most, and refuses whatever comes later."""
        self._stopping = True
        if running := set(self._tasks):
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=UNWIND_S)


def _stopping() -> LimitReached:
    return LimitReached(
        ErrorCode.CANCELLED,
        "the server is stopping and has cancelled this call",
        "Call again once the server is back; if the call writes, look first whether it was applied.",
        retryable=True,
    )


def _gone() -> LimitReached:
    return LimitReached(
        ErrorCode.CANCELLED,
        "the connection on which the answer was to go was closed, and the call was cancelled",
        "Call again; if the call writes, look first whether it was applied.",
        retryable=True,
    )


class Outstanding(Generic[Item]):
    """A set that can be waited for until it is empty: requests that are owed an answer."""

    def __init__(self) -> None:
        self._items: set[Item] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, item: Item) -> None:
        self._items.add(item)
        self._empty.clear()

    def discard(self, item: Item) -> None:
        self._items.discard(item)
        if not self._items:
            self._empty.set()

    async def empty(self) -> None:
        """Returns once nothing is left in it."""
        await self._empty.wait()
