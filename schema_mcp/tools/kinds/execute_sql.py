"""`execute_sql`: one statement of the caller's own, off unless `access.sql` turns it on."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_limit, read_list, read_source, read_text, refuse_unknown, source_property
from schema_mcp.tools.base import Action, JsonSchema, SqlPlan, SqlResult
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.view import CatalogView

#: Longest statement, in characters, and most values bound in one.
MAX_CHARACTERS = 100_000
MAX_PARAMETERS = 1_000


class ExecuteSqlTool:
    """The tool. Stateless."""

    name = "execute_sql"
    action = Action.SQL
    title = "Execute SQL"
    description = (
        "Run one SQL statement of your own, for what the table tools cannot ask. Bind values as parameters. "
        "Its annotations say whether it may write."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Only `sql` is required."""
        return {
            "type": "object",
            "properties": {
                "sql": {"type": "string", "description": "One statement. Placeholders: $1 on PostgreSQL, ? on SQLite."},
                "parameters": parameters_schema(),
                "limit": {"type": "integer", "description": f"Rows, 1 to {limits.max_rows}."},
                **source_property(limits.sources),
            },
            "required": ["sql"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> SqlPlan:
        """The statement as it came. Raises: InvalidArgument."""
        refuse_unknown(arguments, ("sql", "parameters", "limit", *source_property(view.limits.sources)))
        writes = view.sql_writes
        return SqlPlan(
            source=read_one_source(view, arguments),
            sql=read_sql(arguments),
            parameters=read_parameters(arguments),
            writes=writes,
            limit=read_limit(arguments, "limit", view.limits.default_limit, view.limits.max_rows),
            answer=partial(_answer, writes),
        )


def parameters_schema() -> JsonSchema:
    """Advertised as strings, the plainest form; any JSON scalar is taken."""
    return {"type": "array", "items": {"type": "string"}, "description": "Values of the placeholders, in order."}


def read_sql(arguments: Mapping[str, Any]) -> str:
    """The statement's text. Raises: InvalidArgument."""
    sql = read_text(arguments, "sql")
    if sql is None or not sql.strip():
        raise InvalidArgument(
            ErrorCode.MISSING_ARGUMENT, "'sql' takes one SQL statement", "Send for example: SELECT count(*) FROM t."
        )
    if len(sql) > MAX_CHARACTERS:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'sql' has {len(sql)} characters, and at most {MAX_CHARACTERS} are taken",
            "Bind values as 'parameters' instead of writing them into the statement.",
        )
    return sql


def read_parameters(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of the placeholders. Raises: InvalidArgument."""
    parameters = read_list(arguments, "parameters") or []
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'parameters' holds {len(parameters)} values, and at most {MAX_PARAMETERS} are taken",
            "Bind a list as one array (PostgreSQL) or as one JSON text for json_each (SQLite).",
        )
    return tuple(parameters)


def read_one_source(view: CatalogView, arguments: Mapping[str, Any]) -> str:
    """The source that the call means: the only one, or the one it names. Raises: InvalidArgument."""
    sources = view.limits.sources
    given = read_source(arguments, sources)
    if given is None and len(sources) > 1:
        raise InvalidArgument(
            ErrorCode.MISSING_ARGUMENT,
            "'source' is needed: there are several databases",
            f"One of: {', '.join(sources)}.",
        )
    return sources[0] if given is None else given


def _answer(writes: bool, result: SqlResult) -> bytes:
    members: list[bytes] = []
    if result.columns is not None:
        columns = [{"name": column.name, "type": column.type} for column in result.columns]
        members += [
            b'"columns":' + orjson.dumps(columns),
            b'"rows":[' + b",".join(result.rows) + b"]",
            b'"row_count":%d' % len(result.rows),
            b'"truncated":' + orjson.dumps(result.truncated),
        ]
    if result.cut_columns:
        members.append(b'"cut_columns":' + orjson.dumps(result.cut_columns))
    if writes:
        if result.columns is None:
            members.append(b'"affected":' + orjson.dumps(result.affected))
        members.append(b'"outcome":"in_transaction"' if result.in_transaction else b'"outcome":"committed"')
    members.append(b'"schema_version":%d' % result.generation)
    return b"{" + b",".join(members) + b"}"
