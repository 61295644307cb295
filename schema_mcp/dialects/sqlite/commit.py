"""COMMIT on SQLite: into the file that is served, and what became of it where its answer was not waited for.

SQLite commits into a file that was replaced or deleted as if nothing had happened, so the path is looked at before and
after it. The connection remembers what became of the last COMMIT: it knows even where the call was cut short.
"""

import sqlite3

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.sqlite.connection import DatabaseFileError

#: The result code proper.
_PRIMARY = 0xFF


class CommittedElsewhere(sqlite3.OperationalError):
    """It was committed, and the path leads to another file by now, or to none. The message names it."""


def commit(raw: sqlite3.Connection, connection: Connection) -> None:
    """Runs in the connection's thread.

    Raises: DatabaseFileError, with nothing committed; CommittedElsewhere; sqlite3.Error, after which the transaction
    may be open still: where readers are in the way it goes on, and keeps new ones out (sqlite.org/lockingv3.html).
    """
    connection.committed = False
    connection.file.require(connection.identity)
    try:
        raw.execute("COMMIT")
    except sqlite3.Error as error:
        code: int = getattr(error, "sqlite_errorcode", None) or 0
        if code & _PRIMARY == sqlite3.SQLITE_IOERR and not raw.in_transaction:
            connection.committed = None  # it may have failed at what comes after the commit
        raise
    connection.committed = None
    try:
        connection.file.require(connection.identity)
    except DatabaseFileError as error:
        raise CommittedElsewhere(str(error)) from error
    connection.committed = True
