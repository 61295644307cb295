"""`set_context`, `get_context`, `clear_context`: what a session says once for all of its calls."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import refuse_unknown, source_property
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.context import EMPTY, TRANSACTION, Context, ContextPlan, members
from schema_mcp.tools.context_reading import changed, reach
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.view import CatalogView


class SetContextTool:
    """The tool. Stateless: whose context it is is the server's to keep."""

    name = "set_context"
    action = Action.INSPECT
    title = "Set the session's context"
    description = (
        "For all later calls of this session: default source, schema and limit, and filters that narrow every table "
        "with such a column. Besides what is set; null ends a member."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """At least one member."""
        filters = {"type": "object", "description": 'Column names and values; equality. {"tenant_id": 7}'}
        offered: dict[str, JsonSchema] = {
            **source_property(limits.sources),
            "schema": {"type": "string"},
            "limit": {"type": "integer", "description": f"1 to {limits.max_rows}."},
            "filters": filters,
        }
        if TRANSACTION in members():
            offered[TRANSACTION] = {"type": "string"}
        return {"type": "object", "properties": offered, "additionalProperties": False}

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> ContextPlan:
        """The next context. Raises: InvalidArgument."""
        known = [name for name in members() if name != "source" or view.limits.several]
        refuse_unknown(arguments, known)
        if not arguments:
            raise InvalidArgument(
                ErrorCode.MISSING_ARGUMENT,
                f"set_context takes at least one of: {', '.join(known)}",
                'Send for example {"filters": {"tenant_id": 7}}. get_context shows what is set.',
            )
        return ContextPlan(
            change=lambda before: changed(view, before, arguments), answer=partial(_answer, view, told_ended=False)
        )


class GetContextTool:
    """The tool. Stateless."""

    name = "get_context"
    action = Action.INSPECT
    title = "Show the session's context"
    description = "What set_context has set for this session."

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """No arguments."""
        return {"type": "object", "properties": {}, "additionalProperties": False}

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> ContextPlan:
        """As it is. Raises: InvalidArgument."""
        refuse_unknown(arguments, ())
        return ContextPlan(change=None, answer=partial(_answer, view, told_ended=True))


class ClearContextTool:
    """The tool. Stateless."""

    name = "clear_context"
    action = Action.INSPECT
    title = "End the session's context"
    description = "Ends all that set_context has set for this session."

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """No arguments."""
        return {"type": "object", "properties": {}, "additionalProperties": False}

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> ContextPlan:
        """An empty one. Raises: InvalidArgument."""
        refuse_unknown(arguments, ())
        return ContextPlan(change=lambda before: EMPTY, answer=partial(_answer, view, told_ended=False))


def _answer(view: CatalogView, context: Context, ended: bool, *, told_ended: bool) -> bytes:
    told: dict[str, Any] = {"context": context.as_dict()}
    if context.filters:
        told["narrowed_tables"] = reach(view, context.filters)
        told["tables"] = len(view.targets)
    if ended and told_ended:
        told["ended"] = "It ended because it was not used for a while: set it again, or call clear_context."
    return orjson.dumps({**told, "schema_version": view.generation})
