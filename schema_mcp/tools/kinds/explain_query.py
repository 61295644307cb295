"""`explain_query`: how the database would run a statement, of the caller's own or of a query tool."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument, UnknownTool
from schema_mcp.tools.arguments import read_boolean, read_object, read_text, refuse_unknown, source_property
from schema_mcp.tools.base import Action, JsonSchema, SqlPlan, SqlResult, StatementPlan
from schema_mcp.tools.kinds.execute_sql import parameters_schema, read_one_source, read_parameters, read_sql
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.view import CatalogView

#: Lines of a plan that are told.
MAX_LINES = 1_000


class ExplainQueryTool:
    """The tool. Stateless."""

    name = "explain_query"
    action = Action.EXPLAIN
    title = "Explain a query"
    description = (
        "The database's plan for 'sql', or for the call of a query tool ('tool', 'arguments'). Nothing is run, "
        "unless 'analyze' asks for what it took (PostgreSQL): then read-only, and rolled back."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Either `sql` or `tool`."""
        return {
            "type": "object",
            "properties": {
                "sql": {"type": "string", "description": "One statement."},
                "parameters": parameters_schema(),
                "tool": {"type": "string", "description": "query_<table> or query_rows."},
                "arguments": {"type": "object", "description": "The tool's arguments."},
                "analyze": {"type": "boolean"},
                **source_property(limits.sources),
            },
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> SqlPlan:
        """The statement behind our EXPLAIN. Raises: CallError."""
        refuse_unknown(
            arguments, ("sql", "parameters", "tool", "arguments", "analyze", *source_property(view.limits.sources))
        )
        tool, analyze = read_text(arguments, "tool"), read_boolean(arguments, "analyze")
        told: dict[str, Any] = {"analyzed": analyze}
        if tool is None:
            source, sql, parameters = read_one_source(view, arguments), read_sql(arguments), read_parameters(arguments)
        else:
            if unused := [name for name in ("sql", "parameters", "source") if arguments.get(name) is not None]:
                raise InvalidArgument(
                    ErrorCode.INVALID_ARGUMENT,
                    f"'{unused[0]}' and 'tool' do not go together",
                    "Give 'sql' for a statement of your own, or 'tool' and 'arguments' for the call of a tool.",
                )
            plan = _reading(view, tool, read_object(arguments, "arguments") or {}, caller)
            statement = plan.statements[0]  # the rows'; what else a call asks (a count) comes after
            source, sql, parameters = plan.source, statement.sql, statement.values
            told["sql"] = sql
        return SqlPlan(
            source=source,
            sql=sql,
            parameters=parameters,
            writes=False,
            limit=MAX_LINES,
            answer=partial(_answer, told),
            explain=True,
            analyze=analyze,
        )


def _reading(view: CatalogView, name: str, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
    """What the call of a tool that reads a table becomes. Raises: CallError."""
    try:
        tool, target, rest = view.find(name, arguments)
    except UnknownTool:
        tool = None
    if tool is None or tool.action is not Action.READ:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'{name[:100]}' is no tool that reads a table",
            "Name query_<table>, or query_rows with 'table' among its arguments; list_tables tells the tables.",
        )
    return tool.plan(view, target, rest, caller)


def _answer(told: Mapping[str, Any], result: SqlResult) -> bytes:
    answer = {"plan": result.plan, "truncated": result.truncated, **told, "schema_version": result.generation}
    return orjson.dumps(answer)
