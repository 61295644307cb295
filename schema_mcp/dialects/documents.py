"""JSON texts as they are written: split without being read, and kept exact where a JSON reader would not keep them.

Some documents that a JSON column holds lose something in every JSON reader, or cannot be told from another value: JSON
null (from SQL's), a number that no double holds (RFC 8259 section 6), half a surrogate pair. They travel as
`{"$json": "<the document's text>"}`, and so does a document that looks like this itself. It is taken back as it left.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson

#: The only member of the object in which a document travels as text.
AS_TEXT = "$json"

#: Digits that any double keeps (IEEE 754 binary64).
_EXACT_DIGITS = 15
#: For the quick look at numbers: what they are made of as `0`, `e` and `-`, and all else as a space.
_DIGITS = bytes(
    next((ord(to) for to, made in (("0", "0123456789."), ("e", "eE"), ("-", "-+")) if chr(byte) in made), 32)
    for byte in range(256)
)
_MANY_DIGITS = b"0" * (_EXACT_DIGITS + 1)
#: With up to 15 digits, only an exponent of three digits can lead beyond the range of a double.
_LONG_EXPONENT, _LONG_SIGNED_EXPONENT = b"0e000", b"0e-000"
#: The same for integers, which have no digits after a point.
_INTEGERS = bytes(ord("0") if chr(byte) in "0123456789" else byte if byte == ord(".") else 32 for byte in range(256))
_LONG_INTEGER = b" " + _MANY_DIGITS
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(rf"{_STRING.pattern}|[-+.0-9a-zA-Z]+", re.DOTALL)
_BRACKET = re.compile(rf"{_STRING.pattern}|[\[\]{{}}]", re.DOTALL)


def text_of(value: Any) -> str | None:
    """The document's text, where `value` is an object that carries one."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(text := value.get(AS_TEXT), str):
        return text
    return None


def doubtful(texts: bytes, *, spelled: bool) -> bool:
    """Whether JSON texts may hold what a reader does not keep: a quick look (1 ms a MB), wrong on the safe side.

    `spelled`: the documents may be spelled in any way that JSON allows; without, as PostgreSQL spells a jsonb.
    """
    if b'"' + AS_TEXT.encode() in texts or (spelled and b"\\u" in texts):
        return True
    digits = texts.translate(_DIGITS)
    return _are_long(digits) or (spelled and _LONG_EXPONENT in digits)


def are_long(texts: bytes) -> bool:
    """Whether JSON texts that a reader has taken (it refuses `1e400`) may hold a number that it has rounded: as quick,
    and wrong on the same side.
    """
    return _are_long(texts.translate(_DIGITS))


def _are_long(digits: bytes) -> bool:
    return _MANY_DIGITS in digits or (b"-" in digits and _LONG_SIGNED_EXPONENT in digits)


def is_plain(text: str) -> bool:
    """Whether the text of a JSON array comes out of a reader and a writer as it went in, up to the space after a comma
    or a colon, and has no integers that a reader with doubles alone would change.

    It is not looked at for what `text_of` would take.
    """
    if _has_long_integers(text):
        return False
    try:
        again = orjson.dumps(orjson.loads(text)).decode()
    except orjson.JSONDecodeError:
        return False
    return _unspaced(again) == _unspaced(text)


def _has_long_integers(text: str) -> bool:
    return _LONG_INTEGER in b" " + text.encode().translate(_INTEGERS)


def _unspaced(text: str) -> str:
    return text.replace(", ", ",").replace(": ", ":")


def is_json(text: str) -> bool:
    """Whether it is JSON (RFC 8259), readable everywhere or not. False where Python cannot follow, at some 1000 levels,
    which is more than SQLite's own functions take.
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def kept(document: str) -> str:
    """The very document, if every JSON reader keeps it and tells it from SQL's null; else the object with its text."""
    if _is_kept(document):
        return document
    return as_text(document)


def as_text(document: str) -> str:
    """The object that carries the document's text."""
    return f'{{"{AS_TEXT}":{json.dumps(document, ensure_ascii=False)}}}'


def _is_kept(document: str) -> bool:
    try:
        value = orjson.loads(document)
    except orjson.JSONDecodeError:
        return False
    if value is None or text_of(value) is not None:
        return False
    if not are_long(document.encode()):
        return True
    if not _has_long_integers(document) and _unspaced(orjson.dumps(value).decode()) == _unspaced(document):
        return True
    return all(
        Decimal(repr(float(number))) == Decimal(number)
        for number in _NUMBER.findall(_STRING.sub("", document))
        if len(number) > _EXACT_DIGITS or "e" in number.lower()
    )


def members(row: str) -> dict[str, str]:
    """The members of a JSON object, their values as they are written."""
    return {name: value for name, _, value in spaced_members(row)}


def spaced_members(row: str) -> Iterator[tuple[str, str, str]]:
    """The members of a JSON object: name, the white space in front of the value, the value as it is written."""
    at = 1
    while (quote := row.find('"', at)) != -1:
        end = _end(row, quote)
        after = row.index(":", end) + 1
        start = _start(row, after)
        at = _end(row, start)
        yield json.loads(row[quote:end]), row[after:start], row[start:at]


def elements(array: str) -> Iterator[str]:
    """The elements of a JSON array as they are written."""
    at = _start(array, 1)
    while array[at] != "]":
        end = _end(array, at)
        yield array[at:end]
        at = _start(array, end)
        if array[at] == ",":
            at = _start(array, at + 1)


def joined(values: dict[str, str]) -> str:
    """The JSON object of these written members."""
    return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in values.items()) + "}"


def _start(text: str, at: int) -> int:
    """The place of the next character that is no white space."""
    while text[at] in " \t\n\r":
        at += 1
    return at


def _end(text: str, start: int) -> int:
    """The place after the value that begins at `start`, however deep it is and however long its numbers."""
    if text[start] not in "[{":
        found = _SCALAR.match(text, start)
        assert found is not None, "no JSON value"
        return found.end()
    depth = 0
    for part in _BRACKET.finditer(text, start):
        if part[0] in "[{":
            depth += 1
        elif part[0] in "]}":
            depth -= 1
            if depth == 0:
                return part.end()
    raise AssertionError("no JSON value")
