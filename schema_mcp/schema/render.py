"""A schema for people and programs: text and JSON. Pure."""

import re
from dataclasses import asdict
from typing import Any

import orjson

from schema_mcp.schema.model import Generated, Schema, Table, TableName

#: A name that needs no quotation marks to be told from what stands around it.
_PLAIN = re.compile(r"[^\W\d][\w$]*\Z")


def as_text(schema: Schema) -> str:
    """One paragraph a table. Names are quoted where they are no plain words, what is not printable shows as a code."""
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


def _as_dict(table: Table) -> dict[str, Any]:
    """Without a word about hidden columns, nor what is the dialect's own."""
    members = asdict(table)
    del members["hides_columns"], members["identity"]
    return members


def _table_text(table: Table) -> str:
    lines = [f"{_qualified(table.name)} ({table.kind})" + (f": {_one_line(table.comment)}" if table.comment else "")]
    width = max((len(_name(column.name)) for column in table.columns), default=0)
    for column in table.columns:
        notes = [column.type.native or "any type"]
        if not column.nullable:
            notes.append("not null")
        if column.generated is not Generated.NO:
            notes.append(column.generated)
        if column.masked:
            notes.append("masked")
        if column.default is not None:
            notes.append(f"default {column.default}")
        if table.primary_key and column.name in table.primary_key.columns:
            notes.append("primary key")
        comment = f"  -- {_one_line(column.comment)}" if column.comment else ""
        lines.append(f"  {_name(column.name):<{width}}  {', '.join(notes)}{comment}")
    lines += [f"  unique ({_names(key.columns)})" for key in table.uniques]
    lines += [
        f"  ({_names(key.columns)}) references {_qualified(key.target)} ({_names(key.target_columns)})"
        for key in table.foreign_keys
    ]
    lines += [f"  check {check.expression}" for check in table.checks]
    return "\n".join(_visible(line) for line in lines)


def _qualified(name: TableName) -> str:
    return f"{_name(name.schema)}.{_name(name.name)}"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(_name(name) for name in names)


def _name(name: str) -> str:
    return name if _PLAIN.match(name) else '"' + _visible(name).replace('"', '""') + '"'


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _visible(text: str) -> str:
    """A terminal obeys control characters, and whoever writes comments and names may put them there."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
