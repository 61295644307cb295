"""SQLite's own connection, whose waits for a lock can be stopped.

`sqlite3_interrupt` ends a statement that runs; one that waits for a lock sleeps on, for as long as it was allowed to.
So SQLite itself is let wait only a little, and the statement is begun again until its time is over or nobody wants it.
"""

import sqlite3
import time
from typing import Any

#: How long SQLite waits at a time: so long may a wait go on after it was stopped.
SLICE_S = 0.1


class WaitingConnection(sqlite3.Connection):
    """`lock_timeout_s`: how long each statement may wait. `stopping`: set by any thread, it ends a wait."""

    lock_timeout_s = 0.0
    stopping = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As sqlite3's. A statement that was refused for a lock has done nothing, so that it may be begun again."""
        began = time.monotonic()
        while True:
            tried = time.monotonic()
            try:
                return super().execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or self.stopping:
                    raise
                now = time.monotonic()
                if now - began + SLICE_S > self.lock_timeout_s:
                    raise
                if now - tried < SLICE_S / 2:
                    if self.in_transaction:
                        raise  # it did not wait: somebody waits for a lock of ours
                    time.sleep(SLICE_S / 4)  # a SQLite that sleeps whole seconds only
