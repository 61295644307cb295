"""What SQLite tells of each relation: raw rows of the pragma functions, asked for what changed and kept for the rest.

The texts of sqlite_schema are read each time, because they tell what has changed: SQLite writes all that a table, its
indexes and its triggers are into them. The pragma functions are asked only about relations whose text is another than
at the reading before, and about all views and virtual tables once anything has changed, for they may show other tables'
columns. What did not change stays the same objects.

What cannot be described, because it refers to something that is gone (a view) or because its module is not loaded (a
virtual table), is left out; and so is what no statement can name, because its name or a column's is not UTF-8. Only the
database `main` is read.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from schema_mcp.dialects.queries import load
from schema_mcp.dialects.sqlite import ddl
from schema_mcp.dialects.sqlite.tagged import Undecodable, decode
from schema_mcp.schema.model import Privilege, TableKind

QUERIES = load("schema_mcp.dialects.sqlite", "catalog.sql")

_KINDS = {"table": TableKind.TABLE, "view": TableKind.VIEW, "virtual": TableKind.VIRTUAL}
_HIDDEN = 1
_NOTHING: frozenset[ddl.Instead] = frozenset()
#: Of a table, and of a virtual one as far as its module takes it.
_EVERYTHING = frozenset(map(ddl.Instead, (Privilege.INSERT, Privilege.UPDATE, Privilege.DELETE)))

#: cid, name, type, notnull, default, place in the primary key or 0, hidden.
ColumnRow: TypeAlias = tuple[int, str, str, int, str | None, int, int]
#: name, unique, partial, seqno, column, descending.
IndexRow: TypeAlias = tuple[str, int, int, int, str | None, int]
#: name, kind, without_rowid, strict.
_Description: TypeAlias = tuple[str, str, int, int]


class _Said(NamedTuple):
    """What sqlite_schema says of a table or view. Where it is equal twice, the relation is (but for views: see above).

    `root`: the page where its rows begin, which a new name does not change (VACUUM does); 0 of a view. `indexes`:
    (name, text) of its indexes, in the order in which they were made. `instead`: what triggers let a view take.
    """

    sql: str
    root: int
    indexes: tuple[tuple[str, str | None], ...]
    instead: frozenset[ddl.Instead]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One row of the query `relations`, its definition and the rows of the other queries about it, in order."""

    name: str
    kind: TableKind
    without_rowid: bool
    strict: bool
    sql: str
    #: What the query of that name answers about it.
    identity: str
    #: What it takes besides SELECT.
    takes: frozenset[ddl.Instead]
    columns: Sequence[ColumnRow]
    #: id, seq, from, table, to.
    foreign_keys: Sequence[tuple[int, int, str, str, str | None]]
    #: seq, name, origin, seqno, column, collation.
    unique_indexes: Sequence[tuple[int, str, str, int, str | None, str]]
    indexes: Sequence[IndexRow]
    #: What the indexes were made with, by their names; None of a constraint's.
    index_texts: Mapping[str, str | None]
    #: Names that the foreign keys refer to, folded.
    targets: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        targets = frozenset(ddl.folded(target) for _, _, _, target, _ in self.foreign_keys)
        object.__setattr__(self, "targets", targets)

    @property
    def primary_key(self) -> tuple[str, ...]:
        return tuple(row[1] for row in sorted(self.columns, key=lambda row: row[5]) if row[5])


@dataclass(frozen=True, slots=True, kw_only=True)
class Relations:
    """All that one reading found, by the relations' names. Knows no connection."""

    said: Mapping[str, _Said]
    described: Mapping[str, _Description]
    by_name: Mapping[str, Relation]


def read_relations(connection: sqlite3.Connection, before: Relations | None) -> Relations:
    """Those that can be described now. What is as it was `before` is the same object, and so is the whole.

    Within one transaction. Raises: sqlite3.Error.
    """
    try:
        return _read(connection, before)
    except sqlite3.OperationalError as exc:
        if not str(exc).startswith("Could not decode"):
            raise
    # Other programs write text in any encoding. The factory costs a call a text, so it is not the rule.
    connection.text_factory = decode
    try:
        found = _read(connection, before)
    finally:
        connection.text_factory = str
    unnamed = {
        name
        for name, relation in found.by_name.items()
        if any(isinstance(row[1], Undecodable) for row in relation.columns)
    }
    if not unnamed:
        return found
    by_name = {name: relation for name, relation in found.by_name.items() if name not in unnamed}
    return Relations(said=found.said, described=found.described, by_name=by_name)


def row_counts(connection: sqlite3.Connection, relations: Relations) -> Mapping[str, int]:
    """What ANALYZE counted, where it was run, by the tables' names; a partial index holds a part of the rows only.

    Raises: sqlite3.Error.
    """
    if connection.execute(QUERIES["has_statistics"].sql).fetchone() is None:
        return {}
    texts = {index: _readable(text) for one in relations.said.values() for index, text in one.indexes if text}
    counts: dict[str, int] = {}
    for table, index, statistics in connection.execute(QUERIES["statistics"].sql):
        first = str(statistics).partition(" ")[0]
        if first.isdecimal() and (index not in texts or ddl.read_index(texts[index])[1] is None):
            counts[table] = int(first)
    return counts


