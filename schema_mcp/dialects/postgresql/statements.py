"""The expressions and statements that PostgreSQL phrases in its own way, and how one is run on asyncpg."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema_mcp.dialects.base import Connection, Row, Statement
from schema_mcp.dialects.postgresql.rows import finished
from schema_mcp.dialects.postgresql.values import NativeType, parameter, read
from schema_mcp.schema.model import Column
from schema_mcp.schema.types import SqlType, TypeKind

#: Rows taken from a cursor at a time; above so many rows a statement runs through a cursor.
BATCH_ROWS = 500


def condition(
    operator: str, column: sa.ColumnElement[Any], type_: SqlType, names: Sequence[str]
) -> sa.ColumnElement[bool]:
    """Set operators take one bound array, so that a statement's text does not depend on how many values there are.

    Patterns look at the value as text, because citext has a LIKE of its own that disregards case.
    """
    text = sa.cast(column, sa.Text())
    pattern = sa.bindparam(names[0], type_=sa.Text())
    match operator:
        case "in" if type_.kind is TypeKind.ARRAY:
            return column.in_([parameter(type_, name) for name in names])
        case "not_in" if type_.kind is TypeKind.ARRAY:
            return column.not_in([parameter(type_, name) for name in names])
        case "in":
            return column == sa.func.any(_array(type_, names[0]))
        case "not_in":
            return column != sa.func.all(_array(type_, names[0]))
        case "like":
            return text.like(pattern)
        case "ilike":
            return text.ilike(pattern)
        case "starts_with":
            return sa.func.starts_with(text, pattern)
        case "contains":
            return sa.func.strpos(text, pattern) > sa.literal_column("0")
    raise AssertionError(f"no such operator: {operator}")


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
    if max_rows <= BATCH_ROWS:
        records = await connection.fetch(statement.sql, *statement.values)
        yield finished(records, statement)
        return
    async with nullcontext() if connection.is_in_transaction() else connection.transaction(readonly=True):
        cursor = await connection.cursor(statement.sql, *statement.values)
        while records := await cursor.fetch(BATCH_ROWS):
            yield finished(records, statement)


def _array(type_: SqlType, name: str) -> sa.ColumnElement[Any]:
    texts: sa.ColumnElement[Any] = sa.bindparam(name, type_=ARRAY(sa.Text()))
    if type_.cast == "regclass":
        texts = sa.cast(texts, sa.Text())  # read as an array's text, it takes what it writes; see `values.read`
    return sa.cast(texts, NativeType(f"{type_.cast}[]"))
