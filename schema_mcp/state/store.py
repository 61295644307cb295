"""The store itself: opening it, bringing it to the present revision under a lock, transactions, its errors in words.

One connection a transaction: a store is used seldom, and what happens to its file or server shows at once. It knows the
tables and no history.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from schema_mcp.errors import SchemaMcpError
from schema_mcp.schema.select import OWN_SCHEMA
from schema_mcp.state.place import Place

#: Revisions of migrations/state, oldest first. Known without Alembic, whose import would cost start-up time.
REVISIONS = ("0001", "0002", "0003", "0004")
#: Where a PostgreSQL database holds the tables; no selection takes them, so that they do not become tools.
SCHEMA = OWN_SCHEMA
VERSION_TABLE = "schema_mcp_version"
#: How long one transaction may take beyond the wait for a lock.
TRANSACTION_LIMIT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
#: Of pg_advisory_xact_lock: "schema_mcp" in a number.
_LOCK_KEY = 0x736368656D615F6D

metadata = sa.MetaData(schema=SCHEMA)
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

version_table = sa.Table(VERSION_TABLE, metadata, sa.Column("version_num", sa.String(32)))
secrets = sa.Table(
    "schema_mcp_secret", metadata, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.LargeBinary)
)
sources = sa.Table(
    "schema_mcp_source",
    metadata,
    sa.Column("id", _number, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("identity", "product", "default_schema")),
    *(sa.Column(name, sa.Integer) for name in ("format", "version")),
    *(sa.Column(name, sa.Text) for name in ("era", "instant")),
    *(sa.Column(name, sa.Double) for name in ("taken_at", "confirmed_at", "first_at")),
)
tables = sa.Table(
    "schema_mcp_table",
    metadata,
    sa.Column("source", _number, primary_key=True),
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("schema", "name")),
    *(sa.Column(name, sa.Text) for name in ("digest", "value")),
)
changes = sa.Table(
    "schema_mcp_change",
    metadata,
    sa.Column("id", _number, primary_key=True),
    sa.Column("source", _number),
    *(sa.Column(name, sa.Double) for name in ("at", "since")),
    *(sa.Column(name, sa.Text) for name in ("kind", "schema", "name", "sentences", "gone")),
)
keys = sa.Table(
    "schema_mcp_key",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "principal", "tool", "key")),
    *(sa.Column(name, sa.Text) for name in ("digest", "answer")),
    sa.Column("created_at", sa.Double),
)
operations = sa.Table(
    "schema_mcp_operation",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("principal", "tool", "digest", "format", "instance", "status", "message")),
    *(sa.Column(name, _number) for name in ("done", "total", "rows")),
    sa.Column("error", sa.Text),
    *(sa.Column(name, sa.Double) for name in ("started_at", "seen_at", "ended_at", "stop_wanted_at")),
)


class StoreError(SchemaMcpError):
    """The store cannot be used. `hint`: the next step. `passes`: it may well be there again by itself."""

    def __init__(self, reason: str, hint: str, *, passes: bool = False) -> None:
        super().__init__(f"{reason}. {hint}")
        self.reason = reason
        self.hint = hint
        self.passes = passes


class Store:
    """`lock_timeout_s`: how long a transaction waits for another program's."""

    def __init__(self, place: Place, *, lock_timeout_s: float) -> None:
        self.place = place
        self._limit_s = TRANSACTION_LIMIT_S + lock_timeout_s
        self._engine = _engine(place, lock_timeout_s)

    async def revision(self) -> str | None:
        """The revision of the tables; None where there are none yet. Raises: StoreError."""
        async with self.reading() as connection:
            return await _revision(connection)

    async def open(self) -> None:
        """Makes the file if there is none, and brings the tables to the present revision. Many may do so at once.

        Raises: StoreError.
        """
        with _explained(self.place):
            if self.place.file is not None:
                await asyncio.to_thread(_make_file, self.place.file)
        if await self.revision() == REVISIONS[-1]:
            return
        # In a thread: the import takes longer than the event loop may stand still.
        upgrade = await asyncio.to_thread(_import_upgrade)
        async with self.writing() as connection:
            await lock(connection)
            if await _revision(connection) == REVISIONS[-1]:
                return
            postgresql = connection.dialect.name == "postgresql"
            if postgresql:
                await connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
            await connection.run_sync(upgrade, VERSION_TABLE, SCHEMA if postgresql else None)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads. Raises: StoreError, also for what fails in the block."""
        async with self._transaction(reads=True) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end of the block. Raises: StoreError, also for what fails in the block."""
        async with self._transaction(reads=False) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, *, reads: bool) -> AsyncIterator[AsyncConnection]:
        with _explained(self.place):
            async with asyncio.timeout(self._limit_s), self._engine.connect() as connection:
                await connection.execution_options(reads=reads)
                async with connection.begin():
                    yield connection


async def lock(connection: AsyncConnection) -> None:
    """Until the end of this transaction no other program's may pass here."""
    # On SQLite BEGIN IMMEDIATE has locked the file already.
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))


