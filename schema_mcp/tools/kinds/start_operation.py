"""`start_operation`: a call that goes on after its answer."""

from collections.abc import Mapping
from typing import Any

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_object, read_text, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.operations import ResultFormat, StartPlan
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import CatalogView

_ARGUMENTS = ("tool", "arguments", "format")


class StartOperationTool:
    """The tool. Stateless."""

    name = "start_operation"
    action = Action.START
    title = "Start a long operation"
    description = (
        "Start a tool that runs statements (query_*, insert_*, run_batch, ...) in the background, for what takes "
        "longer or returns more than a call may; a query without limit returns all rows. Then use check_operation."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """The arguments of the call are those of its tool."""
        return {
            "type": "object",
            "properties": {
                "tool": {"type": "string"},
                "arguments": {"type": "object"},
                "format": {"type": "string", "enum": [str(format_) for format_ in ResultFormat]},
            },
            "required": ["tool"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> StartPlan:
        """What is to be started; whether it can be, its own tool says. Raises: InvalidArgument."""
        refuse_unknown(arguments, _ARGUMENTS)
        tool = read_text(arguments, "tool")
        if not tool:
            raise InvalidArgument(
                ErrorCode.MISSING_ARGUMENT,
                "'tool' takes the name of a tool",
                'Send for example {"tool": "query_orders", "arguments": {}}.',
            )
        given = read_object(arguments, "arguments") or {}
        if given.get("transaction_id") is not None:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                "an operation runs in no transaction of yours: 'transaction_id' cannot be taken",
                "Leave it out: an operation is committed by itself. Several writes are one with run_batch.",
            )
        format_ = read_text(arguments, "format") or str(ResultFormat.JSON)
        if format_ not in list(ResultFormat):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'format' takes one of {', '.join(ResultFormat)}, got {shown(format_)}",
                "Leave it out for JSON.",
            )
        return StartPlan(tool=tool, arguments=given, format=ResultFormat(format_))