def _read(connection: sqlite3.Connection, before: Relations | None) -> Relations:
    said = _texts(connection)
    described = {row[0]: row for row in connection.execute(QUERIES["relations"].sql) if row[0] in said}
    if before is not None and (before.said, before.described) == (said, described):
        return before
    return Relations(said=said, described=described, by_name=_relations(connection, said, described, before))


def _texts(connection: sqlite3.Connection) -> dict[str, _Said]:
    texts: dict[str, tuple[str, int]] = {}
    indexes: defaultdict[str, list[tuple[str, str | None]]] = defaultdict(list)
    instead: defaultdict[str, set[ddl.Instead]] = defaultdict(set)
    for type_, name, of, sql, root in connection.execute(QUERIES["definitions"].sql):
        match type_:
            case "table" | "view":
                texts[name] = sql or "", root
            case "index":
                indexes[of].append((name, sql))
            case "trigger" if taken := ddl.instead_of(_readable(sql or "")):
                instead[ddl.folded(of)].add(taken)
    return {
        name: _Said(
            sql,
            root,
            tuple(indexes.get(name, ())),
            frozenset(instead.get(ddl.folded(name), ())) if instead else _NOTHING,
        )
        for name, (sql, root) in texts.items()
    }


def _relations(
    connection: sqlite3.Connection,
    said: Mapping[str, _Said],
    described: Mapping[str, _Description],
    before: Relations | None,
) -> dict[str, Relation]:
    """Those that can be described. One that is as it was `before` is the same object."""
    kept: dict[str, Relation] = {}
    if before is not None:
        old_said, old_described = before.said, before.described
        for name, relation in before.by_name.items():
            if (
                relation.kind is TableKind.TABLE
                and said.get(name) == old_said[name]
                and described.get(name) == old_described[name]
            ):
                kept[name] = relation
    asked: defaultdict[str, list[str]] = defaultdict(list)
    for name, (_, kind, _, _) in described.items():
        if name not in kept:
            asked[kind].append(name)
    columns: dict[str, list[ColumnRow]] = {}
    for names in asked.values():
        columns |= _columns(connection, names)
    foreign_keys = _asked(connection, "foreign_keys", asked["table"])
    unique_indexes = _asked(connection, "unique_indexes", asked["table"])
    indexes = _asked(connection, "indexes", asked["table"])
    relations: dict[str, Relation] = {}
    for name, (_, kind, without_rowid, strict) in described.items():
        if name in kept:
            relations[name] = kept[name]
        elif name in columns:
            relation = Relation(
                name=name,
                kind=_KINDS[kind],
                without_rowid=bool(without_rowid),
                strict=bool(strict),
                sql=_readable(said[name].sql),
                identity=_identity(said[name]),
                takes=said[name].instead if kind == "view" else _EVERYTHING,
                columns=sorted(row for row in columns[name] if row[6] != _HIDDEN),
                foreign_keys=sorted(foreign_keys.get(name, ()), key=lambda row: (-row[0], row[1])),
                unique_indexes=sorted(unique_indexes.get(name, ()), key=lambda row: (-row[0], row[3])),
                indexes=sorted(indexes.get(name, ()), key=lambda row: (row[0], row[3])),
                index_texts={index: text and _readable(text) for index, text in said[name].indexes},
            )
            old = before.by_name.get(name) if before is not None else None
            relations[name] = old if old is not None and old == relation else relation
    return relations


def _readable(text: str) -> str:
    return text.data.decode(errors="replace") if isinstance(text, Undecodable) else text


def _identity(said: _Said) -> str:
    root = f"{said.root} "
    return decode(root.encode() + said.sql.data) if isinstance(said.sql, Undecodable) else root + said.sql


def _columns(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, list[ColumnRow]]:
    """All at once; where that fails, in halves, until those that fail stand alone and are left out."""
    try:
        return _asked(connection, "columns", names)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
    middle = len(names) // 2
    return _columns(connection, names[:middle]) | _columns(connection, names[middle:]) if middle else {}


def _asked(connection: sqlite3.Connection, query: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """The rows of the query about these relations, by their names, which are left out of the rows.

    Equal rows are one object: many tables have the same columns, and to give up 100,000 rows at once would hold up all
    threads, the event loop's among them, for 50 ms.
    """
    groups: defaultdict[str, list[Any]] = defaultdict(list)
    same: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    decodes = connection.text_factory is not str  # then equal text may be of two classes
    if names:
        for row in connection.execute(QUERIES[query].sql, (json.dumps(names),)):
            rest = row[1:]
            groups[row[0]].append(rest if decodes else same.setdefault(rest, rest))
    return dict(groups)
