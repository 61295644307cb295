"""What earlier processes served, as the names that a catalog knows for gone. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from schema_mcp.catalog.build import TABLE_TOOLS, Catalog, Former
from schema_mcp.schema.model import Privilege, TableName
from schema_mcp.state.records import Gone
from schema_mcp.tools.base import Action
from schema_mcp.tools.naming import display_name, slug

#: The right that a tool of each action is made of.
_RIGHTS = {
    Action.READ: Privilege.SELECT,
    Action.INSERT: Privilege.INSERT,
    Action.UPDATE: Privilege.UPDATE,
    Action.DELETE: Privilege.DELETE,
}


def past(gone: Iterable[Gone], default_schema: str) -> Former:
    """Tools, tables and columns that stand in the history."""
    tools: set[str] = set()
    tables: set[str] = set()
    columns: dict[TableName, frozenset[str]] = {}
    for item in gone:
        name = item.table
        columns[name] = columns.get(name, frozenset()) | item.columns
        if not item.rights:
            continue
        text = slug(name, default_schema)
        tables |= {text, display_name(name, default_schema), display_name(name, "\0")}
        tools |= {f"{tool.name}_{text}" for tool in TABLE_TOOLS if _RIGHTS.get(tool.action) in item.rights}
    return Former(tools=frozenset(tools), tables=frozenset(tables), columns=MappingProxyType(columns))


def remembering(catalog: Catalog, former: Former) -> Catalog:
    """As the catalog before the next one: the tables whose past `former` tells more of will be made anew."""
    kept = {
        name: target
        for name, target in catalog.targets.items()
        if former.columns.get(name, frozenset()) <= target.former_columns | target.by_key.keys()
    }
    return replace(catalog, former=catalog.former | former, targets=MappingProxyType(kept))
