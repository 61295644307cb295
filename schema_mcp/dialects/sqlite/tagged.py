"""Strings that stand for a value together with its storage class. Pure.

SQLite lets a column hold values of any class, and JSON has no form for some of them: a blob among texts, text among
blobs, an infinite float, a digit string beside the integer of the same digits. Such a value leaves, and is taken, as
`MARK`, the class, a colon and the value: `text:`, `blob:` (base64), `integer:`, `real:`. A text that itself begins so
is tagged as `text:`. `base64:` stands for text that is not UTF-8: it can be shown and not be sent back, because no
driver binds such text. The replacement character, which begins them all, makes them no text of a user's.
"""

import base64
import math
import re
from base64 import b64encode
from decimal import Decimal

MARK = "\ufffd"
#: Begins the string that stands for text which is not UTF-8.
UNDECODABLE = f"{MARK}base64:"
TEXT, BLOB, INTEGER, REAL = (f"{MARK}{name}:" for name in ("text", "blob", "integer", "real"))
TAGS = (TEXT, BLOB, INTEGER, REAL, UNDECODABLE)

_DIGITS = re.compile(r"-?[0-9]{1,19}")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class Undecodable(str):
    """Stands for a text that is not UTF-8. It can be shown but not be bound again."""

    __slots__ = ()

    @property
    def data(self) -> bytes:
        """The text as SQLite holds it."""
        return base64.b64decode(self.removeprefix(UNDECODABLE))


class Beginning(str):
    """The beginning of a text that is larger than an answer may be: shown as it is, whatever it looks like."""

    __slots__ = ()


def decode(data: bytes) -> str:
    """Text as SQLite holds it; what is not UTF-8 as `Undecodable`. A text factory for a connection."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Undecodable(UNDECODABLE + b64encode(data).decode())


def tagged(value: int | float | str | bytes) -> str:
    """The string that stands for the value."""
    match value:
        case str():
            return TEXT + value
        case bytes():
            return BLOB + b64encode(value).decode()
        case int():
            return f"{INTEGER}{value}"
    return REAL + float_text(value)


def untagged(text: str) -> int | float | str | bytes:
    """What a string that begins with one of `TAGS` stands for.

    Raises: ValueError, with the reason.
    """
    tag = next(tag for tag in TAGS if text.startswith(tag))
    rest = text[len(tag) :]
    if tag == UNDECODABLE:
        raise ValueError("this stands for text that is not UTF-8, and such text cannot be stored or compared")
    if tag == TEXT:
        return rest
    if tag == BLOB:
        return _bytes(rest)
    if tag == INTEGER:
        if not _DIGITS.fullmatch(rest):
            raise ValueError("digits must follow 'integer:'")
        return int(rest)
    return _float(rest)


def float_text(value: float) -> str:
    """The shortest digits that read back as the same float."""
    return repr(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = None
    if data is None or b64encode(data).decode() != text:
        raise ValueError("base64 must follow 'blob:'")
    return data


def _float(text: str) -> float:
    if text in ("Infinity", "-Infinity"):
        return float(text)
    if not _DECIMAL.fullmatch(text):
        raise ValueError("a number must follow 'real:'")
    number = float(text)
    if not math.isfinite(number) or Decimal(repr(number)) != Decimal(text):
        raise ValueError(f"a double would round it to {float_text(number)}")
    return number
