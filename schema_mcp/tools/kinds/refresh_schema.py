"""`refresh_schema`: read the schema again now instead of at the next poll."""

from collections.abc import Mapping
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.tools.arguments import read_source, refuse_unknown, source_property
from schema_mcp.tools.base import Action, JsonSchema, RefreshOutcome, RefreshPlan
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.view import CatalogView


class RefreshSchemaTool:
    """The tool. Stateless."""

    name = "refresh_schema"
    action = Action.INSPECT
    title = "Refresh the schema"
    description = "Read the schema again now and tell what changed; the tools follow at once."

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Where there are several sources, which one; else no arguments."""
        return {"type": "object", "properties": dict(source_property(limits.sources)), "additionalProperties": False}

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> RefreshPlan:
        """The watcher does it. Raises: InvalidArgument."""
        refuse_unknown(arguments, tuple(source_property(view.limits.sources)))
        return RefreshPlan(source=read_source(arguments, view.limits.sources), answer=_answer)


def _answer(outcome: RefreshOutcome) -> bytes:
    answer: dict[str, Any] = {
        "schema_version": outcome.generation,
        "tables": outcome.tables,
        "added": outcome.added,
        "removed": outcome.removed,
        "changed": outcome.changed,
        "refreshed": not outcome.errors,
    }
    if outcome.errors:
        answer["errors"] = [{"source": source, "message": text} for source, text in outcome.errors.items()]
        answer["hint"] = "The last schema that could be read, if any, stays in use until the database answers again."
    return orjson.dumps(answer)
