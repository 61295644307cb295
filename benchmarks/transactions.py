"""What a transaction across calls costs, and what open transactions cost those who have none.

Begin, an insert, a query and a commit are four calls over stdio; the floor sends the same statements by asyncpg, or
sqlite3, in its own process. Throughput is of single calls, many at a time, while some transactions stand open.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from statistics import median
from typing import Any

import asyncpg

from benchmarks.client import PROGRAM, Peer, result_of, serving
from benchmarks.databases import LABELS, PRODUCTS, Databases
from benchmarks.figures import Figure
from benchmarks.timing import interleaved

SUBJECT = "transactions"
ROUNDS = 20
CALLS = 10
#: Calls in flight at a time, how often, and transactions that stand open beside them.
AT_ONCE, BATCHES, OPEN = 64, 30, 5

_INSERT = "INSERT INTO incoming (code, name) VALUES ({}, {}) RETURNING id"
_SELECT = "SELECT * FROM items WHERE id = {}"


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """The number of tables does not matter here."""
    figures = []
    for product in PRODUCTS:
        figures += await _whole(databases, product)
        figures += _beside(databases, product)
    return figures


async def _whole(databases: Databases, product: str) -> list[Figure]:
    """One transaction of two calls. The floor's connection is open already, and so is one of the server's pool."""
    url = databases.language(product)
    connection = await asyncpg.connect(url) if product == "postgresql" else None
    with serving(PROGRAM, url) as peer, closing(sqlite3.connect(databases.language("sqlite"))) as file:
        file.isolation_level = None
        numbers = count()

        async def by_hand() -> None:
            code = f"F{next(numbers)}"
            if connection is None:
                file.execute("BEGIN IMMEDIATE")
                file.execute(_INSERT.format("?", "?"), (code, "thing")).fetchall()
                file.execute(_SELECT.format("?"), (77,)).fetchall()
                file.execute("COMMIT")
                return
            await connection.execute("BEGIN")
            await connection.fetch(_INSERT.format("$1", "$2"), code, "thing")
            await connection.fetch(_SELECT.format("$1"), 77)
            await connection.execute("COMMIT")

        async def by_calls() -> None:
            handle = _begin(peer)
            row = {"code": f"C{next(numbers)}", "name": "thing"}
            _answer(peer, "insert_incoming", {"rows": [row], "transaction_id": handle})
            _answer(peer, "query_items", {"where": {"id": 77}, "transaction_id": handle})
            _answer(peer, "commit_transaction", {"transaction_id": handle})

        times = await interleaved({"floor": by_hand, "calls": by_calls}, rounds=ROUNDS, calls=CALLS, warm=5)
    if connection is not None:
        await connection.close()
    return [
        Figure(
            subject=SUBJECT,
            what=f"begin, insert, query, commit: {LABELS[product]}, four calls over stdio",
            unit="ms",
            values=times["calls"],
            floor=median(times["floor"]),
            floor_name="the same statements on the bare driver, in process",
        )
    ]


def _beside(databases: Databases, product: str) -> list[Figure]:
    """Single calls while transactions stand open. Those that read only: on SQLite there is one writer."""
    with serving(PROGRAM, databases.language(product), transactions__per_session=OPEN) as peer:
        _run(peer, BATCHES // 3)
        alone = _run(peer, BATCHES)
        handles = [_begin(peer, read_only=True) for _ in range(OPEN)]
        for handle in handles:
            _answer(peer, "query_items", {"where": {"id": 77}, "transaction_id": handle})
        beside = _run(peer, BATCHES)
        for handle in handles:
            _answer(peer, "rollback_transaction", {"transaction_id": handle})
    what = f"single calls, {AT_ONCE} at once, {LABELS[product]}"
    return [
        Figure(subject=SUBJECT, what=f"{what}, no open transaction", unit="calls/s", values=alone),
        Figure(
            subject=SUBJECT,
            what=f"{what}, {OPEN} open transactions",
            unit="calls/s",
            values=beside,
            floor=median(alone),
            floor_name="no open transaction",
        ),
    ]


def _run(peer: Peer, batches: int) -> tuple[float, ...]:
    """Calls a second, of each batch."""
    found = []
    for _ in range(batches):
        lines = [peer.call("query_items", {"where": {"id": number}}) for number in range(1, AT_ONCE + 1)]
        started = time.perf_counter()
        answers = peer.exchange_all(lines)
        found.append(AT_ONCE / (time.perf_counter() - started))
        if any(b'"isError":true' in answer for answer in answers):
            raise RuntimeError("a call failed")
    return tuple(found)


def _begin(peer: Peer, **arguments: Any) -> str:
    handle: str = _answer(peer, "begin_transaction", arguments)["transaction_id"]
    return handle


def _answer(peer: Peer, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(result_of(peer.exchange(peer.call(tool, arguments)))["content"][0]["text"])
    return answer
