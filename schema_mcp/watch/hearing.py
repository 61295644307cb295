"""What one connection hears of tables: how often a trigger has told of each.

    a notification -> the tables that it may mean -> one more time for each -> `notice`

It does not know who waits, and believes no more of a notification than the name in it.
"""

from collections.abc import Callable, Sequence
from secrets import token_hex

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.counters import RowTrigger, RowTriggers
from schema_mcp.schema.model import TableName
from schema_mcp.tools.waiting import Heard


class Hearing:
    """Of one connection, from `begin` on. `notice` is called on the event loop with each table that is told of,
    and how often that was."""

    def __init__(
        self, triggers: RowTriggers, connection: Connection, notice: Callable[[TableName, Heard | None], None]
    ) -> None:
        self._triggers = triggers
        self._connection = connection
        self._notice = notice
        #: Of this connection: what another has heard cannot be compared.
        self._epoch = token_hex(4)
        #: Of the tables that were asked for, and only of them: any role may send any name.
        self._told: dict[TableName, RowTrigger] = {}
        self._times: dict[TableName, int] = {}
        self._listens = False

    async def begin(self) -> None:
        """Listens, where that is possible. Raises: whatever the driver raises where the connection is lost."""
        self._listens = await self._triggers.listen(self._connection, self._hear)

    async def read(self, tables: Sequence[TableName]) -> None:
        """Looks which of the tables triggers tell of. Raises: whatever the driver raises."""
        if not self._listens:
            return
        found = await self._triggers.read(self._connection, tables)
        for table in tables:
            self._told.pop(table, None)
        self._told.update(found)

    def heard(self, table: TableName) -> Heard | None:
        """How often it was told of until now; None where not all of its writes are."""
        told = self._told.get(table)
        if told is None or told.state is None:
            return None
        return Heard(f"{self._epoch}{told.state[:12]}", self._times.get(table, 0))

    def _hear(self, name: str) -> None:
        for table, trigger in self._told.items():
            if name in trigger.names:
                self._times[table] = self._times.get(table, 0) + 1
                self._notice(table, self.heard(table))
