"""`list_tables`: which tables there are and what may be done with them."""

from collections.abc import Mapping
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.tools.arguments import read_limit, read_text, refuse_unknown
from schema_mcp.tools.base import Action, AnswerPlan, JsonSchema
from schema_mcp.tools.cursor import query_digest, seal, unseal
from schema_mcp.tools.json_schema import quoted
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import CatalogView

#: Longest comment in the list, in characters.
MAX_COMMENT = 200


class ListTablesTool:
    """The tool. Stateless."""

    name = "list_tables"
    action = Action.INSPECT
    title = "List tables"
    description = (
        "The tables and views there are now, with their comments, row estimates and the tools that serve them."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """All optional."""
        return {
            "type": "object",
            "properties": {
                "search": {"type": "string", "description": "Part of a table's name or comment; case is ignored."},
                "schema": {"type": "string", "description": "Only this database schema."},
                "limit": {"type": "integer", "description": f"1 to {limits.max_rows}, default {limits.default_limit}."},
                "cursor": {"type": "string", "description": "next_cursor of the page before."},
            },
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> AnswerPlan:
        """Answered from the catalog. Raises: InvalidArgument."""
        refuse_unknown(arguments, ("search", "schema", "limit", "cursor"))
        search = (read_text(arguments, "search") or "").lower()
        schema = read_text(arguments, "schema")
        limit = read_limit(arguments, "limit", view.limits.default_limit, view.limits.max_rows)
        made_by = query_digest(search, schema)
        cursor = read_text(arguments, "cursor")
        last = () if cursor is None else unseal(view.cursor_secret, caller, self.name, made_by, cursor, 1)
        found = [
            target
            for target in sorted(view.targets.values(), key=lambda target: target.display)
            if _fits(target, search, schema) and (not last or target.display > str(last[0]))
        ]
        page = found[:limit]
        truncated = len(found) > limit
        answer: dict[str, Any] = {
            "tables": [_entry(view, target) for target in page],
            "row_count": len(page),
            "truncated": truncated,
            "next_cursor": seal(view.cursor_secret, caller, self.name, made_by, [page[-1].display])
            if truncated
            else None,
            "schema_version": view.generation,
        }
        if view.unconfirmed:
            answer |= {"confirmed": False, "hint": _UNCONFIRMED}
        elif not view.targets:
            answer["hint"] = _NO_TABLES
        return AnswerPlan(json=orjson.dumps(answer))


_NO_TABLES = (
    "The database has no table that the connected role may use in the schemas that are served (those in the setting "
    "database.schemas, else those of the role's search path), or database.include and database.exclude leave none."
)
_UNCONFIRMED = (
    "The database has not answered since the server started: these are the tables of an earlier time. server_status "
    "tells why."
)


def _fits(target: Target, search: str, schema: str | None) -> bool:
    table = target.table
    if schema is not None and table.name.schema != schema:
        return False
    return not search or search in target.display.lower() or search in (table.comment or "").lower()


def _entry(view: CatalogView, target: Target) -> dict[str, Any]:
    entry: dict[str, Any] = {"table": target.display, "kind": target.table.kind}
    if target.table.comment:
        entry["comment"] = quoted(target.table.comment, MAX_COMMENT)
    entry["row_estimate"] = view.row_estimate(target)
    entry["tools"] = [f"{kind}_{target.slug}" for kind in view.allowed(target)]
    return entry
