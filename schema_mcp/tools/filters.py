"""Conditions: from `where` and `filters` to a shape (what the statement looks like) and the values bound to it. Pure.

Two calls with the same columns and operators have the same shape and share one compiled statement.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.schema.types import TypeKind
from schema_mcp.tools.arguments import read_list, read_object, refuse_unknown
from schema_mcp.tools.naming import near
from schema_mcp.tools.operands import read_operand, read_operands
from schema_mcp.tools.operators import NULLS, OPERATORS, as_test, operators_of, takes_many
from schema_mcp.tools.standing import Standing
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import shown

#: Values of all conditions of a call: below what drivers take (PostgreSQL 65,535 parameters, SQLite 32,766).
MAX_VALUES = 30_000
#: Characters and bytes of all values of a call together.
MAX_SIZE = 10_000_000
#: Longest label of an OR group, in characters.
MAX_LABEL = 100

_FILTER_MEMBERS = ("column", "op", "value", "values", "or")


class Condition(NamedTuple):
    """One condition. `test`: a comparison, a null test or what `Dialect.condition` knows.

    `parameters`: how many are bound; 0 for the null tests. `group`: those of the same number are joined by OR.
    """

    column: str
    test: str
    parameters: int
    group: int | None = None


class Conditions(NamedTuple):
    """All conditions of a call: single ones and OR groups, joined by AND. `values` in the order of the parameters."""

    shape: tuple[Condition, ...]
    values: tuple[DriverValue, ...]

    def named(self) -> dict[str, DriverValue]:
        """Values by parameter name: `f0`, `f1`, ..."""
        return {f"f{index}": value for index, value in enumerate(self.values)}


def read_conditions(target: Target, arguments: Mapping[str, Any]) -> Conditions:
    """`where` first, then `filters`, in their order, then what stands for the table whatever the call says.

    Raises: InvalidArgument, StaleSchema.
    """
    reader = _Reader(target)
    for name, value in (read_object(arguments, "where") or {}).items():
        reader.read_equality(name, value)
    for index, given in enumerate(read_list(arguments, "filters") or ()):
        reader.read_filter(given, f"filters[{index}]")
    for one in target.standing:
        reader.stand(one)
    reader.check_size()
    return Conditions(tuple(reader.shape), tuple(reader.values))


def clauses(target: Target, shape: Sequence[Condition]) -> list[sa.ColumnElement[bool]]:
    """What is to be joined by AND, with the parameters that `Conditions.named` gives values to.

    An OR group stands where its first condition does.
    """
    made: list[sa.ColumnElement[bool] | list[sa.ColumnElement[bool]]] = []
    groups: dict[int, list[sa.ColumnElement[bool]]] = {}
    used = 0
    for condition in shape:
        names = [f"f{used + offset}" for offset in range(condition.parameters)]
        used += condition.parameters
        clause = _clause(target, condition, names)
        if condition.group is None:
            made.append(clause)
        elif condition.group in groups:
            groups[condition.group].append(clause)
        else:
            groups[condition.group] = [clause]
            made.append(groups[condition.group])
    return [sa.or_(*part) if isinstance(part, list) else part for part in made]


def _clause(target: Target, condition: Condition, names: list[str]) -> sa.ColumnElement[bool]:
    column = target.sql_column(condition.column)
    type_ = target.key_type(condition.column)
    dialect = target.dialect
    match condition.test:
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
    return dialect.condition(condition.test, column, type_, names)


class _Reader:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.shape: list[Condition] = []
        self.values: list[DriverValue] = []
        #: OR groups by their labels, numbered in the order in which they come.
        self.groups: dict[str, int] = {}

    def read_equality(self, name: str, value: Any) -> None:
        column = self.target.column(name, "where")
        if value is None:
            self._add(column, "is_null", (), None)
            return
        if "eq" not in operators_of(self.target.table, column):
            raise self._unfit(column, "eq")
        self._add(column, "eq", (read_operand(self.target, column, "eq", value),), None)

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
        fitting = operators_of(self.target.table, column)
        if operator not in fitting:
            raise self._unfit(column, operator) if operator in OPERATORS else self._unknown(column, operator, place)
        group = None if given.get("or") is None else self._group(given["or"], place)
        value, values = given.get("value"), given.get("values")
        if operator in NULLS:
            if value is not None or values is not None:
                raise _argument(f"'{place}': '{operator}' takes no value", "Leave 'value' and 'values' out.")
            self._add(column, operator, (), group)
        elif takes_many(operator, column.type):
            if value is not None and values is not None:
                raise _argument(f"'{place}' has both 'value' and 'values'", f"'{operator}' takes 'values' alone.")
            operands = read_operands(self.target, column, operator, values if values is not None else value, place)
            self._add_set(column, operator, operands, group)
        elif values is not None:
            raise _argument(f"'{place}': '{operator}' takes 'value', not 'values'", "Send one value in 'value'.")
        elif value is None:
            tests = {"eq": "is_null", "ne": "not_null"}
            raise _argument(
                f"'{place}': '{operator}' takes a value, got null",
                f"Use op '{tests.get(operator, 'is_null')}' to test for null.",
            )
        else:
            test = as_test(operator, column.type, value)
            self._add(column, test, (read_operand(self.target, column, test, value),), group)

    def stand(self, one: Standing) -> None:
        self.shape.append(Condition(one.column.name, "eq", 1))
        self.values.append(one.value)

    def check_size(self) -> None:
        size = 0
        for value in self.values:
            if isinstance(value, (str, bytes)):
                size += len(value)
            elif isinstance(value, list):
                size += sum(map(len, filter(None, value)))
        if size > MAX_SIZE:
            raise _argument(
                f"the values of the conditions have more than {MAX_SIZE} characters", "Send fewer or shorter values."
            )

    def _add(self, column: Column, test: str, values: Sequence[DriverValue], group: int | None) -> None:
        if len(self.shape) >= self.target.limits.max_filters:
            raise _argument(
                f"more than {self.target.limits.max_filters} conditions",
                "Use 'in' with 'values' for many values of one column.",
            )
        self.shape.append(Condition(column.name, test, len(values), group))
        self.values.extend(values)
        if len(self.values) > MAX_VALUES:
            raise _argument(
                f"the conditions have more than {MAX_VALUES} values", "Split the values over several calls."
            )

    def _add_set(self, column: Column, operator: str, operands: list[DriverValue], group: int | None) -> None:
        test = as_test(operator, column.type)
        if test in ("in", "not_in"):
            # A list of arrays would be one array of more dimensions, and its elements no arrays.
            packed = None
            if column.type.kind is not TypeKind.ARRAY:
                packed = self.target.dialect.encode(column.type, operands, f"{test}_list")
            if packed is not None:
                self._add(column, f"{test}_list", (packed,), group)
                return
        elif test != "between":
            self._add(column, test, (self.target.dialect.encode(column.type, operands, test),), group)
            return
        self._add(column, test, operands, group)

    def _group(self, label: Any, place: str) -> int:
        if not isinstance(label, str) or len(label) > MAX_LABEL:
            raise _argument(
                f"'{place}.or' takes a label of at most {MAX_LABEL} characters, got {shown(label)}",
                'Give the conditions of which one is enough the same short label, for example "a".',
            )
        return self.groups.setdefault(label, len(self.groups))

    def _unknown(self, column: Column, operator: Any, place: str) -> InvalidArgument:
        suggestion = near(operator, OPERATORS) if isinstance(operator, str) else ""
        return InvalidArgument(
            ErrorCode.INVALID_OPERATOR,
            f"'{place}.op' takes an operator, got {shown(operator)}.{suggestion}",
            f"Operators for '{self.target.keys[column.name]}': {', '.join(operators_of(self.target.table, column))}.",
        )

    def _unfit(self, column: Column, operator: str) -> InvalidArgument:
        key = self.target.keys[column.name]
        of_type = f" of type {column.type.native}" if column.type.native else ""
        return InvalidArgument(
            ErrorCode.INVALID_OPERATOR,
            f"operator '{operator}' does not fit column '{key}'{of_type}",
            f"Operators for '{key}': {', '.join(operators_of(self.target.table, column))}.",
        )


def _argument(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(ErrorCode.INVALID_ARGUMENT, message, hint)
