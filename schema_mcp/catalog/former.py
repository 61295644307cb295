"""What was served earlier and may be gone, so that calls from a list of yesterday get an answer that helps. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from schema_mcp.schema.model import TableName
from schema_mcp.security.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What was served earlier: tool names and table names, each with its table, and per table its columns."""

    tools: Mapping[str, TableName] = field(default_factory=lambda: MappingProxyType({}))
    tables: Mapping[str, TableName] = field(default_factory=lambda: MappingProxyType({}))
    columns: Mapping[TableName, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def __or__(self, other: "Former") -> "Former":
        """What is in either."""
        columns = dict(self.columns)
        for name, gone in other.columns.items():
            columns[name] = columns.get(name, frozenset()) | gone
        return Former(
            tools=MappingProxyType({**self.tools, **other.tools}),
            tables=MappingProxyType({**self.tables, **other.tables}),
            columns=MappingProxyType(columns),
        )

    def under(self, policy: Policy) -> "Former":
        """What is in it that the policy lets anybody know of."""
        return Former(
            tools=MappingProxyType({name: table for name, table in self.tools.items() if policy.serves(table)}),
            tables=MappingProxyType({name: table for name, table in self.tables.items() if policy.serves(table)}),
            columns=MappingProxyType(
                {
                    table: frozenset(name for name in columns if not policy.hides(table, name))
                    for table, columns in self.columns.items()
                    if policy.serves(table)
                }
            ),
        )
