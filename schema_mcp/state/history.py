"""The history of one watched database in the store: recording a reading, loading the last schema, listing changes.

Recording is one transaction that locks the source's row, compares what is stored with the reading and writes only the
difference, so that each change is kept once however many servers see it. A reading that is older than the stored one is
left alone: a slower server must not write the old state back. It knows no tasks and no retries.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from hashlib import blake2b
from secrets import token_bytes
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from schema_mcp.schema.codec import FORMAT, WITHOUT_CHANGES, completed, dumps, load_table
from schema_mcp.schema.diff import diff
from schema_mcp.schema.model import Schema, Table, TableName
from schema_mcp.schema.sentences import describe
from schema_mcp.state import store as stored
from schema_mcp.state.page import read_page
from schema_mcp.state.records import ChangeKind, Gone, HistoryPage, HistoryQuery, Loaded, Seen
from schema_mcp.state.store import Store

#: Tables that are encoded, decoded or written at a time, between which the event loop gets its turn.
CHUNK = 200
#: Names of the past that are loaded at start.
MAX_GONE = 10_000
SECRET_BYTES = 32

Item = TypeVar("Item")

_sources, _tables, _changes = stored.sources.c, stored.tables.c, stored.changes.c


class Outcome(Enum):
    """What became of a reading."""

    RECORDED = auto()
    UNCHANGED = auto()
    #: The store holds a later one.
    OLDER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A table that differs from the stored one. A `before` of None that was stored cannot be read any more."""

    name: TableName
    before: Table | None
    after: Table | None
    was_stored: bool


