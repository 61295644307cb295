"""PostgreSQL's texts of values as JSON that loses nothing: the forms that `values.exact` has the database make.

For results that are not of our making, so that no expression can be put around their columns. Pure.
"""

import base64
import re
from collections.abc import Callable
from typing import TypeAlias

import orjson

from schema_mcp.dialects.base import MAX_EXACT_INTEGER
from schema_mcp.dialects.documents import kept
from schema_mcp.dialects.postgresql import arrays
from schema_mcp.schema.types import SqlType, TypeKind

#: From the text of a value that is not null to its JSON.
Writer: TypeAlias = Callable[[str], str]

#: DateStyle ISO; where a statement has set another one, the text is left as it is.
_MOMENT = re.compile(r"([0-9]{4,}-[0-9]{2}-[0-9]{2}) ([0-9:.]+)([+-][0-9]{2})?((?::[0-9]{2}){0,2})( BC)?")


def writer(type_: SqlType) -> Writer:
    """What makes the JSON of a value of that type."""
    if type_.kind is TypeKind.ARRAY:
        assert type_.item is not None
        return _array(type_.item)
    if type_.cast == "inet":
        return _address
    if type_.kind is TypeKind.INTEGER and type_.precision == 64:
        return _integer
    return _WRITERS.get(type_.kind, _string)


def beginning(type_: SqlType, text: str) -> str:
    """The JSON string of the beginning of a value of that type, of whose text the beginning is given."""
    if type_.kind is TypeKind.BYTES and text.startswith("\\x"):
        digits = text[2:]
        return _bytes("\\x" + digits[: len(digits) // 6 * 6])  # in threes, of which each makes four characters
    return _string(text)


def _string(text: str) -> str:
    return orjson.dumps(text).decode()


def _number(text: str) -> str:
    """As the database writes it; NaN and infinity are strings, -0 is -0.0 so that readers keep the sign."""
    if text[-1:].isdigit():
        return text if text != "-0" else "-0.0"
    return _string(text)


def _integer(text: str) -> str:
    return text if abs(int(text)) <= MAX_EXACT_INTEGER else _string(text)


def _boolean(text: str) -> str:
    return "true" if text == "t" else "false"


def _bytes(text: str) -> str:
    if not text.startswith("\\x"):
        return _string(text)
    return _string(base64.b64encode(bytes.fromhex(text[2:])).decode())


def _address(text: str) -> str:
    """With its netmask, as the cast to text has it."""
    return _string(text if "/" in text else f"{text}/{128 if ':' in text else 32}")


def _moment(text: str) -> str:
    found = _MOMENT.fullmatch(text)
    if found is None:
        return _string(text)
    date, time, offset, rest, era = found.groups(default="")
    return _string(f"{date}T{time}{offset}{rest or (':00' if offset else '')}{era}")


def _document(text: str) -> str:
    return kept(text).replace("\r", " ").replace("\n", " ")


_WRITERS: dict[TypeKind, Writer] = {
    TypeKind.INTEGER: _number,
    TypeKind.FLOAT: _number,
    TypeKind.BOOLEAN: _boolean,
    TypeKind.BYTES: _bytes,
    TypeKind.TIMESTAMP: _moment,
    TypeKind.JSON: _document,
}


def _array(item: SqlType) -> Writer:
    element = _string if item.kind is TypeKind.ARRAY else writer(item)
    delimiter = ";" if item.cast == "box" else ","

    def write(text: str) -> str:
        if not text.startswith("{"):
            return _string(text)  # with bounds, which a JSON array would lose
        tree = arrays.tree(text, delimiter)
        nested = any(isinstance(part, list) for part in tree)
        if item.kind is TypeKind.ARRAY and nested:
            return _string(text)
        if item.kind is TypeKind.JSON:
            if nested or any(isinstance(part, str) and part.strip() == "null" for part in tree):
                return _string(text)
            return _joined(tree, element)
        if item.kind is TypeKind.INTEGER and item.precision == 64:
            digits = arrays.leaves(text, delimiter)
            return _joined(tree, _string if any(abs(int(one)) > MAX_EXACT_INTEGER for one in digits) else _number)
        return _joined(tree, element)

    return write


def _joined(tree: arrays.Tree, element: Writer) -> str:
    parts = (
        "null" if part is None else _joined(part, element) if isinstance(part, list) else element(part) for part in tree
    )
    return f"[{','.join(parts)}]"
