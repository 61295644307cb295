"""JSON values of arguments, checked against a column's type and made exact. Pure.

Accepted is every JSON form that loses nothing (a string for a number, `"true"` for a boolean), refused is everything
else, by name. Python's JSON readers give decimals as binary floats, so a number with more than 15 digits may have been
changed before it got here: it is refused with the hint to send a string.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from schema_mcp.dialects.base import Dialect, DriverValue, Value
from schema_mcp.dialects.modifiers import refuse_change
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.tools.naming import near

#: Decimal digits that a binary double keeps whatever the number (IEEE 754 binary64).
EXACT_FLOAT_DIGITS = 15
#: Binary digits of a single-precision number (IEEE 754 binary32).
_REAL_BITS = 24

#: Operators whose value is a string, whatever the column's type.
_PATTERNS = frozenset({"like", "ilike", "starts_with", "contains", "matches"})
#: Deepest JSON that is taken to look for. Inner arrays and objects count.
MAX_DEPTH = 100

#: Longest piece of a refused value that a message repeats.
_SHOWN = 60

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,1000}\s*\Z")
_DECIMAL = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?\s*\Z")
_SPECIAL = {"nan": "NaN", "infinity": "Infinity", "-infinity": "-Infinity", "inf": "Infinity", "-inf": "-Infinity"}

_TAKES = {
    TypeKind.INTEGER: "an integer",
    TypeKind.NUMERIC: "a number",
    TypeKind.FLOAT: "a number",
    TypeKind.BOOLEAN: "true or false",
    TypeKind.TEXT: "a string",
    TypeKind.BYTES: "a base64 string",
    TypeKind.DATE: "a date string (ISO 8601)",
    TypeKind.TIME: "a time string (ISO 8601)",
    TypeKind.TIMESTAMP: "a date and time string (ISO 8601)",
    TypeKind.UUID: "a UUID string",
    TypeKind.JSON: "any JSON value",
    TypeKind.ENUM: "one of its labels",
    TypeKind.ARRAY: "an array",
    TypeKind.OTHER: "a string",
}


class _Unfit(ValueError):
    """The value does not fit the type; the text says why, if there is more to say than what the type takes."""


def bind(dialect: Dialect, type_: SqlType, given: Any, place: str, operator: str | None = None) -> DriverValue:
    """What `given` (any JSON value but null) is bound as, to be stored or compared by `operator`.

    `place` names column and table in messages.

    Raises: InvalidArgument (`invalid_value`), with what the column takes and what was given.
    """
    try:
        return bound(dialect, type_, given, operator)
    except ValueError as unfit:
        raise refusal(type_, given, place, unfit) from None


def bound(dialect: Dialect, type_: SqlType, given: Any, operator: str | None = None) -> DriverValue:
    """`bind`, for whoever makes up the name of a value's place only when it is refused.

    Raises: ValueError, for `refusal`.
    """
    test = operator or "eq"
    if test in _PATTERNS:
        if not isinstance(given, str):
            raise _Unfit(f"'{test}' takes a string")
        return dialect.encode(type_, given, test)
    if type(given) is str and given.startswith(dialect.tags):
        return dialect.encode(type_, given, test)
    exact = _exact(type_, given)
    if operator is None:
        refuse_change(type_, exact)
    return dialect.encode(type_, exact, test)


def refusal(type_: SqlType, given: Any, place: str, unfit: ValueError) -> InvalidArgument:
    """The error for a value that does not fit."""
    takes = _TAKES[type_.kind] + (f" ({type_.native})" if type_.native else "")
    reason = str(unfit)
    message = f"{place} takes {takes}, got {shown(given)}" + (f": {reason}" if reason else "")
    return InvalidArgument(ErrorCode.INVALID_VALUE, message, _hint(type_, given))


def is_too_deep(given: Any) -> bool:
    """Whether arrays and objects stand in one another more than `MAX_DEPTH` deep. Without recursion."""
    level = [given]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, list | dict)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return any(isinstance(value, list | dict) for value in level)


def shown(given: Any) -> str:
    """A refused value as a message repeats it: JSON-like, short."""
    match given:
        case None:
            return "null"
        case bool():
            return "true" if given else "false"
        case dict():
            return "an object"
        case list():
            return "an array"
        case int() if abs(given) >= 10**_SHOWN:  # Python refuses to write thousands of digits
            return f"an integer of more than {_SHOWN} digits"
    text = repr(given)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _hint(type_: SqlType, given: Any) -> str:
    match type_.kind:
        case TypeKind.ENUM:
            suggestion = near(given, type_.enum) if isinstance(given, str) else ""
            return f"Use one of: {', '.join(type_.enum[:50])}.{suggestion}"
        case TypeKind.NUMERIC if isinstance(given, float):
            return "Send the number as a string to keep every digit."
        case TypeKind.BYTES:
            return "Encode the bytes as base64 with padding (RFC 4648 section 4)."
        case TypeKind.ARRAY:
            return "Send a JSON array of the element's values."
    return f"Send {_TAKES[type_.kind]}, or null where the column is nullable."


def _exact(type_: SqlType, given: Any) -> Value:
    if type(given) is not str and not type_.enforced and _is_number_beyond(type_.kind, given):
        return given
    return _READ[type_.kind](type_, given)


def _is_number_beyond(kind: TypeKind, given: Any) -> bool:
    """A JSON number that the type does not take, and a column that no type is enforced on may hold."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return False
    if isinstance(given, float) and not math.isfinite(given):
        return False
    match kind:
        case TypeKind.INTEGER:
            return isinstance(given, float) and (not given.is_integer() or abs(given) >= 2**63)
        case TypeKind.BOOLEAN:
            return given not in (0, 1)
        case TypeKind.NUMERIC | TypeKind.FLOAT | TypeKind.JSON:
            return False
    return True


