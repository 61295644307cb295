"""From DDL that is committed to `list_changed` in a connected client's hand."""

import random
import time
from collections.abc import Iterator, Sequence
from itertools import cycle

import anyio

from benchmarks.client import PROGRAM, serving
from benchmarks.databases import LABELS, PRODUCTS, Changer, Databases, create_table
from benchmarks.figures import Budget, Figure

SUBJECT = "ddl"
CHANGES = 30
#: The poll interval on PostgreSQL. On SQLite the server looks at the gate every 0.1 s whatever is configured.
POLL_INTERVAL_S = 0.2
NOTIFICATION = "notifications/tools/list_changed"

_BUDGETS = {
    "postgresql": Budget(
        limit=POLL_INTERVAL_S * 1000 + 150, of="max", text=f"poll {POLL_INTERVAL_S * 1000:.0f} + 150 ms"
    ),
    "sqlite": Budget(limit=250.0, of="max", text="250 ms"),
}


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """At each number of tables, all of them listed: with the fixed tools alone the list would not change."""
    return [await _delays(databases, product, count) for count in counts for product in PRODUCTS]


async def _delays(databases: Databases, product: str, count: int) -> Figure:
    url = databases.changing(product, count)
    changer, changes = Changer(url), _changes(product)
    delays = []
    chance = random.Random(count)  # the same phases of the poll in every run
    with serving(
        PROGRAM,
        url,
        watch__poll_interval_s=POLL_INTERVAL_S,
        tools__surface="tables",
        tools__page_size=100_000,
    ) as peer:
        peer.ask("tools/list", {})
        for number in range(CHANGES + 1):
            await anyio.sleep(0.02 + chance.random() * POLL_INTERVAL_S)
            peer.forget_notifications()
            await changer.execute(next(changes))
            committed = time.perf_counter()
            peer.next_notification(NOTIFICATION)
            if number:  # the first warms up
                delays.append((time.perf_counter() - committed) * 1000)
    await changer.close()
    return Figure(
        subject=SUBJECT,
        what=f"DDL committed -> list_changed, {LABELS[product]}, {count:,} tables",
        unit="ms",
        values=tuple(delays),
        budget=_BUDGETS[product],
    )


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
