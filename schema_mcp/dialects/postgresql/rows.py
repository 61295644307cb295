"""Rows as they come from PostgreSQL, made ready to leave: what its own JSON functions cannot say is put right here.

Documents that JSON readers do not keep become texts (`dialects.documents`); the elements of a bytea[] become base64.
Only statements with such columns are looked at, a batch of rows at a time, and a row is taken apart only where the look
finds something.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from schema_mcp.dialects.base import LargeRows, Related, Row, Statement
from schema_mcp.dialects.documents import AS_TEXT, as_text, doubtful, elements, is_plain, joined, kept, spaced_members
from schema_mcp.schema.types import SqlType, TypeKind

#: How JSON null comes, by `values.exact`, where SQL's null comes without white space.
JSON_NULL = "  null"
#: How the bytes of a bytea[] begin, backslashes doubled as JSON has them.
_HEX = '"\\\\x'
_SPACED_NULL = b":" + JSON_NULL.encode()


def finished(records: Sequence[Any], statement: Statement | Related, start: int = 0) -> list[Row]:
    """The rows of the records: from `start` on the JSON object as text, if the statement has one, and then the keys.

    Raises: LargeRows.
    """
    if not statement.labels:
        return [Row(b"{}", tuple(record)) for record in records]
    given = [record[start] for record in records]
    if None in given:
        raise LargeRows
    texts = [_on_one_line(text) for text in given]
    rows = [text.encode() for text in texts]
    packed = _packed(statement)
    if packed:
        parts = _parts(texts, statement, packed)
        if _is_doubtful("\n".join(parts).encode(), packed) and not _are_plain(parts):
            rows = [
                _put_right(text, packed).encode() if _is_doubtful(part.encode(), packed) else row
                for text, part, row in zip(texts, parts, rows, strict=True)
            ]
    return [Row(row, tuple(record[start + 1 :])) for row, record in zip(rows, records, strict=True)]


def _on_one_line(text: str) -> str:
    """A json column keeps its line breaks; inside a JSON text they are white space only (RFC 8259 section 2)."""
    return text.replace("\r", " ").replace("\n", " ") if "\n" in text or "\r" in text else text


def _packed(statement: Statement | Related) -> Mapping[str, SqlType]:
    """The members of a row that may have to be put right, with their types."""
    return {
        label: type_
        for label, type_ in zip(statement.labels, statement.types, strict=True)
        if (type_.item or type_).kind is TypeKind.JSON or (type_.item is not None and type_.item.kind is TypeKind.BYTES)
    }


def _parts(texts: Sequence[str], statement: Statement | Related, packed: Mapping[str, SqlType]) -> list[str]:
    """Of each row the members from the first to the last that may have to be put right, as an object.

    Digits of other columns would make every row doubtful. Quotation marks within a value are escaped, so that none
    looks like a member's name; a document may have members of any name, so the last one counts as the end.
    """
    places = [place for place, label in enumerate(statement.labels) if label in packed]
    first = f'"{statement.labels[places[0]]}":'
    behind = statement.labels[places[-1] + 1 : places[-1] + 2]
    if not behind:
        return ["{" + text[text.find(first) :] for text in texts]
    last = f',"{behind[0]}":'
    return ["{" + text[text.find(first) : text.rfind(last)] + "}" for text in texts]


def _is_doubtful(rows: bytes, packed: Mapping[str, SqlType]) -> bool:
    spelled = any((type_.item or type_).cast == "json" for type_ in packed.values())
    return _HEX.encode() in rows or _SPACED_NULL in rows or doubtful(rows, spelled=spelled)


def _are_plain(texts: Sequence[str]) -> bool:
    together = f"[{','.join(texts)}]"
    marked = AS_TEXT in together or _HEX in together or JSON_NULL in together
    return not marked and is_plain(together)


def _put_right(text: str, packed: Mapping[str, SqlType]) -> str:
    if _are_plain((text,)):
        return text
    values: dict[str, str] = {}
    for label, space, value in spaced_members(text):
        type_ = packed.get(label)
        if type_ is None:
            values[label] = value
        elif value == "null":
            values[label] = as_text(value) if space else value
        elif type_.item is None:
            values[label] = kept(value)
        elif not value.startswith("["):
            values[label] = value  # PostgreSQL's own text of an array
        elif type_.item.kind is TypeKind.BYTES:
            values[label] = json.dumps(_base64(json.loads(value)), separators=(",", ":"))
        else:
            kept_elements = (element if element == "null" else kept(element) for element in elements(value))
            values[label] = f"[{','.join(kept_elements)}]"
    return joined(values)


def _base64(element: Any) -> Any:
    if isinstance(element, list):
        return [_base64(inner) for inner in element]
    return element if element is None else base64.b64encode(bytes.fromhex(element.removeprefix("\\x"))).decode()
