"""Types as information_schema spells them (ISO/IEC 9075-11: `data_type` and its companions) as `SqlType`. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from schema_mcp.schema.types import SqlType, TypeKind

Row = Mapping[str, Any]

_KINDS: Mapping[str, TypeKind] = {
    "smallint": TypeKind.INTEGER,
    "integer": TypeKind.INTEGER,
    "int": TypeKind.INTEGER,
    "bigint": TypeKind.INTEGER,
    "numeric": TypeKind.NUMERIC,
    "decimal": TypeKind.NUMERIC,
    "real": TypeKind.FLOAT,
    "float": TypeKind.FLOAT,
    "double precision": TypeKind.FLOAT,
    "boolean": TypeKind.BOOLEAN,
    "character varying": TypeKind.TEXT,
    "varchar": TypeKind.TEXT,
    "character": TypeKind.TEXT,
    "char": TypeKind.TEXT,
    "text": TypeKind.TEXT,
    "bytea": TypeKind.BYTES,
    "binary": TypeKind.BYTES,
    "binary varying": TypeKind.BYTES,
    "varbinary": TypeKind.BYTES,
    "blob": TypeKind.BYTES,
    "date": TypeKind.DATE,
    "time": TypeKind.TIME,
    "time without time zone": TypeKind.TIME,
    "time with time zone": TypeKind.TIME,
    "timestamp": TypeKind.TIMESTAMP,
    "timestamp without time zone": TypeKind.TIMESTAMP,
    "timestamp with time zone": TypeKind.TIMESTAMP,
    "uuid": TypeKind.UUID,
    "json": TypeKind.JSON,
    "jsonb": TypeKind.JSON,
}
#: Without a length these words mean length 1 in a cast.
_UNMODIFIED = {"character": "bpchar", "bit": '"bit"'}
#: PostgreSQL's two types that have elements and are no arrays (SQL/information_schema.sql takes them for such).
_NO_ARRAYS = ("int2vector", "oidvector")
_DEFAULT_SECONDS_DIGITS = 6
_HAS_SECONDS_DIGITS = re.compile("(time|timestamp|interval)\\b")
_PLAIN_NAME = re.compile("[a-z_][a-z0-9_$]*")


class Types:
    """Resolves rows of `columns` and `domains` by rows of `domains` and `element_types`.

    `checks`: the conditions of each domain, by (schema, name).
    """

    def __init__(
        self,
        domains: Iterable[Row],
        element_types: Iterable[Row],
        checks: Mapping[tuple[str, str], tuple[str, ...]],
    ) -> None:
        self._checks = checks
        self._domains = {(row["domain_schema"], row["domain_name"]): row for row in domains}
        self._elements = {
            (
                row["object_schema"],
                row["object_name"],
                row["object_type"],
                row["collection_type_identifier"],
            ): row
            for row in element_types
        }

    def default(self, column: Row) -> str | None:
        """The default of the column's domain."""
        domain = self._domains.get((column["domain_schema"], column["domain_name"]))
        return domain["domain_default"] if domain is not None else None

    def column_type(self, column: Row) -> SqlType:
        """The type of a row of `columns`."""
        schema, name = column["domain_schema"], column["domain_name"]
        if name is None:
            place = (column["table_schema"], column["table_name"], "TABLE", column["dtd_identifier"])
            return self._type(column, place)
        base = self._type(column, (schema, name, "DOMAIN", "1"))
        return self._domain(base, schema, name)

    def _type(self, row: Row, place: tuple[str, str, str, str]) -> SqlType:
        schema, name = row["udt_schema"], row["udt_name"]
        if domain := self._domains.get((schema, name)):
            base = self._type(domain, (schema, name, "DOMAIN", domain["dtd_identifier"]))
            return self._domain(base, schema, name)
        spelled = row["data_type"]
        if spelled == "ARRAY" and name not in _NO_ARRAYS and (element := self._elements.get(place)):
            return self._array(element)
        if spelled == "USER-DEFINED":
            return SqlType(kind=TypeKind.OTHER, native=_shown(schema, name), cast=_quoted(schema, name))
        if spelled == "ARRAY":
            return SqlType(kind=TypeKind.OTHER, native=name, cast=name if name in _NO_ARRAYS else _quoted(schema, name))
        return _built_in(spelled, row)

    def _domain(self, base: SqlType, schema: str, name: str) -> SqlType:
        shown = _shown(schema, name)
        checks = (*base.checks, *self._checks.get((schema, name), ()))
        return replace(base, native=shown, domain=shown, base_native=base.modified, checks=checks)

    def _array(self, element: Row) -> SqlType:
        """Of elements only the type's name is known, no length."""
        schema, name = element["udt_schema"], element["udt_name"]
        place = (schema, name, "DOMAIN", "1")
        item = self._type({**dict.fromkeys(_COMPANIONS), **element}, place)
        cast = _quoted(schema, name) if item.domain else item.cast
        return SqlType(kind=TypeKind.ARRAY, native=f"{item.native}[]", cast=f"{cast}[]", item=item)


_COMPANIONS = ("character_maximum_length", "numeric_precision", "numeric_scale", "datetime_precision", "interval_type")


def _built_in(spelled: str, row: Row) -> SqlType:
    kind = _KINDS.get(spelled.lower(), TypeKind.OTHER)
    precision = row["numeric_precision"]
    return SqlType(
        kind=kind,
        native=_native(spelled, row),
        cast=_UNMODIFIED.get(spelled, spelled),
        length=row["character_maximum_length"],
        precision=precision if precision is not None else _BITS.get(spelled),
        scale=_scale(row) if kind is TypeKind.NUMERIC else None,
    )


#: Of array elements not even that is said, and it goes without saying.
_BITS = {"smallint": 16, "integer": 32, "bigint": 64, "real": 24, "double precision": 53}


def _native(spelled: str, row: Row) -> str:
    length, precision, digits = row["character_maximum_length"], row["numeric_precision"], row["datetime_precision"]
    if length is not None:
        return f"{spelled}({length})"
    if _KINDS.get(spelled) is TypeKind.NUMERIC and precision is not None:
        return f"{spelled}({precision},{_scale(row)})"
    if row["interval_type"]:
        return f"{spelled} {row['interval_type'].lower()}"
    if digits is not None and digits != _DEFAULT_SECONDS_DIGITS and (word := _HAS_SECONDS_DIGITS.match(spelled)):
        return f"{word[0]}({digits}){spelled[word.end() :]}"
    return _UNMODIFIED.get(spelled, spelled)


def _scale(row: Row) -> int | None:
    """PostgreSQL shows a negative scale without its sign, as a number of 11 bits; none is larger than 1,000."""
    scale: int | None = row["numeric_scale"]
    return scale if scale is None or scale < 1024 else scale - 2048


def _shown(schema: str, name: str) -> str:
    return ".".join(part if _PLAIN_NAME.fullmatch(part) else _quoted(part) for part in (schema, name))


def _quoted(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)
