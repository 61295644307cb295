"""A schema as a Mermaid ER diagram (mermaid.js.org/syntax/entityRelationshipDiagram.html). Pure.

Entities and attributes are called by plain words that Mermaid has no use for; where a name is not such a word, it
stands beside it in quotation marks. `tests/mermaid` holds this against Mermaid's own parser.
"""

import re

from schema_mcp.schema.model import Column, Schema, Table, TableName

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NO_WORD = re.compile(r"[^A-Za-z0-9_]+")
#: Key words where an entity's name is expected, whatever their case, in Mermaid 10 to 12.
_ENTITY_WORDS = frozenset(
    {
        *("accdescr", "accdescription", "acctitle", "class", "classdef", "default", "direction", "end", "erdiagram"),
        *(
            "linkstyle",
            "many",
            "more",
            "o",
            "of",
            "one",
            "only",
            "optionally",
            "or",
            "style",
            "subgraph",
            "title",
            "to",
        ),
        *("u", "zero"),
    }
)
#: Mermaid takes a line with `direction TB` in it for that statement, wherever it stands.
_DIRECTION, _DIRECTION_CODED = re.compile(r"d(?=irection\s)", re.IGNORECASE), "#100;"
_ATTRIBUTE_WORDS = frozenset({"pk", "fk", "uk"})
#: What means something within quotation marks, or ends them; written as Mermaid's entity codes. A colon does after the
#: words style and classDef, wherever they stand.
_SPECIAL = frozenset('"#%&:;<>\\`~')


def as_mermaid(schema: Schema) -> str:
    """An `erDiagram`: entities with their columns and keys, one line a foreign key between tables that are there."""
    names = _entity_names(schema)
    lines = ["erDiagram"]
    for table in schema.tables.values():
        own = table.name.schema == schema.default_schema
        shown = table.name.name if own else f"{table.name.schema}.{table.name.name}"
        lines.append(f"    {names[table.name]}[{_quoted(shown)}] {{")
        lines += [f"        {_attribute(table, column)}" for column in table.columns]
        lines.append("    }")
    for table in schema.tables.values():
        for key in table.foreign_keys:
            if key.target in names:
                columns = [table.column(name) for name in key.columns]
                optional = any(column is not None and column.nullable for column in columns)
                label = _quoted(", ".join(key.columns))
                lines.append(f"    {names[key.target]} {'|o' if optional else '||'}--o{{ {names[table.name]} : {label}")
    return "\n".join(lines)


def _entity_names(schema: Schema) -> dict[TableName, str]:
    """One a table: its own name where that is a word, and no other table's."""
    names: dict[TableName, str] = {}
    taken: set[str] = set()
    for name in schema.tables:
        plain = _word(name.name, "t_", _ENTITY_WORDS)
        candidate, count = plain, 1
        while candidate in taken:
            count += 1
            candidate = f"{plain}_{count}"
        taken.add(candidate)
        names[name] = candidate
    return names


def _attribute(table: Table, column: Column) -> str:
    type_ = _NO_WORD.sub("_", column.type.native).strip("_") or "any"
    name = _word(column.name, "c_", _ATTRIBUTE_WORDS)
    keys = []
    if table.primary_key and column.name in table.primary_key.columns:
        keys.append("PK")
    if any(column.name in key.columns for key in table.foreign_keys):
        keys.append("FK")
    if any(key.columns == (column.name,) for key in table.uniques):
        keys.append("UK")
    parts = [_word(type_, "t_", _ATTRIBUTE_WORDS), name]
    if keys:
        parts.append(", ".join(keys))
    if name != column.name:
        parts.append(_quoted(column.name))
    return " ".join(parts)


def _word(name: str, prefix: str, reserved: frozenset[str]) -> str:
    if _WORD.match(name) and name.lower() not in reserved:
        return name
    return prefix + _NO_WORD.sub("_", name)


def _quoted(text: str) -> str:
    """In quotation marks, with codes for what cannot stand there, and for what cannot be seen."""
    return '"' + _DIRECTION.sub(_DIRECTION_CODED, "".join(_visible(character) for character in text)) + '"'


def _visible(character: str) -> str:
    if character in _SPECIAL:
        return f"#{ord(character)};"
    return character if character.isprintable() else f"#92;u{ord(character):04x}"
