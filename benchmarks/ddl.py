"""From DDL that is committed to `list_changed` in a client's hand: by the poll, by the trigger, and at each of many."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Any

import anyio
import asyncpg

from benchmarks.client import PROGRAM, serving
from benchmarks.databases import LABELS, Changer, Databases, create_table
from benchmarks.figures import Budget, Figure
from schema_mcp.commands.trigger import script
from tests.peers import LEGACY, MODERN, environment, http_server, join

SUBJECT = "ddl"
#: Measured after one that warms up; all together come back to where they began.
CHANGES = 39
#: The poll interval on PostgreSQL. On SQLite the server looks at the gate every 0.1 s whatever is configured.
POLL_INTERVAL_S = 0.2
#: Where the trigger tells, the poll is not to help.
NO_POLL_S = 600.0
#: Clients of one server over HTTP, half of them of each era.
CLIENTS = 8
NOTIFICATION = "notifications/tools/list_changed"

#: Waits for the next `list_changed` at every client; when each had it, by `time.perf_counter`.
Hear = Callable[[], Awaitable[Sequence[float]]]


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """At each number of tables, all of them listed: with the fixed tools alone the list would not change."""
    figures = []
    for count in counts:
        figures.append(await _by(databases, "postgresql", count, "poll", _one_client))
        figures.append(await _by(databases, "postgresql", count, "trigger", _one_client))
        figures.append(await _by(databases, "sqlite", count, "poll", _one_client))
        if count <= 1_000:
            figures.append(await _by(databases, "postgresql", count, "poll", _many_clients))
    return figures


async def _by(
    databases: Databases,
    product: str,
    count: int,
    way: str,
    clients: Callable[[str, float], AbstractAsyncContextManager[Hear]],
) -> Figure:
    url = databases.changing(product, count)
    changer, changes = Changer(url), _changes(product)
    delays: list[float] = []
    chance = random.Random(count)  # the same phases of the poll in every run
    if way == "trigger":
        await changer.execute(script("install"))
    async with clients(url, NO_POLL_S if way == "trigger" else POLL_INTERVAL_S) as hear:
        for number in range(CHANGES + 1):
            await anyio.sleep(0.02 + chance.random() * POLL_INTERVAL_S)
            await changer.execute(next(changes))
            committed = time.perf_counter()
            heard = await hear()
            if number:  # the first warms up
                delays += [(at - committed) * 1000 for at in heard]
    if way == "trigger":
        await changer.execute(script("uninstall"))
    await changer.close()
    told = "" if clients is _one_client else f", each of {CLIENTS} clients over HTTP"
    by = ", by the trigger" if way == "trigger" else ""
    return Figure(
        subject=SUBJECT,
        what=f"DDL committed -> list_changed, {LABELS[product]}, {count:,} tables{by}{told}",
        unit="ms",
        values=tuple(delays),
        budget=_budget(product, count, way),
    )


def _budget(product: str, count: int, way: str) -> Budget:
    if product == "sqlite" or way == "trigger":
        return Budget(limit=250.0, of="p99", text="250 ms")
    more_ms = 150 if count <= 1_000 else 1_500
    return Budget(
        limit=POLL_INTERVAL_S * 1000 + more_ms, of="p99", text=f"poll {POLL_INTERVAL_S * 1000:.0f} + {more_ms:,} ms"
    )


@asynccontextmanager
async def _one_client(url: str, poll_interval_s: float) -> AsyncIterator[Hear]:
    """Over stdio, by blocking pipes."""
    settings: dict[str, Any] = {"tools__surface": "tables", "tools__page_size": 100_000}
    with serving(PROGRAM, url, watch__poll_interval_s=poll_interval_s, **settings) as peer:
        peer.ask("tools/list", {})

        async def hear() -> Sequence[float]:
            peer.next_notification(NOTIFICATION)
            return [time.perf_counter()]

        await _ready(url, poll_interval_s)
        yield hear


@asynccontextmanager
async def _many_clients(url: str, poll_interval_s: float) -> AsyncIterator[Hear]:
    """The SDK's clients of one server over HTTP; what they take themselves is part of the delay."""
    variables = environment({"watch__poll_interval_s": poll_interval_s, "tools__surface": "tables"})
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(http_server(url, variables))
        peers = [await join(stack, target, (LEGACY, MODERN)[number % 2]) for number in range(CLIENTS)]

        async def hear() -> Sequence[float]:
            heard: list[float] = []

            async def one(number: int) -> None:
                await peers[number].hears()
                heard.append(time.perf_counter())

            async with anyio.create_task_group() as tasks:
                for number in range(CLIENTS):
                    tasks.start_soon(one, number)
            return heard

        yield hear


async def _ready(url: str, poll_interval_s: float) -> None:
    """Waits until the server listens, where it has nothing else to go by."""
    if poll_interval_s < NO_POLL_S:
        return
    connection = await asyncpg.connect(url)
    listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'schema-mcp' AND query ~ '^LISTEN'"
    for _ in range(200):
        if await connection.fetchval(listening):
            break
        await anyio.sleep(0.05)
    await connection.close()


def _changes(product: str) -> Iterator[str]:
    """Each leaves a list that differs from the one before; all of them together leave what was there."""
    return cycle(
        (
            create_table(product, "fresh"),
            "ALTER TABLE fresh ADD COLUMN more integer",
            "ALTER TABLE fresh RENAME TO renamed",
            "DROP TABLE renamed",
        )
    )
