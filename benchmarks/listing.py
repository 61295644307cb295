"""What `tools/list` costs: time and bytes."""

from collections.abc import Sequence
from typing import Any

import orjson
import psutil

from benchmarks.client import PROGRAM, result_of, serving
from benchmarks.databases import Databases, table_names
from benchmarks.figures import Budget, Figure
from benchmarks.timing import interleaved

SUBJECT = "list"
ROUNDS = 20
PAGE_SIZE = 100_000

_ALL = Budget(limit=100.0, text="100 ms (1,000 tables)")
_TWO_TOOLS = Budget(limit=3_300, text="3,300 bytes")


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """PostgreSQL, all tools in one page, in both eras; then the bytes of one table's two tools."""
    figures = []
    for count in counts:
        figures += await _listing(databases, count)
    return figures


async def _listing(databases: Databases, count: int) -> list[Figure]:
    settings: dict[str, Any] = {"tools__surface": "tables", "tools__page_size": PAGE_SIZE}
    url = databases.tables("postgresql", count)
    with (
        serving(PROGRAM, url, **settings) as handshake,
        serving(PROGRAM, url, stateless=True, **settings) as stateless,
    ):

        async def in_handshake_era() -> None:
            handshake.exchange(handshake.request("tools/list", {}))

        async def in_stateless_era() -> None:
            stateless.exchange(stateless.request("tools/list", {}))

        times = await interleaved(
            {"handshake era": in_handshake_era, "stateless era": in_stateless_era}, rounds=ROUNDS, warm=2
        )
        line = handshake.exchange(handshake.request("tools/list", {}))
        memory = psutil.Process(handshake.pid).memory_info().rss / 2**20
    tools = {tool["name"]: tool for tool in result_of(line)["tools"]}
    budget = _ALL if count == 1_000 else None
    figures = [
        Figure(
            subject=SUBJECT,
            what=f"tools/list, {count:,} tables ({len(tools):,} tools), {era}",
            unit="ms",
            values=values,
            budget=budget,
        )
        for era, values in times.items()
    ]
    figures.append(
        Figure(subject=SUBJECT, what=f"  memory, {count:,} tables, all listed", unit="MiB", values=(memory,))
    )
    slug = table_names(count)[-1]
    two = [orjson.dumps(tools[f"{kind}_{slug}"]) for kind in ("query", "insert")]
    sizes = {
        f"  the line, {count:,} tables": (len(line), None),
        "  one table's two tools, 12 columns": (sum(map(len, two)), _TWO_TOOLS),
    }
    figures += [
        Figure(subject=SUBJECT, what=what, unit="bytes", values=(float(size),), budget=budget)
        for what, (size, budget) in sizes.items()
    ]
    return figures