class History:
    """One source's. `started_at`: of this process, which tells changes of its time from those it came upon."""

    def __init__(self, store: Store, identity: str, source: str, *, started_at: float, max_changes: int) -> None:
        self._store = store
        self._identity = identity
        self._source = source
        self._started_at = started_at
        self._max_changes = max_changes
        #: What is stored, as far as this process knows: the row's version, and the schema that it stands for.
        self._version: int | None = None
        self._schema: Schema | None = None
        self._digests: dict[TableName, tuple[Table, str]] = {}

    async def secret(self, name: str) -> bytes:
        """The secret of that name, the same for all who share the store; made when it is first asked for."""
        find = sa.select(stored.secrets.c.value).where(stored.secrets.c.name == name)
        async with self._store.reading() as connection:
            found: bytes | None = await connection.scalar(find)
        if found is None:
            async with self._store.writing() as connection:
                await stored.lock(connection)
                found = await connection.scalar(find)
                if found is None:
                    found = token_bytes(SECRET_BYTES)
                    await connection.execute(sa.insert(stored.secrets).values(name=name, value=found))
        return bytes(found)

    async def load(self, *, schema: bool) -> Loaded:
        """What is stored. `schema`: the last schema too, not only the names that are gone."""
        async with self._store.reading() as connection:
            row = await self._row(connection)
            if row is None:
                return Loaded()
            found = Loaded(gone=await self._gone(connection, row.id), default_schema=row.default_schema)
            if not schema or row.format not in (WITHOUT_CHANGES, FORMAT):
                return found
            query = sa.select(_tables.value).where(_tables.source == row.id)
            texts = [text for (text,) in await connection.execute(query)]
        try:
            last = await asyncio.to_thread(_decode, texts, self._source, row)
        except ValueError:
            return found
        return replace(found, schema=last, confirmed_at=row.confirmed_at)

    async def record(self, seen: Seen) -> Outcome:
        """Makes `seen` the stored schema and keeps what that changes. The first one of all is no change."""
        known = self._version is not None
        while True:
            if not known:
                await self._digest(seen.schema)
            async with self._store.writing() as connection:
                row = await self._locked(connection, seen)
                if row.version and not _is_newer(seen, row):
                    return Outcome.OLDER
                matches = not known or row.version == self._version
                if matches:
                    outcome, version = await self._write(connection, row, seen, known)
            if matches:
                self._version, self._schema = version, seen.schema
                return outcome
            known = False

    async def confirm(self, at: float) -> None:
        """The schema that this process recorded last was still true `at`."""
        if self._version is not None:
            async with self._store.writing() as connection:
                await connection.execute(
                    sa.update(stored.sources)
                    .where(
                        _sources.identity == self._identity,
                        _sources.version == self._version,
                        _sources.confirmed_at < at,
                    )
                    .values(confirmed_at=at)
                )

    async def changes(self, query: HistoryQuery) -> HistoryPage:
        """Newest first."""
        async with self._store.reading() as connection:
            row = await self._row(connection)
            return HistoryPage() if row is None else await read_page(connection, self._source, row, query)

    async def _row(self, connection: AsyncConnection, *, lock: bool = False) -> Any:
        query = sa.select(stored.sources).where(_sources.identity == self._identity)
        return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()

    async def _locked(self, connection: AsyncConnection, seen: Seen) -> Any:
        """The source's row, made where there is none; nobody else has it until the end of the transaction."""
        row = await self._row(connection, lock=True)
        if row is None:
            await stored.lock(connection)
            row = await self._row(connection, lock=True)
        if row is None:
            new = {"identity": self._identity, "version": 0, "first_at": seen.taken_at, **_values_of(seen)}
            await connection.execute(sa.insert(stored.sources).values(new))
            row = await self._row(connection, lock=True)
        return row

    async def _write(self, connection: AsyncConnection, row: Any, seen: Seen, known: bool) -> tuple[Outcome, int]:
        """What became of it, and the row's version from now on. `known`: the stored schema is the one in memory."""
        if known:
            changes = await asyncio.to_thread(_differences, self._schema, seen.schema)
            await self._digest(seen.schema)
        else:
            changes = await self._compare(connection, row, seen.schema)
        await self._replace(connection, row.id, changes)
        told = [] if row.version == 0 else [change for change in changes if _is_told(change)]
        if told:
            await self._keep(connection, row, seen, told)
        version = row.version + 1 if changes or row.version == 0 else row.version
        await connection.execute(
            sa.update(stored.sources).where(_sources.id == row.id).values(version=version, **_values_of(seen))
        )
        return (Outcome.RECORDED if told else Outcome.UNCHANGED), version

    async def _compare(self, connection: AsyncConnection, row: Any, schema: Schema) -> list[_Change]:
        """By digests; what differs is read."""
        query = sa.select(_tables.schema, _tables.name, _tables.digest).where(_tables.source == row.id)
        rows = (await connection.execute(query)).all()
        differing, added = await asyncio.to_thread(self._differing, rows, schema)
        before: dict[TableName, Table] = {}
        for chunk in _chunks(differing):
            values = await connection.execute(
                sa.select(_tables.value).where(_tables.source == row.id, _is_one_of(chunk))
            )
            for table in await asyncio.to_thread(_decode_what_can_be, [text for (text,) in values], row.format):
                after = schema.tables.get(table.name)
                before[table.name] = table if after is None else completed(table, after, row.format)
        return await asyncio.to_thread(_compared, schema, differing, before, added)

    def _differing(self, rows: Sequence[Sequence[Any]], schema: Schema) -> tuple[list[TableName], list[Table]]:
        """Stored tables (schema, name, digest) that are others now or gone, and tables that are not stored."""
        old = {TableName(source=self._source, schema=row[0], name=row[1]): row[2] for row in rows}
        differing = [name for name in old if name not in schema.tables or self._digests[name][1] != old[name]]
        return differing, [table for name, table in schema.tables.items() if name not in old]

    async def _replace(self, connection: AsyncConnection, source: int, changes: Sequence[_Change]) -> None:
        for chunk in _chunks([change.name for change in changes if change.was_stored]):
            await connection.execute(sa.delete(stored.tables).where(_tables.source == source, _is_one_of(chunk)))
        for tables in _chunks([change.after for change in changes if change.after is not None]):
            texts = await asyncio.to_thread(_encode, tables)
            rows = [
                {
                    "source": source,
                    "schema": table.name.schema,
                    "name": table.name.name,
                    "digest": self._digests[table.name][1],
                    "value": text,
                }
                for table, text in zip(tables, texts, strict=True)
            ]
            await connection.execute(sa.insert(stored.tables), rows)

    async def _keep(self, connection: AsyncConnection, row: Any, seen: Seen, told: Sequence[_Change]) -> None:
        since = row.confirmed_at if row.confirmed_at < self._started_at and self._version is None else None
        for chunk in _chunks(told):
            rows = [
                {
                    "source": row.id,
                    "at": seen.taken_at,
                    "since": since,
                    "kind": str(_kind(change)),
                    "schema": change.name.schema,
                    "name": change.name.name,
                    "sentences": json.dumps(describe(change.before, change.after)),
                    "gone": _gone_of(change),
                }
                for change in chunk
            ]
            await connection.execute(sa.insert(stored.changes), rows)
        last = await connection.scalar(
            sa.select(_changes.id)
            .where(_changes.source == row.id)
            .order_by(_changes.id.desc())
            .offset(self._max_changes)
            .limit(1)
        )
        if last is not None:
            await connection.execute(sa.delete(stored.changes).where(_changes.source == row.id, _changes.id <= last))

    async def _gone(self, connection: AsyncConnection, source: int) -> tuple[Gone, ...]:
        query = (
            sa.select(_changes.schema, _changes.name, _changes.gone)
            .where(_changes.source == source, _changes.gone.is_not(None))
            .order_by(_changes.id.desc())
            .limit(MAX_GONE)
        )
        return tuple(
            Gone(
                table=TableName(source=self._source, schema=row.schema, name=row.name),
                columns=frozenset((names := json.loads(row.gone))["columns"]),
                rights=frozenset(names.get("rights", ())),
            )
            for row in await connection.execute(query)
        )

    async def _digest(self, schema: Schema) -> None:
        """Sees to it that the digest of every table is known; one that did not change keeps its own."""
        known: dict[TableName, tuple[Table, str]] = {}
        for chunk in _chunks(list(schema.tables.values())):
            known |= await asyncio.to_thread(_digested, chunk, self._digests)
        self._digests = known


