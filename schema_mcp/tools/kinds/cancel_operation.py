"""`cancel_operation`: an operation is stopped, with what it runs in the database."""

from collections.abc import Mapping
from typing import Any

from schema_mcp.caller import Caller
from schema_mcp.tools.arguments import refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.kinds.check_operation import read_operation_id
from schema_mcp.tools.operations import CancelPlan
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.view import CatalogView


class CancelOperationTool:
    """The tool. Stateless."""

    name = "cancel_operation"
    action = Action.CANCEL
    title = "Cancel an operation"
    description = "Stop an operation and its statement in the database; answers how it stands then."

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Which."""
        return {
            "type": "object",
            "properties": {"operation_id": {"type": "string"}},
            "required": ["operation_id"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> CancelPlan:
        """Which. Raises: InvalidArgument."""
        refuse_unknown(arguments, ("operation_id",))
        return CancelPlan(id=read_operation_id(arguments))
