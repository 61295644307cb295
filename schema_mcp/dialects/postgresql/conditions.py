"""Conditions as PostgreSQL phrases them, by the names of tests (`Dialect.condition`), and what values are bound as.

Written so that an index can serve them: containment and keys by the operators that GIN and GiST know (`@>`, `&&`, `?`,
`@?`), a tsvector as it is.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema_mcp.dialects.base import DriverValue, Value
from schema_mcp.dialects.json_path import jsonpath, parse
from schema_mcp.dialects.postgresql import values
from schema_mcp.dialects.postgresql.values import NativeType, checked_text, parameter
from schema_mcp.schema.ranges import RANGE_ELEMENTS
from schema_mcp.schema.types import SqlType, TypeKind

#: tsquery's own limit, in bytes of a word (manual 12.11); and one of ours, far below that of a query.
_MAX_WORD_BYTES, _MAX_WORDS_CHARACTERS = 2046, 10_000


def encode(type_: SqlType, value: Value, test: str) -> DriverValue:
    """What `value` is bound as for that test; see `Dialect.encode`. Raises: ValueError, with the reason."""
    match test:
        case "like" | "ilike" | "starts_with" | "contains":
            return checked_text(value)
        case "matches":
            return _words(checked_text(value))
        case "in_list" | "not_in_list" | "array_has_any" | "array_has_all":
            return list(value)
        case "json_has_any" | "json_has_all":
            return [checked_text(key) for key in value]
        case "path":
            return checked_text(jsonpath(parse(value)))
        case "range_contains" | "range_overlaps":
            return values.encode(type_, _range(type_, value))
    return values.encode(type_, value)


def condition(test: str, column: sa.ColumnElement[Any], type_: SqlType, names: Sequence[str]) -> sa.ColumnElement[bool]:
    """Sets are one bound array, so that a statement's text does not depend on how many values there are.

    Patterns look at the value as text, because citext has a LIKE of its own that disregards case.
    """
    text = sa.cast(column, sa.Text())
    bound = sa.bindparam(names[0], type_=sa.Text())
    match test:
        case "in":
            return column.in_([parameter(type_, name) for name in names])
        case "not_in":
            return column.not_in([parameter(type_, name) for name in names])
        case "in_list":
            return column == sa.func.any(_array(names[0], f"{type_.cast}[]"))
        case "not_in_list":
            return column != sa.func.all(_array(names[0], f"{type_.cast}[]"))
        case "like":
            return text.like(bound)
        case "ilike":
            return text.ilike(bound)
        case "starts_with":
            return sa.func.starts_with(text, bound)
        case "contains":
            return sa.func.strpos(text, bound) > sa.literal_column("0")
        case "matches":
            vector = column if type_.kind is TypeKind.OTHER else sa.func.to_tsvector(text)
            return _holds(vector, "@@", sa.func.websearch_to_tsquery(bound))
        case "array_has_any":
            return _holds(column, "&&", _array(names[0], type_.cast))
        case "array_has_all":
            return _holds(column, "@>", _array(names[0], type_.cast))
        case "range_has":
            return _holds(column, "@>", parameter(RANGE_ELEMENTS[type_.cast], names[0]))
        case "range_contains":
            return _holds(column, "@>", parameter(type_, names[0]))
        case "range_overlaps":
            return _holds(column, "&&", parameter(type_, names[0]))
    document = column if type_.cast == "jsonb" else sa.cast(column, _JSONB)
    match test:
        case "json_contains":
            return _holds(document, "@>", sa.cast(bound, _JSONB))
        case "json_has_any":
            return _holds(document, "?|", sa.bindparam(names[0], type_=ARRAY(sa.Text())))
        case "json_has_all":
            return _holds(document, "?&", sa.bindparam(names[0], type_=ARRAY(sa.Text())))
        case "path":
            return _holds(document, "@?", sa.cast(bound, NativeType("jsonpath")))
    raise AssertionError(f"no such test: {test}")


_JSONB = NativeType("jsonb")


def _holds(column: sa.ColumnElement[Any], operator: str, value: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return column.op(operator, is_comparison=True, return_type=sa.Boolean())(value)


def _array(name: str, type_name: str) -> sa.ColumnElement[Any]:
    texts: sa.ColumnElement[Any] = sa.bindparam(name, type_=ARRAY(sa.Text()))
    if type_name == "regclass[]":
        texts = sa.cast(texts, sa.Text())  # read as an array's text, it takes what it writes; see `values.read`
    return sa.cast(texts, NativeType(type_name))


def _range(type_: SqlType, text: str) -> str:
    """The text of a range, or of several in braces where the column has several."""
    if type_.cast.endswith("multirange") and not text.lstrip().startswith("{"):
        return "{}" if text.strip().lower() == "empty" else f"{{{text}}}"
    return text


def _words(text: str) -> str:
    if len(text) > _MAX_WORDS_CHARACTERS:
        raise ValueError(f"a search has at most {_MAX_WORDS_CHARACTERS} characters")
    if any(len(word.encode()) > _MAX_WORD_BYTES for word in text.split()):
        raise ValueError(f"a word has at most {_MAX_WORD_BYTES} bytes")
    return text
