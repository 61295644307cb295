"""Values both ways between JSON and PostgreSQL: text with casts, so that nothing passes through the driver's codecs.

In: `cast(cast($1 as text) as <base type without modifier>)`; a modifier in an explicit cast would truncate silently,
and the assignment to the column checks length and domain anyway (PostgreSQL manual, 4.2.9 and 10.4).
Out: `row_to_json` over exact expressions: what a JSON number cannot hold leaves as a string.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from schema_mcp.dialects.base import MAX_EXACT_INTEGER, Value
from schema_mcp.dialects.documents import text_of
from schema_mcp.dialects.modifiers import refuse_change
from schema_mcp.dialects.postgresql import arrays
from schema_mcp.dialects.postgresql.intervals import whole_interval, whole_money
from schema_mcp.dialects.postgresql.rows import JSON_NULL
from schema_mcp.dialects.postgresql.times import RANGES_OF_TIMES, whole_range, whole_time
from schema_mcp.schema.types import SqlType, TypeKind

#: Types that keep only so many bytes of a text that is cast to them (manual 8.3, table 8.5).
_CUT_BY_CAST = {'"char"': 1, "name": 63}
#: A numeric as text.
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,6})?")
#: How a "char" beyond ASCII is written.
_OCTAL = re.compile(r"\\[0-3][0-7]{2}")


class NativeType(UserDefinedType[Any]):
    """A PostgreSQL type by the name that the catalog gave for it; renders as that and converts nothing."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """The name as PostgreSQL's `format_type` printed it: already quoted."""
        return self.name


def encode(type_: SqlType, value: Value) -> str:
    """The text that PostgreSQL reads `value` from.

    Raises: ValueError for text that PostgreSQL cannot hold (NUL), that is no Unicode text (lone surrogates), or that
    it would take for something else than what it says.
    """
    return _TEXT_OF[type_.kind](type_, value)


def _document(_: SqlType, value: Value) -> str:
    document = text_of(value)
    return checked_text(json_text(value) if document is None else document)


def _array(type_: SqlType, value: Value) -> str:
    return _array_text(type_, checked_text(value)) if isinstance(value, str) else _array_literal(type_, value)


def _time(type_: SqlType, value: Value) -> str:
    return checked_text(whole_time(type_, value))


def _other(type_: SqlType, value: Value) -> str:
    return _unchanged(type_, checked_text(value) if isinstance(value, str) else format(value, "f"))