async def _revision(connection: AsyncConnection) -> str | None:
    """Raises: StoreError for one that this program does not know."""
    schema = SCHEMA if connection.dialect.name == "postgresql" else None
    exists = await connection.run_sync(lambda raw: sa.inspect(raw).has_table(VERSION_TABLE, schema=schema))
    if not exists:
        return None
    revision: str | None = await connection.scalar(sa.select(version_table.c.version_num))
    if revision is not None and revision not in REVISIONS:
        raise StoreError(
            f"it is of a newer schema-mcp (revision '{revision[:40]}', this one knows {REVISIONS[-1]})",
            "Upgrade schema-mcp, or give this one a store of its own by state.url.",
        )
    return revision


def _import_upgrade() -> Any:
    from schema_mcp.state.migrate import upgrade  # late: Alembic is needed once in the life of a store

    return upgrade


def _make_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _engine(place: Place, lock_timeout_s: float) -> AsyncEngine:
    if place.file is not None:
        # mode=rw: a file that is gone is not made again in silence, with the rights of the umask.
        url = sa.URL.create("sqlite+aiosqlite", database=place.file.as_uri(), query={"mode": "rw", "uri": "true"})
        engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": lock_timeout_s})
        engine = engine.execution_options(schema_translate_map={SCHEMA: None})
        event.listen(engine.sync_engine, "connect", _leave_transactions_to_us)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine
    milliseconds = str(round(lock_timeout_s * 1000))
    settings = {
        "application_name": "schema-mcp state",
        "lock_timeout": milliseconds,
        "statement_timeout": str(round(TRANSACTION_LIMIT_S * 1000)),
        "idle_in_transaction_session_timeout": str(round(TRANSACTION_LIMIT_S * 1000)),
    }
    # The driver reads the URL itself: it knows libpq's parameters.
    arguments = {
        "dsn": place.url.render_as_string(hide_password=False),
        "timeout": CONNECT_TIMEOUT_S,
        "server_settings": settings,
    }
    return create_async_engine("postgresql+asyncpg://", poolclass=NullPool, connect_args=arguments)


def _leave_transactions_to_us(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    # A transaction that has read cannot always be let to write (SQLITE_BUSY_SNAPSHOT).
    reads = connection.get_execution_options().get("reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    """Raises: StoreError for whatever goes wrong with a store, never with its URL or a value."""
    try:
        yield
    except TimeoutError as error:
        raise StoreError("it did not answer in time", "It is tried again by itself.", passes=True) from error
    except DBAPIError as error:
        raise _explain(error.orig or error, place) from error
    except SQLAlchemyError as error:
        raise StoreError(f"it cannot be used: {type(error).__name__}", _LOOK, passes=True) from error
    except OSError as error:
        raise _explain(error, place) from error


_LOOK = "Look at state.url."
_WRITABLE = 'Make it writable for this user, or set state.url to another place or to "off".'
_OTHER_PLACE = "Move it away (the history begins anew), or set state.url to another place."
_AGAIN = "It is tried again by itself."


def _explain(error: BaseException, place: Place) -> StoreError:
    # Drivers are told apart by what they carry: SQLite's result codes, PostgreSQL's SQLSTATE.
    name = str(getattr(error, "sqlite_errorname", "") or "")
    state = str(getattr(error, "sqlstate", "") or getattr(error, "pgcode", "") or "")
    match name.split("_")[1:2], state[:2]:
        case (["BUSY" | "LOCKED"], _):
            return StoreError("another program holds it locked", _AGAIN, passes=True)
        case (["FULL"], _) | (_, "53"):
            return StoreError("its disk is full, or it has come to its limit", "Make room; " + _AGAIN.lower())
        case (["READONLY" | "CANTOPEN" | "PERM" | "AUTH"], _):
            return StoreError("it cannot be written", _WRITABLE)
        case (["CORRUPT" | "NOTADB" | "FORMAT"], _):
            return StoreError("it is damaged, or no SQLite database", _OTHER_PLACE)
        case (["IOERR"], _):
            return StoreError("its disk fails", _LOOK, passes=True)
        case (_, "55" | "40"):
            return StoreError("another program holds it locked", _AGAIN, passes=True)
        case (_, "28"):
            return StoreError("it refuses the sign-in", "Look at the name and the password in state.url.")
        case (_, "3D"):
            return StoreError("there is no such database", _LOOK)
        case (_, "42" | "25"):
            return StoreError("the role may not do there what the history needs", _RIGHTS)
        case (_, "08" | "57"):
            return StoreError("its server does not answer", _AGAIN, passes=True)
    if isinstance(
        error, PermissionError | FileNotFoundError | FileExistsError | NotADirectoryError | IsADirectoryError
    ):
        return StoreError(f"it cannot be written ({error.strerror or 'no access'})", _WRITABLE)
    if isinstance(error, OSError) and place.file is not None:
        return StoreError(f"it cannot be written ({error.strerror or type(error).__name__})", _WRITABLE)
    if place.file is None:
        return StoreError("its server does not answer", _AGAIN, passes=True)
    return StoreError(f"it cannot be used: {type(error).__name__}", _LOOK, passes=True)


_RIGHTS = "It needs CREATE on the database once (for the schema schema_mcp), and the tables in it."
