"""The timer: APScheduler interval jobs that only set an event. The only importer of apscheduler."""

from collections.abc import Callable, Iterable

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Poll:
    """Calls each tick every so many seconds on the event loop until it is stopped. `ticks`: (seconds, tick) each."""

    def __init__(self, ticks: Iterable[tuple[float, Callable[[], None]]]) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        for interval_s, tick in ticks:
            self._add(interval_s, tick)

    def _add(self, interval_s: float, tick: Callable[[], None]) -> None:
        async def job() -> None:  # a coroutine function: APScheduler runs plain functions in a thread
            tick()

        self._scheduler.add_job(
            job, "interval", seconds=interval_s, coalesce=True, max_instances=1, misfire_grace_time=None
        )

    def start(self) -> None:
        """Begins ticking; the first ticks come after one interval."""
        self._scheduler.start()

    def stop(self) -> None:
        """Ends at once."""
        self._scheduler.shutdown(wait=False)
