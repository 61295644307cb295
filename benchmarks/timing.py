"""Measuring: contenders take turns, so that what else the machine does falls on all of them alike.

It times and counts; it judges nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

#: One call of a contender. Blocking ones are coroutine functions that await nothing.
Contender = Callable[[], Awaitable[object]]


async def interleaved(
    contenders: Mapping[str, Contender], *, rounds: int, calls: int = 1, warm: int = 1
) -> dict[str, tuple[float, ...]]:
    """Milliseconds of each call, by contender: in each of the rounds every contender makes its calls in a row."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        for _ in range(warm):
            await run()
    for _ in range(rounds):
        for name, run in contenders.items():
            times = found[name]
            for _ in range(calls):
                started = time.perf_counter()
                await run()
                times.append((time.perf_counter() - started) * 1000)
    return {name: tuple(times) for name, times in found.items()}


def repeated(run: Callable[[], object], *, rounds: int, calls: int) -> tuple[float, ...]:
    """Microseconds a call, one value a round: for what is too short to be timed alone."""
    for _ in range(calls):
        run()
    values = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(calls):
            run()
        values.append((time.perf_counter() - started) * 1_000_000 / calls)
    return tuple(values)


def cpu_ms(pid: int) -> float | None:
    """Processor time that another process has used, to the nanosecond; None where the system does not tell (not Linux).

    The first number of /proc/PID/schedstat of each thread (kernel documentation, scheduler/sched-stats).
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1_000_000
    except (OSError, ValueError, IndexError):
        return None


@dataclass(slots=True)
class Blocking:
    """How long others had to wait for the event loop at most."""

    longest_ms: float = 0.0


@asynccontextmanager
async def blocking() -> AsyncIterator[Blocking]:
    """Watches the event loop while the block runs, by a task that wants it every millisecond."""
    found = Blocking()

    async def watch() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.001)
            found.longest_ms = max(found.longest_ms, (time.perf_counter() - asked) * 1000 - 1)

    task = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    found.longest_ms = 0.0
    try:
        yield found
    finally:
        await asyncio.sleep(0.005)
        task.cancel()
