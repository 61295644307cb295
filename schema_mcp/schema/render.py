"""A schema for people and programs: text and JSON. Pure."""

from dataclasses import asdict
from typing import Any

import orjson

from schema_mcp.schema.model import Generated, Schema, Table


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


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
