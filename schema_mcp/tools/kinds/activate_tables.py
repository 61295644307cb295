"""`activate_tables`: which tables have tools of their own in this session's list."""

from collections.abc import Mapping
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import TableName
from schema_mcp.tools.arguments import read_boolean, read_list, refuse_unknown
from schema_mcp.tools.base import Action, ActivatePlan, JsonSchema
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.view import CatalogView


class ActivateTablesTool:
    """The tool. Stateless: who has activated what is the server's to keep."""

    name = "activate_tables"
    action = Action.INSPECT
    title = "Activate tables"
    description = (
        "List the tools of these tables (query_<table>, ...) in this session. They answer when called also without."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Names of tables."""
        return {
            "type": "object",
            "properties": {
                "tables": {"type": "array", "items": {"type": "string"}, "description": "As list_tables shows them."},
                "replace": {"type": "boolean", "description": "Instead of those active now; default false: besides."},
            },
            "required": ["tables"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> ActivatePlan:
        """Which tables. Raises: InvalidArgument, StaleSchema."""
        refuse_unknown(arguments, ("tables", "replace"))
        replace = read_boolean(arguments, "replace")
        given = read_list(arguments, "tables")
        if given is None or not (given or replace):
            raise InvalidArgument(
                ErrorCode.MISSING_ARGUMENT,
                "'tables' takes at least one table's name",
                'list_tables tells the names. With "replace": true an empty list ends what was activated.',
            )
        targets = [view.resolve(name) for name in given]

        def answer(active: tuple[TableName, ...]) -> bytes:
            found = [view.targets[name] for name in active if name in view.targets]
            return orjson.dumps(
                {
                    "active": [target.display for target in found],
                    "tools": [f"{kind}_{target.slug}" for target in found for kind in view.allowed(target)],
                    "schema_version": view.generation,
                }
            )

        names = tuple(dict.fromkeys(target.table.name for target in targets))
        return ActivatePlan(tables=names, replace=replace, answer=answer)
