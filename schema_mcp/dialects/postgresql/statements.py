"""The statements that PostgreSQL phrases in its own way, and how one is run on asyncpg."""

from collections.abc import AsyncGenerator
from contextlib import nullcontext

from schema_mcp.dialects.base import Connection, Related, Row, Statement
from schema_mcp.dialects.nested import NUMBERS, Nested, most_rows
from schema_mcp.dialects.postgresql.inserts import insert_given
from schema_mcp.dialects.postgresql.rows import finished

#: Rows taken from a cursor at a time; above so many rows a statement runs through a cursor.
BATCH_ROWS = 500
#: The same where rows of related tables come with them; far fewer come than may.
BATCH_NESTED_ROWS = 5_000
#: Rows taken at a time where each may be as large as a whole answer.
BATCH_LARGE_ROWS = 4


async def fetch(connection: Connection, statement: Statement, max_rows: int) -> AsyncGenerator[list[Row], None]:
    """Up to a batch at once, more through a cursor, so that memory holds one batch whatever the limit.

    asyncpg keeps the statement prepared under a name of its own and follows changes of the schema by itself outside a
    transaction; it stops the statement when the task is cancelled.
    """
    if statement.given is not None:
        yield await insert_given(connection, statement, statement.given)
        return
    if not statement.returns_rows:
        status = await connection.execute(statement.sql, *statement.values)  # "INSERT 0 2", "DELETE 2"
        count = int(status.rpartition(" ")[2])
        for done in range(0, count, BATCH_ROWS):
            yield [Row(b"{}", ())] * min(BATCH_ROWS, count - done)
        return
    nested = _nested(statement)
    if not statement.sized and most_rows(statement, max_rows) <= (BATCH_ROWS if nested is None else BATCH_NESTED_ROWS):
        records = await connection.fetch(statement.sql, *statement.values)
        yield finished(records, statement) if nested is None else [*nested.add(records), *nested.end()]
        return
    async with nullcontext() if connection.is_in_transaction() else connection.transaction(readonly=True):
        cursor = await connection.cursor(statement.sql, *statement.values)
        while records := await cursor.fetch(BATCH_LARGE_ROWS if statement.sized else BATCH_ROWS):
            yield finished(records, statement) if nested is None else nested.add(records)
        if nested is not None:
            yield nested.end()


def _nested(statement: Statement) -> Nested | None:
    """What puts the rows together, where there are rows inside of rows."""
    parts: list[Statement | Related] = [statement, *statement.related]
    return (
        Nested(statement.related, lambda part, records: finished(records, parts[part], NUMBERS)) if parts[1:] else None
    )
