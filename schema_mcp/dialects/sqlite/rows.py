"""Rows as they leave: JSON by orjson over the driver's raw values; SQLite's json_object changes floats.

How values leave, by column family: integers beyond 2^53 as strings, infinite floats as "Infinity" and "-Infinity",
blobs as base64, everything of a NUMERIC column as a string, 0 and 1 of a BOOLEAN column as false and true, a text of a
JSON column as the JSON that it is, see `dialects.documents`. A number is a number in every column. What else a
column's family does not expect (SQLite lets any column hold anything), and what could be taken for another value,
leaves tagged: see `tagged`.

A row's way is found once for each combination of storage classes; rare values (infinite, beyond 2^53, tagged) are seen
in what orjson made, and the row is then made again, value by value. For the numbers in documents, which take longest, a
batch is looked at as a whole.
"""

import math
import sqlite3
from base64 import b64encode
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias

import orjson

from schema_mcp.dialects.base import MAX_EXACT_INTEGER, Row
from schema_mcp.dialects.documents import AS_TEXT, are_long, as_text, is_json, is_plain, kept
from schema_mcp.dialects.sqlite.tagged import MARK, TAGS, Beginning, Undecodable, decode, float_text, tagged
from schema_mcp.dialects.sqlite.types import Affinity, affinity
from schema_mcp.schema.types import SqlType, TypeKind

_MARK = MARK.encode()
#: Families whose values are texts as they are.
_TEXTUAL = frozenset({TypeKind.TEXT, TypeKind.DATE, TypeKind.TIME, TypeKind.TIMESTAMP, TypeKind.OTHER})
_AFFINITIES_OF_NUMBERS = frozenset({Affinity.INTEGER, Affinity.REAL, Affinity.NUMERIC})
#: So many rows are looked at together: more than that are slower again where they do not fit the processor's cache.
_LOOKED_AT_ROWS = 32
#: Combinations of storage classes that one statement remembers.
_MAX_WAYS = 1000

_Converter: TypeAlias = Callable[[Any], Any]
#: The members that are not left to orjson, and whether there are floats among the values.
_Way: TypeAlias = tuple[list[tuple[str, _Converter]], bool]
#: A row as the driver gives it.
_Raw: TypeAlias = tuple[Any, ...]


def row_writer(
    labels: Sequence[str], types: Sequence[SqlType]
) -> tuple[Callable[[_Raw], Row], Callable[[list[Row], list[_Raw]], list[Row]]]:
    """A function from a raw row (the labelled columns, then the keys) to a `Row`, and one that gives a batch of these
    its last form, from what it was made of.
    """
    width = len(labels)
    columns = list(zip(labels, types, strict=True))
    has_documents = any(type_.kind is TypeKind.JSON for type_ in types)
    ways: dict[tuple[type, ...], _Way] = {}

    def way(classes: tuple[type, ...]) -> _Way:
        found = [(label, _converter(type_, class_)) for (label, type_), class_ in zip(columns, classes, strict=False)]
        if len(ways) >= _MAX_WAYS:
            ways.clear()
        made = [(label, convert) for label, convert in found if convert is not None], float in classes[:width]
        ways[classes] = made
        return made

    def write(values: tuple[Any, ...]) -> Row:
        classes = tuple(map(type, values))
        converters, floats = ways.get(classes) or way(classes)
        members = dict(zip(labels, values, strict=False))
        for label, convert in converters:
            members[label] = convert(members[label])
        try:
            text = orjson.dumps(members, _base64, orjson.OPT_STRICT_INTEGER)
        except TypeError:
            text = exactly(values)
        else:
            # orjson writes null for an infinite float without a word. Most rows are ASCII, which is quickly seen.
            infinite = floats and b"null" in text and math.inf in map(_magnitude, values)
            if infinite or (not text.isascii() and _MARK in text):
                text = exactly(values)
        # A copy: the bytes that orjson gives lie in a block of some kilobytes, which stays as long as they do.
        return Row(b"%b" % text, values[width:])

    def finished(rows: list[Row], raw: list[_Raw]) -> list[Row]:
        if not has_documents:
            return rows
        last: list[Row] = []
        for at in range(0, len(rows), _LOOKED_AT_ROWS):
            last += looked_at(rows[at : at + _LOOKED_AT_ROWS], raw[at : at + _LOOKED_AT_ROWS])
        return last

    def looked_at(rows: list[Row], raw: list[_Raw]) -> list[Row]:
        together = b",".join([row.json for row in rows])
        if are_long(together) and not is_plain(f"[{together.decode()}]"):
            rows = [
                Row(exactly(values), row.keys) if are_long(row.json) else row
                for row, values in zip(rows, raw, strict=True)
            ]
        if b"\n" in together or b"\r" in together:
            return [Row(_on_one_line(row.json), row.keys) for row in rows]
        return rows

    def exactly(values: tuple[Any, ...]) -> bytes:
        return orjson.dumps(
            {label: _form(type_, value) for (label, type_), value in zip(columns, values, strict=False)}
        )

    return write, finished


