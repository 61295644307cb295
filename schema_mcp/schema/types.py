"""Type families: what a column's values are, apart from how a product spells it.

Pure data. It knows no SQL text and no JSON Schema: dialects fill it, tools read it.
"""

from dataclasses import dataclass
from enum import StrEnum


class TypeKind(StrEnum):
    """The family that decides JSON form, operators and casts. Whatever has no family of its own is `OTHER`: text."""

    INTEGER = "integer"
    NUMERIC = "numeric"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    UUID = "uuid"
    JSON = "json"
    ENUM = "enum"
    ARRAY = "array"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlType:
    """One column type. Domains are resolved to their base type; `domain` keeps their name."""

    kind: TypeKind
    #: How the database spells it with its modifier: `character varying(20)`, `DECIMAL(10,2)`. Shown to people.
    native: str
    #: What a value is cast to: the base type without a modifier, qualified; empty where the database has no such types.
    cast: str = ""
    #: Maximum length in characters (TEXT) or bits.
    length: int | None = None
    #: Decimal digits (NUMERIC); bits (INTEGER: 16, 32, 64; FLOAT: 24, 53), as information_schema counts them.
    precision: int | None = None
    scale: int | None = None
    #: Labels in their order (ENUM).
    enum: tuple[str, ...] = ()
    #: Element type (ARRAY).
    item: "SqlType | None" = None
    #: Name of the domain the column is declared with.
    domain: str | None = None
    #: Conditions of the domain and of those it is over, as the database prints them; VALUE stands for the value.
    checks: tuple[str, ...] = ()
    #: The base type with its modifier, where `native` is the domain's name.
    base_native: str = ""
    #: True where the database enforces the type; False for SQLite columns outside STRICT tables, which hold anything.
    enforced: bool = True

    @property
    def modified(self) -> str:
        """The type with the modifier that the database enforces, whatever domain is in front of it."""
        return self.base_native or self.native

    def __post_init__(self) -> None:
        if (self.kind is TypeKind.ARRAY) != (self.item is not None):
            raise ValueError(f"type {self.native}: an array, and only an array, has an item type")
        if self.enum and self.kind is not TypeKind.ENUM:
            raise ValueError(f"type {self.native}: only an enum has labels")