def _string(_: SqlType, given: Any) -> str:
    if not isinstance(given, str):
        raise _Unfit
    return given


def _label(type_: SqlType, given: Any) -> str:
    if not isinstance(given, str) or given not in type_.enum:
        raise _Unfit
    return given


def _document(_: SqlType, given: Any) -> Any:
    if isinstance(given, float) and not math.isfinite(given):
        raise _Unfit
    return given


def _other(type_: SqlType, given: Any) -> Value:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return _string(type_, given)
    if type_.cast:
        return _numeric(type_, given)  # becomes text of that type
    if isinstance(given, float) and not math.isfinite(given):
        raise _Unfit
    return given


def _integer(type_: SqlType, given: Any) -> int:
    if isinstance(given, str) and _INTEGER.match(given):
        number = int(given)
    elif isinstance(given, float) and abs(given) < 2**53 and given.is_integer():
        number = round(given)
    elif isinstance(given, int) and not isinstance(given, bool):
        number = given
    else:
        raise _Unfit
    limit = 1 << (type_.precision or 64) - 1
    if not -limit <= number < limit:
        raise _Unfit(f"it must be between {-limit} and {limit - 1}")
    return number


def _numeric(_: SqlType, given: Any) -> Decimal:
    if isinstance(given, int) and not isinstance(given, bool):
        return Decimal(given)
    if isinstance(given, float) and math.isfinite(given):
        number = Decimal(repr(given))
        if len(number.normalize().as_tuple().digits) > EXACT_FLOAT_DIGITS:
            raise _Unfit(f"a JSON number of more than {EXACT_FLOAT_DIGITS} digits is not exact")
        return number
    if isinstance(given, str):
        if special := _SPECIAL.get(given.strip().lower()):
            return Decimal(special)
        if _DECIMAL.match(given):
            try:
                return Decimal(given.strip())
            except InvalidOperation:
                raise _Unfit from None
    raise _Unfit


def _float(type_: SqlType, given: Any) -> float:
    """The nearest double, as everywhere; an integer is refused where that is another integer."""
    if isinstance(given, str) and (special := _SPECIAL.get(given.strip().lower())):
        return float(special)
    exact: int | float | Decimal
    if isinstance(given, str) and _DECIMAL.match(given):
        exact = Decimal(given.strip())
    elif isinstance(given, int | float) and not isinstance(given, bool):
        exact = given
    else:
        raise _Unfit
    try:
        number = float(exact)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or (number == 0 and exact != 0):
        raise _Unfit("it is beyond the range of a double")
    integral = isinstance(exact, int) or exact == int(exact)
    # JavaScript writes 2**60 as 1152921504606847000, the shortest digits that mean this double: no digit is lost.
    if integral and exact not in (number, Decimal(repr(number))):
        raise _Unfit(f"a double would round it to {number!r}")
    if integral and type_.precision == _REAL_BITS and not _is_real(number):
        raise _Unfit("a real has six to nine digits, and would round it")
    return number


def _is_real(number: float) -> bool:
    """Whether an integral number is one of `real`, or the shortest digits that mean one; beyond its range: yes."""
    try:
        (nearest,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return True  # the database says so itself
    return number == nearest or any(number == float(f"{nearest:.{digits}g}") for digits in range(6, 10))


def _bytes(_: SqlType, given: Any) -> bytes:
    """Only the one base64 text that these bytes have: Python passes over bits and characters behind the end."""
    if not isinstance(given, str):
        raise _Unfit
    try:
        data = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise _Unfit from None
    if base64.b64encode(data).decode() != given:
        raise _Unfit
    return data


def _boolean(_: SqlType, given: Any) -> bool:
    if isinstance(given, bool):
        return given
    if isinstance(given, int) and given in (0, 1):
        return bool(given)
    if isinstance(given, str) and given.strip().lower() in ("true", "false"):
        return given.strip().lower() == "true"
    raise _Unfit


def _array(type_: SqlType, given: Any) -> Value:
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise _Unfit
    assert type_.item is not None
    dimensions = type_.item.kind not in (TypeKind.JSON, TypeKind.ARRAY)  # else a list inside is an element
    values: list[Value] = []
    for element in given:
        if element is None:
            values.append(None)
        elif dimensions and isinstance(element, list):
            if not element:
                raise _Unfit("an array inside an array must not be empty")
            values.append(_array(type_, element))
        else:
            try:
                values.append(_exact(type_.item, element))
            except _Unfit as unfit:
                reason = str(unfit)
                takes = f"an element takes {_TAKES[type_.item.kind]}, got {shown(element)}"
                raise _Unfit(f"{takes}: {reason}" if reason else takes) from None
    return values


_READ: Mapping[TypeKind, Callable[[SqlType, Any], Value]] = {
    **dict.fromkeys(TypeKind, _string),
    TypeKind.INTEGER: _integer,
    TypeKind.NUMERIC: _numeric,
    TypeKind.FLOAT: _float,
    TypeKind.BOOLEAN: _boolean,
    TypeKind.BYTES: _bytes,
    TypeKind.JSON: _document,
    TypeKind.ENUM: _label,
    TypeKind.ARRAY: _array,
    TypeKind.OTHER: _other,
}
