"""`update_<table>`: gives columns of the rows that conditions name other values, in all of them or none."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import DriverValue
from schema_mcp.dialects.documents import as_text
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column, Generated
from schema_mcp.schema.types import TypeKind
from schema_mcp.tools import changes, narrowing
from schema_mcp.tools.arguments import read_object, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema, StatementPlan
from schema_mcp.tools.json_schema import set_object
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.values import bind
from schema_mcp.tools.view import CatalogView

_ARGUMENTS = ("set", *changes.ARGUMENTS)


class UpdateTool:
    """The kind. Stateless."""

    name = "update"
    generic_title = "Update any table"
    action = Action.UPDATE

    def serves(self, target: Target) -> bool:
        """Every relation with a column that may be changed."""
        return target.table.updatable

    def describe(self, target: Target) -> str:
        """What the tool does."""
        return f"Change columns of the rows of {target.table.kind} {target.display} that match, in all of them or none."

    def describe_generic(self) -> str:
        """For `update_rows`."""
        return (
            "Change columns of the rows of any table by name that match, in all of them or none: the same arguments "
            "and answers as update_<table>. describe_table tells the columns."
        )

    def input_schema(self, target: Target) -> JsonSchema:
        """Typed by the columns that rows can be told by, and those that take another value."""
        return changes.schema(target, self.action, {"set": set_object(target, target.updatable, "New values.")})

    def generic_schema(self, limits: ToolLimits) -> JsonSchema:
        """Without the table's own names."""
        given = {"type": "object", "description": "New values by column name."}
        return changes.generic_schema(limits, self.action, {"set": given})

    def plan(self, view: CatalogView, target: Target, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
        """One UPDATE. Raises: InvalidArgument, StaleSchema."""
        refuse_unknown(arguments, _ARGUMENTS)
        new = _read_set(target, read_object(arguments, "set"))
        choice = changes.read_choice(target, arguments, self.action)
        columns = tuple(column for column in target.table.columns if column.name in new)

        def build() -> sa.Update:
            values = {
                column.name: target.dialect.parameter(column.type, f"s{index}") for index, column in enumerate(columns)
            }
            return sa.update(target.relation).values(values)

        shape = tuple(column.name for column in columns)
        bound = {f"s{index}": new[name] for index, name in enumerate(shape)}
        return changes.plan(view, target, self.action, choice, shape, build, bound)


def _read_set(target: Target, given: Mapping[str, Any] | None) -> dict[str, DriverValue]:
    """Bound values by column name."""
    if not given:
        raise InvalidArgument(
            ErrorCode.MISSING_ARGUMENT,
            "'set' takes at least one column and its new value",
            f"Send an object. {target.columns_hint(target.updatable)}",
        )
    new: dict[str, DriverValue] = {}
    for name, value in given.items():
        column = _column(target, name)
        if column.name in new:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT, f"'set' names column '{name}' twice", "Name each column once."
            )
        new[column.name] = _bind(target, column, value)
        narrowing.check(target, column, value, "set")
    return new


def _column(target: Target, name: str) -> Column:
    column = target.by_key.get(name)
    if column is None:
        raise target.unknown(name, target.updatable)
    if not column.updatable:
        made = column.generated is not Generated.NO
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"column '{name}' of table '{target.display}' takes no other value: "
            + ("the database makes it" if made else "the connected role may not change it, or it cannot be changed"),
            f"Leave it out. {target.columns_hint(target.updatable)}",
        )
    return column


def _bind(target: Target, column: Column, value: Any) -> DriverValue:
    place = f"set: column '{target.keys[column.name]}' of table '{target.display}'"
    if value is not None:
        target.refuse_mask(column, value, place)
        return bind(target.dialect, column.type, value, place)
    if not column.nullable:
        json_null = f" JSON's own null is sent as {as_text('null')}." if column.type.kind is TypeKind.JSON else ""
        raise InvalidArgument(
            ErrorCode.MISSING_VALUE,
            f"{place} is NOT NULL, got null",
            "Give it a value." + json_null,
            details={"columns": [target.keys[column.name]]},
        )
    return None
