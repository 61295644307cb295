"""What it costs to read a schema, to accept the reading, and to make a catalog of it; and again after one change.

Also for how long the event loop is held at most while the whole program does so.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from benchmarks.databases import LABELS, PRODUCTS, Changer, Databases, opened, table_names
from benchmarks.figures import Budget, Figure
from benchmarks.timing import blocking, interleaved
from schema_mcp.app import SOURCE, running
from schema_mcp.catalog.build import BuildSettings, Catalog, build
from schema_mcp.catalog.surface import Surface
from schema_mcp.commands.collector import settle, settle_catalog
from schema_mcp.config.load import load
from schema_mcp.dialects.base import Connection, Dialect, Reading
from schema_mcp.schema.diff import diff
from schema_mcp.schema.model import Schema
from schema_mcp.schema.select import Selection
from schema_mcp.security.policy import AccessMode, Policy
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.target import ToolLimits

SUBJECT = "read"
ROUNDS = 7
HOLDS = 3

_TOTAL = Budget(limit=3_000.0, text="3 s (10,000 tables)")
_BLOCKED = Budget(limit=50.0, text="50 ms (10,000 tables)")
_ONE_CHANGED = Budget(limit=100.0, text="100 ms (1,000 tables)")

#: The floor of a reading: the columns of the same tables, as the driver gives them.
_FLOORS = {
    "postgresql": "SELECT c.relname, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attnum"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0",
    "sqlite": "SELECT m.name, c.* FROM sqlite_schema m, pragma_table_xinfo(m.name) c WHERE m.type = 'table'",
}


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """Reading and building from nothing, and the way of one change, at each number of tables."""
    figures = []
    for count in counts:
        for product in PRODUCTS:
            figures += await _from_nothing(databases, product, count)
    for count in counts:
        for product in PRODUCTS:
            figures += await _one_changed(databases, product, count)
    return figures


def build_settings(dialect: Dialect, surface: str) -> BuildSettings:
    """As the program has them by default, but for what is listed."""
    return BuildSettings(
        policy=Policy(mode=AccessMode.INSERT),
        surface=Surface(kind=surface),
        limits=ToolLimits(),
        dialects=MappingProxyType({SOURCE: dialect}),
        cursor_secret=CursorSecret(b"0123456789abcdef"),
    )


async def _from_nothing(databases: Databases, product: str, count: int) -> list[Figure]:
    database, dialect = opened(databases.tables(product, count))
    async with database.single() as connection:

        async def floor() -> None:
            if product == "postgresql":
                await connection.fetch(_FLOORS[product])
            else:
                await connection.run(lambda raw: raw.execute(_FLOORS[product]).fetchall())

        async def read() -> None:
            await dialect.read(connection, SOURCE, Selection(), None)

        async def accept() -> None:
            await _accepted(dialect, connection, None)

        times = await interleaved({"floor": floor, "read": read, "accept": accept}, rounds=ROUNDS)
        reading = await _accepted(dialect, connection, None)
    await database.close()
    schemas = {SOURCE: reading.schema}
    builds = {
        surface: _timed(lambda surface=surface: build(build_settings(dialect, surface), schemas, None))  # type: ignore[misc]
        for surface in ("tables", "generic")
    }
    held = tuple([await _longest_hold(databases.tables(product, count)) for _ in range(HOLDS)])
    where = f"{LABELS[product]}, {count:,} tables"
    total = tuple(read + made for read, made in zip(times["accept"], builds["tables"], strict=True))
    return [
        _figure(f"full read, {where}", times["read"], floor=median(times["floor"])),
        _figure("  with the gate before and after (accepted)", times["accept"]),
        _figure("  catalog build, all tools listed", builds["tables"]),
        _figure("  catalog build, the fixed tools listed", builds["generic"]),
        _figure("  accepted read + build, all listed", total, budget=_TOTAL),
        _figure("  longest hold of the event loop, until all is recorded", held, budget=_BLOCKED),
    ]


async def _longest_hold(url: str) -> float:
    """Milliseconds, in the program as it runs: connecting, reading, building, the swap and recording in a new store."""
    with TemporaryDirectory(prefix="schema-mcp-bench-") as folder:
        store = f"sqlite:///{folder}/history.sqlite"
        flags = {"database.url": url, "tools.surface": "tables", "state.url": store}
        settle()  # as `serve` does
        async with running(load(file=None, environment={}, flags=flags), lambda _: None) as app, blocking() as blocked:
            app.registry.subscribe(settle_catalog)
            await app.watcher.first_look.wait()
            await app.keeper.settled.wait()
            if not app.keeper.status.kept or not app.watcher.confirmed(SOURCE):
                raise RuntimeError("the program did not come to record what it read")
    return blocked.longest_ms


async def _one_changed(databases: Databases, product: str, count: int) -> list[Figure]:
    """From the gate that has moved to the next catalog, as the watcher goes, without its debounce."""
    url = databases.changing(product, count)
    database, dialect = opened(url)
    changer, table = Changer(url), table_names(count)[count // 2]
    settings = build_settings(dialect, "tables")
    reads, diffs, builds = [], [], []
    async with database.single() as connection:
        reading = await _accepted(dialect, connection, None)
        catalog = build(settings, {SOURCE: reading.schema}, None)
        for number in range(ROUNDS + 1):
            await changer.execute(f"ALTER TABLE {table} ADD COLUMN extra_{number} integer")
            started = time.perf_counter()
            after = await _accepted(dialect, connection, reading)
            read = time.perf_counter()
            change = diff(reading.schema, after.schema)
            compared = time.perf_counter()
            catalog = _next(settings, after.schema, catalog)
            built = time.perf_counter()
            assert len(change.changed) == 1
            reading = after
            if number:  # the first warms up
                reads.append((read - started) * 1000)
                diffs.append((compared - read) * 1000)
                builds.append((built - compared) * 1000)
    await changer.close()
    await database.close()
    total = tuple(map(sum, zip(reads, diffs, builds, strict=True)))
    return [
        _figure(
            f"one changed table of {count:,}, {LABELS[product]}",
            total,
            budget=_ONE_CHANGED if count <= 1_000 else None,
        ),
        _figure("  of it the accepted reading", tuple(reads)),
        _figure("  of it the diff", tuple(diffs)),
        _figure("  of it the catalog", tuple(builds)),
    ]


def _next(settings: BuildSettings, schema: Schema, previous: Catalog) -> Catalog:
    return build(settings, {SOURCE: schema}, previous)


async def _accepted(dialect: Dialect, connection: Connection, previous: Reading | None) -> Reading:
    """A reading between two equal gates: what the watcher takes if nobody changes anything meanwhile."""
    await dialect.gate(connection)
    reading = await dialect.read(connection, SOURCE, Selection(), previous)
    if await dialect.gate(connection) != reading.gate:
        raise RuntimeError("somebody has changed the database that is measured")
    return reading


def _timed(run: Callable[[], Any]) -> tuple[float, ...]:
    run()
    values = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        values.append((time.perf_counter() - started) * 1000)
    return tuple(values)


def _figure(
    what: str, values: tuple[float, ...], *, floor: float | None = None, budget: Budget | None = None
) -> Figure:
    name = "rows of the columns alone" if floor else ""
    return Figure(subject=SUBJECT, what=what, unit="ms", values=values, floor=floor, floor_name=name, budget=budget)
