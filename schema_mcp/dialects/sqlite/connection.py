"""One connection to a database file: aiosqlite's, opened and interrupted the way a server needs it.

SQLite blocks, so everything runs in the connection's own thread. `run` takes a whole function there at once: a call of
the program is one hop between threads, not one a row. The connection remembers which file it opened, because SQLite
goes on with a file that was deleted or replaced as if nothing had happened. It knows no statements and no schema.
"""

import asyncio
import os
import sqlite3
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import aiosqlite
import anyio
from aiosqlite.core import _connection_worker_thread

from schema_mcp.dialects.base import DriverValue, Row
from schema_mcp.dialects.sqlite import functions
from schema_mcp.dialects.sqlite.aggregates import register
from schema_mcp.dialects.sqlite.waiting import SLICE_S, WaitingConnection

P = ParamSpec("P")
T = TypeVar("T")

#: How long a cancelled call may take to let go of its connection; then the connection is given up and closes itself as
#: soon as it can. Only what hangs in the system takes that long.
STOP_LIMIT_S = 5.0
#: An interrupt that comes before the statement has begun is forgotten (sqlite.org/c3ref/interrupt.html): repeat it.
_INTERRUPT_EVERY_S = 0.002
#: Waiting for a lock for so long is for ever.
_NO_LIMIT_S = 2_000_000.0

#: A function of the connection's that statements call for each row that they update in place of an insert: SQLite
#: itself does not tell which of the two it was.
UPDATING = "schema_mcp_updating"


class DatabaseFileError(sqlite3.OperationalError):
    """The file itself is the trouble: it is gone, was replaced or is no file. The message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFile:
    """Where a database is and how it is opened. `path` is absolute; `lock_timeout_s` 0 means no limit."""

    path: Path
    read_only: bool
    lock_timeout_s: float

    def identity(self, *, missing: str = "is gone") -> str:
        """`device:inode` of what is at the path now.

        Raises: DatabaseFileError if there is no file, in the words of `missing`.
        """
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise DatabaseFileError(f"database file '{self.path}' {missing}") from exc
        except OSError as exc:
            raise DatabaseFileError(f"database file '{self.path}' cannot be reached: {exc.strerror}") from exc
        if not stat.S_ISREG(found.st_mode):
            raise DatabaseFileError(f"'{self.path}' is not a file")
        return f"{found.st_dev}:{found.st_ino}"

    def require(self, identity: str) -> None:
        """Raises: DatabaseFileError if the path does not lead to the file of that identity any more."""
        if self.identity() != identity:
            raise DatabaseFileError(f"database file '{self.path}' was replaced by another file")


class SqliteConnection(aiosqlite.Connection):
    """Awaiting it opens it. `identity`: the `device:inode` that was opened, empty before.

    In autocommit mode: transactions begin and end by the statements of whoever uses it.
    """

    def __init__(self, file: DatabaseFile) -> None:
        super().__init__(self._open, iter_chunk_size=64)
        # A thread that hangs in a system call must not keep the process alive (SQLAlchemy's dialect does the same).
        self._thread = Thread(target=_work, args=(self._tx,), name=self._thread.name, daemon=True)
        self.file = file
        self.identity = ""
        #: What relations are, as `statements` has found at that schema_version.
        self.identities: dict[tuple[DriverValue, ...], list[Row]] = {}
        self.identities_version = -1
        #: How often `UPDATING` was called: for each row that ON CONFLICT has updated.
        self.updates = 0
        self._stopped = False
        #: What became of the last COMMIT (see `commit`): None where nobody can tell, as before the first.
        self.committed: bool | None = None

    def __await__(self) -> Generator[Any, None, Self]:
        self._thread.start()
        return self._opened().__await__()

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself, for functions given to `run`. Raises: ValueError once it is closed."""
        return self._conn

    def is_closed(self) -> bool:
        """Whether it was closed or given up."""
        return not self._running or self._connection is None

    def lingers(self) -> bool:
        """Whether it was given up, and its thread has not ended yet."""
        return not self._running and self._thread.is_alive()

    async def close(self) -> None:
        """Closes it, unless it was given up: then it closes itself."""
        if self._running:
            await super().close()

    def stop(self) -> "asyncio.Future[None] | None":
        """Ends the thread behind what it has to do, once: what stands behind that is never answered. `close` stops it
        too, also where it is cancelled while it waits for a thread that somebody else has stopped."""
        if self._stopped:
            return None
        self._stopped = True
        return super().stop()

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`function(connection, ...)`, in the connection's thread.

        Cancelled, it interrupts SQLite and comes back when the thread is free: the function has ended, by an error or
        not, and its result is lost.
        """
        try:
            result: T = await self._execute(function, self._conn, *args, **kwargs)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            await self._stop_statement()
            raise
        return result

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:  # type: ignore[override]
        """Runs one statement that gives no rows; cancelled as in `run`."""
        await self.run(_execute, sql, parameters)

    def _count_update(self) -> int:
        self.updates += 1
        return 1

    async def _opened(self) -> Self:
        """Itself, open. Where that fails, the thread has ended: it would speak to an event loop that is closed."""
        try:
            await self._connect()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(self._thread.join, STOP_LIMIT_S)
            raise
        return self

    async def _stop_statement(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_LIMIT_S
        # The thread takes its work in order: when this has run, it is free.
        free = asyncio.ensure_future(self._execute(_nothing))  # type: ignore[no-untyped-call]
        raw = self.raw
        assert isinstance(raw, WaitingConnection)
        raw.stopping = True
        with anyio.CancelScope(shield=True):
            while not free.done() and loop.time() < deadline:
                await self.interrupt()
                # A further cancel changes nothing: the first one is passed on by the caller.
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({free}, timeout=_INTERRUPT_EVERY_S)
        if not free.done():
            free.cancel()
            self.stop()
            return
        raw.stopping = False

    def _open(self) -> sqlite3.Connection:
        """Runs in the thread. Never creates a file; reads the header, so that what is no database fails here."""
        identity = self.file.identity(missing="does not exist")
        lock_timeout_s = self.file.lock_timeout_s or _NO_LIMIT_S
        connection = sqlite3.connect(
            f"{self.file.path.as_uri()}?mode={'ro' if self.file.read_only else 'rw'}",
            uri=True,
            timeout=min(SLICE_S, lock_timeout_s),
            isolation_level=None,
            factory=WaitingConnection,
        )
        try:
            connection.lock_timeout_s = lock_timeout_s
            register(connection)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.create_function(UPDATING, 0, self._count_update)
            if self.file.read_only:
                connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA schema_version").fetchone()
            functions.register(connection)
            self.file.require(identity)
        except BaseException:
            connection.close()
            raise
        self.identity = identity
        return connection


def _work(tx: Any) -> None:
    """The thread, until the connection is stopped, or the event loop that is to hear of its work is closed."""
    with suppress(RuntimeError):
        _connection_worker_thread(tx)


def _execute(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> None:
    connection.execute(sql, parameters).close()


def _nothing() -> None:
    """What is queued to learn that everything before it is done."""
