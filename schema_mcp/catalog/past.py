"""What earlier processes served, as the names that a catalog knows for gone. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from schema_mcp.catalog.build import TABLE_TOOLS, Catalog
from schema_mcp.catalog.former import Former
from schema_mcp.schema.model import Privilege, TableName
from schema_mcp.security.policy import Policy
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


def past(gone: Iterable[Gone], default_schema: str, policy: Policy, *, several: bool) -> Former:
    """Tools, tables and columns that stand in the history, as far as the policy lets anybody know of them.

    `several`: more than one source is configured.
    """
    tools: dict[str, TableName] = {}
    tables: dict[str, TableName] = {}
    columns: dict[TableName, frozenset[str]] = {}
    for item in gone:
        name = item.table
        if not policy.serves(name):
            continue
        seen = frozenset(column for column in item.columns if not policy.hides(name, column))
        columns[name] = columns.get(name, frozenset()) | seen
        if not item.rights:
            continue
        text = slug(name, default_schema, several=several)
        tables[text] = name
        for schema in (default_schema, "\0"):
            tables |= dict.fromkeys((display_name(name, schema), display_name(name, schema, several=several)), name)
        tools |= {f"{tool.name}_{text}": name for tool in TABLE_TOOLS if _RIGHTS.get(tool.action) in item.rights}
    return Former(tools=MappingProxyType(tools), tables=MappingProxyType(tables), columns=MappingProxyType(columns))


def remembering(catalog: Catalog, former: Former) -> Catalog:
    """As the catalog before the next one: the tables whose past `former` tells more of will be made anew."""
    kept = {
        name: target
        for name, target in catalog.targets.items()
        if former.columns.get(name, frozenset()) <= target.former_columns | target.by_key.keys()
    }
    return replace(catalog, former=catalog.former | former, targets=MappingProxyType(kept))
