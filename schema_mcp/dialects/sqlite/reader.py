"""Reading a SQLite schema: what `relations` finds in one read transaction, as the values of the model.

A table is made anew only where something that it depends on has changed since the reading before.

Everything here is synchronous and runs in the connection's thread, building of the values included, so that the event
loop goes on.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from schema_mcp.dialects.base import Gate, Reading
from schema_mcp.dialects.sqlite import ddl
from schema_mcp.dialects.sqlite.connection import DatabaseFile
from schema_mcp.dialects.sqlite.relations import (
    QUERIES,
    ColumnRow,
    IndexRow,
    Relation,
    Relations,
    read_relations,
    row_counts,
)
from schema_mcp.dialects.sqlite.types import sql_type
from schema_mcp.schema.fingerprint import identity
from schema_mcp.schema.hide import visible
from schema_mcp.schema.model import (
    Column,
    ForeignKey,
    Generated,
    Index,
    IndexPart,
    Key,
    Privilege,
    Schema,
    Table,
    TableKind,
    TableName,
)
from schema_mcp.schema.select import Selection

MAIN = "main"
IDENTITY = QUERIES["identity"].sql

_DEFINITIONS: Mapping[TableKind, Callable[[str], ddl.Definition]] = {
    TableKind.TABLE: ddl.read_table,
    TableKind.VIEW: ddl.read_view,
    TableKind.VIRTUAL: lambda sql: ddl.NOTHING,
}
_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_GENERATED = (2, 3)
_READS = frozenset({Privilege.SELECT})
_READS_AND_TAKES_ROWS = frozenset(Privilege)


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
        return Reading(gate=gate, schema=previous.schema, row_estimates=estimates, fresh=frozenset(), mark=before)
    known = previous.schema.tables if previous is not None else {}
    builder = _Builder(source=source, relations=relations.by_name, before=before, known=known)
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
    return Reading(gate=gate, schema=schema, row_estimates=estimates, fresh=frozenset(), mark=mark)


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


class _Builder:
    """Makes tables of relations. Names in a foreign key are matched as SQLite does: ASCII case does not count.

    A table is made anew where its relation is another than `before`, or that of a name its foreign keys refer to.
    """

    def __init__(
        self,
        *,
        source: str,
        relations: Mapping[str, Relation],
        before: _Mark | None,
        known: Mapping[TableName, Table],
    ) -> None:
        self._source = source
        self._relations = relations
        self._equal = known
        self._known = before.tables if before is not None else {}
        self._known_relations = before.relations.by_name if before is not None else {}
        self._by_folded_name = {ddl.folded(name): relation for name, relation in relations.items()}
        self._changed = {
            ddl.folded(name)
            for name in (*relations, *self._known_relations)
            if relations.get(name) is not self._known_relations.get(name)
        }
        self._columns: dict[tuple[Any, ...], Column] = {}

    def tables(self, selection: Selection) -> Iterator[tuple[str, Table]]:
        """By their plain names."""
        if selection.schemas and MAIN not in selection.schemas:
            return
        for name, relation in self._relations.items():
            known = self._known.get(name)
            if self._stands(relation):
                if known is not None:
                    yield name, known
            elif selection.takes(MAIN, name):
                table = visible(self._table(relation), selection)
                if not table.privileges:
                    continue
                known = self._equal.get(table.name)
                same = known is not None and known == table and known.identity == table.identity
                yield name, known if same and known is not None else table

    def _stands(self, relation: Relation) -> bool:
        return self._known_relations.get(relation.name) is relation and relation.targets.isdisjoint(self._changed)

    def _table(self, relation: Relation) -> Table:
        said = _DEFINITIONS[relation.kind](relation.sql)
        privileges = _READS_AND_TAKES_ROWS if relation.takes_rows else _READS
        alias = _rowid_alias(relation)
        primary_key = relation.primary_key if _tells_rows_apart(relation, said) else ()
        return Table(
            name=self._name(relation.name),
            kind=relation.kind,
            columns=tuple(
                self._column(row, position, relation.strict, row[1] == alias, said, privileges)
                for position, row in enumerate(relation.columns, start=1)
            ),
            primary_key=Key(name=None, columns=primary_key) if primary_key else None,
            uniques=_uniques(relation, said),
            foreign_keys=tuple(self._foreign_keys(relation)),
            checks=said.checks,
            indexes=_indexes(relation),
            comment=said.comment,
            privileges=privileges,
            row_identity=_row_identity(relation),
            # RETURNING tells what was sent to a view's trigger or a module (sqlite.org/lang_returning.html section 3).
            returns_rows=relation.kind is TableKind.TABLE,
            identity=identity(relation.identity),
        )

    def _foreign_keys(self, relation: Relation) -> Iterator[ForeignKey]:
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

    def _column(
        self,
        row: ColumnRow,
        position: int,
        strict: bool,
        is_rowid: bool,
        said: ddl.Definition,
        privileges: frozenset[Privilege],
    ) -> Column:
        """Equal columns are one object: many tables have the same ones, and to make one is the dear part."""
        comment = said.columns.get(ddl.folded(row[1])) if said.columns else None
        key = (position, strict, is_rowid, comment, privileges, *row[1:])
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = _column(row, position, strict, is_rowid, comment, privileges)
        return column

    def _name(self, name: str) -> TableName:
        return TableName(source=self._source, schema=MAIN, name=name)


def _column(
    row: ColumnRow,
    position: int,
    strict: bool,
    is_rowid: bool,
    comment: str | None,
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
        comment=comment,
        privileges=privileges,
    )


def _named(relation: Relation, column: str) -> str:
    """The column as the relation spells it."""
    names = [row[1] for row in relation.columns]
    if column in names:
        return column
    return next((name for name in names if ddl.folded(name) == ddl.folded(column)), column)


def _rowid_alias(relation: Relation) -> str | None:
    """The column that is the rowid (sqlite.org/lang_createtable.html#rowid).

    A key that has an index of its own is none: that tells `INTEGER PRIMARY KEY DESC` and WITHOUT ROWID tables.
    """
    keys = [row for row in relation.columns if row[5]]
    if relation.kind is not TableKind.TABLE or len(keys) != 1 or keys[0][2].upper() != "INTEGER":
        return None
    return None if any(row[2] == "pk" for row in relation.unique_indexes) else keys[0][1]


def _tells_rows_apart(relation: Relation, said: ddl.Definition) -> bool:
    """Whether rows that differ in the primary key also differ to whoever compares its columns.

    `PRIMARY KEY (name COLLATE BINARY)` lets in 'a' and 'A', which are the same to a column that is COLLATE NOCASE.
    """
    return all(
        column is None or said.collation(column) in ("BINARY", collation.upper())
        for _, _, origin, _, column, collation in relation.unique_indexes
        if origin == "pk"
    )


def _uniques(relation: Relation, said: ddl.Definition) -> tuple[Key, ...]:
    """In the order in which they were made. Constraints have no name that SQLite tells.

    A key by another collation than its column's is one over expressions: statements that compare the column do not
    mean it.
    """
    indexes: defaultdict[tuple[str, str], list[str | None]] = defaultdict(list)
    for _, name, origin, _, column, collation in relation.unique_indexes:
        if origin != "pk":
            plain = column is not None and said.collation(column) == collation.upper()
            indexes[name, origin].append(column if plain else None)
    return tuple(
        Key(name=name if origin == "c" else None, columns=tuple(column for column in columns if column is not None))
        for (name, origin), columns in indexes.items()
        if None not in columns
    )


def _indexes(relation: Relation) -> tuple[Index, ...]:
    """By name. Only the text tells what an expression is, and which rows are in a partial index."""
    grouped: defaultdict[str, list[IndexRow]] = defaultdict(list)
    for row in relation.indexes:
        grouped[row[0]].append(row)
    made = []
    for name, rows in grouped.items():
        text = relation.index_texts.get(name)
        expressions, predicate = ddl.read_index(text) if text else ((), None)
        parts = [
            IndexPart(
                column=column,
                expression=expressions[place] if column is None and place < len(expressions) else None,
                descending=bool(descending),
            )
            for place, (_, _, _, _, column, descending) in enumerate(rows)
        ]
        unique, partial = rows[0][1:3]
        made.append(Index(name=name, parts=tuple(parts), unique=bool(unique), predicate=predicate if partial else None))
    return tuple(made)


def _row_identity(relation: Relation) -> tuple[str, ...]:
    if relation.kind is TableKind.VIEW or relation.without_rowid:
        return ()
    taken = {row[1].lower() for row in relation.columns}
    return next(((name,) for name in _ROWID_NAMES if name not in taken), ())
