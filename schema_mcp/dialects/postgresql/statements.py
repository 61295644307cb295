"""The statements that PostgreSQL phrases in its own way, and how one is run on asyncpg."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import nullcontext

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema_mcp.dialects.base import Connection, Related, Row, Statement
from schema_mcp.dialects.nested import NUMBERS, Nested, most_rows
from schema_mcp.dialects.postgresql.rows import finished
from schema_mcp.dialects.postgresql.values import read
from schema_mcp.schema.model import Column

#: Rows taken from a cursor at a time; above so many rows a statement runs through a cursor.
BATCH_ROWS = 500
#: The same where rows of related tables come with them; far fewer come than may.
BATCH_NESTED_ROWS = 5_000


def insert(target: sa.TableClause, columns: Sequence[Column]) -> sa.Insert:
    """`INSERT ... SELECT casts FROM unnest($1, $2, ...)`: one statement text for any number of rows, in their order."""
    if not columns:
        return sa.insert(target).values({})
    names = [f"c{index}" for index in range(len(columns))]
    lists = [sa.bindparam(name, type_=ARRAY(sa.Text())) for name in names]
    rows = (
        sa.func.unnest(*lists)
        .table_valued(*[sa.column(name, sa.Text()) for name in names], with_ordinality="n", name="given")
        .render_derived()
    )
    values = [read(rows.c[name], column.type) for name, column in zip(names, columns, strict=True)]
    return sa.insert(target).from_select([column.name for column in columns], sa.select(*values).order_by(rows.c.n))


async def fetch(connection: Connection, statement: Statement, max_rows: int) -> AsyncGenerator[list[Row], None]:
    """Up to a batch at once, more through a cursor, so that memory holds one batch whatever the limit.

    asyncpg keeps the statement prepared under a name of its own and follows changes of the schema by itself outside a
    transaction; it stops the statement when the task is cancelled.
    """
    if not statement.returns_rows:
        status = await connection.execute(statement.sql, *statement.values)  # "INSERT 0 2", "DELETE 2"
        count = int(status.rpartition(" ")[2])
        for done in range(0, count, BATCH_ROWS):
            yield [Row(b"{}", ())] * min(BATCH_ROWS, count - done)
        return
    nested = _nested(statement)
    if most_rows(statement, max_rows) <= (BATCH_ROWS if nested is None else BATCH_NESTED_ROWS):
        records = await connection.fetch(statement.sql, *statement.values)
        yield finished(records, statement) if nested is None else [*nested.add(records), *nested.end()]
        return
    async with nullcontext() if connection.is_in_transaction() else connection.transaction(readonly=True):
        cursor = await connection.cursor(statement.sql, *statement.values)
        while records := await cursor.fetch(BATCH_ROWS):
            yield finished(records, statement) if nested is None else nested.add(records)
        if nested is not None:
            yield nested.end()


def _nested(statement: Statement) -> Nested | None:
    """What puts the rows together, where there are rows inside of rows."""
    parts: list[Statement | Related] = [statement, *statement.related]
    return (
        Nested(statement.related, lambda part, records: finished(records, parts[part], NUMBERS)) if parts[1:] else None
    )
