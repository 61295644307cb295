"""One database: SQLAlchemy's pool of driver connections, handed out one at a time and given back clean."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from schema_mcp.dialects.base import Connection, Dialect, SessionLimits
from schema_mcp.errors import ErrorCode, Unavailable
from schema_mcp.execute.circuit import Circuit
from schema_mcp.execute.queue import FairQueue, QueueLimits

#: How long closing connections may take; a dead network must not hold up anybody.
CLOSE_TIMEOUT_S = 0.5

#: Where a pooled connection keeps the generation that it was opened in.
_GENERATION = "schema_mcp.generation"


class Database:
    """A source's connections: the pool that calls share, and one apart for the watcher, which no load starves.

    `beside`: another pool to the same server, with which it shares what is known of whether that can be reached.
    """

    def __init__(
        self,
        name: str,
        url: sa.URL,
        dialect: Dialect,
        session: SessionLimits,
        *,
        size: int,
        acquire_timeout_s: float,
        queue: QueueLimits | None = None,
        beside: "Database | None" = None,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.acquire_timeout_s = acquire_timeout_s
        #: In front of the pool, which has a connection for each place.
        self.queue = FairQueue(
            f"connections to database '{name}'", size, queue or QueueLimits(), wait_limit_s=acquire_timeout_s
        )
        #: Taken by who asks about a COMMIT that is late.
        self.asking = asyncio.Semaphore(2)
        self._url = url
        self._session = session
        target, options = dialect.engine_options(url, session)
        self._open: Callable[[], Awaitable[Connection]] = options["async_creator"]
        #: None: connecting goes to a file, and no server can be away.
        self.circuit: Circuit | None = beside.circuit if beside is not None else None
        if self.circuit is None and dialect.remote:
            self.circuit = Circuit(dialect, lambda: self._open())
        if self.circuit is not None:
            self.circuit.subscribe(self.renew)
        options = {**options, "async_creator": self._connect}
        self._pooled: AsyncEngine = create_async_engine(
            target,
            pool_size=size,
            max_overflow=0,
            pool_timeout=acquire_timeout_s,
            pool_reset_on_return=None,
            pool_use_lifo=True,
            poolclass=AsyncAdaptedQueuePool,
            **options,
        )
        self._single: AsyncEngine = create_async_engine(
            target, poolclass=NullPool, pool_reset_on_return=None, **options
        )
        self._generation = 0

    @property
    def in_use(self) -> int:
        """How many pooled connections calls hold."""
        pool = self._pooled.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return pool.checkedout()

    @asynccontextmanager
    async def connection(self, client: str | None = None) -> AsyncIterator[Connection]:
        """A pooled driver connection, in the client's turn; thrown away if an exception leaves the block.

        Raises: Unavailable (`busy`) when too many wait or none is free in time; whatever the driver raises on
        connecting.
        """
        await self._reachable()
        async with self.queue.place(client):
            held = await self.hold()
            try:
                yield held.connection
            except BaseException:
                await held.throw_away()
                raise
            await held.give_back()

    async def hold(self) -> "Held":
        """A pooled connection, past the queue, until it is given back or thrown away. Raises: as `connection`."""
        await self._reachable()
        connection = await self._checkout()
        return Held((await connection.get_raw_connection()).driver_connection, connection)

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Connection]:
        """A connection outside the pool, closed at the end. Raises: whatever the driver raises on connecting."""
        connection = await self._single.connect()
        try:
            yield (await connection.get_raw_connection()).driver_connection
        finally:
            await _discard(connection)

    def holds_reading(self, connection: Connection, statements: int) -> bool:
        """Whether so many statements that only read may go as they are, held to it by the session where it is to be.

        Else they need a transaction that reads only: a function that a view calls may have freed the session of it, for
        the statements after its own. PostgreSQL tells the driver so with the end of that statement (GUC_REPORT, since
        14); before 14, and through poolers that keep it to themselves, nothing is told, and nothing is relied on.
        """
        setting = self.dialect.read_only_setting
        if not self._session.read_only or not setting:
            return True
        return statements == 1 and getattr(connection.get_settings(), setting, None) == "on"

    def renew(self) -> None:
        """The connections of now lead to a server or a file that is gone: none is handed out again.

        An idle one is closed when its turn comes, one in use goes on with what it does.
        """
        self._generation += 1

    def reopening(self, session: SessionLimits) -> Callable[[], None]:
        """A function that cannot fail: from its call on connections are opened under these limits, and it is with those
        of before as for `renew`.

        Raises: ConfigurationError.
        """
        open_ = self.dialect.engine_options(self._url, session)[1]["async_creator"]

        def reopen() -> None:
            if session != self._session:
                self._open, self._session = open_, session
                self.renew()

        return reopen

    async def close(self) -> None:
        """Closes everything that is idle. Bounded."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if self.circuit is not None:
                    await self.circuit.close()
                await self._pooled.dispose()
        except TimeoutError:
            await self._pooled.dispose(close=False)

    async def _connect(self) -> Connection:
        return await (self._open() if self.circuit is None else self.circuit.connect(self._open))

    async def _reachable(self) -> None:
        """While the server is away nobody joins a queue whose places would be taken by those who wait for it in vain.

        Raises: Unavailable.
        """
        if self.circuit is not None and self.circuit.away:
            await self.circuit.wait()

    async def _checkout(self) -> AsyncConnection:
        while True:
            generation = self._generation  # of now: a connection that is opened meanwhile may be of the one before
            try:
                connection = await self._pooled.connect()
            except PoolTimeoutError as full:
                await self._reachable()
                raise Unavailable(
                    ErrorCode.BUSY,
                    f"no connection to database '{self.name}' became free within {self.acquire_timeout_s:g} s",
                    "Many calls are running: try again in a moment, or send fewer at once.",
                ) from full
            try:
                raw = await connection.get_raw_connection()
                generation = raw.info.setdefault(_GENERATION, generation)
                if generation == self._generation and not _is_closed(raw.driver_connection):
                    return connection
            except BaseException:
                await _discard(connection)
                raise
            await _discard(connection)


class Held:
    """A driver connection out of the pool, which counts as in use until one of these two is called."""

    def __init__(self, connection: Connection, pooled: AsyncConnection) -> None:
        self.connection = connection
        self._pooled = pooled

    async def give_back(self) -> None:
        """It is clean, for whoever is next."""
        await self._pooled.close()

    async def throw_away(self) -> None:
        """Its state is unknown, or not for others. Bounded, and cancelled it is thrown away too."""
        await _discard(self._pooled)


def _is_closed(driver: Connection) -> bool:
    """Whether the driver already knows, for asyncpg by the peer's hanging up."""
    closed: bool = driver.is_closed()
    return closed


async def _discard(connection: AsyncConnection) -> None:
    """Throws a connection away whose state is unknown. Bounded, and cancelled it is thrown away too."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            driver = (await connection.get_raw_connection()).driver_connection
            if (abort := getattr(driver, "terminate", None)) is not None:
                abort()  # asyncpg's would wait for a dead peer to say good-bye
            await connection.invalidate()
            await connection.close()
