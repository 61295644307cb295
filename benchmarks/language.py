"""What the language of the tools costs: each kind of call over stdio, against the same by hand on the bare driver.

Both servers are sent the very same lines and must answer with the same rows, so the ratio is what typed arguments,
checks, exact values and the protocol cost.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import orjson

from benchmarks.call import MAX_BYTES
from benchmarks.client import PROGRAM, Peer, result_of, serving
from benchmarks.databases import LABELS, MANY_ROWS, PRODUCTS, Databases, opened
from benchmarks.figures import Budget, Figure
from benchmarks.language_floor import COMMAND
from benchmarks.read import build_settings
from benchmarks.timing import Contender, interleaved, repeated
from schema_mcp.caller import Caller
from schema_mcp.catalog.build import build
from schema_mcp.config.model import SOURCE
from schema_mcp.schema.select import Selection

SUBJECT = "language"
MANY = 10_000
#: Of planning.
ROUNDS = 20
_FLOOR = "by hand"
_PLAN = Budget(limit=20.0, text="20 us")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A call and how often it is made: in each of `rounds` so many times in a row."""

    what: str
    tool: str
    arguments: dict[str, Any]
    rounds: int = 7
    calls: int = 1


def _given_rows() -> list[dict[str, Any]]:
    return [
        {"code": f"N{n}", "name": f"thing {n}", "units": n % 50, "price": f"{n % 1000 / 4:.2f}", "due": "2026-05-17"}
        for n in range(MANY)
    ]


_FILTERS = [{"column": "id", "op": "between", "values": [5001, 5200]}, {"column": "active", "op": "eq", "value": True}]

_CALLS = (
    _Call(what="one row by its key", tool="query_items", arguments={"where": {"id": 77}}, rounds=20, calls=20),
    _Call(what="100 filtered rows", tool="query_items", arguments={"filters": _FILTERS}, rounds=20, calls=10),
    _Call(what=f"{MANY:,} rows", tool="query_items", arguments={"limit": MANY}),
    _Call(
        what="100 rows with 10 each of another table",
        tool="query_parents",
        arguments={"columns": ["id", "name"], "include": ["items(id, name, quantity) limit 10"]},
        rounds=10,
        calls=5,
    ),
    _Call(
        what=f"groups of {MANY_ROWS:,} rows, sums of integers",
        tool="query_sales",
        arguments={"group_by": ["region"], "aggregate": ["count", "sum(units) as sum"]},
    ),
    _Call(
        what=f"groups of {MANY_ROWS:,} rows, sums of decimals",
        tool="query_sales",
        arguments={"group_by": ["region"], "aggregate": ["count", "sum(price) as sum"]},
    ),
    _Call(what=f"insert of {MANY:,} rows", tool="insert_incoming", arguments={"rows": _given_rows()}),
)


_ONE_ROW = _Call(what="insert of one row", tool="insert_incoming", arguments={"rows": _given_rows()[:1]})


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """Every call on both products. The number of tables does not matter here."""
    figures: list[Figure] = []
    for product in PRODUCTS:
        url = databases.language(product)
        with ExitStack() as stack:
            ours = stack.enter_context(serving(PROGRAM, url, results__max_bytes=MAX_BYTES))
            floor = stack.enter_context(serving(COMMAND, url))
            for call in _CALLS:
                figures += await _compared(call, LABELS[product], ours, floor)
        figures += await _planned(product, url)
    return figures


async def _planned(product: str, url: str) -> list[Figure]:
    """Every call's planning alone, in process: its statement is compiled, its arguments are checked each time."""
    database, dialect = opened(url)
    async with database.single() as connection:
        reading = await dialect.read(connection, SOURCE, Selection(), None)
    await database.close()
    catalog = build(build_settings(dialect, "tables"), {SOURCE: reading.schema}, None)
    figures = []
    for call in (*_CALLS, _ONE_ROW):
        tool, target = catalog.table_tools[call.tool]
        run = partial(tool.plan, catalog, target, call.arguments, Caller(session="benchmark"))
        large = len(call.arguments.get("rows", ())) > 1
        values = repeated(run, rounds=ROUNDS, calls=1 if large else 300)
        budget = None if large else _PLAN
        what = f"planning: {call.what}, {LABELS[product]}"
        figures.append(Figure(subject=SUBJECT, what=what, unit="us", values=values, budget=budget))
    return figures


async def _compared(call: _Call, label: str, ours: Peer, floor: Peer) -> list[Figure]:
    if (told := _rows(ours, call)) != (expected := _rows(floor, call)):
        raise RuntimeError(f"{call.what}, {label}: {str(told[:2])[:500]} is not {str(expected[:2])[:500]}")
    contenders = {_FLOOR: _asking(floor, call), "ours": _asking(ours, call)}
    times = await interleaved(contenders, rounds=call.rounds, calls=call.calls, warm=2)
    return [
        Figure(subject=SUBJECT, what=f"{call.what}, {label}: by hand", unit="ms", values=times[_FLOOR]),
        Figure(
            subject=SUBJECT,
            what=f"{call.what}, {label}",
            unit="ms",
            values=times["ours"],
            floor=median(times[_FLOOR]),
            floor_name=_FLOOR,
        ),
    ]


def _asking(peer: Peer, call: _Call) -> Contender:
    line = peer.call(call.tool, call.arguments)

    async def ask() -> None:
        peer.exchange(line)

    return ask


def _rows(peer: Peer, call: _Call) -> list[dict[str, Any]]:
    """What must be the same; of rows that were inserted how many there are, because each server inserts its own."""
    answer = orjson.loads(result_of(peer.exchange(peer.call(call.tool, call.arguments)))["content"][0]["text"])
    rows: list[dict[str, Any]] = answer["rows"]
    return [dict.fromkeys(row) for row in rows] if "inserted" in answer else rows