def json_text(value: Any) -> str:
    """`value` as JSON text. Raises: ValueError for NaN and infinity, which are no JSON numbers."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # an integer beyond 64 bits, or half a surrogate pair
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if "null" in text:  # orjson writes it for NaN and infinity too, without a word
        json.dumps(value, allow_nan=False)
    return text


def checked_text(text: str) -> str:
    """`text` itself. Raises: ValueError if PostgreSQL cannot hold it."""
    if "\0" in text:
        raise ValueError("PostgreSQL cannot store the character NUL (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds a lone surrogate, which is no Unicode text") from None
    return text


def _unchanged(type_: SqlType, text: str) -> str:
    """`text` itself. Raises: ValueError if PostgreSQL would cut or round it without an error."""
    if type_.cast == "money":
        return whole_money(text)
    if type_.cast == "interval":
        return whole_interval(type_, text)
    if type_.cast in RANGES_OF_TIMES:
        return whole_range(type_.cast, text)
    max_bytes = _CUT_BY_CAST.get(type_.cast)
    if max_bytes is not None and len(text.encode()) > max_bytes and not (max_bytes == 1 and _OCTAL.fullmatch(text)):
        raise ValueError(f"the type holds at most {max_bytes} byte{'s' if max_bytes > 1 else ''}")
    return text


def parameter(type_: SqlType, name: str) -> sa.ColumnElement[Any]:
    """The bound text `name`, cast to the base type."""
    return read(sa.bindparam(name, type_=sa.Text()), type_)


def read(text: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
    """What the base type reads in a text. Regclass takes less by a cast than it writes: neither `-` nor a number."""
    if type_.cast == "regclass":
        return sa.func.pg_catalog.regclassin(sa.func.pg_catalog.textout(text))
    return sa.cast(text, NativeType(type_.cast))


def exact(column: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
    """An expression that `row_to_json`, and then `rows.finished`, turn into JSON that loses nothing of the value."""
    match type_.kind:
        case TypeKind.INTEGER if type_.precision == 64:
            big = sa.or_(column > _LIMIT, column < -_LIMIT)
            return sa.case((big, sa.func.to_json(sa.cast(column, sa.Text()))), else_=sa.func.to_json(column))
        case TypeKind.FLOAT:
            # JSON readers take -0 for the integer 0 and -0.0 for what it is.
            negative_zero = sa.and_(column == _ZERO, sa.cast(column, sa.Text()) == sa.literal_column("'-0'"))
            signed = sa.cast(sa.literal_column("'-0.0'"), NativeType("json"))
            return sa.case((negative_zero, signed), else_=sa.func.to_json(column))
        case TypeKind.NUMERIC | TypeKind.OTHER:
            return sa.cast(column, sa.Text())
        case TypeKind.BYTES:
            encoded = sa.func.encode(column, sa.literal_column("'base64'"))
            return sa.func.translate(encoded, sa.literal_column("E'\\n'"), sa.literal_column("''"))
        case TypeKind.JSON:
            is_null = sa.func.jsonb_typeof(column) if type_.cast == "jsonb" else sa.func.json_typeof(column)
            null = sa.cast(sa.literal_column(f"'{JSON_NULL}'"), NativeType("json"))
            return sa.case((is_null == sa.literal_column("'null'"), null), else_=sa.func.to_json(column))
        case TypeKind.ARRAY:
            assert type_.item is not None
            return _exact_array(column, type_.item)
        case _:
            return column


_LIMIT = sa.literal_column(str(MAX_EXACT_INTEGER), sa.BigInteger())
_ZERO = sa.literal_column("0", sa.Integer())
#: Each -0 that is a whole element of a JSON array of numbers.
_NEGATIVE_ZEROS: sa.ColumnElement[Any] = sa.literal_column(r"'(?<=[[,])-0(?=[],])'")
_ALL: sa.ColumnElement[Any] = sa.literal_column("'g'")
#: JSON null among the elements of a json[] or jsonb[]; SQL's is without quotation marks.
_JSON_NULL_ELEMENT: sa.ColumnElement[Any] = sa.literal_column(r"""'[{,]"\s*null\s*"[,}]'""")


def _exact_array(column: sa.ColumnElement[Any], item: SqlType) -> sa.ColumnElement[Any]:
    """A JSON array, or PostgreSQL's text where a JSON array would lose the lower bounds (`[2:3]={1,2}`), or where it
    would be taken for another one: of documents, or of arrays, more dimensions than one; JSON null.

    The text of an array begins with `{` if, and only if, every dimension begins at 1 (manual 8.15.6).
    """
    text = sa.cast(column, sa.Text())
    plain: sa.ColumnElement[bool] = sa.func.left(text, sa.literal_column("1")) == sa.literal_column("'{'")
    elements_as_text = sa.func.to_json(sa.cast(column, NativeType("text[]")))
    elements: sa.ColumnElement[Any]
    match item.kind:
        case TypeKind.INTEGER if item.precision == 64:
            big = sa.or_(sa.any_(column) > _LIMIT, sa.any_(column) < -_LIMIT)  # SQLAlchemy puts ANY on the right
            elements = sa.case((big, elements_as_text), else_=sa.func.to_json(column))
        case TypeKind.FLOAT:
            signed = sa.func.regexp_replace(
                sa.cast(sa.func.to_json(column), sa.Text()), _NEGATIVE_ZEROS, sa.literal_column("'-0.0'"), _ALL
            )
            has_zero = sa.any_(column) == _ZERO
            elements = sa.case((has_zero, sa.cast(signed, NativeType("json"))), else_=sa.func.to_json(column))
        case TypeKind.NUMERIC | TypeKind.OTHER | TypeKind.BYTES:
            elements = elements_as_text
        case TypeKind.ARRAY:
            plain = sa.and_(plain, _is_flat(column))
            elements = elements_as_text
        case TypeKind.JSON:
            plain = sa.and_(plain, _is_flat(column), sa.not_(text.regexp_match(_JSON_NULL_ELEMENT)))
            elements = sa.func.to_json(column)
        case _:
            elements = sa.func.to_json(column)
    return sa.case((plain, elements), (column.is_not(None), sa.func.to_json(text)))


def _is_flat(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    one: sa.ColumnElement[Any] = sa.literal_column("1")
    dimensions: sa.ColumnElement[bool] = sa.func.coalesce(sa.func.array_ndims(column), one) == one
    return dimensions


def _array_literal(type_: SqlType, values: Sequence[Value]) -> str:
    """PostgreSQL's array literal, every element quoted; nested lists are further dimensions, unless elements are arrays
    or documents themselves.
    """
    assert type_.item is not None
    dimensions = type_.item.kind not in (TypeKind.JSON, TypeKind.ARRAY)
    parts: list[str] = []
    for value in values:
        if value is None:
            parts.append("NULL")
        elif isinstance(value, list) and dimensions:
            parts.append(_array_literal(type_, value))
        else:
            parts.append(arrays.quoted(encode(type_.item, value)))
    return arrays.written(parts, _delimiter(type_))


def _array_text(type_: SqlType, text: str) -> str:
    """`text` itself. Raises: ValueError if one of its elements is one that PostgreSQL would cut or round."""
    item = type_.item
    assert item is not None
    for leaf in arrays.leaves(text, _delimiter(type_)):
        match item.kind:
            case TypeKind.ARRAY:
                _array_text(item, leaf)
            case TypeKind.NUMERIC if item.scale is not None and _DECIMAL.fullmatch(leaf):
                refuse_change(item, Decimal(leaf))
            case TypeKind.TEXT:
                refuse_change(item, leaf)
            case TypeKind.DATE | TypeKind.TIME | TypeKind.TIMESTAMP:
                refuse_change(item, whole_time(item, leaf))
            case TypeKind.OTHER:
                _unchanged(item, leaf)
    return text


_TEXT_OF: Mapping[TypeKind, Callable[[SqlType, Value], str]] = {
    **dict.fromkeys(TypeKind, _other),
    TypeKind.BOOLEAN: lambda _, value: "true" if value else "false",
    TypeKind.BYTES: lambda _, value: "\\x" + bytes(value).hex(),
    TypeKind.JSON: _document,
    TypeKind.ARRAY: _array,
    TypeKind.INTEGER: lambda _, value: str(value),
    TypeKind.NUMERIC: lambda _, value: str(value),
    TypeKind.FLOAT: lambda _, value: repr(value),
    **dict.fromkeys((TypeKind.DATE, TypeKind.TIME, TypeKind.TIMESTAMP), _time),
}


def _delimiter(type_: SqlType) -> str:
    """Box is the only type with another one (manual 8.15.2)."""
    return ";" if type_.item is not None and type_.item.cast == "box" else ","
