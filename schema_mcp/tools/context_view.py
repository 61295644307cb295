"""A catalog as a session with a context sees it: other defaults, and tables under its standing filters. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schema_mcp.errors import CallError
from schema_mcp.schema.model import Schema, TableName
from schema_mcp.state.records import Change
from schema_mcp.tools.base import Action
from schema_mcp.tools.context import Context
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.narrowing import narrowed
from schema_mcp.tools.relationships import Relationship
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import CatalogView, TableTool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextView:
    """For one call. Whatever gives a table to plan with gives it narrowed; `targets` are for looking things up."""

    of: CatalogView
    context: Context
    _narrowed: dict[TableName, Target] = field(init=False, default_factory=dict, repr=False)

    @property
    def generation(self) -> int:
        """See `CatalogView.generation`."""
        return self.of.generation

    @property
    def targets(self) -> Mapping[TableName, Target]:
        """See `CatalogView.targets`."""
        return self.of.targets

    @property
    def schemas(self) -> Mapping[str, Schema]:
        """See `CatalogView.schemas`."""
        return self.of.schemas

    @property
    def unconfirmed(self) -> frozenset[str]:
        """See `CatalogView.unconfirmed`."""
        return self.of.unconfirmed

    @property
    def limits(self) -> ToolLimits:
        """See `CatalogView.limits`."""
        limit = self.context.limit
        return self.of.limits if limit is None else replace(self.of.limits, default_limit=limit)

    @property
    def cursor_secret(self) -> CursorSecret:
        """See `CatalogView.cursor_secret`."""
        return self.of.cursor_secret

    @property
    def sql_writes(self) -> bool:
        """See `CatalogView.sql_writes`."""
        return self.of.sql_writes

    def resolve(self, given: Any) -> Target:
        """See `CatalogView.resolve`. A table of the context's schema and source goes before others of the name."""
        return self._seen(self._own(given) or self.of.resolve(given))

    def find(self, name: str, arguments: Mapping[str, Any]) -> tuple[TableTool, Target, Mapping[str, Any]]:
        """See `CatalogView.find`."""
        own = self._own(arguments.get("table"))
        if own is not None:
            arguments = {**arguments, "table": own.display}
        tool, target, rest = self.of.find(name, arguments)
        return tool, self._seen(target), rest

    def told(self, change: Change) -> Change | None:
        """See `CatalogView.told`."""
        return self.of.told(change)

    def row_estimate(self, target: Target) -> int | None:
        """See `CatalogView.row_estimate`. Of the whole table, whatever the filters leave of it."""
        return self.of.row_estimate(target)

    def relationships(self, target: Target) -> Mapping[str, Relationship]:
        """See `CatalogView.relationships`."""
        found = self.of.relationships(target)
        return {name: self._relationship(one) for name, one in found.items()} if self.context.filters else found

    def permits(self, action: Action, target: Target) -> bool:
        """See `CatalogView.permits`."""
        return self.of.permits(action, target)

    def allowed(self, target: Target) -> Sequence[str]:
        """See `CatalogView.allowed`."""
        return self.of.allowed(target)

    def _seen(self, target: Target) -> Target:
        """The same object each time: calls of a batch are put together by it."""
        name = target.table.name
        if name not in self._narrowed:
            self._narrowed[name] = narrowed(target, self.context.filters, self.context.limit)
        return self._narrowed[name]

    def _relationship(self, one: Relationship) -> Relationship:
        through = one.through and replace(one.through, target=self._seen(one.through.target))
        return replace(one, other=self._seen(one.other), through=through)

    def _own(self, given: Any) -> Target | None:
        """The table that the context's source and schema make of a name, if there is exactly one."""
        source, schema = self.context.source, self.context.schema
        if not isinstance(given, str) or (source is None and schema is None):
            return None
        found = []
        for each, read in self.of.schemas.items():
            if source in (None, each):
                name = TableName(source=each, schema=schema or read.default_schema, name=given)
                found += [self.of.targets[name]] if name in self.of.targets else []
        if not found and source is not None and self.limits.several:
            try:
                found.append(self.of.resolve(f"{source}.{given}"))
            except CallError:
                return None
        return found[0] if len(found) == 1 else None
