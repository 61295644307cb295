"""A SQLite file to strike, alone in its directory."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Set
from contextlib import asynccontextmanager, closing
from pathlib import Path

from tests.faults.oracle import Found, Remains
from tests.faults.places import MIGRATIONS, TABLES
from tests.faults.program import Program

#: How long a file may take to be locked among writers who never stop.
TAKEN_WITHIN_S = 30.0

_SQLITE = """
    CREATE TABLE singles (id INTEGER PRIMARY KEY, call TEXT NOT NULL, note TEXT);
    CREATE TABLE many (id INTEGER PRIMARY KEY, call TEXT NOT NULL, part INTEGER);
    CREATE TABLE lefts (id INTEGER PRIMARY KEY, call TEXT NOT NULL);
    CREATE TABLE rights (id INTEGER PRIMARY KEY, call TEXT NOT NULL);
    CREATE TABLE graves (id INTEGER PRIMARY KEY, call TEXT NOT NULL);
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL DEFAULT 0, call TEXT);
    CREATE TABLE gate (id INTEGER PRIMARY KEY);
    CREATE TABLE big (id INTEGER PRIMARY KEY, filler TEXT);
    CREATE TABLE steps (call TEXT);
    CREATE TABLE deleted (call TEXT);
    WITH RECURSIVE n (x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x < 39)
        INSERT INTO counters (name) SELECT 'counter' || x FROM n;
    WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
        INSERT INTO big SELECT x, printf('%.900c', 'x') FROM n;
    CREATE TRIGGER note_step AFTER UPDATE ON counters WHEN NEW.call <> ''
        BEGIN INSERT INTO steps VALUES (NEW.call); END;
    CREATE TRIGGER note_deleted AFTER DELETE ON graves BEGIN INSERT INTO deleted VALUES (OLD.call); END;
"""


class SqlitePlace:
    """A file, alone in its directory. `mode`: of its journal, "delete" or "wal"."""

    product = "sqlite"
    variables: dict[str, str]

    def __init__(self, name: str, path: Path, mode: str) -> None:
        self.name = name
        self.path = path
        self.mode = mode
        self.url = str(path)
        self.variables = {}
        self._before: tuple[Path, Set[str]] | None = None
        self.make(path)

    def make(self, path: Path) -> None:
        """The tables in a new file there."""
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA journal_mode = {self.mode}")
            connection.executescript(_SQLITE)
            connection.executescript((MIGRATIONS / "sqlite/idempotency.sql").read_text())

    def open(self) -> sqlite3.Connection:
        """A connection of somebody else's; whoever asks closes it."""
        return sqlite3.connect(self.path, isolation_level=None, timeout=20, check_same_thread=False)

    async def clear(self) -> None:
        """Nothing of an earlier round is in the tables."""
        await asyncio.to_thread(self._clear)

    async def found(self) -> Found:
        """How many rows of each call the tables have."""
        now = await asyncio.to_thread(rows_in, self.path)
        if self._before is None:
            return now
        path, ids = self._before
        self._before = None
        then = await asyncio.to_thread(rows_in, path)
        # What was done before and answered by then must not be done again in the new file. What was done and whose
        # answer was still on its way is there once in either.
        done = {table: Counter({id_: count for id_, count in then[table].items() if id_ in ids}) for table in TABLES}
        late = {
            table: Counter({id_: count for id_, count in then[table].items() if id_ not in ids}) for table in TABLES
        }
        return {table: (now[table] | late[table]) + done[table] for table in TABLES}

    def keep_of(self, path: Path, ids: Set[str]) -> None:
        """For the next `found`: the calls of these ids were done when the file there was the database."""
        self._before = (path, ids)

    async def remains(self, program: Program) -> Remains:
        """What of the program is there now, its open files and threads included."""
        return await asyncio.to_thread(self._remains, program)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Nobody else may write the file that is there now; in a journal of mode "delete", nor read it."""
        connection = await asyncio.to_thread(self.open)
        with closing(connection):
            await asyncio.to_thread(_take, connection)
            yield
            await asyncio.to_thread(connection.execute, "ROLLBACK")

    async def close(self) -> None:
        pass

    def _clear(self) -> None:
        with closing(self.open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for table in ("graves", *TABLES):  # what a trigger notes of it goes last
                connection.execute(f"DELETE FROM {table}")
            connection.execute("UPDATE counters SET value = 0, call = ''")
            connection.execute("COMMIT")

    def _remains(self, program: Program) -> Remains:
        held = 0
        with closing(self.open()) as connection:
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                held = 1
        journal = self.path.with_name(self.path.name + "-journal")
        opened = {end: program.files_of(self.path.with_name(self.path.name + end)) for end in ("", "-wal", "-journal")}
        # While others hold a lock on the file, which in WAL they always do, SQLite keeps what closed connections had
        # opened of it for the next (os_unix.c, unused file descriptors): there its connections have the log open.
        connections = opened["-wal" if self.mode == "wal" else ""]
        return Remains(
            locks=held,
            transactions=int(journal.exists() and journal.stat().st_size > 0 and self.mode == "delete"),
            files=program.files() - sum(opened.values()),
            threads=program.threads() - connections,
            connections=connections,
            held_connections=None,
        )


def _only(found: Mapping[str, int], those: Callable[[str], bool]) -> Counter[str]:
    return Counter({id_: count for id_, count in found.items() if those(id_)})


def _take(connection: sqlite3.Connection) -> None:
    """Locks the file. Asks more often than SQLite would, which lets who has waited long wait longer between two looks.

    Raises: sqlite3.OperationalError after `TAKEN_WITHIN_S`.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + TAKEN_WITHIN_S
    while True:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return


def rows_in(path: Path) -> Found:
    """How many rows of each call the tables of that file have. Raises: AssertionError when the file is damaged."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as connection:
        (checked,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert checked == "ok", checked
        return {
            table: Counter(dict(connection.execute(f"SELECT call, count(*) FROM {table} GROUP BY call")))
            for table in TABLES
        }
