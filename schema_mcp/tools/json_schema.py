"""The JSON Schemas that clients see: flat, strict, in the forms that every model provider takes. Pure.

Each property has exactly one `type`, each array typed `items`; `enum` only on strings; no const, no unions, no $ref;
`additionalProperties: false`. What is advertised is the plainest form; `tools.values` takes more.
"""

from collections.abc import Sequence
from typing import Any

from schema_mcp.schema.model import Column
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.tools.base import JsonSchema
from schema_mcp.tools.target import Target

#: Longest piece of a column's comment in a schema, in characters.
MAX_COMMENT = 120

_JSON_TYPES = {
    TypeKind.INTEGER: "integer",
    TypeKind.NUMERIC: "number",
    TypeKind.FLOAT: "number",
    TypeKind.BOOLEAN: "boolean",
    TypeKind.JSON: "object",
    TypeKind.ARRAY: "array",
}

#: Native spellings that say no more than the JSON type does.
_PLAIN_NATIVES = frozenset(
    {"integer", "bigint", "int", "boolean", "bool", "text", "varchar", "real", "numeric", "json"}
)


def typed_object(target: Target, columns: Sequence[Column], description: str = "") -> dict[str, Any]:
    """An object with one typed property a column."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {target.keys[column.name]: column_schema(target, column) for column in columns},
        "additionalProperties": False,
    }
    if description:
        schema["description"] = description
    return schema


def column_schema(target: Target, column: Column) -> dict[str, Any]:
    """The property of a column: its JSON type and what a model has to know beyond it."""
    schema = value_schema(column.type)
    notes = [note for note in (_renamed(target, column), _native(column.type), _reference(target, column)) if note]
    if column.comment:
        notes.append(quoted(column.comment, MAX_COMMENT))
    if notes:
        schema["description"] = "; ".join(notes)
    return schema


def value_schema(type_: SqlType) -> dict[str, Any]:
    """The JSON type of a value as it is sent."""
    schema: dict[str, Any] = {"type": _JSON_TYPES.get(type_.kind, "string")}
    if type_.enum:
        schema["enum"] = list(type_.enum)
    if type_.kind is TypeKind.TEXT and type_.length is not None:
        schema["maxLength"] = type_.length
    if type_.item is not None:
        schema["items"] = value_schema(type_.item)
    return schema


def array_of_names(description: str) -> JsonSchema:
    """An array of plain strings; the server checks the names."""
    return {"type": "array", "items": {"type": "string"}, "description": description}


def filter_array(operators: Sequence[str], description: str) -> JsonSchema:
    """The `filters` argument."""
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "column": {"type": "string"},
                "op": {"type": "string", "enum": list(operators)},
                "value": {"type": "string"},
                "values": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["column", "op"],
            "additionalProperties": False,
        },
        "description": description,
    }


def quoted(text: str, limit: int) -> str:
    """Text out of the database as quoted data: one line, control characters visible, at most `limit` characters.

    A comment is written by whoever may write it, and may try to instruct the model; quotation marks inside become
    apostrophes, so that the quotation cannot be closed from within.
    """
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    visible = "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}" for character in " ".join(cut.split())
    )
    return '"' + visible.replace('"', "'") + '"'


def _renamed(target: Target, column: Column) -> str:
    key = target.keys[column.name]
    return "" if key == column.name else f"column {quoted(column.name, 63)}"


def _native(type_: SqlType) -> str:
    if type_.enum or type_.native.lower() in _PLAIN_NATIVES:
        return ""
    if type_.kind is TypeKind.TEXT and type_.length is not None:
        return ""
    return f"{type_.native} (base64)" if type_.kind is TypeKind.BYTES else type_.native


def _reference(target: Target, column: Column) -> str:
    for key in target.table.foreign_keys:
        if len(key.columns) == 1 and key.columns[0] == column.name and key.target_columns:
            return f"-> {target.shown(key.target)}.{key.target_columns[0]}"
    return ""
