"""From schemas and policy to a `Catalog`: every table with its names, every tool with its schema. Pure.

A table that did not change keeps its `Target` and its tools from the generation before, so that a change costs what
changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from schema_mcp.catalog.estimates import RowEstimates
from schema_mcp.catalog.surface import Specs, Surface, chosen, costs, order
from schema_mcp.dialects.base import Dialect
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, StaleSchema, UnknownTool
from schema_mcp.schema.model import Schema, Table, TableName
from schema_mcp.security.policy import Policy
from schema_mcp.tools.base import SurfaceCost, ToolSpec
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.kinds.activate_tables import ActivateTablesTool
from schema_mcp.tools.kinds.describe_table import DescribeTableTool
from schema_mcp.tools.kinds.execute_sql import ExecuteSqlTool
from schema_mcp.tools.kinds.explain_query import ExplainQueryTool
from schema_mcp.tools.kinds.insert import InsertTool
from schema_mcp.tools.kinds.list_tables import ListTablesTool
from schema_mcp.tools.kinds.query import QueryTool
from schema_mcp.tools.kinds.refresh_schema import RefreshSchemaTool
from schema_mcp.tools.kinds.run_batch import RunBatchTool
from schema_mcp.tools.kinds.schema_changes import SchemaChangesTool
from schema_mcp.tools.kinds.server_status import ServerStatusTool
from schema_mcp.tools.naming import display_name, near, slugs
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import ServerTool, TableTool

TABLE_TOOLS: tuple[TableTool, ...] = (QueryTool(), InsertTool())
#: Listed in sessions alone, and only where the surface has it.
ACTIVATE: ServerTool = ActivateTablesTool()
SERVER_TOOLS: tuple[ServerTool, ...] = (
    ACTIVATE,
    ListTablesTool(),
    DescribeTableTool(),
    RefreshSchemaTool(),
    RunBatchTool(),
    SchemaChangesTool(),
    ServerStatusTool(),
    ExecuteSqlTool(),
    ExplainQueryTool(),
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
    former: "Former"
    limits: ToolLimits
    cursor_secret: CursorSecret
    policy: Policy
    specs: Specs
    surface: Surface
    #: Sources whose schema was loaded from the store and not yet read from the database.
    unconfirmed: frozenset[str] = frozenset()
    row_estimates: RowEstimates
    _by_name: Mapping[str, TableName] = field(repr=False)

    def row_estimate(self, target: Target) -> int | None:
        """See `CatalogView.row_estimate`."""
        return self.row_estimates.of(target.table.name)

    def allowed(self, target: Target) -> Sequence[str]:
        """The kinds that serve this table."""
        return tuple(tool.name for tool in TABLE_TOOLS if _offered(tool, target, self.policy))

    def resolve(self, given: Any) -> Target:
        """See `CatalogView.resolve`."""
        if not isinstance(given, str):
            raise InvalidArgument(
                ErrorCode.MISSING_ARGUMENT, "'table' takes a table's name as a string", "list_tables tells the names."
            )
        name = self._by_name.get(given)
        if name is not None:
            return self.targets[name]
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
            "list_tables tells the tables there are.",
        )

    @property
    def sql_writes(self) -> bool:
        """See `CatalogView.sql_writes`."""
        return self.policy.sql_writes

    def session_specs(self, active: Sequence[TableName]) -> list[tuple[ToolSpec, bytes]]:
        """What a session is offered besides what all are, having activated these tables."""
        if ACTIVATE.name not in self.server_tools:
            return []
        listed = {spec.name for spec in self.listed}
        made = [self.specs.server(ACTIVATE)]
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

    def _displays(self) -> list[str]:
        return [target.display for target in self.targets.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What was served earlier: tool names, table names, and per table its columns."""

    tools: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    columns: Mapping[TableName, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def __or__(self, other: "Former") -> "Former":
        """What is in either."""
        columns = dict(self.columns)
        for name, gone in other.columns.items():
            columns[name] = columns.get(name, frozenset()) | gone
        return Former(
            tools=self.tools | other.tools, tables=self.tables | other.tables, columns=MappingProxyType(columns)
        )


def build(
    settings: BuildSettings,
    schemas: Mapping[str, Schema],
    previous: Catalog | None,
    unconfirmed: frozenset[str] = frozenset(),
) -> Catalog:
    """The catalog of the next generation. `unconfirmed`: sources whose schema is one of an earlier time."""
    former = _former(previous, schemas)
    targets = _targets(settings, schemas, previous, former)
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
        if settings.policy.permits(tool.action, None) and (tool is not ACTIVATE or settings.surface.activates)
    }
    by_name: dict[str, TableName] = {}
    for name, target in targets.items():
        by_name.setdefault(target.slug, name)
    for name in targets:
        by_name[display_name(name, "\0")] = name
    for name, target in targets.items():
        by_name[target.display] = name
    specs = Specs(policy=settings.policy, limits=settings.limits)
    listed = _listed(settings, specs, by_name, table_tools, generic_tools, server_tools, previous)
    return Catalog(
        generation=previous.generation + 1 if previous else 0,
        schemas=MappingProxyType(dict(schemas)),
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
        _by_name=MappingProxyType(by_name),
    )


def _former(previous: Catalog | None, schemas: Mapping[str, Schema]) -> Former:
    """What was served, as far as it may be gone: of the tables that stand in no schema as they were."""
    if previous is None:
        return Former()
    now = {source: schema.tables for source, schema in schemas.items()}
    changed = [
        target for name, target in previous.targets.items() if now.get(name.source, {}).get(name) is not target.table
    ]
    columns = dict(previous.former.columns)
    for target in changed:
        columns[target.table.name] = columns.get(target.table.name, frozenset()) | frozenset(target.by_key)
    return Former(
        tools=previous.former.tools.union(f"{tool.name}_{target.slug}" for target in changed for tool in TABLE_TOOLS),
        tables=previous.former.tables.union(name for target in changed for name in _names(target)),
        columns=MappingProxyType(columns),
    )


def _names(target: Target) -> tuple[str, str, str]:
    """What the table may be called in arguments: as it is shown, qualified, by its slug."""
    return target.display, display_name(target.table.name, "\0"), target.slug


def _targets(
    settings: BuildSettings, schemas: Mapping[str, Schema], previous: Catalog | None, former: Former
) -> dict[TableName, Target]:
    targets: dict[TableName, Target] = {}
    for schema in schemas.values():
        names = slugs(schema.tables, schema.default_schema)
        for name, table in schema.tables.items():
            old = previous.targets.get(name) if previous else None
            if old is not None and old.slug == names[name] and _same(old.table, table):
                targets[name] = old
                continue
            targets[name] = Target(
                table=table,
                dialect=settings.dialects[schema.source],
                slug=names[name],
                display=display_name(name, schema.default_schema),
                limits=settings.limits,
                cursor_secret=settings.cursor_secret,
                former_columns=_gone(former, table),
            )
    return targets


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
    fixed = [specs.server(tool) for tool in server_tools.values() if tool is not ACTIVATE]
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
