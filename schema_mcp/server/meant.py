"""Which source a call means, as far as its words tell, whether its tables are known or not. Pure."""

from collections.abc import Mapping
from typing import Any

from schema_mcp.catalog.build import Catalog


def source_of(catalog: Catalog, name: str, arguments: Mapping[str, Any]) -> str | None:
    """The source whose table a call means, as far as its words tell; None for all there are."""
    if (known := catalog.table_tools.get(name)) is not None:
        return known[1].table.name.source
    if not catalog.limits.several:
        return None
    if name == "run_batch":
        return _unread_of_batch(catalog, arguments)
    table = arguments.get("table")
    if name in catalog.server_tools or name in catalog.generic_tools:
        word = table.partition(".")[0] if isinstance(table, str) else ""
    else:
        word = name.partition("_")[2].partition("_")[0]
    return word if word in catalog.limits.sources else None


def _unread_of_batch(catalog: Catalog, arguments: Mapping[str, Any]) -> str | None:
    """Of a batch in one transaction a source that its calls mean and of which nothing is known yet."""
    calls = arguments.get("calls")
    if arguments.get("mode") == "independent" or not isinstance(calls, list):
        return None
    for call in calls:
        tool, given = (call.get("tool"), call.get("arguments")) if isinstance(call, dict) else (None, None)
        if isinstance(tool, str) and tool != "run_batch":
            source = source_of(catalog, tool, given if isinstance(given, dict) else {})
            if source is not None and source not in catalog.schemas:
                return source
    return None
