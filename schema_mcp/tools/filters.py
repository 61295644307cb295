"""Conditions: from `where` and `filters` to a shape (what the statement looks like) and the values bound to it. Pure.

Two calls with the same columns and operators have the same shape and share one compiled statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.schema.types import TypeKind
from schema_mcp.tools.arguments import read_list, read_object, refuse_unknown
from schema_mcp.tools.naming import near
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import bind, shown

COMPARISONS = ("eq", "ne", "lt", "lte", "gt", "gte")
SETS = ("in", "not_in", "between")
NULLS = ("is_null", "not_null")
PATTERNS = ("like", "ilike", "starts_with", "contains")
OPERATORS = (*COMPARISONS, *SETS, *NULLS, *PATTERNS)

#: Values in one set; a bound far below what drivers take (PostgreSQL 65,535 parameters, SQLite 32,766).
MAX_SET_VALUES = 10_000

_FILTER_MEMBERS = ("column", "op", "value", "values")
_WITHOUT_ORDER = frozenset({TypeKind.BOOLEAN, TypeKind.JSON})
#: The one JSON type that a database compares by value and not by spelling.
_COMPARABLE_JSON = "jsonb"
_WITH_PATTERNS = frozenset({TypeKind.TEXT, TypeKind.ENUM, TypeKind.OTHER})


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `count`: bound parameters; 0 for the null tests."""

    column: str
    operator: str
    count: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """All conditions of a call, joined by AND. `values` in the order of the conditions' parameters."""

    shape: tuple[Condition, ...]
    values: tuple[DriverValue, ...]

    def named(self) -> dict[str, DriverValue]:
        """Values by parameter name: `f0`, `f1`, ..."""
        return {f"f{index}": value for index, value in enumerate(self.values)}


def operators_of(column: Column) -> tuple[str, ...]:
    """The operators that fit the column's type family."""
    kind = column.type.kind
    if kind is TypeKind.JSON and column.type.cast != _COMPARABLE_JSON:
        return NULLS
    if kind in _WITHOUT_ORDER:
        return ("eq", "ne", "in", "not_in", *NULLS)
    return OPERATORS if kind in _WITH_PATTERNS else (*COMPARISONS, *SETS, *NULLS)


def read_conditions(target: Target, arguments: Mapping[str, Any]) -> Conditions:
    """`where` first, then `filters`, in their order.

    Raises: InvalidArgument, StaleSchema.
    """
    reader = _Reader(target)
    for name, value in (read_object(arguments, "where") or {}).items():
        column = target.column(name, "where")
        if value is None:
            reader.add(column, "is_null")
        else:
            reader.add_value(column, "eq", value)
    for index, given in enumerate(read_list(arguments, "filters") or ()):
        reader.read_filter(given, f"filters[{index}]")
    return Conditions(tuple(reader.shape), tuple(reader.values))


def clauses(target: Target, shape: Sequence[Condition]) -> list[sa.ColumnElement[bool]]:
    """The conditions as SQL, with the parameters that `Conditions.named` gives values to."""
    made: list[sa.ColumnElement[bool]] = []
    used = 0
    for condition in shape:
        names = [f"f{used + offset}" for offset in range(condition.count)]
        used += condition.count
        made.append(_clause(target, condition, names))
    return made


def _clause(target: Target, condition: Condition, names: list[str]) -> sa.ColumnElement[bool]:
    column = target.sql_column(condition.column)
    type_ = target.key_type(condition.column)
    dialect = target.dialect
    match condition.operator:
        case "is_null":
            return column.is_(None)
        case "not_null":
            return column.is_not(None)
        case "eq":
            return column == dialect.parameter(type_, names[0])
        case "ne":
            return column != dialect.parameter(type_, names[0])
        case "lt":
            return column < dialect.parameter(type_, names[0])
        case "lte":
            return column <= dialect.parameter(type_, names[0])
        case "gt":
            return column > dialect.parameter(type_, names[0])
        case "gte":
            return column >= dialect.parameter(type_, names[0])
        case "between":
            return column.between(dialect.parameter(type_, names[0]), dialect.parameter(type_, names[1]))
    return dialect.condition(condition.operator, column, type_, names)


