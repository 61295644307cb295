"""Reading PostgreSQL's pg_catalog into a `Schema`: few queries for all tables, one snapshot, no wait for a lock.

In order: the gate value and the search path; which relations may have changed since the reading before (`changes.py`);
what the catalogs say of those (`fetch.py`), where relations that somebody else has locked are postponed: they stay as
they were; and then, outside of the transaction, the values (`build.py`).

A snapshot does not cover format_type, pg_get_expr and the has_..._privilege functions, which answer from the newest
state. A table that turns out to be gone is left out, one whose type is gone is postponed; what fails otherwise is read
again, once. Whatever was changed in mid-read is newer than the snapshot: it moves the gate, and the next reading finds
it among the changes.

It does not know when to read, nor what a difference means.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import anyio
import asyncpg

from schema_mcp.dialects import information_schema
from schema_mcp.dialects.base import Gate, Reading
from schema_mcp.dialects.postgresql.build import Row, build, is_gone, row_estimate
from schema_mcp.dialects.postgresql.changes import Mark, Tallies, recounted, rows_went, touched
from schema_mcp.dialects.postgresql.degraded import is_unavailable
from schema_mcp.dialects.postgresql.errors import DRIVER_ERRORS, reason
from schema_mcp.dialects.postgresql.fetch import QUERIES, Part, fetch
from schema_mcp.dialects.postgresql.search_path import default_schema
from schema_mcp.dialects.postgresql.types import TypeGone
from schema_mcp.errors import CatalogReadError
from schema_mcp.schema.hide import visible
from schema_mcp.schema.model import Schema, Table, TableName
from schema_mcp.schema.select import Selection

#: How long a gate, a whole reading and the end of a failed one may take before the connection counts as lost.
GATE_LIMIT_S = 5.0
READ_LIMIT_S = 60.0
ROLLBACK_LIMIT_S = 2.0

#: Errors that a change in mid-read can cause: an object of the snapshot is gone. XX000: "cache lookup failed for ...",
#: "could not open relation with OID ...".
_TORN_STATES = frozenset({"XX000", "42P01", "42703", "42704", "42883", "3F000"})

#: More relations than this are built in a thread, so that the event loop goes on answering: one takes some 0.1 ms. So
#: is the schema that a few of them belong to, if it is large.
_BUILD_INLINE_RELATIONS = 50
_MERGE_INLINE_TABLES = 2_000


async def gate(connection: asyncpg.Connection) -> Gate:
    """See `Dialect.gate`: one statement, no transaction. The server's start is part of the version: a server that has
    lost its last commits, or another one, may come to the same snapshot again.

    Raises: whatever the driver raises.
    """
    row = await connection.fetchrow(QUERIES["gate"].sql, timeout=GATE_LIMIT_S)
    return replace(_gate(row), hint=row["hint"])


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
        context = await _context(connection, selection)
        found = await _changes(connection, context, previous)
        if previous is not None and found.relations == set():
            return replace(previous, gate=context.gate, fresh=frozenset())
        parts = [await fetch(connection, selection, context.schemas, found.relations)]
        if previous is not None and found.mark is not None and found.relations is not None:
            renamed = _renamed(parts[0], found.mark, previous.schema)
            rows = await connection.fetch(QUERIES["referencing"].sql, renamed) if renamed else ()
            if others := {row["oid"] for row in rows} - found.relations:
                found.relations.update(others)
                parts.append(await fetch(connection, selection, context.schemas, others))
    served = len(previous.schema.tables) if previous is not None else 0
    if sum(len(part.relations) for part in parts) > _BUILD_INLINE_RELATIONS or served > _MERGE_INLINE_TABLES:
        return await asyncio.to_thread(_merged, source, selection, context, previous, found, parts)
    return _merged(source, selection, context, previous, found, parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What a snapshot is of. `oldest`: no transaction before this one is still going on."""

    gate: Gate
    started: str
    default_schema: str
    schemas: tuple[str, ...]
    oldest: int

    @property
    def binds(self) -> tuple[Any, ...]:
        """What a mark holds for: the server's present run, and what the search path means."""
        return self.started, self.default_schema, self.schemas


