"""How a product tells that rows have changed: the `Counters` protocol.

A reading is compared with an earlier one and nothing else is made of it: equal readings mean that nothing of what is
counted has changed. It knows nothing of who waits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from schema_mcp.schema.model import TableKind, TableName

Connection: TypeAlias = Any

#: What is counted, by a word, and how far it has come.
Counts: TypeAlias = Mapping[str, int]


class Counters(Protocol):
    """Of one product. Instances are stateless and shared."""

    #: The counts are of a table; else they are of the whole file, and of no table in particular.
    of_tables: bool
    #: The counts of one connection say nothing to another.
    of_connection: bool
    #: Seconds between two readings while somebody waits.
    interval_s: float
    #: Relations whose rows are counted.
    kinds: frozenset[TableKind]

    async def read(self, connection: Connection, tables: Sequence[TableName]) -> Mapping[TableName, Counts]:
        """The counts of those that are there, outside a transaction. Raises: whatever the driver raises."""
        ...
