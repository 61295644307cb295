"""Reading a SQLite schema: what `relations` finds in one read transaction, as the values of the model.

A table is made anew only where something that it depends on has changed since the reading before.

Everything here is synchronous and runs in the connection's thread, building of the values included, so that the event
loop goes on.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from schema_mcp.dialects.base import Gate, Reading
from schema_mcp.dialects.sqlite.build import MAIN, Builder
from schema_mcp.dialects.sqlite.connection import DatabaseFile
from schema_mcp.dialects.sqlite.relations import QUERIES, Relations, read_relations, row_counts
from schema_mcp.schema.model import Schema, Table, TableName
from schema_mcp.schema.select import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """What a reading leaves for the next one of the same file, source and selection. Knows no connection."""

    identity: str
    source: str
    selection: Selection
    relations: Relations
    #: Those that are selected, by their plain names.
    tables: Mapping[str, Table]


def gate(connection: sqlite3.Connection, file: DatabaseFile) -> Gate:
    """The file that is at the path now, and the counter in the file that is open.

    Raises: DatabaseFileError, sqlite3.Error.
    """
    return Gate(file.identity(), _schema_version(connection))


def read(
    connection: sqlite3.Connection,
    file: DatabaseFile,
    identity: str,
    source: str,
    selection: Selection,
    previous: Reading | None,
) -> Reading:
    """The selected relations. `identity`: the file that this connection has open, which must still be at its path.

    A `previous` reading of another file, source or selection is as good as none. One without a mark only saves making
    equal tables twice. Nothing is told to be `fresh`: what one snapshot holds was not changed in mid-read.

    Raises: DatabaseFileError, sqlite3.Error.
    """
    before = _before(previous, identity, source, selection)
    with _one_snapshot(connection):
        gate = Gate(identity, _schema_version(connection), era=identity)
        relations = read_relations(connection, before.relations if before is not None else None)
        counts = row_counts(connection, relations)
    file.require(identity)
    if before is not None and previous is not None and relations is before.relations:
        estimates = _estimates(previous.schema.tables, counts)
        return replace(previous, gate=gate, row_estimates=estimates, mark=before)
    known = previous.schema.tables if previous is not None else {}
    builder = Builder(
        source=source,
        relations=relations.by_name,
        before=(before.relations.by_name, before.tables) if before is not None else ({}, {}),
        known=known,
    )
    tables = dict(builder.tables(selection))
    mark = _Mark(identity=identity, source=source, selection=selection, relations=relations, tables=tables)
    schema = Schema(
        source=source,
        dialect="sqlite",
        default_schema=MAIN,
        tables={table.name: table for _, table in sorted(tables.items())},
    )
    if previous is not None and _same_objects(previous.schema, schema):
        schema = previous.schema
    estimates = _estimates(schema.tables, counts)
    left_out = sorted(name for name in relations.described.keys() - tables if selection.takes(MAIN, name))
    return Reading(
        gate=gate,
        schema=schema,
        row_estimates=estimates,
        left_out=tuple(left_out),
        fresh=frozenset(),
        mark=mark,
    )


def _estimates(tables: Mapping[TableName, Table], counts: Mapping[str, int]) -> dict[TableName, int]:
    return {name: counts[name.name] for name in tables if name.name in counts}


def _same_objects(before: Schema, after: Schema) -> bool:
    return (
        before.source == after.source
        and len(before.tables) == len(after.tables)
        and all(before.tables.get(name) is table for name, table in after.tables.items())
    )


def _before(previous: Reading | None, identity: str, source: str, selection: Selection) -> _Mark | None:
    mark = previous.mark if previous is not None else None
    if not isinstance(mark, _Mark) or (mark.identity, mark.source, mark.selection) != (identity, source, selection):
        return None
    return mark


@contextmanager
def _one_snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        for _ in range(3):  # the interrupt of a cancelled reading may hit this statement too
            if connection.in_transaction:
                with suppress(sqlite3.OperationalError):
                    connection.execute("ROLLBACK")


def _schema_version(connection: sqlite3.Connection) -> str:
    (version,) = connection.execute(QUERIES["schema_version"].sql).fetchone()
    return str(version)
