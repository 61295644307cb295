"""Reading a SQLite schema: a handful of queries over sqlite_schema and the pragma functions, in one read transaction.

Everything here is synchronous and runs in the connection's thread, building of the values included, so that the event
loop goes on. What cannot be described, because it refers to something that is gone (a view) or because its module is
not loaded (a virtual table), is left out. Only the database `main` is read.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from schema_mcp.dialects.base import Gate, Reading
from schema_mcp.dialects.queries import load
from schema_mcp.dialects.sqlite import ddl
from schema_mcp.dialects.sqlite.connection import DatabaseFile
from schema_mcp.dialects.sqlite.types import sql_type
from schema_mcp.schema.model import Column, ForeignKey, Generated, Key, Privilege, Schema, Table, TableKind, TableName
from schema_mcp.schema.select import Selection

MAIN = "main"

_QUERIES = load("schema_mcp.dialects.sqlite", "catalog.sql")
_KINDS = {"table": TableKind.TABLE, "view": TableKind.VIEW, "virtual": TableKind.VIRTUAL}
_DEFINITIONS: Mapping[TableKind, Callable[[str], ddl.Definition]] = {
    TableKind.TABLE: ddl.read_table,
    TableKind.VIEW: ddl.read_view,
    TableKind.VIRTUAL: lambda sql: ddl.NOTHING,
}
_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_HIDDEN, _GENERATED = 1, (2, 3)
_READS = frozenset({Privilege.SELECT})
_READS_AND_TAKES_ROWS = frozenset(Privilege)

#: cid, name, type, notnull, default, place in the primary key or 0, hidden.
_ColumnRow: TypeAlias = tuple[int, str, str, int, str | None, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relation:
    """One row of the query `relations`, its definition and the rows of the other queries about it, in order."""

    name: str
    kind: TableKind
    without_rowid: bool
    strict: bool
    sql: str
    takes_rows: bool
    columns: Sequence[_ColumnRow]
    #: id, seq, from, table, to.
    foreign_keys: Sequence[tuple[int, int, str, str, str | None]]
    #: seq, name, origin, seqno, column.
    unique_indexes: Sequence[tuple[int, str, str, int, str | None]]

    @property
    def primary_key(self) -> tuple[str, ...]:
        return tuple(row[1] for row in sorted(self.columns, key=lambda row: row[5]) if row[5])


def gate(connection: sqlite3.Connection, file: DatabaseFile) -> Gate:
    """The file that is at the path now, and the counter in the file that is open.

    Raises: DatabaseFileError, sqlite3.Error.
    """
    return Gate(file.identity(), _schema_version(connection))


def read(
    connection: sqlite3.Connection, file: DatabaseFile, identity: str, source: str, selection: Selection
) -> Reading:
    """The selected relations. `identity`: the file that this connection has open, which must still be at its path.

    Raises: DatabaseFileError, sqlite3.Error.
    """
    with _one_snapshot(connection):
        gate_then = Gate(identity, _schema_version(connection), era=identity)
        relations = {relation.name: relation for relation in _relations(connection)}
    file.require(identity)
    tables = {table.name: table for table in _Builder(source=source, relations=relations).tables(selection)}
    schema = Schema(source=source, dialect="sqlite", default_schema=MAIN, tables=tables)
    return Reading(gate=gate_then, schema=schema)


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
    (version,) = connection.execute(_QUERIES["schema_version"].sql).fetchone()
    return str(version)


def _relations(connection: sqlite3.Connection) -> Iterator[_Relation]:
    texts: dict[str, str] = {}
    take_rows: set[str] = set()
    for type_, name, of, sql in connection.execute(_QUERIES["definitions"].sql):
        if type_ != "trigger":
            texts[name] = sql or ""
        elif ddl.takes_rows(sql or ""):
            take_rows.add(ddl.folded(of))
    described = connection.execute(_QUERIES["relations"].sql).fetchall()
    columns = _grouped(connection.execute(_QUERIES["table_columns"].sql))
    for kind, query in (("view", "view_columns"), ("virtual", "virtual_columns")):
        columns |= _columns_of_some(connection, query, [row[0] for row in described if row[1] == kind])
    foreign_keys = _grouped(connection.execute(_QUERIES["foreign_keys"].sql))
    unique_indexes = _grouped(connection.execute(_QUERIES["unique_indexes"].sql))
    for name, kind, without_rowid, strict in described:
        if name in columns and name in texts:
            yield _Relation(
                name=name,
                kind=_KINDS[kind],
                without_rowid=bool(without_rowid),
                strict=bool(strict),
                sql=texts[name],
                takes_rows=kind != "view" or ddl.folded(name) in take_rows,
                columns=sorted(row for row in columns[name] if row[6] != _HIDDEN),
                foreign_keys=sorted(foreign_keys.get(name, ()), key=lambda row: (-row[0], row[1])),
                unique_indexes=sorted(unique_indexes.get(name, ()), key=lambda row: (-row[0], row[3])),
            )


def _columns_of_some(connection: sqlite3.Connection, query: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """All at once; where that fails, one by one without those that fail."""
    if not names:
        return {}
    with suppress(sqlite3.OperationalError):
        return _grouped(connection.execute(_QUERIES[query].sql))
    found: dict[str, list[Any]] = {}
    for name in names:
        try:
            found |= _grouped(connection.execute(_QUERIES["columns_of"].sql, (name,)))
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
    return found


def _grouped(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """By the first value, which is left out."""
    groups: defaultdict[str, list[Any]] = defaultdict(list)
    for name, *values in rows:
        groups[name].append(tuple(values))
    return dict(groups)


class _Builder:
    """Makes tables of relations. Names in a foreign key are matched as SQLite does: ASCII case does not count."""

    def __init__(self, *, source: str, relations: Mapping[str, _Relation]) -> None:
        self._source = source
        self._relations = relations
        self._by_folded_name = {ddl.folded(name): relation for name, relation in relations.items()}

    def tables(self, selection: Selection) -> Iterator[Table]:
        if selection.schemas and MAIN not in selection.schemas:
            return
        for relation in self._relations.values():
            if selection.takes(MAIN, relation.name):
                yield self._table(relation)

    def _table(self, relation: _Relation) -> Table:
        said = _DEFINITIONS[relation.kind](relation.sql)
        privileges = _READS_AND_TAKES_ROWS if relation.takes_rows else _READS
        alias = _rowid_alias(relation)
        primary_key, uniques = relation.primary_key, _uniques(relation)
        return Table(
            name=self._name(relation.name),
            kind=relation.kind,
            columns=tuple(
                _column(row, position, relation.strict, row[1] == alias, said, privileges)
                for position, row in enumerate(relation.columns, start=1)
            ),
            primary_key=Key(name=None, columns=primary_key) if primary_key else None,
            uniques=uniques,
            foreign_keys=tuple(self._foreign_keys(relation)),
            checks=said.checks,
            comment=said.comment,
            privileges=privileges,
            row_identity=_row_identity(relation),
        )

    def _foreign_keys(self, relation: _Relation) -> Iterator[ForeignKey]:
        keys: defaultdict[int, list[tuple[str, str, str | None]]] = defaultdict(list)
        for number, _, column, target_name, target_column in relation.foreign_keys:
            keys[number].append((column, target_name, target_column))
        for parts in keys.values():
            target = self._by_folded_name.get(ddl.folded(parts[0][1]))
            if target is None:
                continue  # SQLite takes a key to a table that is not there, and then no row but nulls
            named = tuple(_named(target, to) for _, _, to in parts if to is not None)
            columns, target_columns = tuple(column for column, _, _ in parts), named or target.primary_key
            if len(columns) == len(target_columns):
                yield ForeignKey(
                    name=None, columns=columns, target=self._name(target.name), target_columns=target_columns
                )

    def _name(self, name: str) -> TableName:
        return TableName(source=self._source, schema=MAIN, name=name)


def _named(relation: _Relation, column: str) -> str:
    """The column as the relation spells it."""
    names = [row[1] for row in relation.columns]
    if column in names:
        return column
    return next((name for name in names if ddl.folded(name) == ddl.folded(column)), column)


def _column(
    row: _ColumnRow,
    position: int,
    strict: bool,
    is_rowid: bool,
    said: ddl.Definition,
    privileges: frozenset[Privilege],
) -> Column:
    _, name, declared, not_null, default, _, hidden = row
    generated = Generated.NO
    if hidden in _GENERATED:
        generated = Generated.EXPRESSION
    elif is_rowid:
        generated = Generated.IDENTITY_DEFAULT
    return Column(
        name=name,
        position=position,
        type=sql_type(declared, strict=strict),
        nullable=not (not_null or is_rowid),
        default=default if default is not None and default.upper() != "NULL" else None,
        generated=generated,
        comment=said.columns.get(ddl.folded(name)) if said.columns else None,
        privileges=privileges,
    )


def _rowid_alias(relation: _Relation) -> str | None:
    """The column that is the rowid (sqlite.org/lang_createtable.html#rowid).

    A key that has an index of its own is none: that tells `INTEGER PRIMARY KEY DESC` and WITHOUT ROWID tables.
    """
    keys = [row for row in relation.columns if row[5]]
    if relation.kind is not TableKind.TABLE or len(keys) != 1 or keys[0][2].upper() != "INTEGER":
        return None
    return None if any(row[2] == "pk" for row in relation.unique_indexes) else keys[0][1]


def _uniques(relation: _Relation) -> tuple[Key, ...]:
    """In the order in which they were made. Constraints have no name that SQLite tells."""
    indexes: defaultdict[tuple[str, str], list[str | None]] = defaultdict(list)
    for _, name, origin, _, column in relation.unique_indexes:
        if origin != "pk":
            indexes[name, origin].append(column)
    return tuple(
        Key(name=name if origin == "c" else None, columns=tuple(column for column in columns if column is not None))
        for (name, origin), columns in indexes.items()
        if None not in columns
    )


def _row_identity(relation: _Relation) -> tuple[str, ...]:
    if relation.kind is TableKind.VIEW or relation.without_rowid:
        return ()
    taken = {row[1].lower() for row in relation.columns}
    return next(((name,) for name in _ROWID_NAMES if name not in taken), ())
