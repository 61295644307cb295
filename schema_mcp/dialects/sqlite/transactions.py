"""A transaction over several calls on SQLite: the one writer there can be, or a reader of one state of the file."""

import sqlite3

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.sqlite.commit import commit
from schema_mcp.dialects.sqlite.connection import DatabaseFileError
from schema_mcp.dialects.transactions import Isolation


class SqliteTransactions:
    """See `TransactionAccess`. `max_age_s` is nobody's but ours: SQLite has no clock."""

    isolation = Isolation.SERIALIZABLE

    def isolates(self, asked: Isolation) -> Isolation:
        """There is nothing less (sqlite.org/isolation.html)."""
        return Isolation.SERIALIZABLE

    async def begin(self, connection: Connection, isolation: Isolation, *, read_only: bool, max_age_s: float) -> None:
        """Waits for another writer, no longer than the connection waits for locks."""
        await connection.run(_begin, connection, read_only or connection.file.read_only)

    async def mark(self, connection: Connection, *, first: bool, limits_s: tuple[float, float] | None = None) -> None:
        """See `TransactionAccess`. No statement can change the limits: they are the connection's."""
        await connection.run(_mark, first)

    async def undo(self, connection: Connection) -> None:
        """Fails where SQLite has rolled back everything, as it does for a statement that writes and is interrupted
        (sqlite.org/c3ref/interrupt.html)."""
        await connection.run(_execute, "ROLLBACK TO call")

    async def commit(self, connection: Connection) -> bool:
        """Where readers are in the way it fails, and the transaction goes on; see `commit`."""
        await connection.run(commit, connection)
        return True

    def outcome(self, connection: Connection) -> bool | None:
        """COMMIT is a function call: the connection knows what became of it, unless it was given up."""
        committed: bool | None = None if connection.is_closed() else connection.committed
        return committed

    async def roll_back(self, connection: Connection) -> None:
        """See `TransactionAccess`."""
        await connection.run(_roll_back)

    def is_open(self, connection: Connection) -> bool:
        """It ends with the file: what is done in one that was replaced is done for nobody."""
        if connection.is_closed() or not connection.raw.in_transaction:
            return False
        try:
            connection.file.require(connection.identity)
        except DatabaseFileError:
            return False
        return True


def _begin(raw: sqlite3.Connection, connection: Connection, read_only: bool) -> None:
    connection.file.require(connection.identity)
    raw.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    raw.execute("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _mark(raw: sqlite3.Connection, first: bool) -> None:
    if not first:
        raw.execute("RELEASE call")
    raw.execute("SAVEPOINT call")


def _execute(raw: sqlite3.Connection, sql: str) -> None:
    raw.execute(sql)


def _roll_back(raw: sqlite3.Connection) -> None:
    if raw.in_transaction:
        raw.execute("ROLLBACK")