def values_of(connection: sqlite3.Connection, cursor: sqlite3.Cursor) -> Generator[_Raw, None, None]:
    """The rows of the cursor. The usual conversion of text fails at what is not UTF-8; from there on `decode` does it,
    until somebody gives the connection its usual text factory back.

    The cursor stands still at a row that it could not convert, so nothing is run twice and no row is lost.
    """
    while True:
        try:
            yield from cursor
            return
        except sqlite3.OperationalError as exc:
            if connection.text_factory is decode or not str(exc).startswith("Could not decode"):
                raise
            connection.text_factory = decode


def _converter(type_: SqlType, class_: type) -> _Converter | None:
    """What makes the JSON form of a value of that class, rare values aside; None where orjson does."""
    kind = type_.kind
    if class_ is str and kind not in _TEXTUAL:
        return _likely_document if kind is TypeKind.JSON else tagged
    if class_ is bytes and kind is not TypeKind.BYTES:
        return tagged
    if class_ is int and kind is TypeKind.BOOLEAN:
        return _boolean
    if class_ is int and kind is TypeKind.NUMERIC:
        return str
    return float_text if class_ is float and kind is TypeKind.NUMERIC else None


def _form(type_: SqlType, value: Any) -> Any:
    """The JSON form of any value, for orjson."""
    kind = type_.kind
    match value:
        case None | Undecodable() | Beginning():
            return value
        case str():
            if kind is TypeKind.JSON:
                return _document(value)
            return value if kind in _TEXTUAL and not value.startswith(TAGS) else tagged(value)
        case bytes():
            return _base64(value) if kind is TypeKind.BYTES else tagged(value)
        case float():
            if kind is TypeKind.NUMERIC or (kind is TypeKind.FLOAT and math.isinf(value)):
                return float_text(value)
            return tagged(value) if math.isinf(value) else value
    if kind is TypeKind.NUMERIC:
        return str(value)
    if abs(value) <= MAX_EXACT_INTEGER:
        return _boolean(value) if kind is TypeKind.BOOLEAN else value
    return _big_integer(type_, value)


def _big_integer(type_: SqlType, value: int) -> Any:
    """As a string, where that is no text; in a JSON column as the document that it is."""
    if type_.kind is TypeKind.JSON:
        return orjson.Fragment(kept(str(value)))
    digits_are_a_number = type_.kind in _TEXTUAL and affinity(type_) in _AFFINITIES_OF_NUMBERS
    if digits_are_a_number or type_.kind in (TypeKind.INTEGER, TypeKind.FLOAT):
        return str(value)
    return tagged(value)


def _boolean(value: int) -> bool | int:
    return value == 1 if value in (0, 1) else value


def _document(text: str) -> Any:
    """The JSON document itself, or the object that carries its text; so does a string that looks like a tagged one.
    Tagged is what is no JSON.
    """
    document = kept(text)
    if document is not text:
        return orjson.Fragment(document) if is_json(text) else tagged(text)
    if text.lstrip(" \t\r\n").startswith('"') and orjson.loads(text).startswith(TAGS):
        return orjson.Fragment(as_text(text))
    return orjson.Fragment(text)


def _likely_document(text: str) -> Any:
    """The same, quickly for most documents. The numbers in them are not looked at."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _document(text)
    class_ = type(value)
    if class_ is list or (class_ is dict and AS_TEXT not in value):
        return orjson.Fragment(text)
    return _document(text)


def _on_one_line(row: bytes) -> bytes:
    """Line breaks are outside of strings, white space only (RFC 8259 section 2), and would break line framing."""
    return row.replace(b"\r", b" ").replace(b"\n", b" ")


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _magnitude(value: Any) -> float:
    return abs(value) if type(value) is float else 0.0
