"""What a type's modifier would change without a word: digits after the point, digits of a second, spaces at the end.

Product-neutral and pure. It knows values as `dialects.base.Value` has them.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from schema_mcp.dialects.base import Value
from schema_mcp.schema.types import SqlType, TypeKind

#: How many digits of a second a type keeps, as SQL spells it (`timestamp(3)`), and those of a value.
_SECOND_DIGITS = re.compile(r"\(([0-6])\)")
_FRACTION = re.compile(r"\.([0-9]+)")


def refuse_change(type_: SqlType, value: Value) -> None:
    """Nothing, if the column keeps all of `value`.

    Raises: ValueError, with the reason, where a database that enforces the type would round or cut without an error.
    """
    if type_.enforced and type_.kind in _CHECKS:
        _CHECKS[type_.kind](type_, value)


def _elements(type_: SqlType, value: Value) -> None:
    if not isinstance(value, list) or type_.item is None:
        return
    dimensions = type_.item.kind not in (TypeKind.ARRAY, TypeKind.JSON)
    for element in value:
        refuse_change(type_ if dimensions and isinstance(element, list) else type_.item, element)


def _digits(type_: SqlType, value: Value) -> None:
    if not isinstance(value, Decimal) or type_.scale is None or not value.is_finite():
        return
    _, digits, exponent = value.as_tuple()
    if int(exponent) >= -type_.scale:
        return
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    if any(digits) and int(exponent) + zeros < -type_.scale:
        raise ValueError(f"it would be rounded to {type_.scale} digits after the point; round it first")


def _second(type_: SqlType, value: Value) -> None:
    kept = _SECOND_DIGITS.search(type_.modified)
    fraction = _FRACTION.search(value) if kept and isinstance(value, str) else None
    if kept and fraction and fraction[1][int(kept[1]) :].strip("0"):
        raise ValueError(f"it would be rounded to {kept[1]} digits of a second; round it first")


def _spaces(type_: SqlType, value: Value) -> None:
    if not isinstance(value, str) or type_.length is None or type_.cast == "bpchar" or len(value) <= type_.length:
        return
    if value[type_.length :].strip(" ") == "":  # other text is refused
        raise ValueError(f"the spaces at its end would be cut to {type_.length} characters")


_CHECKS: Mapping[TypeKind, Callable[[SqlType, Value], None]] = {
    TypeKind.ARRAY: _elements,
    TypeKind.NUMERIC: _digits,
    TypeKind.TIME: _second,
    TypeKind.TIMESTAMP: _second,
    TypeKind.TEXT: _spaces,
}
