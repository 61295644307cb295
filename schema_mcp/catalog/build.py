"""From schemas and policy to a `Catalog`: every table with its names, every tool with its schema. Pure.

A table that did not change keeps its `Target` and its tools from the generation before, so that a change costs what
changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from schema_mcp.catalog.estimates import RowEstimates
from schema_mcp.catalog.former import Former
from schema_mcp.catalog.names import TableNames, names_of, table_names
from schema_mcp.catalog.surface import Specs, Surface, chosen, costs, order
from schema_mcp.catalog.told import told_change
from schema_mcp.dialects.base import Dialect
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, StaleSchema, UnknownTool
from schema_mcp.schema.model import Schema, Table, TableName
from schema_mcp.security.policy import Policy
from schema_mcp.state.records import Change
from schema_mcp.tools.base import Action, SurfaceCost, ToolSpec
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.kinds.activate_tables import ActivateTablesTool
from schema_mcp.tools.kinds.begin_transaction import BeginTransactionTool
from schema_mcp.tools.kinds.context import ClearContextTool, GetContextTool, SetContextTool
from schema_mcp.tools.kinds.delete import DeleteTool
from schema_mcp.tools.kinds.describe_table import DescribeTableTool
from schema_mcp.tools.kinds.end_transaction import COMMIT, ROLLBACK
from schema_mcp.tools.kinds.execute_sql import ExecuteSqlTool
from schema_mcp.tools.kinds.explain_query import ExplainQueryTool
from schema_mcp.tools.kinds.insert import InsertTool
from schema_mcp.tools.kinds.list_tables import ListTablesTool
from schema_mcp.tools.kinds.query import QueryTool
from schema_mcp.tools.kinds.refresh_schema import RefreshSchemaTool
from schema_mcp.tools.kinds.run_batch import RunBatchTool
from schema_mcp.tools.kinds.schema_changes import SchemaChangesTool
from schema_mcp.tools.kinds.server_status import ServerStatusTool
from schema_mcp.tools.kinds.update import UpdateTool
from schema_mcp.tools.kinds.wait_for_change import WaitForChangeTool
from schema_mcp.tools.naming import display_name, near, slugs
from schema_mcp.tools.relationships import Referrers, Relationship, referrers, relationships
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import ServerTool, TableTool

TABLE_TOOLS: tuple[TableTool, ...] = (QueryTool(), InsertTool(), UpdateTool(), DeleteTool())
ACTIVATE: ServerTool = ActivateTablesTool()
#: Listed in sessions alone, and only where the surface has them.
SESSION_TOOLS: tuple[ServerTool, ...] = (ACTIVATE, SetContextTool(), GetContextTool(), ClearContextTool())
#: Only where the surface has them.
OPT_IN: tuple[ServerTool, ...] = (*SESSION_TOOLS, WaitForChangeTool())
SERVER_TOOLS: tuple[ServerTool, ...] = (
    *OPT_IN,
    ListTablesTool(),
    DescribeTableTool(),
    RefreshSchemaTool(),
    RunBatchTool(),
    SchemaChangesTool(),
    ServerStatusTool(),
    ExecuteSqlTool(),
    ExplainQueryTool(),
    BeginTransactionTool(),
    COMMIT,
    ROLLBACK,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What a catalog depends on besides the schemas."""

    policy: Policy
    surface: Surface
    limits: ToolLimits
    dialects: Mapping[str, Dialect]
    cursor_secret: CursorSecret
    row_estimates: RowEstimates = field(default_factory=RowEstimates)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    """Schema and tools of one generation. Immutable, and the only thing that is ever swapped.

    `listed`: what clients are offered, in order. `former`: tables and columns that were served in this process or
    stand in the history and are gone, so that calls from a list of yesterday get an answer that helps.
    """

    generation: int
    schemas: Mapping[str, Schema]
    targets: Mapping[TableName, Target]
    table_tools: Mapping[str, tuple[TableTool, Target]]
    generic_tools: Mapping[str, TableTool]
    server_tools: Mapping[str, ServerTool]
    listed: tuple[ToolSpec, ...]
    listed_json: tuple[bytes, ...]
    former: Former
    limits: ToolLimits
    cursor_secret: CursorSecret
    policy: Policy
    specs: Specs
    surface: Surface
    #: Sources whose schema was loaded from the store and not yet read from the database.
    unconfirmed: frozenset[str] = frozenset()
    row_estimates: RowEstimates
    _names: TableNames = field(repr=False)
    #: These two are made when they are first asked for.
    _referrers: Referrers | None = field(init=False, default=None, repr=False)
    _relationships: dict[TableName, Mapping[str, Relationship]] = field(init=False, default_factory=dict, repr=False)

    def row_estimate(self, target: Target) -> int | None:
        """See `CatalogView.row_estimate`."""
        return self.row_estimates.of(target.table.name)

    def relationships(self, target: Target) -> Mapping[str, Relationship]:
        """See `CatalogView.relationships`."""
        found = self._relationships.get(target.table.name)
        if found is None:
            if self._referrers is None:
                object.__setattr__(self, "_referrers", referrers(self.targets.values()))
            default_schema = self.schemas[target.table.name.source].default_schema
            found = relationships(target, default_schema, self._referrers or {}, self._queryable)
            self._relationships[target.table.name] = found
        return found

    def _queryable(self, name: TableName) -> Target | None:
        target = self.targets.get(name)
        return target if target is not None and "query" in self.allowed(target) else None

    def permits(self, action: Action, target: Target) -> bool:
        """See `CatalogView.permits`."""
        return self.policy.permits(action, target.table)

    def allowed(self, target: Target) -> Sequence[str]:
        """The kinds that serve this table."""
        return tuple(tool.name for tool in TABLE_TOOLS if _offered(tool, target, self.policy))

    def told(self, change: Change) -> Change | None:
        """See `CatalogView.told`."""
        return told_change(self.policy, change)

    def resolve(self, given: Any) -> Target:
        """See `CatalogView.resolve`."""
        if not isinstance(given, str):
            raise InvalidArgument(
                ErrorCode.MISSING_ARGUMENT, "'table' takes a table's name as a string", "list_tables tells the names."
            )
        name = self._names.by_name.get(given)
        if name is not None:
            return self.targets[name]
        if (rivals := self._names.ambiguous.get(given)) is not None:
            choice = " or ".join(f"'{rival}'" for rival in rivals)
            raise InvalidArgument(
                ErrorCode.AMBIGUOUS_TABLE, f"there are several tables '{given[:100]}': {choice}", "Give one of these."
            )
        if given in self.former.tables:
            raise StaleSchema(
                f"table '{given[:100]}' is no longer there",
                f"It was dropped, renamed or is no longer permitted.{near(given, self._displays())} "
                "list_tables tells the tables there are now.",
                details={"table": given[:100], "columns": []},
            )
        raise InvalidArgument(
            ErrorCode.UNKNOWN_TABLE,
            f"there is no table '{given[:100]}'.{near(given, self._displays())}",
            f"list_tables tells the tables there are.{self._unread()}",
        )

    @property
    def sql_writes(self) -> bool:
        """See `CatalogView.sql_writes`."""
        return self.policy.sql_writes

    def session_specs(self, active: Sequence[TableName]) -> list[tuple[ToolSpec, bytes]]:
        """What a session is offered besides what all are, having activated these tables."""
        made = [self.specs.server(tool) for tool in SESSION_TOOLS if tool.name in self.server_tools]
        if not made:
            return []
        listed = {spec.name for spec in self.listed}
        for name in active:
            target = self.targets.get(name)
            names = [] if target is None else [f"{tool.name}_{target.slug}" for tool in TABLE_TOOLS]
            made += [
                self.specs.of_table(tool_name, *self.table_tools[tool_name])
                for tool_name in names
                if tool_name in self.table_tools and tool_name not in listed
            ]
        return [(spec, spec.as_json()) for spec in made]

    def costs(self) -> tuple[SurfaceCost, ...]:
        """What each surface would cost a model."""
        fixed = [json for spec, json in zip(self.listed, self.listed_json, strict=True) if spec.table is None]
        return tuple(costs(self.specs, fixed, self.specs.server(ACTIVATE).as_json(), self.table_tools))

    def find(self, name: str, arguments: Mapping[str, Any]) -> tuple[TableTool, Target, Mapping[str, Any]]:
        """See `CatalogView.find`."""
        if name in self.table_tools:
            tool, target = self.table_tools[name]
            rest = arguments
        elif name in self.generic_tools:
            tool = self.generic_tools[name]
            rest = dict(arguments)
            target = self.resolve(rest.pop("table", None))
            self.policy.check(tool.action, target.table)
            if not tool.serves(target):
                raise CallError(
                    ErrorCode.PERMISSION_DENIED,
                    f"table '{target.display}' ({target.table.kind}) does not take '{tool.name}' from this role",
                    f"It takes: {', '.join(self.allowed(target)) or 'nothing'}.",
                )
        elif name in self.former.tools:
            raise StaleSchema(
                f"tool '{name}' is no longer there: its table was dropped, renamed or is no longer permitted",
                "list_tables tells the tables there are now; list the tools again.",
                details={"tool": name, "columns": []},
            )
        else:
            raise UnknownTool(name)
        self.policy.check(tool.action, target.table)
        return tool, target, rest

    def _unread(self) -> str:
        """Which of several sources may have tables that are not known."""
        unread = [source for source in self.limits.sources if source not in self.schemas] if self.schemas else []
        return f" Nothing is known yet of: {', '.join(unread)}." if unread else ""

    def _displays(self) -> list[str]:
        return [target.display for target in self.targets.values()]