async def _context(connection: asyncpg.Connection, selection: Selection) -> _Context:
    row = await connection.fetchrow(QUERIES["context"].sql)
    await connection.execute(QUERIES["search_path"].sql)
    return _Context(
        gate=_gate(row),
        started=row["started"],
        default_schema=default_schema(row["search_path"]),
        schemas=tuple(selection.schemas or row["schemas"]),
        oldest=int(row["snapshot"].partition(":")[0]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changes:
    """`relations`: those to be read; None: all, with no regard to the mark. `mark`: the one before, if it holds."""

    relations: set[int] | None
    mark: Mark | None
    tallies: Tallies
    counts: Mapping[int, int]


async def _changes(connection: asyncpg.Connection, context: _Context, previous: Reading | None) -> _Changes:
    mark = previous.mark if previous is not None else None
    if not isinstance(mark, Mark) or mark.context != context.binds:
        mark = None
    baseline = mark.baseline if mark is not None else context.oldest
    tallies = Tallies.of(await connection.fetch(QUERIES["changes"].sql, str(baseline)))
    relations = touched(mark, tallies) if mark is not None else None
    if mark is not None and relations is not None and not relations and not rows_went(mark, tallies):
        return _Changes(relations=set(mark.postponed), mark=mark, tallies=tallies, counts=mark.counts)
    counts = {row["relation"]: row["count"] for row in await connection.fetch(QUERIES["counts"].sql)}
    if mark is not None and relations is not None:
        relations |= recounted(mark.counts, counts) | mark.postponed
        relations.update(row["oid"] for row in await connection.fetch(QUERIES["dependents"].sql, relations))
        if 0 in relations:  # a constraint of a domain
            relations = None
    return _Changes(relations=relations, mark=mark, tallies=tallies, counts=counts)


def _renamed(part: Part, mark: Mark, schema: Schema) -> list[int]:
    """Relations whose name, or a column's, is no longer what foreign keys that were read before call it."""
    renamed = []
    for oid, rows in part.relations.items():
        name = mark.names.get(oid)
        if name is None:
            continue
        columns = {row["name"] for row in rows.columns}
        same_name = (name.schema, name.name) == (rows.relation["schema"], rows.relation["name"])
        if not same_name or any(column.name not in columns for column in schema.tables[name].columns):
            renamed.append(oid)
    return renamed


def _merged(
    source: str,
    selection: Selection,
    context: _Context,
    previous: Reading | None,
    found: _Changes,
    parts: Iterable[Part],
) -> Reading:
    """What was read, in place of what the reading before said of those relations.

    The rows are taken out of the parts one relation at a time: to give up 100,000 of them at once would hold up all
    threads, the event loop's among them, for 50 ms.
    """
    known: Mapping[TableName, Table] = previous.schema.tables if previous is not None else {}
    before = found.mark.names if found.mark is not None else None
    kept = {} if before is None or found.relations is None else before
    names = {oid: name for oid, name in kept.items() if oid not in (found.relations or ())}
    tables = {name: known[name] for name in names.values()}
    counted = previous.row_estimates if previous is not None else {}
    estimates = {name: counted[name] for name in tables if name in counted}
    postponed: dict[int, TableName] = {}
    for part in parts:
        for oid in tuple(part.relations):
            rows = part.relations.pop(oid)
            name = TableName(source=source, schema=rows.relation["schema"], name=rows.relation["name"])
            if is_gone(rows):
                continue
            #: Not another one's that had this name.
            old = known.get(name) if before is None or before.get(oid) == name else None
            table = old
            if oid in part.postponed:
                postponed[oid] = name
            if table is None or oid not in part.postponed:
                try:
                    table = visible(build(name, rows, part.types), selection)
                except TypeGone:
                    postponed[oid] = name
            if table is not None and table.privileges:
                names[oid] = name
                if (estimate := row_estimate(rows.relation)) is not None:
                    estimates[name] = estimate
                tables[name] = old if old is not None and old == table and old.identity == table.identity else table
    return Reading(
        gate=context.gate,
        schema=_schema(source, context.default_schema, tables, previous),
        postponed=frozenset(postponed.values()),
        # By oid: one that was dropped in mid-read has no row here, and no name in the next reading. What is postponed
        # stands as it was.
        fresh=frozenset(found.relations - postponed.keys()) if found.relations is not None else None,
        row_estimates=estimates,
        mark=Mark(
            context=context.binds,
            baseline=context.oldest,
            tallies=found.tallies.since(context.oldest),
            counts=found.counts,
            names=names,
            postponed=frozenset(postponed),
        ),
    )


def _schema(source: str, default: str, tables: Mapping[TableName, Table], previous: Reading | None) -> Schema:
    """The very schema of the reading before, if nothing in it has changed."""
    if previous is not None and previous.schema.default_schema == default:
        known = previous.schema.tables
        if len(known) == len(tables) and all(known.get(name) is table for name, table in tables.items()):
            return previous.schema
    return Schema(source=source, dialect="postgresql", default_schema=default, tables=tables)


async def _read_portably(connection: asyncpg.Connection, source: str, selection: Selection) -> Reading:
    async with snapshot(connection):
        context = await connection.fetchrow(QUERIES["context"].sql)
        await connection.execute(QUERIES["search_path"].sql)
        await connection.execute(QUERIES["portable_plans"].sql)
        schema = await information_schema.read(
            connection.fetch,
            source=source,
            dialect="postgresql",
            default_schema=default_schema(context["search_path"]),
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
        await connection.execute(QUERIES["begin"].sql)
        yield
        await connection.execute(QUERIES["commit"].sql)
    except BaseException:
        await _roll_back(connection)
        raise


async def _roll_back(connection: asyncpg.Connection) -> None:
    rolled_back = False
    try:
        with anyio.move_on_after(ROLLBACK_LIMIT_S, shield=True), suppress(*DRIVER_ERRORS):
            await connection.execute(QUERIES["rollback"].sql)
            rolled_back = True
    finally:
        if not rolled_back:
            connection.terminate()
