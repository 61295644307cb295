"""The JSON Schemas that clients see: flat, strict, in the forms that every model provider takes. Pure.

Each property has exactly one `type`, each array typed `items`; `enum` only on strings; no const, no unions, no $ref;
`additionalProperties: false`. What is advertised is the plainest form; `tools.values` takes more.
"""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from schema_mcp.dialects.base import MAX_EXACT_INTEGER
from schema_mcp.schema.checks import rules
from schema_mcp.schema.model import Column, Generated
from schema_mcp.schema.rules import Rule, whole_maximum, whole_minimum
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.tools.base import JsonSchema
from schema_mcp.tools.target import Target

#: Longest piece of a column's comment in a schema, in characters.
MAX_COMMENT = 120
#: Longest piece of a column's default in a schema, in characters.
MAX_DEFAULT = 60
#: Most words, and most characters of words, that stand in an `enum`, whether a type or a check gives them.
MAX_WORDS, MAX_WORDS_CHARACTERS = 100, 1000

_JSON_TYPES = {
    TypeKind.INTEGER: "integer",
    TypeKind.NUMERIC: "number",
    TypeKind.FLOAT: "number",
    TypeKind.BOOLEAN: "boolean",
    TypeKind.JSON: "object",
    TypeKind.ARRAY: "array",
}

#: Operators that are answered for several values.
_TAKE_VALUES = ("in", "not_in", "between", "has_any", "has_all")

#: Native spellings that say no more than the JSON type does.
_PLAIN_NATIVES = frozenset(
    {"integer", "bigint", "int", "boolean", "bool", "text", "varchar", "real", "numeric", "json"}
)


def typed_object(target: Target, columns: Sequence[Column], description: str = "") -> dict[str, Any]:
    """An object with one typed property a column, for values to look for."""
    properties = {target.keys[column.name]: _property(target, column) for column in columns}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if description:
        schema["description"] = description
    return schema


def row_object(target: Target, columns: Sequence[Column]) -> dict[str, Any]:
    """An object with one typed property a column, for new rows: also with what checks and defaults say.

    Rows that are there may be older than a check, or not have been looked at (NOT VALID), so that only what goes in
    is held to it; and it is the database that holds it.
    """
    known = rules(target.table)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for column in columns:
        key = target.keys[column.name]
        properties[key] = _property(target, column, known.get(column.name, Rule()), for_insert=True)
        if column.required:
            required.append(key)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    return schema


def set_object(target: Target, columns: Sequence[Column], description: str) -> dict[str, Any]:
    """An object with one typed property a column, for new values in rows that are there: also with what checks say."""
    known = rules(target.table)
    properties = {
        target.keys[column.name]: _property(target, column, known.get(column.name, Rule())) for column in columns
    }
    return {"type": "object", "properties": properties, "additionalProperties": False, "description": description}


def _property(target: Target, column: Column, rule: Rule | None = None, *, for_insert: bool = False) -> dict[str, Any]:
    """The JSON type of a column and what a model has to know beyond it."""
    schema = value_schema(column.type)
    notes = [_renamed(target, column), _native(column.type)]
    if rule is None:
        schema.pop("maxLength", None)  # a longer text is nowhere, and costs nothing to look for
    labels = (column.type.item or column.type).enum
    if labels and not _listable(labels) and not (rule and rule.values):
        notes.append(_too_many(labels))
    if rule is not None:
        notes.append(_add_rule(schema, column.type, rule))
    notes.append(_reference(target, column))
    if for_insert:
        notes.append(_default(column))
    if column.comment:
        notes.append(quoted(column.comment, MAX_COMMENT))
    if any(notes):
        schema["description"] = "; ".join(note for note in notes if note)
    return schema


def value_schema(type_: SqlType) -> dict[str, Any]:
    """The JSON type of a value as it is sent."""
    schema: dict[str, Any] = {"type": _JSON_TYPES.get(type_.kind, "string")}
    if type_.enum and _listable(type_.enum):
        schema["enum"] = list(type_.enum)
    if type_.kind is TypeKind.TEXT and type_.length is not None:
        schema["maxLength"] = type_.length
    if type_.item is not None:
        schema["items"] = value_schema(type_.item)
    return schema


def array_of_names(description: str = "") -> JsonSchema:
    """An array of plain strings; the server checks the names."""
    names: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    return names | ({"description": description} if description else {})


def filter_array(operators: Sequence[str]) -> JsonSchema:
    """The `filters` argument: the operators of its columns, and which of them take several values."""
    sets = ", ".join(operator for operator in operators if operator in _TAKE_VALUES)
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "column": {"type": "string"},
                "op": {"type": "string", "enum": list(operators)},
                "value": {"type": "string"},
                "values": {"type": "array", "items": {"type": "string"}},
                "or": {"type": "string"},
            },
            "required": ["column", "op"],
            "additionalProperties": False,
        },
        "description": "AND; same 'or' label: OR." + (f" {sets}: 'values'." if sets else ""),
    }


