"""Changes of rows on SQLite: `PRAGMA data_version`, which differs when another connection has committed to the file.

It says nothing of which table, and only readings of one connection can be compared (sqlite.org/pragma.html). A commit
of whichever connection of this server is one of another connection too.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from schema_mcp.dialects.counters import Connection, Counts, RowTriggers
from schema_mcp.schema.model import TableKind, TableName


class SqliteCounters:
    """Of the whole file."""

    of_tables = False
    of_connection = True
    interval_s = 0.1
    kinds = frozenset(TableKind)
    triggers: RowTriggers | None = None

    async def read(self, connection: Connection, tables: Sequence[TableName]) -> Mapping[TableName, Counts]:
        """The same for all. Raises: sqlite3.Error, also where another file is there by now."""
        connection.file.require(connection.identity)
        version = await connection.run(_version)
        return {table: {"commits": version} for table in tables}


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version
