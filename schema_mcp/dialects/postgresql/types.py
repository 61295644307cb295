"""PostgreSQL's types as `SqlType`: by rows of pg_type, and by name only where the name is all there is (citext).

It reads nothing: the rows are those of the query `types`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schema_mcp.schema.types import SqlType, TypeKind

# https://www.postgresql.org/docs/current/catalog-pg-type.html: the built-in types' oids never change.
_BPCHAR, _VARCHAR, _NUMERIC, _BIT, _VARBIT = 1042, 1043, 1700, 1560, 1562
_KINDS: Mapping[int, TypeKind] = {
    16: TypeKind.BOOLEAN,
    17: TypeKind.BYTES,
    20: TypeKind.INTEGER,
    21: TypeKind.INTEGER,
    23: TypeKind.INTEGER,
    25: TypeKind.TEXT,
    114: TypeKind.JSON,
    700: TypeKind.FLOAT,
    701: TypeKind.FLOAT,
    _BPCHAR: TypeKind.TEXT,
    _VARCHAR: TypeKind.TEXT,
    1082: TypeKind.DATE,
    1083: TypeKind.TIME,
    1114: TypeKind.TIMESTAMP,
    1184: TypeKind.TIMESTAMP,
    1266: TypeKind.TIME,
    _NUMERIC: TypeKind.NUMERIC,
    2950: TypeKind.UUID,
    3802: TypeKind.JSON,
}
_BITS: Mapping[int, int] = {20: 64, 21: 16, 23: 32, 700: 24, 701: 53}

#: What format_type says of a type that is gone.
_GONE = "???"


class TypeGone(Exception):
    """A type was dropped between the snapshot and the call of format_type, so its columns were dropped or changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """A column's type and what a domain adds to the column."""

    type: SqlType
    #: The domain, or one that it is over, refuses null.
    not_null: bool
    default: str | None


class Types:
    """Resolves (type oid, modifier) to `ColumnType`; equal types are one object."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = {row["oid"]: row for row in rows}
        self._resolved: dict[tuple[int, int], ColumnType] = {}

    def column_type(self, oid: int, modifier: int, native: str | None) -> ColumnType:
        """`native`: the type with its modifier as format_type spells it; None without a modifier.

        Raises: TypeGone.
        """
        key = oid, modifier
        if key not in self._resolved:
            type_ = self._type(oid, modifier, native or self._row(oid)["name"])
            if _GONE in (type_.native, type_.cast):
                raise TypeGone(f"type {oid} is gone")
            self._resolved[key] = ColumnType(
                type=type_, not_null=self._not_null(oid), default=self._row(oid)["default_expression"]
            )
        return self._resolved[key]

    def _row(self, oid: int) -> Mapping[str, Any]:
        try:
            return self._rows[oid]
        except KeyError:
            raise TypeGone(f"type {oid} is gone") from None

    def _not_null(self, oid: int) -> bool:
        row = self._row(oid)
        return row["form"] == "d" and (row["not_null"] or self._not_null(row["base"]))

    def _type(self, oid: int, modifier: int, native: str) -> SqlType:
        row = self._row(oid)
        if row["form"] == "d":
            base = self._type(row["base"], row["modifier"], row["base_native"])
            checks = (*base.checks, *(check for check in row["checks"] or () if check is not None))
            return replace(base, native=native, domain=row["name"], base_native=base.modified, checks=checks)
        if row["item"]:
            # The modifier of an array is its elements', and format_type puts the brackets last.
            item = self._type(row["item"], modifier, native.removesuffix("[]"))
            return SqlType(kind=TypeKind.ARRAY, native=native, cast=row["name"], item=item)
        if row["form"] == "e":
            return SqlType(kind=TypeKind.ENUM, native=native, cast=row["name"], enum=tuple(row["labels"] or ()))
        precision, scale = _digits(modifier) if oid == _NUMERIC and modifier != -1 else (_BITS.get(oid), None)
        return SqlType(
            kind=TypeKind.TEXT if row["citext"] else _KINDS.get(oid, TypeKind.OTHER),
            native=native,
            cast=row["name"],
            length=_length(oid, modifier),
            precision=precision,
            scale=scale,
        )


def _length(oid: int, modifier: int) -> int | None:
    if modifier == -1:
        return None
    if oid in (_BPCHAR, _VARCHAR):
        return modifier - 4
    return modifier if oid in (_BIT, _VARBIT) else None


def _digits(modifier: int) -> tuple[int, int]:
    """Precision and scale; the scale has 11 bits and a sign (src/backend/utils/adt/numeric.c, make_numeric_typmod)."""
    packed = modifier - 4
    return packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 0x400) - 0x400
