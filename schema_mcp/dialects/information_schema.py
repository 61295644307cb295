"""The portable reader: a `Schema` from information_schema itself (ISO/IEC 9075-11), for any engine that has one.

It is given a way to run a query and knows no driver and no product. What information_schema cannot tell stays empty,
on PostgreSQL:

- comments, row-level security, system columns that tell rows apart, that tables inherit, materialized views; of
  partitioned tables only that they are tables, and so are their partitions; foreign keys to a partitioned table appear
  to its partitions too; what a view with security_invoker needs beneath it;
- that a type is an enum, composite or of an extension: `OTHER`, cast to its quoted name; lengths within arrays; whether
  six fractional digits of a second were asked for; NOT NULL of a domain under another domain;
- indexes, also unique ones without a constraint and foreign keys that refer to one; row estimates;
- keys, checks and defaults of tables that belong to another role, who did not grant more than SELECT;
- of constraints that share a name within a schema, which condition or target is whose, if they differ: left out;
- that a schema may not be used, or belongs to an extension: the database refuses.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from schema_mcp.dialects.information_schema_types import Row, Types
from schema_mcp.dialects.queries import load
from schema_mcp.schema.hide import visible
from schema_mcp.schema.model import (
    OF_COLUMNS,
    Check,
    Column,
    ForeignKey,
    Generated,
    Key,
    Privilege,
    Schema,
    Table,
    TableKind,
    TableName,
)
from schema_mcp.schema.select import Selection

#: Runs a query without parameters; its rows by column name.
Fetch = Callable[[str], Awaitable[Sequence[Row]]]

_QUERIES = load("schema_mcp.dialects", "information_schema.sql")

_KINDS = {"BASE TABLE": TableKind.TABLE, "VIEW": TableKind.VIEW, "FOREIGN": TableKind.FOREIGN}
_PRIVILEGES = {privilege.upper(): privilege for privilege in OF_COLUMNS}
_IDENTITIES = {"ALWAYS": Generated.IDENTITY_ALWAYS, "BY DEFAULT": Generated.IDENTITY_DEFAULT}

#: Tables are built in this many at a time, between which others get the event loop.
_TABLES_AT_A_TIME = 100

_Place = tuple[str, str]


async def read(
    fetch: Fetch,
    *,
    source: str,
    dialect: str,
    default_schema: str,
    schemas: Collection[str],
    selection: Selection,
    checks_in_parentheses: bool = False,
) -> Schema:
    """All relations of `schemas` that the selection takes and the role may read or write.

    `checks_in_parentheses`: check_clause has a pair of parentheses around the condition (PostgreSQL before 18).
    Raises: what `fetch` raises.
    """
    relations = [
        row
        for row in await fetch(_QUERIES["tables"].sql)
        if row["table_type"] in _KINDS
        and row["table_schema"] in schemas
        and selection.takes(row["table_schema"], row["table_name"])
    ]
    columns = _by_place(await fetch(_QUERIES["columns"].sql))
    conditions = _conditions(await fetch(_QUERIES["checks"].sql), checks_in_parentheses)
    types = Types(
        await fetch(_QUERIES["domains"].sql),
        await fetch(_QUERIES["element_types"].sql),
        _domain_checks(await fetch(_QUERIES["domain_constraints"].sql), conditions),
    )
    rights = _Rights(await fetch(_QUERIES["table_privileges"].sql), await fetch(_QUERIES["column_privileges"].sql))
    constraints = _Constraints(
        source,
        await fetch(_QUERIES["constraints"].sql),
        await fetch(_QUERIES["key_columns"].sql),
        await fetch(_QUERIES["references"].sql),
        conditions,
    )
    tables: dict[TableName, Table] = {}
    for done, relation in enumerate(relations):
        if done % _TABLES_AT_A_TIME == 0:
            await asyncio.sleep(0)
        place = (relation["table_schema"], relation["table_name"])
        table = visible(_table(source, relation, columns.get(place, ()), types, rights, constraints), selection)
        if table.privileges:
            tables[table.name] = table
    return Schema(source=source, dialect=dialect, default_schema=default_schema, tables=tables)


def _by_place(rows: Iterable[Row]) -> Mapping[_Place, Sequence[Row]]:
    grouped: dict[_Place, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["table_schema"], row["table_name"]].append(row)
    return dict(grouped)


class _Rights:
    """What the role may do, by table and by column."""

    def __init__(self, tables: Iterable[Row], columns: Iterable[Row]) -> None:
        self._tables = {(row["table_schema"], row["table_name"], row["privilege_type"]) for row in tables}
        self._columns = {
            (row["table_schema"], row["table_name"], row["column_name"], row["privilege_type"]) for row in columns
        }

    def of_table(self, place: _Place) -> frozenset[Privilege]:
        """What no single column can be granted for."""
        return frozenset({Privilege.DELETE}) if (*place, "DELETE") in self._tables else frozenset()

    def of(self, place: _Place, column: str) -> frozenset[Privilege]:
        """With a column or, what is more, with its whole table."""
        return frozenset(
            privilege
            for word, privilege in _PRIVILEGES.items()
            if (*place, word) in self._tables or (*place, column, word) in self._columns
        )


def _conditions(rows: Iterable[Row], in_parentheses: bool) -> Mapping[_Place, set[str]]:
    """The conditions by (constraint schema, constraint name), which several constraints may share."""
    conditions: dict[_Place, set[str]] = defaultdict(set)
    for row in rows:
        clause = row["check_clause"]
        if in_parentheses and clause.startswith("("):
            clause = clause[1 : clause.rindex(")")]  # what may follow is NO INHERIT or NOT VALID
        conditions[row["constraint_schema"], row["constraint_name"]].add(clause)
    return dict(conditions)


def _domain_checks(rows: Iterable[Row], conditions: Mapping[_Place, set[str]]) -> Mapping[_Place, tuple[str, ...]]:
    """Those whose condition is certain, by domain; NOT NULL is among them, too, and belongs to the domain."""
    found: dict[_Place, tuple[str, ...]] = {}
    for row in sorted(rows, key=_name):
        place, said = (row["domain_schema"], row["domain_name"]), conditions.get(_name(row), set())
        if len(said) == 1 and said != {"VALUE IS NOT NULL"}:
            found[place] = (*found.get(place, ()), *said)
    return found


class _Constraints:
    """Keys and checks by table. Names of constraints are unique within a table only, except those of unique keys."""

    def __init__(
        self,
        source: str,
        constraints: Iterable[Row],
        key_columns: Iterable[Row],
        references: Iterable[Row],
        conditions: Mapping[_Place, set[str]],
    ) -> None:
        self._source = source
        self._of_table = _by_place(constraints)
        self._key_columns: dict[tuple[_Place, _Place], list[Row]] = defaultdict(list)
        self._tables_of_key: dict[_Place, set[_Place]] = defaultdict(set)
        for row in key_columns:
            place = (row["table_schema"], row["table_name"])
            self._key_columns[place, _name(row)].append(row)
            self._tables_of_key[_name(row)].add(place)
        self._references: dict[_Place, set[_Place]] = defaultdict(set)
        for row in references:
            self._references[_name(row)].add((row["unique_constraint_schema"], row["unique_constraint_name"]))
        self._conditions = conditions

    def keys(self, place: _Place, kind: str) -> tuple[Key, ...]:
        """Those of `kind` (PRIMARY KEY, UNIQUE), by name."""
        names = self._names(place, kind)
        return tuple(Key(name=name[1], columns=self._columns(place, name)) for name in names)

    def foreign_keys(self, place: _Place) -> tuple[ForeignKey, ...]:
        """Those whose target is certain, by name."""
        found: list[ForeignKey] = []
        for name in self._names(place, "FOREIGN KEY"):
            targets = self._references.get(name, set())
            key = next(iter(targets), None)
            target_places = self._tables_of_key.get(key, set()) if key else set()
            target = next(iter(target_places), None)
            if key is None or target is None or len(targets) != 1 or len(target_places) != 1:
                continue
            target_columns = self._columns(target, key)
            positions = [row["position_in_unique_constraint"] for row in self._key_columns[place, name]]
            found.append(
                ForeignKey(
                    name=name[1],
                    columns=self._columns(place, name),
                    target=TableName(source=self._source, schema=target[0], name=target[1]),
                    target_columns=tuple(target_columns[position - 1] for position in positions),
                )
            )
        return tuple(found)

    def checks(self, place: _Place, column_names: Iterable[str]) -> tuple[Check, ...]:
        """Those whose condition is certain, by name; NOT NULL is among them, too, and belongs to its column."""
        not_null = {f"{name} IS NOT NULL" for name in column_names}
        found: list[Check] = []
        for name in self._names(place, "CHECK"):
            conditions = self._conditions.get(name, set())
            if len(conditions) == 1 and not conditions <= not_null:
                found.append(Check(name=name[1], expression=next(iter(conditions))))
        return tuple(found)

    def _names(self, place: _Place, kind: str) -> Sequence[_Place]:
        return sorted(_name(row) for row in self._of_table.get(place, ()) if row["constraint_type"] == kind)

    def _columns(self, place: _Place, name: _Place) -> tuple[str, ...]:
        return tuple(row["column_name"] for row in self._key_columns[place, name])


def _name(row: Row) -> _Place:
    return row["constraint_schema"], row["constraint_name"]


def _table(
    source: str, relation: Row, rows: Sequence[Row], types: Types, rights: _Rights, constraints: _Constraints
) -> Table:
    place = (relation["table_schema"], relation["table_name"])
    # Of a view that changes by itself, a column that cannot be changed takes no value either.
    not_by_itself = "NO" if relation["is_updatable"] == "YES" else "YES"
    by_trigger = relation["is_trigger_insertable_into"] == "YES"
    takes_rows = [
        by_trigger or (relation["is_insertable_into"] == "YES" and "YES" in (row["is_updatable"], not_by_itself))
        for row in rows
    ]
    takes_changes = [row["is_updatable"] == "YES" or relation["is_trigger_updatable"] == "YES" for row in rows]
    takes_deletes = any(row["is_updatable"] == "YES" for row in rows) or "YES" in (
        relation["is_updatable"],
        relation["is_trigger_deletable"],
    )
    columns = tuple(
        _column(row, position, types, rights.of(place, row["column_name"]) & _taken(inserts, changes))
        for position, (row, inserts, changes) in enumerate(zip(rows, takes_rows, takes_changes, strict=True), start=1)
    )
    return Table(
        name=TableName(source=source, schema=place[0], name=place[1]),
        kind=_KINDS[relation["table_type"]],
        columns=columns,
        primary_key=next(iter(constraints.keys(place, "PRIMARY KEY")), None),
        uniques=constraints.keys(place, "UNIQUE"),
        foreign_keys=constraints.foreign_keys(place),
        checks=constraints.checks(place, [column.name for column in columns]),
        privileges=frozenset[Privilege]().union(
            rights.of_table(place) if takes_deletes and rows else (), *(column.privileges for column in columns)
        ),
    )


def _taken(rows: bool, changes: bool) -> frozenset[Privilege]:
    taken = {Privilege.SELECT: True, Privilege.INSERT: rows, Privilege.UPDATE: changes}
    return frozenset(privilege for privilege, takes in taken.items() if takes)


def _column(row: Row, position: int, types: Types, privileges: frozenset[Privilege]) -> Column:
    """A generated column's default is its expression; one without a default of its own has its domain's."""
    generated, default = Generated.NO, row["column_default"]
    if row["is_generated"] == "ALWAYS":
        generated, default = Generated.EXPRESSION, row["generation_expression"]
    elif row["is_identity"] == "YES":
        generated = _IDENTITIES[row["identity_generation"]]
    elif default is None:
        default = types.default(row)
    return Column(
        name=row["column_name"],
        position=position,
        type=types.column_type(row),
        nullable=row["is_nullable"] == "YES",
        default=default,
        generated=generated,
        privileges=privileges,
    )
