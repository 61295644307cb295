"""Database files for tests, and connections to them as the program opens them."""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import anyio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from schema_mcp.dialects.base import Row, SessionLimits, Statement
from schema_mcp.dialects.sqlite.connection import SqliteConnection
from schema_mcp.dialects.sqlite.dialect import SqliteDialect
from schema_mcp.dialects.sqlite.types import sql_type

DIALECT = SqliteDialect()
LIMIT_S = 20.0
LOCK_TIMEOUT_S = 0.05


@asynccontextmanager
async def opened(path: Path, *, read_only: bool = False) -> AsyncIterator[SqliteConnection]:
    """A connection by the options that the dialect gives to SQLAlchemy."""
    limits = SessionLimits(
        statement_timeout_s=5,
        lock_timeout_s=LOCK_TIMEOUT_S,
        idle_in_transaction_timeout_s=5,
        read_only=read_only,
    )
    url, options = DIALECT.engine_options(sa.URL.create("sqlite", database=str(path)), limits)
    engine = create_async_engine(url, poolclass=NullPool, pool_reset_on_return=None, **options)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, SqliteConnection)
        yield driver


def execute(path: Path, script: str) -> None:
    """Runs the script as somebody else."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def delete(path: Path) -> None:
    """Takes the file away."""
    os.unlink(path)


async def rows_of(connection: SqliteConnection, statement: Statement, max_rows: int = 0) -> list[Row]:
    """All rows that the statement gives."""
    with anyio.fail_after(LIMIT_S):
        async with aclosing(DIALECT.fetch(connection, statement, max_rows)) as batches:
            return [row async for batch in batches for row in batch]


async def answer(connection: SqliteConnection, sql: str, *declared: str) -> list[str]:
    """The rows as JSON; columns are called a, b, c ... and have these declared types."""
    types = tuple(sql_type(text, strict=False) for text in declared)
    statement = Statement(sql, (), tuple("abcdefgh"[: len(types)]), types)
    return [row.json.decode() for row in await rows_of(connection, statement)]
