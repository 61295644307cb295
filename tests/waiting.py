"""Waiting in tests: for what can only be asked for, under a limit."""

import asyncio
from collections.abc import Awaitable, Callable

LIMIT_S = 20.0
#: Between two questions; every one of them may start a process.
PAUSE_S = 0.02


async def until(holds: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Returns once `holds()` is true. Raises: TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(PAUSE_S)


async def until_it_holds(holds: Callable[[], Awaitable[object]], limit_s: float = LIMIT_S) -> None:
    """The same, for what has to be awaited. Raises: TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not await holds():
            await asyncio.sleep(PAUSE_S)
