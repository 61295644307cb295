"""`describe_table`: one table in full, as the database has it now."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.schema.model import Column, ForeignKey, Generated, Index
from schema_mcp.tools import samples
from schema_mcp.tools.arguments import read_boolean, refuse_unknown
from schema_mcp.tools.base import Action, AnswerPlan, JsonSchema, Result, StatementPlan
from schema_mcp.tools.filters import operators_of
from schema_mcp.tools.json_schema import quoted
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import CatalogView

#: Longest comment or expression in a description, in characters.
MAX_TEXT = 1000


class DescribeTableTool:
    """The tool. Stateless."""

    name = "describe_table"
    action = Action.INSPECT
    title = "Describe a table"
    description = (
        "One table in full: columns with types, keys, references in both directions, checks, indexes, comments."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """The table's name, and what is read from the table itself."""
        return {
            "type": "object",
            "properties": {
                "table": {"type": "string", "description": "As list_tables shows it."},
                "sample_values": {
                    "type": "boolean",
                    "description": "Also the values of columns that hold few different ones, seen in the first rows.",
                },
            },
            "required": ["table"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> AnswerPlan | StatementPlan:
        """Answered from the catalog, samples by one statement. Raises: InvalidArgument, StaleSchema."""
        refuse_unknown(arguments, ("table", "sample_values"))
        wants_samples = read_boolean(arguments, "sample_values")
        target = view.resolve(arguments.get("table"))
        described = _describe(view, target)
        if not wants_samples:
            return AnswerPlan(json=orjson.dumps(described))
        statement = samples.statement(target)
        if statement is None:
            return AnswerPlan(json=orjson.dumps(described | {"samples": {}}))
        return StatementPlan(
            source=target.table.name.source,
            table=target.table.name,
            statements=(statement,),
            writes=False,
            limit=samples.MAX_ROWS,
            identity=target.table.identity,
            answer=partial(_with_samples, described),
            timeout_s=samples.TIMEOUT_S,
            otherwise=partial(_without_samples, described),
        )


def _with_samples(described: Mapping[str, Any], result: Result) -> bytes:
    found = {"samples": samples.few_values(result.rows), "sampled_rows": len(result.rows)}
    return orjson.dumps({**described, **found})


def _without_samples(described: Mapping[str, Any], reason: str) -> bytes:
    return orjson.dumps({**described, "samples": None, "samples_failed": reason})


def _describe(view: CatalogView, target: Target) -> dict[str, Any]:
    table = target.table
    allowed = view.allowed(target)
    changes = "update" in allowed
    described: dict[str, Any] = {
        "table": target.display,
        "schema": table.name.schema,
        "kind": table.kind,
        "comment": quoted(table.comment, MAX_TEXT) if table.comment else None,
        "tools": [f"{kind}_{target.slug}" for kind in allowed],
        "columns": [
            _column(target, column, changes)
            for column in table.columns
            if column.readable or column.insertable or (changes and column.updatable)
        ],
        "primary_key": _keys(target, table.primary_key.columns) if table.primary_key else None,
        "unique_keys": [_keys(target, key.columns) for key in table.uniques],
        "references": [_reference(view, target, key) for key in table.foreign_keys],
        "referenced_by": _referenced_by(view, target),
        "checks": [{"name": check.name, "expression": quoted(check.expression, MAX_TEXT)} for check in table.checks],
        "indexes": [_index(target, index) for index in table.indexes],
        "row_estimate": view.row_estimate(target),
        "schema_version": view.generation,
    }
    if table.row_security:
        described["row_security"] = "Row-level security applies: rows that a policy hides are not there for this role."
    return described


def _column(target: Target, column: Column, changes: bool) -> dict[str, Any]:
    """`changes`: the table takes updates."""
    described: dict[str, Any] = {
        "name": target.keys[column.name],
        "type": column.type.native,
        "nullable": column.nullable,
    }
    if target.keys[column.name] != column.name:
        described["real_name"] = column.name
    if column.type.domain:
        described["domain"] = column.type.domain
    if column.type.enum:
        described["values"] = list(column.type.enum)
    if column.type.checks:
        described["checks"] = [quoted(check, MAX_TEXT) for check in column.type.checks]
    if column.default is not None:
        described["default"] = quoted(column.default, MAX_TEXT)
    if column.generated is not Generated.NO:
        described["generated"] = column.generated
    if column.comment:
        described["comment"] = quoted(column.comment, MAX_TEXT)
    if not column.readable:
        described["readable"] = False
    else:
        described["operators"] = list(operators_of(column))
    if target.table.insertable:
        described["insert"] = "required" if column.required else "optional" if column.insertable else "no"
    if changes and not column.updatable:
        described["updatable"] = False
    return described


def _keys(target: Target, names: tuple[str, ...]) -> list[str]:
    return [target.keys[name] for name in names]


def _name(key: ForeignKey) -> dict[str, str]:
    """Where the database has one."""
    return {"name": key.name} if key.name is not None else {}


def _index(target: Target, index: Index) -> dict[str, Any]:
    """Columns by their keys, expressions as quoted texts."""
    parts = []
    for part in index.parts:
        text = target.keys.get(part.column, part.column) if part.column else quoted(part.expression or "", MAX_TEXT)
        parts.append(f"{text} desc" if part.descending else text)
    described: dict[str, Any] = {"name": index.name, "on": parts, "unique": index.unique}
    if index.included:
        described["includes"] = [target.keys[name] for name in index.included]
    if index.method is not None:
        described["method"] = index.method
    if index.predicate is not None:
        described["where"] = quoted(index.predicate, MAX_TEXT)
    return described


def _reference(view: CatalogView, target: Target, key: ForeignKey) -> dict[str, Any]:
    other = view.targets.get(key.target)
    return {
        **_name(key),
        "columns": _keys(target, key.columns),
        "table": other.display if other else target.shown(key.target),
        "table_columns": _keys(other, key.target_columns) if other else list(key.target_columns),
    }


def _referenced_by(view: CatalogView, target: Target) -> list[dict[str, Any]]:
    return [
        {
            "table": other.display,
            **_name(key),
            "columns": _keys(other, key.columns),
            "to": _keys(target, key.target_columns),
        }
        for other in view.targets.values()
        for key in other.table.foreign_keys
        if key.target == target.table.name
    ]
