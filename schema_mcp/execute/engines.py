"""One database: SQLAlchemy's pool of driver connections, handed out one at a time and given back clean."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from schema_mcp.dialects.base import Connection, Dialect, SessionLimits
from schema_mcp.errors import ErrorCode, Unavailable

#: How long closing connections may take; a dead network must not hold up anybody.
CLOSE_TIMEOUT_S = 2.0


class Database:
    """A source's connections: the pool that calls share, and one apart for the watcher, which no load starves."""

    def __init__(
        self, name: str, url: sa.URL, dialect: Dialect, session: SessionLimits, *, size: int, acquire_timeout_s: float
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.acquire_timeout_s = acquire_timeout_s
        target, options = dialect.engine_options(url, session)
        self._engine: AsyncEngine = create_async_engine(
            target,
            pool_size=size,
            max_overflow=0,
            pool_timeout=acquire_timeout_s,
            pool_reset_on_return=None,
            pool_use_lifo=True,
            **options,
        )
        self._single: AsyncEngine = create_async_engine(
            target, poolclass=NullPool, pool_reset_on_return=None, **options
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A pooled driver connection. One on which an exception passes is thrown away unless it is usable.

        Raises: Unavailable (`busy`) when none is free in time; whatever the driver raises on connecting.
        """
        async with _closing(await self._checkout()) as checked_out:
            yield (await checked_out.get_raw_connection()).driver_connection

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Connection]:
        """A connection outside the pool, closed at the end."""
        async with _closing(await self._single.connect()) as connection:
            yield (await connection.get_raw_connection()).driver_connection

    async def renew(self) -> None:
        """Drops the idle connections: they lead to a server or a file that is gone. Bounded."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._engine.dispose()
        except TimeoutError:
            await self._engine.dispose(close=False)

    async def close(self) -> None:
        """Closes everything. Bounded."""
        await self.renew()

    async def _checkout(self) -> AsyncConnection:
        while True:
            try:
                connection = await self._engine.connect()
            except PoolTimeoutError as full:
                raise Unavailable(
                    ErrorCode.BUSY,
                    f"no connection to database '{self.name}' became free within {self.acquire_timeout_s:g} s",
                    "Many calls are running: try again in a moment, or send fewer at once.",
                ) from full
            try:
                driver = (await connection.get_raw_connection()).driver_connection
                if not getattr(driver, "is_closed", lambda: False)():
                    return connection
                await connection.invalidate()
                await connection.close()
            except BaseException:
                await connection.close()
                raise


@asynccontextmanager
async def _closing(connection: AsyncConnection) -> AsyncIterator[AsyncConnection]:
    try:
        yield connection
    except BaseException:
        await _discard(connection)
        raise
    else:
        await connection.close()


async def _discard(connection: AsyncConnection) -> None:
    """Throws a connection away whose state is unknown, without waiting for a dead peer."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.invalidate()
            await connection.close()
    except TimeoutError:
        return
