"""Declared types: SQLite's affinity (sqlite.org/datatype3.html section 3.1), refined to a family by the name. Pure."""

import re
from enum import StrEnum
from functools import lru_cache

from schema_mcp.schema.types import SqlType, TypeKind


class Affinity(StrEnum):
    """What a column turns values into before it stores them. `BLOB`: nothing is turned."""

    INTEGER = "integer"
    TEXT = "text"
    BLOB = "blob"
    REAL = "real"
    NUMERIC = "numeric"


#: Families by the first word of a declared type of NUMERIC affinity. A UUID is text that SQLite does not know about.
_NUMERIC_FAMILIES = {
    "NUMERIC": TypeKind.NUMERIC,
    "DECIMAL": TypeKind.NUMERIC,
    "DEC": TypeKind.NUMERIC,
    "NUMBER": TypeKind.NUMERIC,
    "NUM": TypeKind.NUMERIC,
    "BOOL": TypeKind.BOOLEAN,
    "BOOLEAN": TypeKind.BOOLEAN,
    "DATE": TypeKind.DATE,
    "TIME": TypeKind.TIME,
    "TIMETZ": TypeKind.TIME,
    "DATETIME": TypeKind.TIMESTAMP,
    "TIMESTAMP": TypeKind.TIMESTAMP,
    "TIMESTAMPTZ": TypeKind.TIMESTAMP,
    "JSON": TypeKind.JSON,
    "JSONB": TypeKind.JSON,
    "UUID": TypeKind.TEXT,
    "GUID": TypeKind.TEXT,
    "UNIQUEIDENTIFIER": TypeKind.TEXT,
}
_FAMILIES = {
    Affinity.INTEGER: TypeKind.INTEGER,
    Affinity.TEXT: TypeKind.TEXT,
    Affinity.BLOB: TypeKind.BYTES,
    Affinity.REAL: TypeKind.FLOAT,
}
#: In this order (section 3.1): CHARINT is an integer.
_AFFINITY_WORDS = (
    (Affinity.INTEGER, ("INT",)),
    (Affinity.TEXT, ("CHAR", "CLOB", "TEXT")),
    (Affinity.BLOB, ("BLOB",)),
    (Affinity.REAL, ("REAL", "FLOA", "DOUB")),
)
#: They have integer affinity only because the letters INT are in them.
_NO_INTEGERS = re.compile("POINT|INTERVAL")
_FIRST_WORD = re.compile("[A-Z_][A-Z0-9_]*")
_DIGITS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def affinity(type_: SqlType) -> Affinity:
    """The affinity of a column of this type. ANY has none in a STRICT table, NUMERIC elsewhere (stricttables.html)."""
    return _affinity(type_.native.upper(), type_.enforced)


@lru_cache(maxsize=1000)
def _affinity(declared: str, enforced: bool) -> Affinity:
    if not declared or (enforced and declared == "ANY"):
        return Affinity.BLOB
    for name, words in _AFFINITY_WORDS:
        if any(word in declared for word in words):
            return name
    return Affinity.NUMERIC


@lru_cache(maxsize=1000)
def sql_type(declared: str, *, strict: bool) -> SqlType:
    """The type of a column declared so. Lengths stay in `native` alone, because SQLite does not enforce them."""
    bare = SqlType(kind=TypeKind.OTHER, native=declared, enforced=strict)
    kind = _kind(declared.upper(), affinity(bare))
    precision = scale = None
    if kind is TypeKind.INTEGER:
        precision = 64
    elif kind is TypeKind.FLOAT:
        precision = 53
    elif kind is TypeKind.NUMERIC and (digits := _DIGITS.search(declared)):
        precision, scale = int(digits[1]), int(digits[2] or 0)
    return SqlType(kind=kind, native=declared, precision=precision, scale=scale, enforced=strict)


def _kind(declared: str, of_affinity: Affinity) -> TypeKind:
    if of_affinity is Affinity.NUMERIC:
        word = _FIRST_WORD.match(declared)
        return _NUMERIC_FAMILIES.get(word[0], TypeKind.OTHER) if word else TypeKind.OTHER
    if of_affinity is Affinity.INTEGER and _NO_INTEGERS.search(declared):
        return TypeKind.OTHER
    if of_affinity is Affinity.BLOB and "BLOB" not in declared:
        return TypeKind.OTHER
    return _FAMILIES[of_affinity]
