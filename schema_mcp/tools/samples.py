"""Sample values: which columns hold few different values, and which, by one look at the first rows. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from schema_mcp.dialects.base import Statement
from schema_mcp.schema.model import Column
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.tools import narrowing
from schema_mcp.tools.target import Target

#: How many rows are looked at, of how many columns, and for how long.
MAX_ROWS, MAX_COLUMNS, TIMEOUT_S = 1000, 50, 2.0
#: More different values, or a longer one in characters, and the column is not one of few values.
MAX_VALUES, MAX_CHARACTERS = 20, 80

_KINDS = frozenset({TypeKind.TEXT, TypeKind.ENUM, TypeKind.BOOLEAN, TypeKind.INTEGER})
_TEXT = SqlType(kind=TypeKind.TEXT, native="text", cast="text")


def statement(target: Target) -> Statement | None:
    """The first rows, with the columns that may hold few different values; None if there is no such column.

    Left out are keys, whose values are all different. Of texts the beginning is read, to see which are short.
    """
    keys = {key.columns for key in (target.table.primary_key, *target.table.uniques) if key is not None}
    columns = [column for column in target.unmasked if column.type.kind in _KINDS and (column.name,) not in keys][
        :MAX_COLUMNS
    ]
    if not columns:
        return None
    named = [(target.keys[column.name], *_beginning(target, column)) for column in columns]

    def build() -> tuple[sa.Select[Any], Sequence[Column], int]:
        rows = target.dialect.row(named, ())
        found = sa.select(*rows).select_from(target.relation).where(*narrowing.conditions(target, "f"))
        return found.limit(sa.literal_column(str(MAX_ROWS))), columns, 0

    return target.compiled(("samples", narrowing.names(target)), build).statement(narrowing.named(target, "f"))


def few_values(rows: Sequence[bytes]) -> Mapping[str, list[Any]]:
    """The different values of each column that has few of them in these rows, in order; without null."""
    seen: dict[str, set[Any]] = {}
    for row in rows:
        for key, value in orjson.loads(row).items():
            if value is not None:
                seen.setdefault(key, set()).add(value)
    return {
        key: sorted(values, key=lambda value: (str(type(value)), value))
        for key, values in seen.items()
        if len(values) <= MAX_VALUES and all(len(str(value)) <= MAX_CHARACTERS for value in values)
    }


def _beginning(target: Target, column: Column) -> tuple[sa.ColumnElement[Any], SqlType]:
    value = target.sql_column(column.name)
    if column.type.kind is not TypeKind.TEXT:
        return value, column.type
    first, length = (sa.literal_column(str(number), sa.Integer()) for number in (1, MAX_CHARACTERS + 1))
    return sa.func.substr(value, first, length), _TEXT
