"""How a product tells that rows have changed: the `Counters` protocol, and `RowTriggers` where triggers may tell too.

A reading is compared with an earlier one and nothing else is made of it: equal readings mean that nothing of what is
counted has changed. It knows nothing of who waits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from schema_mcp.schema.model import TableKind, TableName

Connection: TypeAlias = Any

#: What is counted, by a word, and how far it has come.
Counts: TypeAlias = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTrigger:
    """How one table's writes are told. `names`: what a notification of them may say.

    `state`: equal twice only if every write that was committed in between is told; None: some may not be.
    """

    names: frozenset[str]
    state: str | None


class RowTriggers(Protocol):
    """Of a product that can notify. Instances are stateless and shared."""

    async def listen(self, connection: Connection, notice: Callable[[str], None]) -> bool:
        """Whether `notice` is called from now on, on the event loop, with what each notification says.

        Raises: whatever the driver raises where the connection is lost.
        """
        ...

    async def read(self, connection: Connection, tables: Sequence[TableName]) -> Mapping[TableName, RowTrigger]:
        """Those of the tables that a trigger tells of; the connection listens. Raises: whatever the driver raises."""
        ...


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
    #: None: nothing but the counts tells.
    triggers: RowTriggers | None

    async def read(self, connection: Connection, tables: Sequence[TableName]) -> Mapping[TableName, Counts]:
        """The counts of those that are there, outside a transaction. Raises: whatever the driver raises."""
        ...
