"""The timer: an APScheduler interval job that only sets an event. The only importer of apscheduler."""

from collections.abc import Callable

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Poll:
    """Calls `tick` every `interval_s` seconds on the event loop until it is stopped."""

    def __init__(self, interval_s: float, tick: Callable[[], None]) -> None:
        async def job() -> None:  # a coroutine function: APScheduler runs plain functions in a thread
            tick()

        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._scheduler.add_job(
            job, "interval", seconds=interval_s, coalesce=True, max_instances=1, misfire_grace_time=None
        )

    def start(self) -> None:
        """Begins ticking; the first tick comes after one interval."""
        self._scheduler.start()

    def stop(self) -> None:
        """Ends at once."""
        self._scheduler.shutdown(wait=False)
