"""The ranges that PostgreSQL itself has (manual 8.17.1), by their names, and what is in them. Pure data.

Ranges that somebody has defined are types like others: they are compared as a whole.
"""

import re
from collections.abc import Mapping

from schema_mcp.schema.types import SqlType, TypeKind

_ELEMENTS = {
    "int4": SqlType(kind=TypeKind.INTEGER, native="integer", cast="integer", precision=32),
    "int8": SqlType(kind=TypeKind.INTEGER, native="bigint", cast="bigint", precision=64),
    "num": SqlType(kind=TypeKind.NUMERIC, native="numeric", cast="numeric"),
    "date": SqlType(kind=TypeKind.DATE, native="date", cast="date"),
    "ts": SqlType(kind=TypeKind.TIMESTAMP, native="timestamp", cast="timestamp without time zone"),
    "tstz": SqlType(kind=TypeKind.TIMESTAMP, native="timestamptz", cast="timestamp with time zone"),
}
#: The type of the elements of each range and multirange.
RANGE_ELEMENTS: Mapping[str, SqlType] = {
    f"{name}{shape}": element for name, element in _ELEMENTS.items() for shape in ("range", "multirange")
}

_TEXT = re.compile(r"\s*(?:[\[({].*|empty\s*)", re.DOTALL | re.IGNORECASE)


def is_range_text(value: object) -> bool:
    """Whether the value is written as a range, and not as an element of one."""
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None
