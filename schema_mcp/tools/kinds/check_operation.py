"""`check_operation`: how an operation stands, and the pages of its result."""

from collections.abc import Mapping
from typing import Any

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_limit, read_text, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.operations import MAX_WAIT_S, CheckPlan
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import CatalogView

_ARGUMENTS = ("operation_id", "wait_s", "limit", "cursor")


class CheckOperationTool:
    """The tool. Stateless."""

    name = "check_operation"
    action = Action.INSPECT
    title = "Check an operation"
    description = (
        "How an operation stands: status (running, succeeded, failed, cancelled, interrupted), progress, time left; at "
        "its end the result, rows in pages (cursor), or the error."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Which, how long to wait, and which page of its rows."""
        return {
            "type": "object",
            "properties": {
                "operation_id": {"type": "string"},
                "wait_s": {
                    "type": "number",
                    "description": f"Wait for its end: 0 (default) to {MAX_WAIT_S:g} seconds.",
                },
                "limit": {"type": "integer", "description": f"Rows of a page: 1 to {limits.max_rows}."},
                "cursor": {"type": "string"},
            },
            "required": ["operation_id"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> CheckPlan:
        """Which. Raises: InvalidArgument."""
        refuse_unknown(arguments, _ARGUMENTS)
        id_ = read_operation_id(arguments)
        return CheckPlan(
            id=id_,
            cursor=read_text(arguments, "cursor"),
            limit=read_limit(arguments, "limit", view.limits.default_limit, view.limits.max_rows),
            wait_s=_read_wait(arguments.get("wait_s")),
            secret=view.cursor_secret,
        )


def read_operation_id(arguments: Mapping[str, Any]) -> str:
    """The id that the call names. Raises: InvalidArgument."""
    id_ = read_text(arguments, "operation_id")
    if not id_:
        raise InvalidArgument(
            ErrorCode.MISSING_ARGUMENT, "'operation_id' is needed", "start_operation answers with the id of each."
        )
    return id_


def _read_wait(given: Any) -> float:
    if given is None:
        return 0.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MAX_WAIT_S:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'wait_s' takes a number of seconds from 0 to {MAX_WAIT_S:g}, got {shown(given)}",
            "Leave it out to be answered at once.",
        )
    return float(given)
