"""Work that has begun and must come to its end, whoever gives up meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(work: Coroutine[Any, Any, T], grace_s: float | None = None) -> tuple[asyncio.Task[T], bool]:
    """The task of the work, which is done, and whether a cancel came meanwhile, which the caller has to pass on.

    `grace_s`: how long it may go on after a cancel; None: the work itself is bounded.
    """
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=grace_s if cancelled else None)
            if cancelled and grace_s is not None and not task.done():
                task.cancel()
        except asyncio.CancelledError:
            cancelled = True
    return task, cancelled
