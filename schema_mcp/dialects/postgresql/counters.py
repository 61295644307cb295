"""Changes of rows on PostgreSQL: its cumulative statistics, and the number of a table's file.

A session hands its numbers in after its transaction, at most once a second, and one that then does nothing more within
10 s (`PGSTAT_MIN_INTERVAL`, `PGSTAT_IDLE_INTERVAL` in pgstat.c): a change is seen that late. With `track_counts` off
nothing is counted but TRUNCATE.
"""

from collections.abc import Mapping, Sequence

from schema_mcp.dialects.counters import Connection, Counts, RowTriggers
from schema_mcp.dialects.postgresql.row_triggers import PostgresqlRowTriggers
from schema_mcp.dialects.queries import load
from schema_mcp.schema.model import TableKind, TableName

_SQL = load("schema_mcp.dialects.postgresql", "counters.sql")["counters"].sql


class PostgresqlCounters:
    """By pg_stat."""

    of_tables = True
    of_connection = False
    interval_s = 0.5
    kinds = frozenset({TableKind.TABLE, TableKind.PARTITIONED})
    triggers: RowTriggers | None = PostgresqlRowTriggers()

    async def read(self, connection: Connection, tables: Sequence[TableName]) -> Mapping[TableName, Counts]:
        """One statement for all of them."""
        schemas, names = [table.schema for table in tables], [table.name for table in tables]
        rows = await connection.fetch(_SQL, schemas, names)
        words = ("inserted", "updated", "deleted", "files")
        return {tables[row["place"] - 1]: {word: row[word] or 0 for word in words} for row in rows}