def build(
    settings: BuildSettings,
    schemas: Mapping[str, Schema],
    previous: Catalog | None,
    unconfirmed: frozenset[str] = frozenset(),
) -> Catalog:
    """The catalog of the next generation. `unconfirmed`: sources whose schema is one of an earlier time."""
    # In the order of the configuration, whichever was read first.
    schemas = {source: schemas[source] for source in settings.dialects if source in schemas}
    served = _served(settings, schemas, previous)
    former = _former(settings, previous, served)
    specs = Specs(policy=settings.policy, limits=settings.limits)
    kept = previous.targets if previous and previous.specs == specs else {}
    targets = _targets(settings, schemas, served, kept, former)
    table_tools = {
        f"{tool.name}_{target.slug}": (tool, target)
        for target in targets.values()
        for tool in TABLE_TOOLS
        if _offered(tool, target, settings.policy)
    }
    generic_tools = {f"{tool.name}_rows": tool for tool in TABLE_TOOLS if settings.policy.permits(tool.action, None)}
    server_tools = {
        tool.name: tool
        for tool in SERVER_TOOLS
        if settings.policy.permits(tool.action, None) and (tool not in OPT_IN or settings.surface.has(tool.name))
    }
    names = table_names(targets, several=settings.limits.several)
    listed = _listed(settings, specs, names.by_name, table_tools, generic_tools, server_tools, previous)
    return Catalog(
        generation=previous.generation + 1 if previous else 0,
        schemas=MappingProxyType(schemas),
        targets=MappingProxyType(targets),
        table_tools=MappingProxyType(table_tools),
        generic_tools=MappingProxyType(generic_tools),
        server_tools=MappingProxyType(server_tools),
        listed=tuple(spec for spec, _ in listed),
        listed_json=tuple(json for _, json in listed),
        former=former,
        limits=settings.limits,
        cursor_secret=settings.cursor_secret,
        policy=settings.policy,
        specs=specs,
        surface=settings.surface,
        unconfirmed=unconfirmed,
        row_estimates=settings.row_estimates,
        _names=names,
    )


