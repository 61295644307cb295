"""Values both ways between JSON and PostgreSQL: text with casts, so that nothing passes through the driver's codecs.

In: `cast(cast($1 as text) as <base type without modifier>)`; a modifier in an explicit cast would truncate silently,
and the assignment to the column checks length and domain anyway (PostgreSQL manual, 4.2.9 and 10.4).
Out: `row_to_json` over exact expressions: what a JSON number cannot hold leaves as a string.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from schema_mcp.dialects.base import MAX_EXACT_INTEGER, Value
from schema_mcp.dialects.postgresql.times import whole_time
from schema_mcp.schema.types import SqlType, TypeKind

#: Types that keep only so many bytes of a text that is cast to them (manual 8.3, table 8.5).
_CUT_BY_CAST = {'"char"': 1, "name": 63}
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


class RowObject(FunctionElement[str]):
    """The JSON object of a row as text: `row_to_json` over a subselect of the given expressions.

    The alias is referred to as `alias.*`: a bare alias would mean a column of that name, if there is one.
    """

    inherit_cache = False
    type = sa.Text()

    def __init__(self, labels: Sequence[str], expressions: Sequence[sa.ColumnElement[Any]]) -> None:
        super().__init__(*expressions)
        self.labels = tuple(labels)


@compiles(RowObject)
def _compile_row_object(element: RowObject, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("add_to_result_map", None)
    members = ", ".join(
        f"{compiler.process(expression, **options)} AS {compiler.preparer.quote(label)}"
        for label, expression in zip(element.labels, element.clauses.clauses, strict=True)
    )
    return f"CAST((SELECT row_to_json(row_.*) FROM (SELECT {members}) AS row_) AS TEXT)"  # noqa: S608 - compiled parts


class Base64Array(FunctionElement[Any]):
    """The JSON array of base64 texts of a one-dimensional bytea[]."""

    inherit_cache = False
    type = sa.Text()


@compiles(Base64Array)
def _compile_base64_array(element: Base64Array, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("add_to_result_map", None)
    array = compiler.process(element.clauses.clauses[0], **options)
    elements = "json_agg(translate(encode(e_, 'base64'), E'\\n', '') ORDER BY n_)"
    rows = f"unnest({array}) WITH ORDINALITY AS u_(e_, n_)"
    return f"(SELECT coalesce({elements}, '[]') FROM {rows})"  # noqa: S608 - compiled parts


def encode(type_: SqlType, value: Value) -> str:
    """The text that PostgreSQL reads `value` from.

    Raises: ValueError for text that PostgreSQL cannot hold (NUL) or that is no Unicode text (lone surrogates).
    """
    match type_.kind:
        case TypeKind.BOOLEAN:
            return "true" if value else "false"
        case TypeKind.BYTES:
            return "\\x" + bytes(value).hex()
        case TypeKind.JSON:
            return checked_text(json_text(value))
        case TypeKind.ARRAY:
            return checked_text(value) if isinstance(value, str) else _array_literal(type_, value)
        case TypeKind.NUMERIC | TypeKind.INTEGER:
            return str(value)
        case TypeKind.FLOAT:
            return repr(value)
        case TypeKind.DATE | TypeKind.TIME | TypeKind.TIMESTAMP:
            return checked_text(whole_time(type_, value))
        case _:
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
    """`text` itself. Raises: ValueError if a cast to the type would cut it without an error."""
    max_bytes = _CUT_BY_CAST.get(type_.cast)
    if max_bytes is not None and len(text.encode()) > max_bytes and not (max_bytes == 1 and _OCTAL.fullmatch(text)):
        raise ValueError(f"the type holds at most {max_bytes} byte{'s' if max_bytes > 1 else ''}")
    return text


def parameter(type_: SqlType, name: str) -> sa.ColumnElement[Any]:
    """The bound text `name`, cast to the base type."""
    return sa.cast(sa.bindparam(name, type_=sa.Text()), NativeType(type_.cast))


def exact(column: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
    """An expression that `row_to_json` turns into a JSON value which loses nothing of the column's value."""
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


def _exact_array(column: sa.ColumnElement[Any], item: SqlType) -> sa.ColumnElement[Any]:
    """A JSON array, or PostgreSQL's text where a JSON array would lose the lower bounds (`[2:3]={1,2}`).

    The text of an array begins with `{` if, and only if, every dimension begins at 1 (manual 8.15.6).
    """
    text = sa.cast(column, sa.Text())
    one_based = sa.func.left(text, sa.literal_column("1")) == sa.literal_column("'{'")
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
        case TypeKind.NUMERIC | TypeKind.OTHER:
            elements = elements_as_text
        case TypeKind.BYTES:
            one_based = sa.and_(
                one_based,
                sa.func.coalesce(sa.func.array_ndims(column), sa.literal_column("1")) == sa.literal_column("1"),
            )
            elements = Base64Array(column)
        case _:
            elements = sa.func.to_json(column)
    return sa.case((one_based, elements), (column.is_not(None), sa.func.to_json(text)))


def _array_literal(type_: SqlType, values: Sequence[Value]) -> str:
    """PostgreSQL's array literal (manual 8.15.2), every element quoted; nested lists are further dimensions."""
    assert type_.item is not None
    parts: list[str] = []
    for value in values:
        if value is None:
            parts.append("NULL")
        elif isinstance(value, list) and type_.item.kind is not TypeKind.JSON:
            parts.append(_array_literal(type_, value))
        else:
            text = encode(type_.item, value).replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'"{text}"')
    # The only type with another delimiter (manual 8.15.2).
    return "{" + (";" if type_.item.cast == "box" else ",").join(parts) + "}"