class _Reader:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.shape: list[Condition] = []
        self.values: list[DriverValue] = []

    def add(self, column: Column, operator: str, *values: DriverValue) -> None:
        if len(self.shape) >= self.target.limits.max_filters:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"more than {self.target.limits.max_filters} conditions",
                "Use 'in' with 'values' for many values of one column.",
            )
        self.shape.append(Condition(column.name, operator, len(values)))
        self.values.extend(values)

    def add_value(self, column: Column, operator: str, value: Any) -> None:
        if operator not in operators_of(column):
            raise self._unfit(column, operator)
        self.add(column, operator, self._bind(column, operator, value))

    def read_filter(self, given: Any, place: str) -> None:
        if not isinstance(given, dict):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'{place}' takes an object, got {shown(given)}",
                'Send for example {"column": "name", "op": "eq", "value": "x"}.',
            )
        refuse_unknown(given, _FILTER_MEMBERS, place)
        column = self.target.column(given.get("column"), f"{place}.column")
        operator = given.get("op")
        if operator not in OPERATORS:
            suggestion = near(operator, OPERATORS) if isinstance(operator, str) else ""
            raise InvalidArgument(
                ErrorCode.INVALID_OPERATOR,
                f"'{place}.op' takes an operator, got {shown(operator)}.{suggestion}",
                f"Operators for '{self.target.keys[column.name]}': {', '.join(operators_of(column))}.",
            )
        if operator not in operators_of(column):
            raise self._unfit(column, operator)
        value, values = given.get("value"), given.get("values")
        if operator in NULLS:
            if value is not None or values is not None:
                raise _argument(f"'{place}': '{operator}' takes no value", "Leave 'value' and 'values' out.")
            self.add(column, operator)
        elif operator in SETS:
            if value is not None and values is not None:
                raise _argument(f"'{place}' has both 'value' and 'values'", f"'{operator}' takes 'values' alone.")
            self._add_set(column, operator, values if values is not None else value, place)
        elif values is not None:
            raise _argument(f"'{place}': '{operator}' takes 'value', not 'values'", "Send one value in 'value'.")
        elif value is None:
            tests = {"eq": "is_null", "ne": "not_null"}
            raise _argument(
                f"'{place}': '{operator}' takes a value, got null",
                f"Use op '{tests.get(operator, 'is_null')}' to test for null.",
            )
        else:
            self.add(column, operator, self._bind(column, operator, value))

    def _add_set(self, column: Column, operator: str, values: Any, place: str) -> None:
        if not isinstance(values, list) or any(value is None for value in values):
            raise _argument(
                f"'{place}': '{operator}' takes an array of values without null in 'values', got {shown(values)}",
                "Send the values as an array; test for null with 'is_null'.",
            )
        if len(values) > MAX_SET_VALUES:
            raise _argument(f"'{place}': more than {MAX_SET_VALUES} values", "Split the values over several calls.")
        if operator == "between" and len(values) != 2:
            raise _argument(f"'{place}': 'between' takes two values, got {len(values)}", "Send [lowest, highest].")
        if not values:
            raise _argument(f"'{place}': '{operator}' takes at least one value", "Leave the filter out.")
        bound = [self._bind(column, operator, value) for value in values]
        # A list of arrays would be one array of more dimensions, and its elements no arrays.
        as_list = self.target.dialect.binds_lists and column.type.kind is not TypeKind.ARRAY
        if operator != "between" and as_list:
            self.add(column, operator, bound)  # type: ignore[arg-type]
        else:
            self.add(column, operator, *bound)

    def _bind(self, column: Column, operator: str, value: Any) -> DriverValue:
        place = f"column '{self.target.keys[column.name]}' of table '{self.target.display}'"
        return bind(self.target.dialect, column.type, value, place, operator)

    def _unfit(self, column: Column, operator: str) -> InvalidArgument:
        key = self.target.keys[column.name]
        return InvalidArgument(
            ErrorCode.INVALID_OPERATOR,
            f"operator '{operator}' does not fit column '{key}' of type {column.type.native}",
            f"Operators for '{key}': {', '.join(operators_of(column))}.",
        )


def _argument(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(ErrorCode.INVALID_ARGUMENT, message, hint)
