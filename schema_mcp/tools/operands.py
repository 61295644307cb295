"""What an operator compares a column with: `value` or `values` of a filter, read as its test needs them. Pure.

A value is read as the column's type, an element of an array as the element's, a key of a document as text.
"""

from typing import Any

import orjson

from schema_mcp.dialects import json_path
from schema_mcp.dialects.base import DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.schema.ranges import RANGE_ELEMENTS
from schema_mcp.schema.types import TypeKind
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import MAX_DEPTH, bind, bound, is_too_deep, refusal, shown

#: Values of one condition.
MAX_SET_VALUES = 10_000

#: Tests whose operand is no value of the column's type.
_LOOK_INSIDE = frozenset({"path", "json_has_all", "json_contains", "array_has_all", "range_has"})

_PATH_HINT = 'Send a path and a comparison, for example $.address.city == "Paris" or $.tags[*] == "new" or $.size > 5.'


def read_operand(target: Target, column: Column, test: str, value: Any) -> DriverValue:
    """The one value of a test that takes one, and of `has`. `value` is not null.

    Raises: InvalidArgument (`invalid_value`).
    """
    if isinstance(value, (list, dict)):
        _check_depth(value, _place(target, column))
    if test not in _LOOK_INSIDE:
        try:
            return bound(target.dialect, column.type, value, test)
        except ValueError as unfit:
            raise refusal(column.type, value, _place(target, column), unfit) from None
    place = _place(target, column)
    match test:
        case "path":
            return _path(target, column, value, place)
        case "json_has_all":
            return target.dialect.encode(column.type, [_key(target, column, value, "has")], test)
        case "json_contains":
            return bind(target.dialect, column.type, _document(value), place, test)
        case "array_has_all":
            return target.dialect.encode(column.type, [_element(target, column, value)], test)
    return bind(target.dialect, RANGE_ELEMENTS[column.type.cast], value, f"an element of {place}", "eq")


def read_operands(target: Target, column: Column, operator: str, values: Any, place: str) -> list[DriverValue]:
    """The values of an operator that takes several.

    Raises: InvalidArgument.
    """
    if operator == "contains" and values is not None and not isinstance(values, list):
        values = [values]
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
    _check_depth(values, _place(target, column))
    if column.type.kind is TypeKind.JSON and operator in ("has_any", "has_all"):
        return [_key(target, column, value, operator) for value in values]
    if column.type.kind is TypeKind.ARRAY and operator in ("has_any", "has_all", "contains"):
        return [_element(target, column, value) for value in values]
    where = _place(target, column)
    return [bind(target.dialect, column.type, value, where, operator) for value in values]


def _place(target: Target, column: Column) -> str:
    return f"column '{target.keys[column.name]}' of table '{target.display}'"


def _element(target: Target, column: Column, value: Any) -> DriverValue:
    assert column.type.item is not None
    return bind(target.dialect, column.type.item, value, f"an element of {_place(target, column)}", "eq")


def _key(target: Target, column: Column, value: Any, operator: str) -> str:
    place = _place(target, column)
    if not isinstance(value, str):
        raise InvalidArgument(
            ErrorCode.INVALID_VALUE,
            f"{place}: '{operator}' takes keys of an object, or texts of an array, as strings, got {shown(value)}",
            "Use 'contains' for other elements: [5] looks for the number 5 in an array.",
        )
    try:
        target.dialect.encode(column.type, [value], "json_has_all")
    except ValueError as refused:
        raise InvalidArgument(
            ErrorCode.INVALID_VALUE, f"{place} takes no such key, got {shown(value)}: {refused}", "Send another key."
        ) from None
    return value


def _document(value: Any) -> Any:
    """A document to look for: also as JSON text, where that is an object's or an array's."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        # The text keeps every digit.
        return value if is_too_deep(document) else {"$json": value}
    return value


def _path(target: Target, column: Column, value: Any, place: str) -> DriverValue:
    reason = "it is no string"
    if isinstance(value, str):
        try:
            json_path.parse(value)
            return target.dialect.encode(column.type, value, "path")
        except ValueError as refused:
            reason = str(refused)
    raise InvalidArgument(
        ErrorCode.INVALID_VALUE,
        f"{place}: 'path' takes a path in the document and a comparison, got {shown(value)}: {reason}",
        _PATH_HINT,
    )


def _check_depth(value: Any, place: str) -> None:
    if is_too_deep(value):
        raise InvalidArgument(
            ErrorCode.INVALID_VALUE,
            f"{place}: the value has arrays or objects more than {MAX_DEPTH} deep",
            "Look for a part of it.",
        )


def _argument(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(ErrorCode.INVALID_ARGUMENT, message, hint)
