"""Reading a SQLite schema: a handful of queries over sqlite_schema and the pragma functions, in one read transaction.

The texts of sqlite_schema are read each time, because they tell what has changed: SQLite writes all that a table, its
indexes and its triggers are into them. The pragma functions are asked only about relations whose text is another than
at the reading before, and about all views and virtual tables once anything has changed, for they may show other tables'
columns. What did not change stays the same objects.

Everything here is synchronous and runs in the connection's thread, building of the values included, so that the event
loop goes on. What cannot be described, because it refers to something that is gone (a view) or because its module is
not loaded (a virtual table), is left out. Only the database `main` is read.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from schema_mcp.dialects.base import Gate, Reading
from schema_mcp.dialects.queries import load
from schema_mcp.dialects.sqlite import ddl
from schema_mcp.dialects.sqlite.connection import DatabaseFile
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

_QUERIES = load("schema_mcp.dialects.sqlite", "catalog.sql")
IDENTITY = _QUERIES["identity"].sql
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
#: name, unique, partial, seqno, column, descending.
_IndexRow: TypeAlias = tuple[str, int, int, int, str | None, int]


class _Said(NamedTuple):
    """What sqlite_schema says of a table or view. Where it is equal twice, the relation is (but for views: see above).

    `root`: the page where its rows begin, which a new name does not change (VACUUM does); 0 of a view. `indexes`:
    (name, text) of its indexes, in the order in which they were made. `takes_rows`: a trigger lets a view.
    """

    sql: str
    root: int
    indexes: tuple[tuple[str, str | None], ...]
    takes_rows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relation:
    """One row of the query `relations`, its definition and the rows of the other queries about it, in order."""

    name: str
    kind: TableKind
    without_rowid: bool
    strict: bool
    sql: str
    root: int
    takes_rows: bool
    columns: Sequence[_ColumnRow]
    #: id, seq, from, table, to.
    foreign_keys: Sequence[tuple[int, int, str, str, str | None]]
    #: seq, name, origin, seqno, column.
    unique_indexes: Sequence[tuple[int, str, str, int, str | None]]
    indexes: Sequence[_IndexRow]
    #: What the indexes were made with, by their names; None of a constraint's.
    index_texts: Mapping[str, str | None]

    @property
    def primary_key(self) -> tuple[str, ...]:
        return tuple(row[1] for row in sorted(self.columns, key=lambda row: row[5]) if row[5])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """What a reading leaves for the next one: all that was read, by the relations' names. Knows no connection."""

    identity: str
    source: str
    selection: Selection
    said: Mapping[str, _Said]
    #: name, kind, without_rowid, strict.
    described: Mapping[str, tuple[str, str, int, int]]
    relations: Mapping[str, _Relation]
    #: Those that are selected.
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

    A `previous` reading of another file, source or selection is as good as none.

    Raises: DatabaseFileError, sqlite3.Error.
    """
    before = _before(previous, identity, source, selection)
    with _one_snapshot(connection):
        version = _schema_version(connection)
        said = _texts(connection)
        described = {row[0]: row for row in connection.execute(_QUERIES["relations"].sql) if row[0] in said}
        same = before is not None and (before.said, before.described) == (said, described)
        relations = {} if same else _relations(connection, said, described, before)
        counts = _row_counts(connection, said)
    file.require(identity)
    gate = Gate(identity, version)
    if same and previous is not None:
        estimates = {name: counts[name.name] for name in previous.schema.tables if name.name in counts}
        return Reading(gate=gate, schema=previous.schema, mark=before, row_estimates=estimates)
    tables = dict(_Builder(source=source, relations=relations, before=before).tables(selection))
    return Reading(
        gate=gate,
        schema=Schema(
            source=source,
            dialect="sqlite",
            default_schema=MAIN,
            tables={table.name: table for _, table in sorted(tables.items())},
        ),
        row_estimates={table.name: counts[name] for name, table in tables.items() if name in counts},
        mark=_Mark(
            identity=identity,
            source=source,
            selection=selection,
            said=said,
            described=described,
            relations=relations,
            tables=tables,
        ),
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
    (version,) = connection.execute(_QUERIES["schema_version"].sql).fetchone()
    return str(version)


def _texts(connection: sqlite3.Connection) -> dict[str, _Said]:
    texts: dict[str, tuple[str, int]] = {}
    indexes: defaultdict[str, list[tuple[str, str | None]]] = defaultdict(list)
    take_rows: set[str] = set()
    for type_, name, of, sql, root in connection.execute(_QUERIES["definitions"].sql):
        match type_:
            case "table" | "view":
                texts[name] = sql or "", root
            case "index":
                indexes[of].append((name, sql))
            case "trigger" if ddl.takes_rows(sql or ""):
                take_rows.add(ddl.folded(of))
    return {
        name: _Said(sql, root, tuple(indexes.get(name, ())), bool(take_rows) and ddl.folded(name) in take_rows)
        for name, (sql, root) in texts.items()
    }


def _relations(
    connection: sqlite3.Connection,
    said: Mapping[str, _Said],
    described: Mapping[str, tuple[str, str, int, int]],
    before: _Mark | None,
) -> dict[str, _Relation]:
    """Those that can be described. One that is as it was `before` is the same object."""
    kept = {
        name: relation
        for name, relation in (before.relations if before is not None else {}).items()
        if relation.kind is TableKind.TABLE
        and before is not None
        and (said.get(name), described.get(name)) == (before.said[name], before.described[name])
    }
    asked: defaultdict[str, list[str]] = defaultdict(list)
    for name, (_, kind, _, _) in described.items():
        if name not in kept:
            asked[kind].append(name)
    columns: dict[str, list[_ColumnRow]] = {}
    for names in asked.values():
        columns |= _columns(connection, names)
    foreign_keys = _asked(connection, "foreign_keys", asked["table"])
    unique_indexes = _asked(connection, "unique_indexes", asked["table"])
    indexes = _asked(connection, "indexes", asked["table"])
    relations: dict[str, _Relation] = {}
    for name, (_, kind, without_rowid, strict) in described.items():
        if name in kept:
            relations[name] = kept[name]
        elif name in columns:
            relation = _Relation(
                name=name,
                kind=_KINDS[kind],
                without_rowid=bool(without_rowid),
                strict=bool(strict),
                sql=said[name].sql,
                root=said[name].root,
                takes_rows=kind != "view" or said[name].takes_rows,
                columns=sorted(row for row in columns[name] if row[6] != _HIDDEN),
                foreign_keys=sorted(foreign_keys.get(name, ()), key=lambda row: (-row[0], row[1])),
                unique_indexes=sorted(unique_indexes.get(name, ()), key=lambda row: (-row[0], row[3])),
                indexes=sorted(indexes.get(name, ()), key=lambda row: (row[0], row[3])),
                index_texts=dict(said[name].indexes),
            )
            old = before.relations.get(name) if before is not None else None
            relations[name] = old if old is not None and old == relation else relation
    return relations


def _row_counts(connection: sqlite3.Connection, said: Mapping[str, _Said]) -> Mapping[str, int]:
    """What ANALYZE counted, where it was run; a partial index holds a part of the rows only."""
    if connection.execute(_QUERIES["has_statistics"].sql).fetchone() is None:
        return {}
    texts = {index: text for one in said.values() for index, text in one.indexes if text}
    counts: dict[str, int] = {}
    for table, index, statistics in connection.execute(_QUERIES["statistics"].sql):
        first = str(statistics).partition(" ")[0]
        if first.isdecimal() and (index not in texts or ddl.read_index(texts[index])[1] is None):
            counts[table] = int(first)
    return counts


def _columns(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, list[_ColumnRow]]:
    """All at once; where that fails, in halves, until those that fail stand alone and are left out."""
    try:
        return _asked(connection, "columns", names)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
    middle = len(names) // 2
    return _columns(connection, names[:middle]) | _columns(connection, names[middle:]) if middle else {}


def _asked(connection: sqlite3.Connection, query: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """The rows of the query about these relations, by their names, which are left out of the rows."""
    groups: defaultdict[str, list[Any]] = defaultdict(list)
    if names:
        for row in connection.execute(_QUERIES[query].sql, (json.dumps(names),)):
            groups[row[0]].append(row[1:])
    return dict(groups)


class _Builder:
    """Makes tables of relations. Names in a foreign key are matched as SQLite does: ASCII case does not count.

    A table is made anew where its relation is another than `before`, or that of a name its foreign keys refer to.
    """

    def __init__(self, *, source: str, relations: Mapping[str, _Relation], before: _Mark | None) -> None:
        self._source = source
        self._relations = relations
        self._known = before.tables if before is not None else {}
        self._known_relations = before.relations if before is not None else {}
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
                same = known is not None and known == table and known.identity == table.identity
                yield name, known if same and known is not None else table

    def _stands(self, relation: _Relation) -> bool:
        return self._known_relations.get(relation.name) is relation and not any(
            ddl.folded(target) in self._changed for _, _, _, target, _ in relation.foreign_keys
        )

    def _table(self, relation: _Relation) -> Table:
        said = _DEFINITIONS[relation.kind](relation.sql)
        privileges = _READS_AND_TAKES_ROWS if relation.takes_rows else _READS
        alias = _rowid_alias(relation)
        primary_key, uniques = relation.primary_key, _uniques(relation)
        return Table(
            name=self._name(relation.name),
            kind=relation.kind,
            columns=tuple(
                self._column(row, position, relation.strict, row[1] == alias, said, privileges)
                for position, row in enumerate(relation.columns, start=1)
            ),
            primary_key=Key(name=None, columns=primary_key) if primary_key else None,
            uniques=uniques,
            foreign_keys=tuple(self._foreign_keys(relation)),
            checks=said.checks,
            indexes=_indexes(relation),
            comment=said.comment,
            privileges=privileges,
            row_identity=_row_identity(relation),
            identity=identity(f"{relation.root} {relation.sql}"),
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

    def _column(
        self,
        row: _ColumnRow,
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
    row: _ColumnRow,
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


def _named(relation: _Relation, column: str) -> str:
    """The column as the relation spells it."""
    names = [row[1] for row in relation.columns]
    if column in names:
        return column
    return next((name for name in names if ddl.folded(name) == ddl.folded(column)), column)


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


def _indexes(relation: _Relation) -> tuple[Index, ...]:
    """By name. Only the text tells what an expression is, and which rows are in a partial index."""
    grouped: defaultdict[str, list[_IndexRow]] = defaultdict(list)
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


def _row_identity(relation: _Relation) -> tuple[str, ...]:
    if relation.kind is TableKind.VIEW or relation.without_rowid:
        return ()
    taken = {row[1].lower() for row in relation.columns}
    return next(((name,) for name in _ROWID_NAMES if name not in taken), ())
