"""Values both ways between JSON and SQLite's five storage classes.

In: what SQLite would change without an error is refused, because it stores text that looks like a number as a number
in most columns (sqlite.org/datatype3.html section 3), rounds decimals to floats and makes NaN null.
Out: rows are read raw and become JSON by orjson; SQLite's json_object changes floats.

How values leave, by column family: integers beyond 2^53 as strings, infinite floats as "Infinity" and "-Infinity",
blobs as base64, everything of a NUMERIC column as a string, 0 and 1 of a BOOLEAN column as false and true, a text of a
JSON column as the JSON that it is. What a column's family does not expect (SQLite lets any column hold anything)
leaves as what it is. Text that is not UTF-8 leaves as `UNDECODABLE` and its bytes in base64.
"""

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import orjson

from schema_mcp.dialects.base import MAX_EXACT_INTEGER, DriverValue, Row, Value
from schema_mcp.dialects.sqlite.types import Affinity, affinity
from schema_mcp.schema.types import SqlType, TypeKind

#: Begins the string that stands for text which is not UTF-8. The replacement character makes it no text of the user's.
UNDECODABLE = "\ufffdbase64:"

_PATTERNS = ("like", "ilike", "starts_with", "contains")
#: What SQLite takes for a number when it converts text (util.c: sqlite3AtoF); spaces around it are allowed.
_NUMBER = re.compile(r"[ \t-\r]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t-\r]*")
_GLOB_SPECIAL = re.compile(r"[*?\[]")


class Undecodable(str):
    """Stands for a text that is not UTF-8. It can be shown but not be bound again."""

    __slots__ = ()


def encode(type_: SqlType, value: Value, operator: str = "eq") -> DriverValue:
    """What `value` is bound as; see `Dialect.encode`.

    Raises: ValueError, with the reason.
    """
    if operator in _PATTERNS:
        return pattern(operator, str(value))
    match type_.kind:
        case TypeKind.JSON:
            # A JSON column has NUMERIC affinity, so a bare number is stored as one in any case: bind it exactly.
            return _scalar(value) if type(value) in (int, float) else _text(type_, _json_text(value), operator)
        case TypeKind.NUMERIC if isinstance(value, Decimal):
            return _decimal(value)
        case TypeKind.BYTES if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        case TypeKind.FLOAT:
            return _scalar(float(value))
        case _:
            return _text(type_, value, operator) if isinstance(value, str) else _scalar(value)


def pattern(operator: str, text: str) -> str:
    """What is bound for a pattern operator: SQLite's GLOB is the LIKE that regards case, with other wildcards.

    Raises: ValueError for a pattern that SQLite would cut or misread.
    """
    _unicode(text)
    if operator == "contains":
        return text
    if "\0" in text:
        raise ValueError("SQLite cannot match a pattern with the character NUL (\\u0000)")
    if operator == "starts_with":
        return _glob_literal(text) + "*"
    parts: list[str] = []
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            following = next(letters, None)
            if following is None:
                raise ValueError("a pattern must not end with a backslash; write two to match one")
            parts.append(_glob_literal(following))
        else:
            parts.append({"%": "*", "_": "?"}.get(letter) or _glob_literal(letter))
    return text if operator == "ilike" else "".join(parts)


def row_writer(labels: Sequence[str], types: Sequence[SqlType]) -> Callable[[tuple[Any, ...]], Row]:
    """A function from a raw row (the labelled columns, then the keys) to a `Row`."""
    width = len(labels)
    converters = [
        (label, _MEMBERS[type_.kind]) for label, type_ in zip(labels, types, strict=True) if type_.kind in _MEMBERS
    ]

    def write(values: tuple[Any, ...]) -> Row:
        members = dict(zip(labels, values, strict=False))
        for label, convert in converters:
            members[label] = convert(members[label])
        try:
            text = orjson.dumps(members, _base64, orjson.OPT_STRICT_INTEGER)
        except TypeError:
            text = _exactly(members)
        else:
            # orjson writes null for an infinite float without a word.
            if b"null" in text and text.count(b"null") != values.count(None) and math.inf in map(_magnitude, values):
                text = _exactly(members)
        return Row(text, values[width:])

    return write


def decode(data: bytes) -> str:
    """Text as SQLite holds it; what is not UTF-8 as `Undecodable`. A text factory for a connection."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Undecodable(UNDECODABLE + b64encode(data).decode())


def _scalar(value: bool | int | float) -> int | float:
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("SQLite cannot store NaN; it would store null")
        return value
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("SQLite's integers end at 9223372036854775807")
    return number


def _decimal(value: Decimal) -> int | float:
    if value.is_nan():
        raise ValueError("SQLite cannot store NaN; it would store null")
    if value.is_finite() and -(2**63) <= value < 2**63 and value == value.to_integral_value():
        return int(value)
    number = float(value)
    if Decimal(repr(number)) != value:
        raise ValueError(f"SQLite would round it to {number!r}; a TEXT column keeps every digit")
    return number


def _text(type_: SqlType, text: str, operator: str) -> str | int | float:
    """`text`, or the number that SQLite would store for it if that reads the same.

    Where it only compares (any operator but `eq`), text may be converted: both sides are.
    """
    _unicode(text)
    if text.startswith(UNDECODABLE):
        raise ValueError("this stands for text that is not UTF-8, and such text cannot be stored")
    if affinity(type_) in (Affinity.TEXT, Affinity.BLOB) or not _NUMBER.fullmatch(text):
        return text
    bare = text.strip(" \t\n\v\f\r")
    number = int(bare) if bare.lstrip("+-").isdigit() else float(bare)
    kept = number if isinstance(number, int) else int(number) if number.is_integer() else number
    if str(kept) == text and (isinstance(kept, float) or -(2**63) <= kept < 2**63):
        return kept
    if operator != "eq":
        return text
    raise ValueError(f"a column declared {type_.native} takes it for a number and would store {kept!r}")


def _unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds a lone surrogate, which is no Unicode text") from None


def _json_text(value: Any) -> str:
    """Compact JSON; not by orjson, which refuses integers beyond 64 bits and writes null for an infinite float."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _glob_literal(text: str) -> str:
    return _GLOB_SPECIAL.sub(r"[\g<0>]", text)


def _numeric(value: Any) -> Any:
    if type(value) is int:
        return str(value)
    return _float_text(value) if type(value) is float else value


def _boolean(value: Any) -> Any:
    return value == 1 if type(value) is int and value in (0, 1) else value


def _embedded_json(value: Any) -> Any:
    """The JSON text itself. Its line breaks, white space all of them, would break line framing (RFC 8259 section 2)."""
    if type(value) is not str:
        return value
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    return orjson.Fragment(value.replace("\r", " ").replace("\n", " "))


_MEMBERS: dict[TypeKind, Callable[[Any], Any]] = {
    TypeKind.NUMERIC: _numeric,
    TypeKind.BOOLEAN: _boolean,
    TypeKind.JSON: _embedded_json,
}


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _exactly(members: dict[str, Any]) -> bytes:
    return orjson.dumps({label: _exact(value) for label, value in members.items()}, _base64)


def _exact(value: Any) -> Any:
    if type(value) is int and abs(value) > MAX_EXACT_INTEGER:
        return str(value)
    return _float_text(value) if type(value) is float and math.isinf(value) else value


def _magnitude(value: Any) -> float:
    return abs(value) if type(value) is float else 0.0


def _float_text(value: float) -> str:
    """The shortest digits that read back as the same float."""
    return repr(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
