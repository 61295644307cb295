"""Writes that the opt-in trigger of `migrations/targets/postgresql/row_trigger.sql` tells of, at their commit.

A notification names a table, and no more is believed of it than that somebody should look: any role may send one. It
does not know who waits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg

from schema_mcp.dialects.counters import Connection, RowTrigger
from schema_mcp.dialects.queries import load
from schema_mcp.schema.model import TableName

CHANNEL = "schema_mcp_rows"

_SQL = load("schema_mcp.dialects.postgresql", "counters.sql")["row_triggers"].sql


class PostgresqlRowTriggers:
    """By LISTEN."""

    async def listen(self, connection: Connection, notice: Callable[[str], None]) -> bool:
        """False on a standby, which refuses LISTEN."""

        def told(_connection: Any, _pid: int, _channel: str, name: str) -> None:
            notice(name)

        try:
            await connection.add_listener(CHANNEL, told)
        except asyncpg.PostgresError:
            return False
        return True

    async def read(self, connection: Connection, tables: Sequence[TableName]) -> Mapping[TableName, RowTrigger]:
        """One statement for all of them.

        Through a pooler the backend that listens need not be the one that is asked, and its notifications need not
        arrive: poolers give another process id than the backend's own.
        """
        schemas, names = [table.schema for table in tables], [table.name for table in tables]
        rows = await connection.fetch(_SQL, schemas, names, connection.get_server_pid())
        return {tables[row["place"] - 1]: RowTrigger(names=frozenset(row["names"]), state=row["state"]) for row in rows}