def _served(settings: BuildSettings, schemas: Mapping[str, Schema], previous: Catalog | None) -> dict[TableName, Table]:
    """The tables as the policy lets callers see them; those that look as before are the very same objects."""
    served: dict[TableName, Table] = {}
    for schema in schemas.values():
        before: Mapping[TableName, Table] = {}
        if previous is not None and previous.policy is settings.policy and schema.source in previous.schemas:
            before = previous.schemas[schema.source].tables
        for name, table in schema.tables.items():
            old = previous.targets.get(name) if previous else None
            if old is not None and before.get(name) is table:
                served[name] = old.table
            elif (seen := settings.policy.served(table)) is not None:
                served[name] = old.table if old is not None and _same(old.table, seen) else seen
    return served


def _former(settings: BuildSettings, previous: Catalog | None, served: Mapping[TableName, Table]) -> Former:
    """What was served, as far as it may be gone and may be told: of the tables that are not served as they were, and
    of all where the policy is another one.
    """
    if previous is None:
        return Former()
    same = previous.policy is settings.policy
    changed = [target for name, target in previous.targets.items() if not same or served.get(name) is not target.table]
    former = previous.former | Former(
        tools=MappingProxyType(
            {
                name: target.table.name
                for target in changed
                for tool in TABLE_TOOLS
                if (name := f"{tool.name}_{target.slug}") in previous.table_tools
            }
        ),
        tables=MappingProxyType({name: target.table.name for target in changed for name in names_of(target)}),
        columns=MappingProxyType({target.table.name: frozenset(target.by_key) for target in changed}),
    )
    return former if same else former.under(settings.policy)