def quoted(text: str, limit: int) -> str:
    """Text out of the database as quoted data: one line, nothing invisible in it, at most `limit` characters.

    A comment is written by whoever may write it, and may try to instruct the model; quotation marks inside become
    apostrophes, so that the quotation cannot be closed from within, and characters that a person would not see
    (control, bidirectional, zero-width, tags, variation selectors) stand there as their codes.
    """
    visible = ""
    for character in " ".join(text[: limit * 4].split()):
        if character == "\ufe0f" and visible and unicodedata.category(visible[-1]) == "So":
            visible += character  # an emoji's
        elif character.isprintable() and not _INVISIBLE.match(character):
            visible += character
        else:
            visible += f"\\u{ord(character):04x}"
        if len(visible) > limit:
            break
    if len(visible) > limit or len(text) > limit * 4:
        visible = visible[: limit - 3] + "..."
    return '"' + visible.replace('"', "'") + '"'


#: Printable by Python's rule and yet not to be seen: fillers, joiners, variation selectors, the blank of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def _renamed(target: Target, column: Column) -> str:
    key = target.keys[column.name]
    return "" if key == column.name else f"column {quoted(column.name, 63)}"


def _native(type_: SqlType) -> str:
    if type_.enum or type_.native.lower() in _PLAIN_NATIVES:
        return ""
    if type_.kind is TypeKind.TEXT and type_.length is not None:
        return ""
    native = _ZONE.sub(lambda found: found[1] + ("tz" if found[2] == "with" else ""), type_.native)
    return f"{native} (base64)" if type_.kind is TypeKind.BYTES else native


#: PostgreSQL itself has short names for these (manual, table 8.1).
_ZONE = re.compile(r"\b(timestamp|time) (with|without) time zone")


def _listable(words: Sequence[str]) -> bool:
    return len(words) <= MAX_WORDS and sum(map(len, words)) <= MAX_WORDS_CHARACTERS


def _too_many(words: Sequence[str]) -> str:
    return f"one of {len(words)} words, see describe_table"


def _add_rule(schema: dict[str, Any], type_: SqlType, rule: Rule) -> str:
    """Puts into the schema what its keywords can say exactly; the rest in words."""
    if rule.values and _listable(rule.values):
        schema["enum"] = list(rule.values)
    elif rule.values:
        return _too_many(rule.values)
    if rule.min_length:
        schema["minLength"] = rule.min_length
    if rule.max_length is not None:
        schema["maxLength"] = min(rule.max_length, schema.get("maxLength", rule.max_length))
    bounds: list[tuple[str, str, Decimal | int | None]]
    if type_.kind is TypeKind.INTEGER:
        bounds = [("minimum", ">=", whole_minimum(rule)), ("maximum", "<=", whole_maximum(rule))]
    else:  # Not every provider takes exclusiveMinimum.
        bounds = [
            ("" if rule.above_minimum else "minimum", ">" if rule.above_minimum else ">=", rule.minimum),
            ("" if rule.below_maximum else "maximum", "<" if rule.below_maximum else "<=", rule.maximum),
        ]
    words = []
    for keyword, sign, number in bounds:
        exact = _exact_number(number)
        if keyword and exact is not None:
            schema[keyword] = exact
        elif number is not None:
            words.append(f"{sign} {number}")
    return ", ".join(words)


def _exact_number(number: Decimal | int | None) -> int | float | None:
    """The number as JSON; None where a reader of JSON might take it for another."""
    if number is None or not -MAX_EXACT_INTEGER <= number <= MAX_EXACT_INTEGER:
        return None
    if number == int(number):
        return int(number)
    return float(number) if Decimal(repr(float(number))) == number else None


#: Defaults that say all in a word, and what a cast adds to a literal.
_PLAIN_DEFAULT = re.compile(r"[\w.+-]+(?:\(\))?\Z", re.ASCII)
_CAST_LITERAL = re.compile(r"\(?('(?:[^']|'')*'|[\w.+-]+)\)?::[\w .\"]+(?:\([\d,]+\))?(?:\[\])*\Z")


def _default(column: Column) -> str:
    """What stands in the column if an insert leaves it out."""
    default = column.default
    if column.generated is Generated.IDENTITY_DEFAULT or (default or "").startswith("nextval("):
        return "default: the next number"
    if default is None or column.generated is not Generated.NO:
        return ""
    if literal := _CAST_LITERAL.match(default):
        default = literal[1]
    if default.upper() == "NULL":
        return ""
    plain = len(default) <= MAX_DEFAULT and _PLAIN_DEFAULT.match(default)
    return f"default {default if plain else quoted(default, MAX_DEFAULT)}"


_PLAIN_NAMES = re.compile(r"[\w., ]+\Z")


def _reference(target: Target, column: Column) -> str:
    """The column that it refers to; of a key over several columns, with the others."""
    keys = [key for key in target.table.foreign_keys if column.name in key.columns]
    for key in sorted(keys, key=lambda key: len(key.columns)):
        for own, other in zip(key.columns, key.target_columns, strict=False):
            if own == column.name:
                others = ", ".join(name for name in key.columns if name != own)
                text = f"{target.shown(key.target)}.{other}" + (f" with {others}" if others else "")
                return f"-> {text if _PLAIN_NAMES.match(text) else quoted(text, MAX_COMMENT)}"
    return ""
