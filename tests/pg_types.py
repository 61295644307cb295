"""The types of a PostgreSQL server as its own catalog has them: values of each, and what a value is in JSON."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg

from tests.array_literals import parse
from tests.literals import DOMAINS, GENERATORS, SINCE, Generator, only
from tests.made_literals import arrays_of, composite_of, multirange_of, range_of

TYPES = """
SELECT t.oid, t.typname AS name, t.typtype::text AS form, format_type(t.oid, -1) AS native, t.typbasetype AS base,
    t.typtypmod AS modifier,
    t.typdelim::text AS delimiter, coalesce(e.oid, 0::oid) AS item, coalesce(r.rngsubtype, 0::oid) AS subtype,
    coalesce(m.rngtypid, 0::oid) AS range, coalesce(c.relkind::text, '') AS relation,
    (SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid) AS labels,
    (SELECT array_agg(a.atttypid ORDER BY a.attnum) FROM pg_attribute a
     WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes
FROM pg_type t
LEFT JOIN pg_type e ON e.typarray = t.oid
LEFT JOIN pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE pg_type_is_visible(t.oid) OR t.typtype = 'd'
ORDER BY t.oid
"""


class NoInput(Exception):
    """The type's input function takes nothing, so that its columns are filled by the server alone."""


@dataclass(frozen=True)
class Types:
    """The types of one server. `without_input`: those whose values nobody can write."""

    rows: Mapping[int, Mapping[str, Any]]
    without_input: frozenset[int]
    version: int

    def tested(self) -> list[int]:
        """All that a column can be of, but the row types of relations, of which each table makes another one, and
        pseudo-types, which no column can have."""
        return [oid for oid in self.rows if not self._is_left_out(oid)]

    def _is_left_out(self, oid: int) -> bool:
        row = self.rows[oid]
        if row["item"]:
            return row["item"] not in self.rows or self._is_left_out(row["item"])
        return bool(row["form"] == "p" or (row["form"] == "c" and row["relation"] != "c"))

    def base(self, oid: int) -> Mapping[str, Any]:
        """The type itself, of a domain what it is over in the end."""
        row = self.rows[oid]
        return self.base(row["base"]) if row["form"] == "d" else row

    def generator(self, oid: int) -> Generator:
        """Raises: KeyError with the name of a type that there is no rule for; NoInput."""
        row = self.rows[oid]
        if oid in self.without_input:
            raise NoInput
        match row["form"]:
            case "d" if row["name"] in DOMAINS:
                return DOMAINS[row["name"]]
            case "d":
                return self.generator(row["base"])
            case "e":
                return only(*row["labels"])
            case "c":
                return composite_of([self.generator(attribute) for attribute in row["attributes"]])
            case "r":
                return range_of(self.base(row["subtype"])["name"], self.generator(row["subtype"]))
            case "m":
                return multirange_of(self.generator(row["range"]))
        if row["item"]:
            return arrays_of(self.generator(row["item"]), row["delimiter"])
        made = GENERATORS[row["name"]]
        for version, more in SINCE.items():
            if self.version >= version and row["name"] in more:
                made |= more[row["name"]]
        return made

    def form(self, oid: int, literal: str) -> Any:
        """The JSON value that says what the literal says, in the plainest way that keeps all of it."""
        row = self.base(oid)
        if row["item"]:
            return self._array_form(row, literal)
        match row["name"] if row["form"] == "b" else "":
            case "int2" | "int4" | "int8":
                return int(literal)
            case "numeric":
                plain = len(literal.strip("-").replace(".", "")) <= 15 and repr(float(literal)) == literal
                return float(literal) if plain else literal
            case "float4" | "float8":
                return float(literal) if literal.strip("-") not in ("NaN", "Infinity") else literal
            case "bool":
                return literal == "true"
            case "bytea":
                return base64.b64encode(bytes.fromhex(literal[2:])).decode()
            case "json" | "jsonb":
                return document_form(literal)
        return literal

    def advertised(self, oid: int) -> dict[str, Any]:
        """The JSON Schema of the design: one plain type, the labels of an enum, the form of an array's elements."""
        row = self.base(oid)
        if row["item"]:
            return {"type": "array", "items": self.advertised(row["item"])}
        if row["form"] == "e":
            return {"type": "string", "enum": row["labels"]}
        names = {
            "integer": ("int2", "int4", "int8"),
            "number": ("numeric", "float4", "float8"),
            "boolean": ("bool",),
            "object": ("json", "jsonb"),
        }
        if row["name"] == "varchar" and self.rows[oid]["modifier"] > 0:
            return {"type": "string", "maxLength": self.rows[oid]["modifier"] - 4}
        found = [form for form, those in names.items() if row["form"] == "b" and row["name"] in those]
        return {"type": found[0] if found else "string"}

    def _array_form(self, row: Mapping[str, Any], literal: str) -> Any:
        parsed = parse(literal, row["delimiter"])
        item = self.base(row["item"])
        has_lists = bool(item["item"]) or item["name"] in ("json", "jsonb")
        if parsed is None or (has_lists and any(isinstance(each, list) for each in parsed)):
            return literal  # as arrays in an array it would be elements

        def each(element: Any) -> Any:
            if isinstance(element, list):
                return [each(inner) for inner in element]
            return None if element is None else self.form(row["item"], element)

        return each(parsed)

    def agree(self, oid: int, answered: Any, seen: str) -> bool:
        """Whether what the tool answers is what anybody else reads as the column's text."""
        row = self.base(oid)
        if row["item"]:
            if isinstance(answered, str):
                return answered == seen
            parsed = parse(seen, row["delimiter"])
            return parsed is not None and self._all_agree(row["item"], answered, parsed)
        match row["name"] if row["form"] == "b" else "":
            case "int2" | "int4" | "int8":
                return answered == seen or (
                    isinstance(answered, int) and str(answered) == seen and abs(answered) < 2**53
                )
            case "inet":  # as an element it is written without the bits of a host
                bits = "/128" if ":" in seen else "/32"
                return bool(answered.removesuffix(bits) == seen.removesuffix(bits))
            case "float4" | "float8":
                return repr(float(answered)) == repr(float(seen)) and (float(seen) - float(seen) != 0) == isinstance(
                    answered, str
                )
            case "bool":
                return bool(answered is (seen in ("t", "true")))
            case "bytea":
                return base64.b64decode(answered, validate=True).hex() == seen[2:]
            case "timestamp" | "timestamptz":
                return re.sub(r"\+00:00\b", "+00", str(answered)).replace("T", " ") == seen
            case "timetz":
                return re.sub(r":00\Z", "", answered) == re.sub(r":00\Z", "", seen)
            case "bpchar":
                return str(answered).rstrip(" ") == seen.rstrip(" ")
            case "xml":  # as an element it is written without its declaration
                return re.sub(r"\A<\?xml .*?\?>", "", answered) == re.sub(r"\A<\?xml .*?\?>", "", seen)
            case "json" | "jsonb":
                return documents_agree(answered, seen)
        return bool(answered == seen)

    def same(self, oid: int, first: str | None, second: str | None) -> bool:
        """Whether two texts of json columns, or of arrays of json, say the same. Of other types they never do."""
        row = self.base(oid)
        if first is None or second is None:
            return False
        if row["name"] == "json":
            return bool(json.loads(first, parse_float=Decimal) == json.loads(second, parse_float=Decimal))
        if row["item"] and self.base(row["item"])["name"] == "json":
            pair = parse(first), parse(second)
            return None not in pair and all(
                a == b or self.same(row["item"], a, b)
                for a, b in zip(*pair, strict=True)  # type: ignore[arg-type]
            )
        return False

    def _all_agree(self, item: int, answered: Any, parsed: Any) -> bool:
        if isinstance(parsed, list):
            return len(answered) == len(parsed) and all(
                self._all_agree(item, *pair) for pair in zip(answered, parsed, strict=True)
            )
        return answered is None if parsed is None else self.agree(item, answered, parsed)


def document_form(literal: str) -> Any:
    """The document as an argument; as its text where Python's reader or our own reading makes another one of it."""
    value = json.loads(literal)
    plain = json.dumps(value, separators=(",", ":"), ensure_ascii=False) == literal and value is not None
    return value if plain and not (isinstance(value, dict) and list(value) == ["$json"]) else {"$json": literal}


def documents_agree(answered: Any, seen: str) -> bool:
    """Numbers by their decimal value, whatever a double makes of them."""
    if isinstance(answered, dict) and list(answered) == ["$json"] and isinstance(answered["$json"], str):
        return bool(re.sub("[\r\n]", " ", answered["$json"]).strip() == re.sub("[\r\n]", " ", seen).strip())
    exact = json.loads(seen, parse_float=Decimal)
    return exact is not None and json.loads(json.dumps(answered), parse_float=Decimal) == exact


async def read_types(connection: asyncpg.Connection) -> Types:
    """By asking each base type whether it takes any text at all."""
    rows = {row["oid"]: dict(row) for row in await connection.fetch(TYPES)}
    without_input = set()
    for oid, row in rows.items():
        if row["form"] == "b" and not row["item"]:
            try:
                await connection.fetchval(f"SELECT 'x'::{row['native']} IS NULL")
            except (asyncpg.FeatureNotSupportedError, asyncpg.InternalServerError):
                without_input.add(oid)
            except asyncpg.PostgresError:
                continue
    return Types(rows, frozenset(without_input), connection.get_server_version().major)