def _targets(
    settings: BuildSettings,
    schemas: Mapping[str, Schema],
    served: Mapping[TableName, Table],
    kept: Mapping[TableName, Target],
    former: Former,
) -> dict[TableName, Target]:
    """`kept`: those of before, if they were made for the same policy and limits, which a target's statements hold."""
    targets: dict[TableName, Target] = {}
    several = settings.limits.several
    for schema in schemas.values():
        tables = {
            name: served[name] for name in schema.tables if name in served and _is_of_use(served[name], settings.policy)
        }
        names = slugs(tables, schema.default_schema, several=several)
        for name, table in tables.items():
            old = kept.get(name)
            if old is not None and old.slug == names[name] and old.table is table:
                targets[name] = old
                continue
            targets[name] = Target(
                table=table,
                dialect=settings.dialects[schema.source],
                slug=names[name],
                display=display_name(name, schema.default_schema, several=several),
                limits=settings.limits,
                cursor_secret=settings.cursor_secret,
                former_columns=_gone(former, table),
            )
    return targets


def _is_of_use(table: Table, policy: Policy) -> bool:
    """Whether anything may be done with it that the role has the right to: one that may only be deleted from is of none
    where nothing is deleted."""
    may_update, may_delete = policy.permits(Action.UPDATE, table), policy.permits(Action.DELETE, table)
    return table.readable or table.insertable or (may_update and table.updatable) or (may_delete and table.deletable)


def _same(old: Table, table: Table) -> bool:
    return old is table or (old.identity == table.identity and old == table)


def _gone(former: Former, table: Table) -> frozenset[str]:
    return former.columns.get(table.name, frozenset()) - {column.name for column in table.columns}


def _offered(tool: TableTool, target: Target, policy: Policy) -> bool:
    return tool.serves(target) and policy.permits(tool.action, target.table)


def _listed(
    settings: BuildSettings,
    specs: Specs,
    by_name: Mapping[str, TableName],
    table_tools: Mapping[str, tuple[TableTool, Target]],
    generic_tools: Mapping[str, TableTool],
    server_tools: Mapping[str, ServerTool],
    previous: Catalog | None,
) -> list[tuple[ToolSpec, bytes]]:
    fixed = [specs.server(tool) for tool in server_tools.values() if tool not in SESSION_TOOLS]
    fixed += [specs.generic(name, tool) for name, tool in generic_tools.items()]
    known = (
        {spec.name: (spec, json) for spec, json in zip(previous.listed, previous.listed_json, strict=True)}
        if previous and previous.specs == specs
        else {}
    )
    listed = [(spec, spec.as_json()) for spec in fixed]
    for name, (tool, target) in chosen(settings.surface, len(fixed), table_tools, by_name).items():
        old = previous.table_tools.get(name) if previous else None
        if name in known and old is not None and old[1] is target:
            listed.append(known[name])
        else:
            spec = specs.of_table(name, tool, target)
            listed.append((spec, spec.as_json()))
    return order(listed)
