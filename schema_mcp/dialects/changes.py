"""What a type's modifier would change without a word: digits after the point, digits of a second, spaces at the end.

Product-neutral and pure. It knows values as `dialects.base.Value` has them.
"""

import re
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
    if not type_.enforced:
        return
    match value:
        case list() if type_.item is not None:
            dimensions = type_.item.kind not in (TypeKind.ARRAY, TypeKind.JSON)
            for element in value:
                refuse_change(type_ if dimensions and isinstance(element, list) else type_.item, element)
        case Decimal() if type_.kind is TypeKind.NUMERIC and type_.scale is not None and value.is_finite():
            _, digits, exponent = value.as_tuple()
            zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
            if any(digits) and int(exponent) + zeros < -type_.scale:
                raise ValueError(f"it would be rounded to {type_.scale} digits after the point; round it first")
        case str() if type_.kind in (TypeKind.TIME, TypeKind.TIMESTAMP):
            kept, fraction = _SECOND_DIGITS.search(type_.modified), _FRACTION.search(value)
            if kept and fraction and fraction[1][int(kept[1]) :].strip("0"):
                raise ValueError(f"it would be rounded to {kept[1]} digits of a second; round it first")
        case str() if type_.kind is TypeKind.TEXT and type_.length is not None and type_.cast != "bpchar":
            if value[type_.length :].strip(" ") == "" and len(value) > type_.length:  # other text is refused
                raise ValueError(f"the spaces at its end would be cut to {type_.length} characters")
