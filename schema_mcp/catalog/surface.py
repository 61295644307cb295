"""What clients are offered: the tools as they see them, which of them are listed, what a list costs a model. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from schema_mcp.schema.model import TableName
from schema_mcp.security.policy import Policy
from schema_mcp.tools.base import Annotations, JsonSchema, SurfaceCost, ToolSpec
from schema_mcp.tools.context import CONTEXT_TOOLS, GROUP
from schema_mcp.tools.json_schema import quoted
from schema_mcp.tools.options import with_options
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import ServerTool, TableTool

#: Longest comment in a tool's description, in characters.
MAX_COMMENT = 300
#: Tools of tables whose size is counted; of more, the size of all is that of so many, spread evenly, times as many.
COUNTED_TOOLS = 200
#: What a byte of JSON costs a model in tokens, roughly.
TOKENS_A_BYTE = 1 / 4

#: A tool of a table with the table.
TableTools = Mapping[str, tuple[TableTool, Target]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What is listed. `auto`: a tool a table while the whole list stays within `max_listed`, else the fixed tools.

    `progressive`: the fixed tools, and in each session those of the tables that `activate_tables` was called for.
    `pin`: tables that are listed whatever the surface, as arguments name them. `groups`: tools that are not there
    unless they are asked for.
    """

    kind: str = "auto"
    max_listed: int = 100
    pin: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()

    def has(self, tool: str) -> bool:
        """Whether a tool that is not always there is."""
        if tool == "activate_tables":
            return self.activates
        return (GROUP if tool in CONTEXT_TOOLS else tool) in self.groups

    @property
    def activates(self) -> bool:
        """Sessions may choose tables whose tools are listed."""
        return self.kind == "progressive" or "activate_tables" in self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """Makes tools as clients see them."""

    policy: Policy
    limits: ToolLimits

    def of_table(self, name: str, tool: TableTool, target: Target) -> ToolSpec:
        """A table's own tool."""
        description = tool.describe(target)
        if target.table.comment:
            description += f" Comment: {quoted(target.table.comment, MAX_COMMENT)}."
        if target.table.row_security:
            description += " Row-level security applies."
        return ToolSpec(
            name=name,
            kind=tool.name,
            action=tool.action,
            table=target.table.name,
            title="",
            description=description,
            input_schema=with_options(tool.action, tool.input_schema(target)),
            annotations=self._annotations(tool.action),
        )

    def generic(self, name: str, tool: TableTool) -> ToolSpec:
        """The twin that takes `table`."""
        schema = dict(tool.generic_schema(self.limits))
        table: JsonSchema = {"type": "string", "description": "As list_tables shows it."}
        schema["properties"] = {"table": table, **schema["properties"]}
        schema["required"] = ["table", *schema.get("required", [])]
        return ToolSpec(
            name=name,
            kind=tool.name,
            action=tool.action,
            table=None,
            title=tool.generic_title,
            description=tool.describe_generic(),
            input_schema=with_options(tool.action, schema),
            annotations=self._annotations(tool.action),
        )

    def server(self, tool: ServerTool) -> ToolSpec:
        """A tool of the server itself."""
        return ToolSpec(
            name=tool.name,
            kind=tool.name,
            action=tool.action,
            table=None,
            title=tool.title,
            description=tool.description,
            input_schema=with_options(tool.action, tool.input_schema(self.limits)),
            annotations=self._annotations(tool.action),
        )

    def _annotations(self, action: str) -> Annotations:
        read_only, destructive, idempotent = self.policy.hints(action)
        return Annotations(read_only=read_only, destructive=destructive, idempotent=idempotent)


def chosen(surface: Surface, fixed: int, tools: TableTools, by_name: Mapping[str, TableName]) -> TableTools:
    """The tools of tables that everybody is offered. `fixed`: how many others there are."""
    listed = surface.kind == "tables" or (surface.kind == "auto" and fixed + len(tools) <= surface.max_listed)
    if listed:
        return tools
    pinned = {by_name[name] for name in surface.pin if name in by_name}
    return {name: pair for name, pair in tools.items() if pair[1].table.name in pinned}


def order(specs: Iterable[tuple[ToolSpec, bytes]]) -> list[tuple[ToolSpec, bytes]]:
    """As they are listed: those of the server, then those of tables, each by name."""
    return sorted(specs, key=lambda pair: (pair[0].table is not None, pair[0].name))


def costs(specs: Specs, fixed: Sequence[bytes], activate: bytes, tools: TableTools) -> Iterator[SurfaceCost]:
    """What each surface costs a model that is given all of its list; `progressive` before a table is activated.

    `fixed`, `activate`: the JSON of the tools that are always there, and of `activate_tables`.
    """
    base = sum(map(len, fixed)) + len(fixed) - 1  # with the commas between them
    step = max(1, len(tools) // COUNTED_TOOLS)
    counted = [len(specs.of_table(name, *pair).as_json()) for name, pair in islice(tools.items(), 0, None, step)]
    of_tables = round((sum(counted) / len(counted) + 1) * len(tools)) if counted else 0
    yield SurfaceCost(surface="tables", tools=len(fixed) + len(tools), bytes=base + of_tables, exact=step == 1)
    yield SurfaceCost(surface="generic", tools=len(fixed), bytes=base, exact=True)
    yield SurfaceCost(surface="progressive", tools=len(fixed) + 1, bytes=base + len(activate) + 1, exact=True)
