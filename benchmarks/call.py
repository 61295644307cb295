"""What a call costs: one row by its primary key, and ten thousand rows, over stdio against a floor written by hand."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import asyncpg
import orjson

from benchmarks.client import FLOOR, PROGRAM, Peer, result_of, serving
from benchmarks.databases import LABELS, Databases, opened
from benchmarks.figures import Budget, Figure
from benchmarks.read import build_settings
from benchmarks.timing import Contender, interleaved, repeated
from schema_mcp.caller import Caller
from schema_mcp.catalog.build import build
from schema_mcp.config.model import SOURCE
from schema_mcp.execute.executor import Executor
from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.schema.select import Selection
from schema_mcp.tools.target import Target
from schema_mcp.tools.view import CatalogView, TableTool

SUBJECT = "call"
ROUNDS = 30
CALLS = 40
ROUNDS_OF_MANY = 9
MANY = 10_000
#: The cap on the bytes of an answer must not cut what is compared.
MAX_BYTES = 100_000_000

_ASYNCPG = "asyncpg"
_FLOOR = "the floor server"
_ONE = Budget(limit=1.0, of="ratio", text="1.0 x the floor")
_MANY = Budget(limit=1.35, of="ratio", text="1.35 x the floor")
_PLAN = Budget(limit=20.0, text="20 us")


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """One row and many, then the parts of one call inside the process. The number of tables does not matter here."""
    return [
        *await _over_stdio(databases),
        *await _in_process(databases, "postgresql"),
        *await _in_process(databases, "sqlite"),
    ]


@dataclass(frozen=True, slots=True)
class _Server:
    """A connected server and its name in the table."""

    name: str
    peer: Peer


async def _over_stdio(databases: Databases) -> list[Figure]:
    url = databases.items("postgresql")
    connection = await asyncpg.connect(url)
    with ExitStack() as stack:

        def start(name: str, command: Sequence[str], database: str, **options: Any) -> _Server:
            options = {"results__max_bytes": MAX_BYTES, **options}
            return _Server(name, stack.enter_context(serving(command, database, **options)))

        servers = [
            start(_FLOOR, FLOOR, url),
            start("PostgreSQL", PROGRAM, url),
            start("PostgreSQL, text only", PROGRAM, url, results__structured="false"),
            start("PostgreSQL, stateless era", PROGRAM, url, stateless=True),
            start("SQLite", PROGRAM, databases.items("sqlite")),
        ]
        for server in servers:
            _compare(server, servers[0])
        one: dict[str, Contender] = {_ASYNCPG: partial(connection.fetchrow, "SELECT * FROM items WHERE id = $1", 77)}
        one |= {server.name: _asking(server.peer, {"where": {"id": 77}}) for server in servers}
        times = await interleaved(one, rounds=ROUNDS, calls=CALLS, warm=20)
        many: dict[str, Contender] = {
            _ASYNCPG: partial(connection.fetch, "SELECT * FROM items ORDER BY id LIMIT $1", MANY)
        }
        many |= {server.name: _asking(server.peer, {"limit": MANY}) for server in servers}
        times_of_many = await interleaved(many, rounds=ROUNDS_OF_MANY)
    await connection.close()
    return [*_figures("one row by its key", times, _ONE), *_figures(f"{MANY:,} rows", times_of_many, _MANY)]


def _asking(peer: Peer, arguments: dict[str, Any]) -> Contender:
    async def ask() -> None:
        peer.exchange(peer.call("query_items", arguments))

    return ask


def _compare(server: _Server, floor: _Server) -> None:
    """Fails unless the server gives the floor's row, so that like is measured with like."""

    def ids(peer: Peer) -> list[int]:
        answer = result_of(peer.exchange(peer.call("query_items", {"where": {"id": 77}})))
        return [row["id"] for row in orjson.loads(answer["content"][0]["text"])["rows"]]

    if ids(server.peer) != ids(floor.peer):
        raise RuntimeError(f"'{server.name}' answers with other rows than the floor")


def _figures(what: str, times: dict[str, tuple[float, ...]], budget: Budget) -> list[Figure]:
    return [
        Figure(
            subject=SUBJECT,
            what=f"{what}: {name}" + (", in process" if name == _ASYNCPG else " over stdio"),
            unit="ms",
            values=values,
            floor=None if name in (_ASYNCPG, _FLOOR) else median(times[_FLOOR]),
            floor_name="" if name in (_ASYNCPG, _FLOOR) else _FLOOR,
            budget=budget if name == "PostgreSQL" else None,
        )
        for name, values in times.items()
    ]


async def _in_process(databases: Databases, product: str) -> list[Figure]:
    """Planning with a shape that is cached, the executor with a plan that is made, and the answer."""
    database, dialect = opened(databases.items(product))
    async with database.single() as connection:
        reading = await dialect.read(connection, SOURCE, Selection(), None)
    catalog = build(build_settings(dialect, "tables"), {SOURCE: reading.schema}, None)
    limits = ExecutionLimits(statement_timeout_s=30.0, call_timeout_s=60.0, max_bytes=MAX_BYTES)
    executor = Executor(database, limits, lambda: None)
    tool, target = catalog.table_tools["query_items"]
    arguments = {"where": {"id": 77}}
    plan = tool.plan(catalog, target, arguments, Caller(session="benchmark"))
    result = await executor.run(plan, target.table, 1)
    statement = plan.statements[0]

    async def floor() -> None:
        if product == "postgresql":
            await raw.fetch(statement.sql, *statement.values)
        else:
            await raw.run(lambda sqlite: sqlite.execute(statement.sql, statement.values).fetchall())

    async def execute() -> None:
        await executor.run(plan, target.table, 1)

    async with database.single() as raw:
        times = await interleaved({"floor": floor, "executor": execute}, rounds=ROUNDS, calls=CALLS, warm=20)
    await database.close()
    label = LABELS[product]
    figures = [
        Figure(
            subject=SUBJECT,
            what=f"the executor alone, one row, {label}",
            unit="ms",
            values=times["executor"],
            floor=median(times["floor"]),
            floor_name="the same statement on the bare driver",
        ),
        _micro(f"the answer's JSON of one row, {label}", partial(plan.answer, result)),
    ]
    return [*(_micro(f"planning {what}, {label}", run, _PLAN) for what, run in _plans(tool, catalog, target)), *figures]


def _plans(tool: TableTool, view: CatalogView, target: Target) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Calls whose statement is compiled already; their arguments are checked each time."""
    caller = Caller(session="benchmark")
    filters = [{"column": "quantity", "op": "gte", "value": "10"}, {"column": "name", "op": "contains", "value": "7"}]
    larger = {"columns": ["id", "name", "price"], "filters": filters, "order_by": ["price desc"], "limit": 20}
    yield "a call by primary key", partial(tool.plan, view, target, {"where": {"id": 77}}, caller)
    yield "a call with columns, two filters and an order", partial(tool.plan, view, target, larger, caller)


def _micro(what: str, run: Callable[[], Any], budget: Budget | None = None) -> Figure:
    values = repeated(run, rounds=ROUNDS, calls=500)
    return Figure(subject=SUBJECT, what=what, unit="us", values=values, budget=budget)
