"""Rows of pg_catalog as `Table` values. Pure: it asks nothing, and knows neither locks nor transactions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from schema_mcp.dialects.postgresql.types import Types
from schema_mcp.schema.fingerprint import identity
from schema_mcp.schema.model import (
    Check,
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

#: Stands for the expression of a generated column or an index while it cannot be read.
NOT_READABLE_NOW = "(not readable now)"

_KINDS = {
    "r": TableKind.TABLE,
    "p": TableKind.PARTITIONED,
    "v": TableKind.VIEW,
    "m": TableKind.MATERIALIZED_VIEW,
    "f": TableKind.FOREIGN,
}
_TAKES_ROWS = (TableKind.TABLE, TableKind.PARTITIONED)
_MAY_TAKE_ROWS = (TableKind.VIEW, TableKind.FOREIGN)
_CHANGES = frozenset({Privilege.INSERT, Privilege.UPDATE, Privilege.DELETE})
#: What a column of a view does not take that is no column of its table.
_UNCHANGED = frozenset({Privilege.UPDATE})
_FIXED = frozenset({Privilege.INSERT, Privilege.UPDATE})
_IDENTITIES = {"": Generated.NO, "a": Generated.IDENTITY_ALWAYS, "d": Generated.IDENTITY_DEFAULT}
#: The bits of pg_relation_is_updatable.
_BITS = {Privilege.UPDATE: 4, Privilege.INSERT: 8, Privilege.DELETE: 16}

#: By whether the role may select, insert and update: eight sets, whatever the number of columns.
_PRIVILEGES: Mapping[tuple[bool, ...], frozenset[Privilege]] = {
    may: frozenset(
        privilege
        for privilege, granted in zip((Privilege.SELECT, Privilege.INSERT, Privilege.UPDATE), may, strict=True)
        if granted
    )
    for may in product((False, True), repeat=3)
}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationRows:
    """What catalog.sql's queries say of one relation, each row under the name of its query.

    `expressions` is empty also where they could not be read.
    """

    relation: Row
    columns: Sequence[Row] = ()
    keys: Sequence[Row] = ()
    foreign_keys: Sequence[Row] = ()
    indexes: Sequence[Row] = ()
    expressions: Sequence[Row] = ()


def has_expressions(relation: Row, columns: Sequence[Row], indexes: Sequence[Row]) -> bool:
    """Whether the query `expressions` has anything to say of the relation."""
    return bool(
        relation["checks"]
        or _KINDS[relation["kind"]] in _MAY_TAKE_ROWS
        or any(row["generated"] for row in columns)
        or any(row["has_expressions"] or row["is_partial"] for row in indexes)
    )


def row_estimate(relation: Row) -> int | None:
    """How many rows the relation had when it was last analyzed; None if it never was, or has none of its own."""
    estimate = float(relation["estimate"])
    return round(estimate) if estimate >= 0 and _KINDS[relation["kind"]] is not TableKind.VIEW else None


def is_gone(rows: RelationRows) -> bool:
    """The relation was dropped since the snapshot: pg_get_expr, which looks at the newest state, gives null."""
    return any(row["expression"] is None for row in rows.expressions)


def build(name: TableName, rows: RelationRows, types: Types) -> Table:
    """Without expressions it has no checks, and nothing can be written to it if it is a view or a foreign table.

    Raises: TypeGone.
    """
    relation, kind = rows.relation, _KINDS[rows.relation["kind"]]
    checks: list[Check] = []
    generated: dict[str, str] = {}
    texts: dict[tuple[str, str], str] = {}
    takes = _CHANGES if kind in _TAKES_ROWS else frozenset[Privilege]()
    fixed: tuple[frozenset[str], frozenset[Privilege]] = (frozenset(), frozenset())
    for row in rows.expressions:
        if row["kind"] == "check":
            checks.append(Check(name=row["name"], expression=row["expression"]))
        elif row["kind"] == "generated":
            generated[row["name"]] = row["expression"]
        elif row["kind"] in ("part", "predicate"):
            texts[row["kind"], row["name"]] = row["expression"]
        elif row["kind"] == "fixed":
            fixed = (frozenset(row["expression"].split()), _FIXED if row["name"] == "insert" else _UNCHANGED)
        else:
            takes = frozenset(privilege for privilege, bit in _BITS.items() if int(row["expression"]) & bit)
    columns = tuple(
        _column(
            row,
            position,
            relation,
            takes - (fixed[1] if str(row["number"]) in fixed[0] else frozenset()),
            generated,
            types,
        )
        for position, row in enumerate(rows.columns, start=1)
    )
    numbered = {row["number"]: row["name"] for row in rows.columns}
    primary_key, uniques = _keys(rows.keys, numbered)
    return Table(
        name=name,
        kind=kind,
        columns=columns,
        primary_key=primary_key,
        uniques=uniques,
        foreign_keys=_foreign_keys(name.source, rows.foreign_keys, numbered),
        checks=tuple(sorted(checks, key=lambda check: check.name or "")),
        indexes=tuple(_index(row, numbered, texts) for row in sorted(rows.indexes, key=_by_name)),
        comment=relation["comment"],
        privileges=frozenset[Privilege]().union(_of_relation(rows, takes), *(column.privileges for column in columns)),
        row_identity=_row_identity(kind, relation),
        has_children=kind is TableKind.TABLE and relation["has_children"],
        row_security=relation["row_security"],
        returns_rows=not relation["silent"],
        returns_changes=not relation["changes_silent"],
        identity=identity(identity_text(rows)),
    )


def identity_text(rows: RelationRows) -> str:
    """As the query `identity` gives it."""
    columns = [f"{row['number']}:{row['name']}:{row['type']}:{row['modifier']}" for row in rows.columns]
    return f"{rows.relation['oid']} {','.join(columns)}"


def _column(
    row: Row,
    position: int,
    relation: Row,
    takes: frozenset[Privilege],
    generated: Mapping[str, str],
    types: Types,
) -> Column:
    """A generated column's default is its expression; one without a default of its own has its domain's."""
    resolved = types.column_type(row["type"], row["modifier"], row["native"])
    how, default = _IDENTITIES[row["identity"]], row["default_expression"]
    if row["generated"]:
        how, default = Generated.EXPRESSION, generated.get(row["name"], NOT_READABLE_NOW)
    elif how is Generated.NO and default is None:
        default = resolved.default
    may_select, may_insert, may_update = (
        relation[f"base_{right}"] and (relation[f"may_{right}"] or bool(row[f"may_{right}"]))
        for right in ("select", "insert", "update")
    )
    return Column(
        name=row["name"],
        position=position,
        type=resolved.type,
        nullable=not (row["not_null"] or resolved.not_null),
        default=default,
        generated=how,
        comment=row["comment"],
        privileges=_PRIVILEGES[
            may_select, may_insert and Privilege.INSERT in takes, may_update and Privilege.UPDATE in takes
        ],
    )


def _of_relation(rows: RelationRows, takes: frozenset[Privilege]) -> frozenset[Privilege]:
    """What no single column can be granted for. A relation without columns is of no use."""
    may_delete = rows.columns and rows.relation["base_delete"] and rows.relation["may_delete"]
    return takes & {Privilege.DELETE} if may_delete else frozenset()


def _keys(rows: Sequence[Row], numbered: Mapping[int, str]) -> tuple[Key | None, tuple[Key, ...]]:
    primary_key, uniques = None, []
    for row in sorted(rows, key=_by_name):
        numbers = row["numbers"].split()[: row["width"]]
        key = Key(name=row["name"], columns=tuple(numbered[int(number)] for number in numbers))
        if row["is_primary"]:
            primary_key = key
        else:
            uniques.append(key)
    return primary_key, tuple(uniques)


def _index(row: Row, numbered: Mapping[int, str], texts: Mapping[tuple[str, str], str]) -> Index:
    """`texts`: what expressions say, by kind and name."""
    numbers = [int(number) for number in row["numbers"].split()]
    descending = [bool(int(option) & 1) for option in row["options"].split()]
    parts = []
    for place, number in enumerate(numbers[: row["width"]], start=1):
        expression = texts.get(("part", f"{place} {row['name']}"), NOT_READABLE_NOW) if number == 0 else None
        column = numbered.get(number)  # a system column has a negative number, and is no column here
        parts.append(IndexPart(column=column, expression=expression, descending=descending[place - 1]))
    return Index(
        name=row["name"],
        parts=tuple(parts),
        unique=row["is_unique"],
        included=tuple(numbered[number] for number in numbers[row["width"] :]),
        method=row["method"],
        predicate=texts.get(("predicate", row["name"]), NOT_READABLE_NOW) if row["is_partial"] else None,
    )


def _foreign_keys(source: str, rows: Sequence[Row], numbered: Mapping[int, str]) -> tuple[ForeignKey, ...]:
    return tuple(
        ForeignKey(
            name=row["name"],
            columns=tuple(numbered[int(number)] for number in row["numbers"]),
            target=TableName(source=source, schema=row["target_schema"], name=row["target_name"]),
            target_columns=tuple(row["target_columns"]),
        )
        for row in sorted(rows, key=_by_name)
    )


def _by_name(row: Row) -> str:
    return str(row["name"])


def _row_identity(kind: TableKind, relation: Row) -> tuple[str, ...]:
    """System columns need the right to the whole relation; a ctid is unique only within one table's own rows."""
    if not relation["may_select"] or kind in _MAY_TAKE_ROWS:
        return ()
    if kind is TableKind.PARTITIONED or relation["has_children"]:
        return ("tableoid", "ctid")
    return ("ctid",)
