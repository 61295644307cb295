"""Tells a client how far its call is: `notifications/progress` (MCP 2025-11-25 and 2026-07-28, utilities/progress).

    report() as rows come -> the greatest so far -> told every `GAP_S` at most -> the last one -> the answer

Nothing is told of a call that is over at once. One that runs for a second is told of every second, even if nothing has
come yet. What a call counts, others know.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import anyio

from schema_mcp.server.service import TaskState, ToolAnswer
from schema_mcp.tools.options import Progress, Report

#: Between two notifications of a call: with the last one, which waits for nothing, they are ten a second at most.
GAP_S = 0.125
#: How often it is told that a call runs where nothing else is to be told.
RUNNING_S = 1.0
#: How long notifications may hold up the answer: a client that does not read them does not read it either.
LAST_S = 0.25


class Send(Protocol):
    """Sends one notification; returns once the transport has taken it."""

    def __call__(self, progress: float, total: float | None = None, message: str | None = None) -> Awaitable[None]: ...


async def run_telling(send: Send, run: Callable[[Report], Awaitable[ToolAnswer | TaskState]]) -> ToolAnswer | TaskState:
    """What `run` gives, which is told of on the way. After this nothing is sent. Raises: whatever `run` raises."""
    telling = _Telling(send)
    try:
        answer = await run(telling.report)
        await telling.end(complete=isinstance(answer, ToolAnswer) and not answer.is_error)
    finally:
        await telling.stop()
    return answer


class _Telling:
    """What is told of one call, by a task that there is only once there is something to tell.

    What is sent as `progress` grows each time, as it must: the rows so far, and until more come a fraction that grows
    with the time.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._began = time.monotonic()
        self._now = Progress(done=0)
        self._told = 0.0
        self._news = asyncio.Event()
        self._ending = asyncio.Event()
        self._complete = False
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(RUNNING_S, self._start)

    def report(self, progress: Progress) -> None:
        """See `tools.options.Report`."""
        if progress.done < self._now.done:
            return
        self._now = progress
        self._news.set()
        if progress.worth_telling:
            self._start()

    async def end(self, *, complete: bool) -> None:
        """Sends what has not been told yet, within `LAST_S`. `complete`: there is no more to come."""
        self._complete = complete
        self._ending.set()
        self._news.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=LAST_S)

    async def stop(self) -> None:
        """Sends nothing any more."""
        self._timer.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._task})

    def _start(self) -> None:
        self._timer.cancel()
        if self._task is None:
            self._task = asyncio.create_task(self._tell_often())

    async def _tell_often(self) -> None:
        try:
            while not self._ending.is_set():
                await self._tell()
                await _within(GAP_S, self._ending)
                await _within(RUNNING_S - GAP_S, self._news)
            if self._now.done > self._told:
                await self._tell()
        except Exception:  # noqa: BLE001 - the client has gone, which the call itself is told by others
            return

    async def _tell(self) -> None:
        self._news.clear()
        now, ran_s = self._now, time.monotonic() - self._began
        if now.done > self._told:
            progress, message = float(now.done), now.message
        else:
            progress = now.done + round(ran_s / (1 + ran_s), 6)
            message = f"{now.message}, running for {ran_s:.0f} s" if now.message else f"running for {ran_s:.0f} s"
        total = now.done if self._complete else now.total
        if progress > self._told:
            self._told = progress
            await self._send(progress, None if total is None or total < progress else total, message)


async def _within(limit_s: float, event: asyncio.Event) -> None:
    """Returns once it is set, or after the limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()
