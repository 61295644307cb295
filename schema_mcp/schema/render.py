"""A schema for people and programs: text, JSON, a Mermaid ER diagram. Pure."""

import re
from dataclasses import asdict
from typing import Any

import orjson

from schema_mcp.schema.model import Column, Generated, Schema, Table, TableName

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NO_WORD = re.compile(r"[^A-Za-z0-9_]+")


def as_text(schema: Schema) -> str:
    """One paragraph a table."""
    return "\n\n".join(_table_text(table) for table in schema.tables.values())


def as_json(schema: Schema) -> str:
    """Everything the model holds, members by the names of `schema.model`."""
    document = {
        "source": schema.source,
        "dialect": schema.dialect,
        "default_schema": schema.default_schema,
        "tables": [_as_dict(table) for table in schema.tables.values()],
    }
    return orjson.dumps(document, default=_plain, option=orjson.OPT_INDENT_2).decode()


def as_mermaid(schema: Schema) -> str:
    """An `erDiagram` (Mermaid 11): entities with their columns and keys, one line a foreign key."""
    names = _entity_names(schema)
    lines = ["erDiagram"]
    for table in schema.tables.values():
        lines.append(f"    {names[table.name]}[{_mermaid_text(table.name.name)}] {{")
        lines += [f"        {_mermaid_column(table, column)}" for column in table.columns]
        lines.append("    }")
    for table in schema.tables.values():
        for key in table.foreign_keys:
            if key.target in names:
                columns = [table.column(name) for name in key.columns]
                optional = any(column is not None and column.nullable for column in columns)
                label = _mermaid_text(", ".join(key.columns))
                lines.append(f"    {names[key.target]} {'|o' if optional else '||'}--o{{ {names[table.name]} : {label}")
    return "\n".join(lines)


def _as_dict(table: Table) -> dict[str, Any]:
    """Without a word about hidden columns, nor what is the dialect's own."""
    members = asdict(table)
    del members["hides_columns"], members["identity"]
    return members


def _table_text(table: Table) -> str:
    lines = [f"{table.name} ({table.kind})" + (f": {' '.join(table.comment.split())}" if table.comment else "")]
    width = max((len(column.name) for column in table.columns), default=0)
    for column in table.columns:
        notes = [column.type.native or "any type"]
        if not column.nullable:
            notes.append("not null")
        if column.generated is not Generated.NO:
            notes.append(column.generated)
        if column.default is not None:
            notes.append(f"default {column.default}")
        if table.primary_key and column.name in table.primary_key.columns:
            notes.append("primary key")
        comment = f"  -- {' '.join(column.comment.split())}" if column.comment else ""
        lines.append(f"  {column.name:<{width}}  {', '.join(notes)}{comment}")
    lines += [f"  unique ({', '.join(key.columns)})" for key in table.uniques]
    lines += [
        f"  ({', '.join(key.columns)}) references {key.target} ({', '.join(key.target_columns)})"
        for key in table.foreign_keys
    ]
    lines += [f"  check {check.expression}" for check in table.checks]
    return "\n".join(lines)


def _entity_names(schema: Schema) -> dict[TableName, str]:
    """Names that Mermaid takes, one a table."""
    names: dict[TableName, str] = {}
    for name in schema.tables:
        plain = name.name if _WORD.match(name.name) else "t_" + _NO_WORD.sub("_", name.name)
        candidate, count = plain, 1
        while candidate in names.values():
            count += 1
            candidate = f"{plain}_{count}"
        names[name] = candidate
    return names


def _mermaid_column(table: Table, column: Column) -> str:
    type_ = _NO_WORD.sub("_", column.type.native or "any").strip("_") or "any"
    type_ = type_ if type_[0].isalpha() else f"t_{type_}"
    name = column.name if _WORD.match(column.name) else "c_" + _NO_WORD.sub("_", column.name)
    keys = []
    if table.primary_key and column.name in table.primary_key.columns:
        keys.append("PK")
    if any(column.name in key.columns for key in table.foreign_keys):
        keys.append("FK")
    if any(key.columns == (column.name,) for key in table.uniques):
        keys.append("UK")
    return " ".join([type_, name, *([", ".join(keys)] if keys else [])])


def _mermaid_text(text: str) -> str:
    visible = "".join(character if character.isprintable() else " " for character in text)
    return '"' + visible.replace('"', "'") + '"'


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
