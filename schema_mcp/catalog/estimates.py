"""How many rows tables have, roughly: what the last reading said, apart from any catalog.

It changes with every ANALYZE, which makes no tool another one: a catalog only looks into it.
"""

from collections.abc import Mapping

from schema_mcp.schema.model import TableName


class RowEstimates:
    """The estimates of all sources. Each source's are swapped as a whole."""

    def __init__(self) -> None:
        self._by_source: dict[str, Mapping[TableName, int]] = {}

    def replace(self, source: str, estimates: Mapping[TableName, int]) -> None:
        """Makes these the estimates of the source."""
        self._by_source[source] = estimates

    def of(self, name: TableName) -> int | None:
        """Rows of the table; None where the database does not know."""
        return self._by_source.get(name.source, {}).get(name)
