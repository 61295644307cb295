"""`schema_changes`: what changed in the schema, and when; also while no server was running."""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import InvalidArgument, StaleSchema
from schema_mcp.state.records import Change, HistoryAnswer, HistoryQuery
from schema_mcp.tools.arguments import read_limit, read_text, refuse_unknown
from schema_mcp.tools.base import Action, HistoryPlan, JsonSchema
from schema_mcp.tools.naming import display_name
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.times import EXAMPLE, iso, read_time
from schema_mcp.tools.view import CatalogView


class SchemaChangesTool:
    """The tool. Stateless."""

    name = "schema_changes"
    action = Action.INSPECT
    title = "Schema changes"
    description = "Which tables were added, removed or changed, how and when; newest first."

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """All optional."""
        return {
            "type": "object",
            "properties": {
                "since": {"type": "string", "description": f"Only later than this ISO 8601 time, as {EXAMPLE}."},
                "table": {"type": "string", "description": "Only of this table, also one that is gone."},
                "limit": {"type": "integer", "description": f"1 to {limits.max_rows}, default {limits.default_limit}."},
            },
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> HistoryPlan:
        """The store is asked. Raises: InvalidArgument."""
        refuse_unknown(arguments, ("since", "table", "limit"))
        since = arguments.get("since")
        table = read_text(arguments, "table")
        limit = read_limit(arguments, "limit", view.limits.default_limit, view.limits.max_rows)
        unknown: InvalidArgument | None = None
        defaults = {schema.default_schema for schema in view.schemas.values()}
        names = None if table is None else table_names(defaults, table)
        if table is not None:
            try:
                target = view.resolve(table)
                names = frozenset({(target.table.name.schema, target.table.name.name)})
            except StaleSchema:
                pass
            except InvalidArgument as error:
                unknown = error
        query = HistoryQuery(
            since=None if since is None else read_time(since, "since"), tables=names, limit=limit, told=view.told
        )

        def answer(found: HistoryAnswer) -> bytes:
            if unknown is not None and found.status.kept and not found.page.changes and view.targets:
                raise unknown
            return _answer(found)

        return HistoryPlan(query=query, answer=answer)


def entry(change: Change) -> dict[str, Any]:
    """A change as clients and the command line see it."""
    told: dict[str, Any] = {
        "at": iso(change.at),
        "table": display_name(change.table, change.default_schema),
        "kind": change.kind,
        "changes": change.sentences,
    }
    if change.since is not None:
        told["seen_at_start"] = f"happened between {iso(change.since)} and {iso(change.at)}"
    return told


def _answer(found: HistoryAnswer) -> bytes:
    history: dict[str, Any] = {"kept": found.status.kept}
    if found.page.kept_since is not None:
        history["since"] = iso(found.page.kept_since)
    if not found.status.kept:
        history |= {"reason": found.status.reason, "hint": found.status.hint}
    return orjson.dumps(
        {
            "changes": [entry(change) for change in found.page.changes],
            "truncated": found.page.truncated,
            "history": history,
        }
    )


def table_names(defaults: Collection[str], given: str) -> frozenset[tuple[str, str]]:
    """Every (schema, name) that may be called `given`, whether it is there or not. `defaults`: default schemas."""
    candidates = [(default, part) for default in defaults for part in (given, _unquoted(given))]
    for index, character in enumerate(given):
        if character == ".":
            candidates.append((_unquoted(given[:index]), _unquoted(given[index + 1 :])))
    return frozenset(candidates)


def _unquoted(part: str) -> str:
    if len(part) > 1 and part[0] == part[-1] == '"':
        return part[1:-1].replace('""', '"')
    return part
