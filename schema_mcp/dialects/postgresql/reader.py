"""Reading PostgreSQL's pg_catalog into a `Schema`: few queries for all tables, one snapshot, no wait for a lock.

In order: the gate value and the search path; then what rows of the catalogs say, which no lock on a table hides; then
the expressions (checks, generated columns, whether a view takes rows), for which PostgreSQL locks each relation for a
moment. Where somebody else holds it, those relations are postponed: they stay as they were.

A snapshot does not cover format_type, pg_get_expr and the has_..._privilege functions, which answer from the newest
state. A table that turns out to be gone is left out, one whose type is gone is postponed;
what fails otherwise is read again, once. Whatever changed in mid-read moves the gate, whose value is the older one: the
next look reads again.

It does not know when to read, nor what a difference means.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
import asyncpg

from schema_mcp.dialects import information_schema
from schema_mcp.dialects.base import Gate, Reading
from schema_mcp.dialects.postgresql.build import RelationRows, Row, build, has_expressions, is_gone
from schema_mcp.dialects.postgresql.errors import DRIVER_ERRORS, is_unavailable, reason
from schema_mcp.dialects.postgresql.types import TypeGone, Types
from schema_mcp.dialects.queries import load
from schema_mcp.errors import CatalogReadError
from schema_mcp.schema.model import Schema, Table, TableName
from schema_mcp.schema.select import Selection

#: How long a gate, a whole reading and the end of a failed one may take before the connection counts as lost.
GATE_LIMIT_S = 5.0
READ_LIMIT_S = 60.0
ROLLBACK_LIMIT_S = 2.0

_QUERIES = load("schema_mcp.dialects.postgresql", "catalog.sql")

#: Errors that a change in mid-read can cause: an object of the snapshot is gone. XX000: "cache lookup failed for ...",
#: "could not open relation with OID ...".
_TORN_STATES = frozenset({"XX000", "42P01", "42703", "42704", "42883", "3F000"})

#: Tables are built in this many at a time, between which others get the event loop.
_TABLES_AT_A_TIME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Catalog:
    """One snapshot's rows. Where `postponed` holds a relation's oid, its expressions are missing."""

    gate: Gate
    default_schema: str
    relations: Sequence[tuple[int, RelationRows]]
    types: Types
    postponed: Collection[int]


async def gate(connection: asyncpg.Connection) -> Gate:
    """See `Dialect.gate`: one statement, no transaction. The server's start is part of the version: a server that has
    lost its last commits, or another one, may come to the same snapshot again.

    Raises: whatever the driver raises.
    """
    return _gate(await connection.fetchrow(_QUERIES["gate"].sql, timeout=GATE_LIMIT_S))


def _gate(row: Row) -> Gate:
    # Snapshots of one server follow each other: xmax never falls, and under one xmax running transactions only end.
    _, xmax, running = row["snapshot"].split(":")
    order = (int(xmax), -len(running.split(",")) if running else 0)
    return Gate(identity="", version=f"{row['started']} {row['snapshot']}", era=row["started"], order=order)


async def read(connection: asyncpg.Connection, source: str, selection: Selection, previous: Reading | None) -> Reading:
    """See `Dialect.read`. Ends within `READ_LIMIT_S` and leaves no transaction open, also when it is cancelled.

    Raises: CatalogReadError.
    """
    return await _settled(lambda: _read(connection, source, selection, previous), f"the schema of {source!r}")


async def read_portably(connection: asyncpg.Connection, source: str, selection: Selection) -> Reading:
    """The same by information_schema and nothing else. It fails where `read` postpones.

    Raises: CatalogReadError.
    """
    return await _settled(
        lambda: _read_portably(connection, source, selection), f"the information_schema of {source!r}"
    )


async def _settled(attempt: Callable[[], Awaitable[Reading]], what: str) -> Reading:
    """What the attempt reads; it has a second one if something was changed in its midst."""
    try:
        with anyio.fail_after(READ_LIMIT_S):
            try:
                return await attempt()
            except asyncpg.PostgresError as exc:
                if exc.sqlstate not in _TORN_STATES:
                    raise
            return await attempt()
    except DRIVER_ERRORS as exc:
        raise CatalogReadError(f"cannot read {what}: {reason(exc)}", unavailable=is_unavailable(exc)) from exc


async def _read(connection: asyncpg.Connection, source: str, selection: Selection, previous: Reading | None) -> Reading:
    async with snapshot(connection):
        catalog = await _fetch(connection, selection)
    old = previous.schema.tables if previous is not None else {}
    tables: dict[TableName, Table] = {}
    postponed: set[TableName] = set()
    for done, (oid, rows) in enumerate(catalog.relations):
        if done % _TABLES_AT_A_TIME == 0:
            await asyncio.sleep(0)
        if is_gone(rows):
            continue
        name = TableName(source=source, schema=rows.relation["schema"], name=rows.relation["name"])
        table = old.get(name)
        if oid in catalog.postponed:
            postponed.add(name)
        if table is None or oid not in catalog.postponed:
            try:
                table = build(name, rows, catalog.types)
            except TypeGone:
                postponed.add(name)
        if table is not None and table.privileges:
            tables[name] = table
    schema = Schema(source=source, dialect="postgresql", default_schema=catalog.default_schema, tables=tables)
    return Reading(gate=catalog.gate, schema=schema, postponed=frozenset(postponed))


async def _read_portably(connection: asyncpg.Connection, source: str, selection: Selection) -> Reading:
    async with snapshot(connection):
        context = await connection.fetchrow(_QUERIES["context"].sql)
        await connection.execute(_QUERIES["search_path"].sql)
        await connection.execute(_QUERIES["portable_plans"].sql)
        schema = await information_schema.read(
            connection.fetch,
            source=source,
            dialect="postgresql",
            default_schema=context["default_schema"],
            schemas=selection.schemas or context["schemas"],
            selection=selection,
            checks_in_parentheses=connection.get_server_version().major < 18,
        )
    return Reading(gate=_gate(context), schema=schema)


@asynccontextmanager
async def snapshot(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A read-only transaction that ends with the block, however the block ends.

    One that cannot be rolled back in time ends with its connection.
    """
    try:
        await connection.execute(_QUERIES["begin"].sql)
        yield
        await connection.execute(_QUERIES["commit"].sql)
    except BaseException:
        await _roll_back(connection)
        raise