def _differences(before: Schema | None, after: Schema) -> list[_Change]:
    """Of two schemas that are known, by name."""
    found = diff(before, after)
    return _in_order(
        *(_Change(name=table.name, before=None, after=table, was_stored=False) for table in found.added),
        *(_Change(name=table.name, before=table, after=None, was_stored=True) for table in found.removed),
        *(_Change(name=new.name, before=old, after=new, was_stored=True) for old, new in found.changed),
    )


def _compared(
    schema: Schema, differing: Iterable[TableName], before: Mapping[TableName, Table], added: Iterable[Table]
) -> list[_Change]:
    """Of what is stored and what was read, by name. `before`: the `differing` ones that can be read."""
    tables = schema.tables
    return _in_order(
        *(_Change(name=name, before=before.get(name), after=tables.get(name), was_stored=True) for name in differing),
        *(_Change(name=table.name, before=None, after=table, was_stored=False) for table in added),
    )


def _in_order(*changes: _Change) -> list[_Change]:
    return sorted(changes, key=lambda change: (change.name.schema, change.name.name))


def _is_newer(seen: Seen, row: Any) -> bool:
    """Whether the reading is at least as late as the stored one."""
    order = tuple(json.loads(row.instant))
    if seen.era == row.era and seen.order and order:
        return seen.order >= order
    return seen.taken_at >= float(row.taken_at)


def _is_told(change: _Change) -> bool:
    """Not where what was stored cannot be read, or reads as it is: another version of this program wrote it."""
    if change.was_stored and change.after is not None:
        return change.before is not None and change.before != change.after
    return True


def _kind(change: _Change) -> ChangeKind:
    if change.after is None:
        return ChangeKind.REMOVED
    return ChangeKind.CHANGED if change.was_stored else ChangeKind.ADDED


def _gone_of(change: _Change) -> str | None:
    """Names that are no longer there, as JSON."""
    if change.before is None:
        return json.dumps({"columns": []}) if change.after is None else None
    before = {column.name for column in change.before.columns}
    if change.after is None:
        return json.dumps({"columns": sorted(before), "rights": sorted(change.before.privileges)})
    gone = before - {column.name for column in change.after.columns}
    return json.dumps({"columns": sorted(gone)}) if gone else None


def _values_of(seen: Seen) -> Mapping[str, Any]:
    return {
        "product": seen.schema.dialect,
        "default_schema": seen.schema.default_schema,
        "format": FORMAT,
        "era": seen.era,
        "instant": json.dumps(seen.order),
        "taken_at": seen.taken_at,
        "confirmed_at": seen.taken_at,
    }


def _is_one_of(names: Iterable[TableName]) -> sa.ColumnElement[bool]:
    return sa.tuple_(_tables.schema, _tables.name).in_([(name.schema, name.name) for name in names])


def _chunks(items: Sequence[Item]) -> Iterable[Sequence[Item]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _encode(tables: Iterable[Table]) -> list[str]:
    return [dumps(table) for table in tables]


def _digested(
    tables: Iterable[Table], known: Mapping[TableName, tuple[Table, str]]
) -> dict[TableName, tuple[Table, str]]:
    digested = {}
    for table in tables:
        old = known.get(table.name)
        same = old is not None and (old[0] is table or old[0] == table)
        digested[table.name] = old if old is not None and same else (table, _hash(table))
    return digested


def _hash(table: Table) -> str:
    return blake2b(dumps(table).encode(), digest_size=16).hexdigest()


def _decode(texts: Iterable[str], source: str, row: Any) -> Schema:
    """`row`: the source's."""
    tables = {table.name: table for table in (load_table(text, row.format) for text in texts)}
    return Schema(source=source, dialect=row.product, default_schema=row.default_schema, tables=tables)


def _decode_what_can_be(texts: Iterable[str], format_: int) -> list[Table]:
    found = []
    for text in texts:
        try:
            found.append(load_table(text, format_))
        except ValueError:
            continue
    return found
