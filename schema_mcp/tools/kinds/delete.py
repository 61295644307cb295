"""`delete_<table>`: removes the rows that conditions name, all of them or none."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from schema_mcp.caller import Caller
from schema_mcp.tools import changes
from schema_mcp.tools.arguments import refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema, StatementPlan
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import CatalogView


class DeleteTool:
    """The kind. Stateless."""

    name = "delete"
    generic_title = "Delete rows of any table"
    action = Action.DELETE

    def serves(self, target: Target) -> bool:
        """Every relation that rows may be removed from."""
        return target.table.deletable

    def describe(self, target: Target) -> str:
        """What the tool does."""
        return f"Delete the rows of {target.table.kind} {target.display} that match, all of them or none."

    def describe_generic(self) -> str:
        """For `delete_rows`."""
        return (
            "Delete the rows of any table by name that match, all of them or none: the same arguments and answers as "
            "delete_<table>. describe_table tells the columns."
        )

    def input_schema(self, target: Target) -> JsonSchema:
        """Typed by the columns that rows can be told by."""
        return changes.schema(target, self.action, {})

    def generic_schema(self, limits: ToolLimits) -> JsonSchema:
        """Without the table's own names."""
        return changes.generic_schema(limits, self.action, {})

    def plan(self, view: CatalogView, target: Target, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
        """One DELETE. Raises: InvalidArgument, StaleSchema."""
        refuse_unknown(arguments, changes.ARGUMENTS)
        choice = changes.read_choice(target, arguments, self.action)
        return changes.plan(view, target, self.action, choice, (), lambda: sa.delete(target.relation), {})
