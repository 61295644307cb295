"""What the tests of the readers share: a live database, a reading of it, and the values that are expected."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
import asyncpg

from schema_mcp.dialects.base import Reading
from schema_mcp.dialects.postgresql import reader
from schema_mcp.schema.model import Column, Index, IndexPart, Privilege, Table, TableName
from schema_mcp.schema.select import Selection
from schema_mcp.schema.types import SqlType, TypeKind
from tests.postgres import Server, quote_name

LIMIT_S = 20.0
#: How long a reading may take that meets a lock: two waits of 250 ms, and what a busy machine needs.
LOCK_LIMIT_S = 5.0

ALL = frozenset(Privilege)
BOTH = frozenset({Privilege.SELECT, Privilege.INSERT})
UPDATE = frozenset({Privilege.UPDATE})
SELECT = frozenset({Privilege.SELECT})
INSERT = frozenset({Privilege.INSERT})
DELETE = frozenset({Privilege.DELETE})
NOTHING: frozenset[Privilege] = frozenset()

INTEGER = SqlType(kind=TypeKind.INTEGER, native="integer", cast="integer", precision=32)
BIGINT = SqlType(kind=TypeKind.INTEGER, native="bigint", cast="bigint", precision=64)
TEXT = SqlType(kind=TypeKind.TEXT, native="text", cast="text")
NUMERIC = SqlType(kind=TypeKind.NUMERIC, native="numeric", cast="numeric")


@dataclass(frozen=True)
class Live:
    """A database on a server that runs."""

    server: Server
    url: str

    @property
    def name(self) -> str:
        return unquote(urlsplit(self.url).path.removeprefix("/"))

    def execute(self, sql: str) -> str:
        return self.server.execute(sql, self.name)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def read(
    live: Live, selection: Selection | None = None, previous: Reading | None = None, role: str | None = None
) -> Reading:
    async with connected(live.url) as connection:
        if role is not None:
            await connection.execute(f"set role {quote_name(role)}")
        reading = await reader.read(connection, "main", selection or Selection(), previous)
        assert not connection.is_in_transaction()
        return reading


async def tables(live: Live, selection: Selection | None = None, role: str | None = None) -> Mapping[str, Table]:
    """By name, as it is written without a need to qualify."""
    reading = await read(live, selection, role=role)
    assert reading.postponed == frozenset()
    return {
        table.name.name if table.name.schema == "public" else str(table.name): table
        for table in reading.schema.tables.values()
    }


async def columns(live: Live, table: str) -> Mapping[str, Column]:
    return {column.name: column for column in (await tables(live))[table].columns}


def name(table: str, schema: str = "public") -> TableName:
    return TableName(source="main", schema=schema, name=table)


def column(column_name: str, position: int, type_: SqlType = INTEGER, nullable: bool = True) -> Column:
    return Column(name=column_name, position=position, type=type_, nullable=nullable)


def index(index_name: str, *columns: str, **more: Any) -> Index:
    """As PostgreSQL makes one for a key."""
    parts = tuple(IndexPart(column=column) for column in columns)
    return Index(name=index_name, parts=parts, **{"unique": True, "method": "btree", **more})


def other(native: str, cast: str | None = None, length: int | None = None) -> SqlType:
    return SqlType(kind=TypeKind.OTHER, native=native, cast=cast or native, length=length)


def array(item: SqlType, native: str, cast: str) -> SqlType:
    return SqlType(kind=TypeKind.ARRAY, native=native, cast=cast, item=item)


LOCKED = """
    create table busy (a integer check (a > 0), b integer generated always as (a + 1) stored, c integer default 5);
    create view over_busy as select a from busy;
    create view over_that as select a from over_busy;
    create table plain (a integer default 6);
    create table free (a integer check (a > 1));
"""


@asynccontextmanager
async def transaction(live: Live, statements: str) -> AsyncIterator[asyncpg.Connection]:
    """Another session, in a transaction that has run `statements`."""
    async with connected(live.url) as connection:
        await connection.execute("begin")
        await connection.execute(statements)
        yield connection


async def until(live: Live, question: str) -> None:
    """Returns when the answer is not 0."""
    async with connected(live.url) as connection:
        with anyio.fail_after(LIMIT_S):
            while not await connection.fetchval(question + f" and database = {_DATABASE}"):
                pass


_DATABASE = "(select oid from pg_database where datname = current_database())"
