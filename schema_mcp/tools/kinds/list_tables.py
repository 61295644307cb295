"""`list_tables`: which tables there are and what may be done with them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.tools.arguments import read_limit, read_source, read_text, refuse_unknown, source_property
from schema_mcp.tools.base import Action, AnswerPlan, JsonSchema, ServerStatus, SourceStatus, StatusPlan
from schema_mcp.tools.cursor import query_digest, seal, unseal
from schema_mcp.tools.json_schema import quoted
from schema_mcp.tools.kinds.server_status import state, unreachable_since
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
                **source_property(limits.sources),
                "limit": {"type": "integer", "description": f"1 to {limits.max_rows}, default {limits.default_limit}."},
                "cursor": {"type": "string", "description": "next_cursor of the page before."},
            },
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> AnswerPlan | StatusPlan:
        """Answered from the catalog; of several sources the server tells which answer. Raises: InvalidArgument."""
        sources = view.limits.sources
        refuse_unknown(arguments, ("search", "schema", "limit", "cursor", *source_property(sources)))
        source = read_source(arguments, sources)
        search = (read_text(arguments, "search") or "").lower()
        schema = read_text(arguments, "schema")
        limit = read_limit(arguments, "limit", view.limits.default_limit, view.limits.max_rows)
        made_by = query_digest(search, schema, source)
        cursor = read_text(arguments, "cursor")
        last = () if cursor is None else unseal(view.cursor_secret, caller, self.name, made_by, cursor, 1)
        found = [
            target
            for target in sorted(view.targets.values(), key=lambda target: target.display)
            if source in (None, target.table.name.source)
            and _fits(target, search, schema)
            and (not last or target.display > str(last[0]))
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
        if view.limits.several:
            return StatusPlan(answer=partial(_with_sources, answer, source))
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


def _with_sources(answer: Mapping[str, Any], source: str | None, status: ServerStatus) -> bytes:
    shown = [one for one in status.sources if source in (None, one.source)]
    told: dict[str, Any] = {**answer, "sources": [_source(one) for one in shown]}
    if doubtful := [one.source for one in shown if one.error is not None or not one.confirmed]:
        told["hint"] = (
            f"Not answering: {', '.join(doubtful)}. What is listed of it is the last that is known, if anything, and "
            "calls of its tables fail until it is back. Other sources are not concerned."
        )
    return orjson.dumps(told)


def _source(source: SourceStatus) -> dict[str, Any]:
    return {
        "source": source.source,
        **state(source),
        **unreachable_since(source),
        "confirmed": source.confirmed,
        "tables": source.tables,
    }


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
