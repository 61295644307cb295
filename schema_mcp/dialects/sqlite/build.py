"""The tables of the model, made of what `relations` finds. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from schema_mcp.dialects.sqlite import ddl
from schema_mcp.dialects.sqlite.relations import ColumnRow, IndexRow, Relation
from schema_mcp.dialects.sqlite.types import sql_type
from schema_mcp.schema.fingerprint import identity
from schema_mcp.schema.hide import visible
from schema_mcp.schema.model import (
    OF_COLUMNS,
    Column,
    ForeignKey,
    Generated,
    Index,
    IndexPart,
    Key,
    Privilege,
    Table,
    TableKind,
    TableName,
)
from schema_mcp.schema.select import Selection

#: The database that is read, as a schema.
MAIN = "main"

_DEFINITIONS: Mapping[TableKind, Callable[[str], ddl.Definition]] = {
    TableKind.TABLE: ddl.read_table,
    TableKind.VIEW: ddl.read_view,
    TableKind.VIRTUAL: lambda sql: ddl.NOTHING,
}
_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_GENERATED = (2, 3)


class Builder:
    """Makes tables of relations. Names in a foreign key are matched as SQLite does: ASCII case does not count.

    A table is made anew where its relation is another than `before`, or that of a name its foreign keys refer to.
    `before`: the relations and the selected tables of the reading before, by their plain names. `known`: tables that
    stand for equal ones.
    """

    def __init__(
        self,
        *,
        source: str,
        relations: Mapping[str, Relation],
        before: tuple[Mapping[str, Relation], Mapping[str, Table]],
        known: Mapping[TableName, Table],
    ) -> None:
        self._source = source
        self._relations = relations
        self._equal = known
        self._known_relations, self._known = before
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
        alias = _rowid_alias(relation)
        primary_key = relation.primary_key if _tells_rows_apart(relation, said) else ()
        return Table(
            name=self._name(relation.name),
            kind=relation.kind,
            columns=tuple(
                self._column(row, position, relation.strict, row[1] == alias, said, _of_column(relation, row[1]))
                for position, row in enumerate(relation.columns, start=1)
            ),
            primary_key=Key(name=None, columns=primary_key) if primary_key else None,
            uniques=_uniques(relation, said),
            foreign_keys=tuple(self._foreign_keys(relation)),
            checks=said.checks,
            indexes=_indexes(relation),
            comment=said.comment,
            privileges=frozenset({Privilege.SELECT, *(taken.privilege for taken in relation.takes)}),
            row_identity=_row_identity(relation),
            # RETURNING tells what was sent to a view's trigger or a module (sqlite.org/lang_returning.html section 3).
            returns_rows=relation.kind is TableKind.TABLE,
            returns_changes=relation.kind is TableKind.TABLE,
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


@lru_cache(maxsize=1000)
def _privileges(takes: frozenset[ddl.Instead], column: str) -> frozenset[Privilege]:
    taken = {one.privilege for one in takes if one.columns is None or ddl.folded(column) in one.columns}
    return OF_COLUMNS & {Privilege.SELECT, *taken}


def _of_column(relation: Relation, column: str) -> frozenset[Privilege]:
    return _privileges(relation.takes, column) if relation.kind is TableKind.VIEW else OF_COLUMNS


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
