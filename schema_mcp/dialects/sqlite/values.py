"""Values on their way in: from the exact values of `tools.values` to SQLite's five storage classes.

What SQLite would change without an error is refused, because it stores text that looks like a number as a number in
most columns (sqlite.org/datatype3.html section 3), rounds decimals to floats, makes NaN null, drops the sign of zero.
How values leave is told in `rows`; what leaves can be sent back in.
"""

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from schema_mcp.dialects.base import DriverValue, Value
from schema_mcp.dialects.documents import AS_TEXT, is_json, text_of
from schema_mcp.dialects.sqlite import full_text, functions
from schema_mcp.dialects.sqlite.tagged import TAGS, untagged
from schema_mcp.dialects.sqlite.types import Affinity, affinity
from schema_mcp.schema.types import SqlType, TypeKind

#: Whose values are the column's own.
_COMPARISONS = frozenset({"eq", "ne", "lt", "lte", "gt", "gte", "in", "not_in", "between"})
_PATTERNS = ("like", "ilike", "starts_with", "contains")
_LISTS = ("in_list", "not_in_list")
_DOCUMENTS = ("json_contains", "json_has_any", "json_has_all")
#: SQLITE_MAX_LIKE_PATTERN_LENGTH, in bytes (sqlite.org/limits.html).
_MAX_PATTERN_BYTES = 50_000
#: What SQLite takes for a number when it converts text (util.c: sqlite3AtoF); spaces around it are allowed.
_NUMBER = re.compile(r"[ \t-\r]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t-\r]*")
#: The storage classes that a STRICT table lets its columns hold (sqlite.org/stricttables.html), as Python's.
_STRICT = {TypeKind.INTEGER: int, TypeKind.FLOAT: float, TypeKind.TEXT: str, TypeKind.BYTES: bytes}
#: Python finds a member of an enum by its class slowly, and these are asked for with every value.
_AFFINITY_TEXT, _AFFINITY_BLOB = Affinity.TEXT, Affinity.BLOB
_GLOB_SPECIAL = re.compile(r"[*?\[]")


def encode(type_: SqlType, value: Value, operator: str = "eq") -> DriverValue:
    """What `value` is bound as; see `Dialect.encode`.

    Raises: ValueError, with the reason.
    """
    if operator not in _COMPARISONS:
        return _tested(type_, value, operator)
    if isinstance(value, str):
        if value.startswith(TAGS):
            return _of_its_class(type_, untagged(value))
        if type_.kind not in _CONVERTED:
            return _text(type_, value, operator)
    elif isinstance(value, int) and type_.kind not in _CONVERTED:
        return _number(type_, value, operator)
    match type_.kind:
        case TypeKind.JSON:
            if (document := text_of(value)) is not None:
                if not is_json(document):
                    raise ValueError(f"'{AS_TEXT}' takes the text of a JSON document")
                return _text(type_, document, operator)
            # A JSON column has NUMERIC affinity, so a bare number is stored as one in any case: bind it exactly.
            if type(value) in (int, float):
                return _number(type_, value, operator)
            return _text(type_, _json_text(value), operator)
        case TypeKind.NUMERIC if isinstance(value, Decimal):
            return _decimal(value)
        case TypeKind.BYTES if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        case TypeKind.FLOAT:
            return _number(type_, float(value), operator)
    return _number(type_, value, operator)


#: Kinds whose texts and integers are not simply stored as such.
_CONVERTED = (TypeKind.JSON, TypeKind.FLOAT)


def _tested(type_: SqlType, value: Value, operator: str) -> DriverValue:
    """A value that is no column's: a pattern, a list, a search, a piece of a document."""
    if operator in _PATTERNS:
        return pattern(operator, str(value))
    if operator in _LISTS:
        return _list(value)
    if operator == "matches":
        _unicode(value)
        return full_text.query(value)
    text = str(value) if operator == "path" else _document(value)
    _unicode(text)
    return text


def pattern(operator: str, text: str) -> str:
    """What is bound for a pattern operator: SQLite's GLOB is the LIKE that regards case, with other wildcards.

    Raises: ValueError for a pattern that SQLite would cut or misread.
    """
    _unicode(text)
    if operator == "contains":
        return text
    if len(text.encode()) > _MAX_PATTERN_BYTES:
        raise ValueError(f"SQLite takes patterns of at most {_MAX_PATTERN_BYTES} bytes; 'contains' takes longer ones")
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
    return functions.lower(text) if operator == "ilike" else "".join(parts)


def _list(values: Sequence[DriverValue]) -> str | None:
    """One JSON array of the values; None where JSON, as SQLite reads it, has another value for one of them."""
    exact = all(type(value) is int or (type(value) is str and "\0" not in value) for value in values)
    return json.dumps(values, ensure_ascii=False) if exact else None


def _document(value: Value) -> str:
    text = text_of(value)
    if text is None:
        return _json_text(value)
    if not is_json(text):
        raise ValueError(f"'{AS_TEXT}' takes the text of a JSON document")
    return text


def _number(type_: SqlType, value: bool | int | float, operator: str) -> int | float:
    """The number, if the column keeps it as one."""
    of_column = affinity(type_)
    if of_column is _AFFINITY_TEXT:
        raise ValueError("SQLite would store the number as text")
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("SQLite cannot store NaN; it would store null")
        if operator == "eq" and value == 0 and of_column is not Affinity.BLOB and math.copysign(1, value) < 0:
            raise ValueError("SQLite keeps no sign of zero here; it would store 0")
        return value
    return _int64(int(value))


def _of_its_class(type_: SqlType, value: int | float | str | bytes) -> DriverValue:
    """A value that was sent with its storage class, if the column keeps it in that class."""
    if isinstance(value, str):
        _unicode(value)
    elif isinstance(value, int):
        value = _int64(value)
    if type_.enforced and type_.native.upper() != "ANY" and type(value) is not _STRICT[type_.kind]:
        raise ValueError(f"a column declared {type_.native} in a STRICT table takes no other storage class")
    kept = _kept(affinity(type_), value)
    if type(kept) is not type(value) or repr(kept) != repr(value):
        raise ValueError(f"a column declared {type_.native} would store {kept!r} for it")
    return value


def _kept(of_column: Affinity, value: int | float | str | bytes) -> int | float | str | bytes:
    """What SQLite's affinity makes of the value (sqlite.org/datatype3.html section 3)."""
    if isinstance(value, bytes) or of_column is Affinity.BLOB:
        return value
    if of_column is Affinity.TEXT:
        return value if isinstance(value, str) else str(value)
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return value
        value = _read_number(value)
    if of_column is Affinity.REAL:
        return float(value) + 0.0
    return int(value) if isinstance(value, float) and _becomes_integer(value) else value


def _becomes_integer(number: float) -> bool:
    """SQLite stores it as the integer that it is (vdbemem.c: sqlite3VdbeIntegerAffinity)."""
    return number.is_integer() and -(2.0**63) < number < 2.0**63


def _read_number(text: str) -> int | float:
    """The number that `_NUMBER` has matched, before any affinity."""
    bare = text.strip(" \t\n\v\f\r")
    if len(bare) <= 20 and bare.lstrip("+-").isdigit() and -(2**63) <= (number := int(bare)) < 2**63:
        return number
    return float(bare)


def _int64(number: int) -> int:
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
    if affinity(type_) in (_AFFINITY_TEXT, _AFFINITY_BLOB) or not _NUMBER.fullmatch(text):
        return text
    kept = _kept(Affinity.NUMERIC, text)
    if str(kept) == text and not isinstance(kept, bytes):
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
