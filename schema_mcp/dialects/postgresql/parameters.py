"""JSON values as the texts that PostgreSQL reads parameters of a caller's own SQL from. Pure.

A string is what the parameter's type reads, whatever the type; other JSON values have the form that the type reads.
"""

import math
from typing import Any

from schema_mcp.dialects.postgresql import arrays
from schema_mcp.dialects.postgresql.values import checked_text, json_text
from schema_mcp.schema.types import SqlType, TypeKind

#: Digits that a binary double keeps, whatever the number.
_EXACT_DIGITS = 15


def text(type_: SqlType, value: Any) -> str | None:
    """The text of `value`; None for null.

    Raises: ValueError, with the reason.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return checked_text(value)
    if type_.kind is TypeKind.JSON:
        return checked_text(json_text(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(type_, value)
    if type_.kind is TypeKind.ARRAY and isinstance(value, list):
        return _array(type_, value)
    raise ValueError("a string, a number, true, false or null is expected")


def _float(type_: SqlType, value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("the number is too large for JSON; send it as a string")
    if type_.kind is not TypeKind.FLOAT and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if type_.kind is not TypeKind.FLOAT and sum(map(str.isdigit, repr(value).partition("e")[0])) > _EXACT_DIGITS:
        raise ValueError("a number of so many digits may have been rounded on its way; send it as a string")
    return repr(value)


def _array(type_: SqlType, values: list[Any]) -> str:
    assert type_.item is not None
    parts = []
    for value in values:
        if isinstance(value, list) and type_.item.kind is not TypeKind.JSON:
            parts.append(_array(type_, value))
        else:
            element = text(type_.item, value)
            parts.append("NULL" if element is None else arrays.quoted(element))
    return arrays.written(parts, ";" if type_.item.cast == "box" else ",")