async def _roll_back(connection: asyncpg.Connection) -> None:
    rolled_back = False
    try:
        with anyio.move_on_after(ROLLBACK_LIMIT_S, shield=True), suppress(*DRIVER_ERRORS):
            await connection.execute(_QUERIES["rollback"].sql)
            rolled_back = True
    finally:
        if not rolled_back:
            connection.terminate()


async def _fetch(connection: asyncpg.Connection, selection: Selection) -> _Catalog:
    context = await connection.fetchrow(_QUERIES["context"].sql)
    await connection.execute(_QUERIES["search_path"].sql)
    relations = {
        row["oid"]: row
        for row in await connection.fetch(_QUERIES["relations"].sql, selection.schemas or context["schemas"])
        if selection.takes(row["schema"], row["name"])
    }
    oids = list(relations)
    column_rows = await connection.fetch(_QUERIES["columns"].sql, oids)
    types = Types(await connection.fetch(_QUERIES["types"].sql, list({row["type"] for row in column_rows})))
    columns = _by_relation(column_rows)
    keys = _by_relation(await connection.fetch(_QUERIES["keys"].sql, oids))
    foreign_keys = _by_relation(await connection.fetch(_QUERIES["foreign_keys"].sql, oids))
    with_expressions = {oid for oid, row in relations.items() if has_expressions(row, columns.get(oid, ()))}
    expressions, postponed = await _expressions(connection, with_expressions)
    return _Catalog(
        gate=_gate(context),
        default_schema=context["default_schema"],
        relations=[
            (
                oid,
                RelationRows(
                    relation=row,
                    columns=columns.get(oid, ()),
                    keys=keys.get(oid, ()),
                    foreign_keys=foreign_keys.get(oid, ()),
                    expressions=expressions.get(oid, ()),
                ),
            )
            for oid, row in relations.items()
        ],
        types=types,
        postponed=postponed,
    )


def _by_relation(rows: Iterable[Row]) -> Mapping[int, Sequence[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["relation"]].append(row)
    return dict(grouped)


async def _expressions(
    connection: asyncpg.Connection, oids: Collection[int]
) -> tuple[Mapping[int, Sequence[Row]], Collection[int]]:
    """The rows by relation, and the relations that were left out because somebody has locked them."""
    sql = _QUERIES["expressions"].sql
    await connection.execute(_QUERIES["savepoint"].sql)
    try:
        return _by_relation(await connection.fetch(sql, list(oids))), ()
    except asyncpg.LockNotAvailableError:
        await connection.execute(_QUERIES["rollback_to_savepoint"].sql)
        locked = {row["oid"] for row in await connection.fetch(_QUERIES["locked"].sql)}
        rows = await connection.fetch(sql, [oid for oid in oids if oid not in locked])
        return _by_relation(rows), locked.intersection(oids)
