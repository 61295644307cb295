"""The argument `rows` of an insert, read strictly: values bound, columns in the table's order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from schema_mcp.dialects.base import DriverValue
from schema_mcp.dialects.documents import as_text
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column, Generated
from schema_mcp.schema.types import TypeKind
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import bound, refusal, shown

#: To a hint about null, which is SQL's.
_JSON_NULL = f" JSON's own null is sent as {as_text('null')}."


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring rows that give the same columns. `first`: the place of the first one in the call."""

    names: tuple[str, ...]
    first: int
    rows: list[list[DriverValue]]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Rows with the same members. `columns`: of the members; `order`: their places in the order of the table."""

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    order: tuple[int, ...] | None


def read_runs(target: Target, given: Sequence[Any] | None) -> list[Run]:
    """All rows, in the order given. Raises: InvalidArgument, StaleSchema, with the place of the row in the message."""
    if not given:
        raise InvalidArgument(
            ErrorCode.MISSING_ARGUMENT, "'rows' takes at least one row", "Send an array of objects, one a row."
        )
    if len(given) > target.limits.max_insert_rows:
        raise InvalidArgument(
            ErrorCode.TOO_MANY_ROWS,
            f"'rows' takes at most {target.limits.max_insert_rows} rows, got {len(given)}",
            "Split the rows over several calls.",
        )
    shapes: dict[tuple[str, ...], _Shape] = {}
    runs: list[Run] = []
    names: tuple[str, ...] | None = None
    for index, row in enumerate(given):
        if not isinstance(row, dict):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'rows[{index}]' takes an object, got {shown(row)}",
                f"Send column names and values. {target.columns_hint(target.insertable)}",
            )
        members = tuple(row)
        shape = shapes.get(members)
        if shape is None:
            make = partial(_shape, target, members, index)
            shape = shapes[members] = target.remembered(("row", members), make)
        values = [
            _bound(target, column, value, index) for column, value in zip(shape.columns, row.values(), strict=True)
        ]
        if shape.order is not None:
            values = [values[place] for place in shape.order]
        if shape.names != names:
            names = shape.names
            runs.append(Run(names, index, []))
        runs[-1].rows.append(values)
    return runs


def _shape(target: Target, members: Iterable[str], index: int) -> _Shape:
    columns = tuple(_column(target, name) for name in members)
    places = {column.name: place for place, column in enumerate(columns)}
    if len(places) < len(columns):
        twice = next(
            name
            for place, (name, column) in enumerate(zip(members, columns, strict=True))
            if places[column.name] > place
        )
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"rows[{index}] names column '{target.keys[target.by_key[twice].name]}' twice",
            "Name each column once.",
        )
    missing = [
        target.keys[column.name] for column in target.table.columns if column.required and column.name not in places
    ]
    if missing:
        raise InvalidArgument(
            ErrorCode.MISSING_VALUE,
            f"rows[{index}] of table '{target.display}' lacks a value for: {', '.join(missing)}",
            "These columns are NOT NULL and have no default: give each a value.",
            details={"row": index, "columns": missing},
        )
    names = tuple(column.name for column in target.table.columns if column.name in places)
    order = tuple(places[name] for name in names)
    return _Shape(names, columns, None if order == tuple(range(len(order))) else order)


def _bound(target: Target, column: Column, value: Any, index: int) -> DriverValue:
    if value is not None:
        if column.masked:
            target.refuse_mask(column, value, _place(target, column, index))
        try:
            return bound(target.dialect, column.type, value)
        except ValueError as unfit:
            raise refusal(column.type, value, _place(target, column, index), unfit) from None
    if not column.nullable and column.generated is Generated.NO:
        raise InvalidArgument(
            ErrorCode.MISSING_VALUE,
            f"{_place(target, column, index)} is NOT NULL, got null",
            "Give it a value." + (_JSON_NULL if column.type.kind is TypeKind.JSON else ""),
            details={"row": index, "columns": [target.keys[column.name]]},
        )
    return None


def _place(target: Target, column: Column, index: int) -> str:
    return f"rows[{index}]: column '{target.keys[column.name]}' of table '{target.display}'"


def _column(target: Target, name: str) -> Column:
    column = target.by_key.get(name)
    if column is None:
        raise target.unknown(name, target.insertable)
    if not column.insertable:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"column '{name}' of table '{target.display}' takes no value: "
            + ("the database makes it" if column.generated is not Generated.NO else "it may not be set from here"),
            f"Leave it out. {target.columns_hint(target.insertable)}",
        )
    return column
