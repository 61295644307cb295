"""SQLite's connections: stopping what runs, the errors in our words, the file itself."""

import asyncio
import os
import sqlite3
import threading
from contextlib import aclosing, closing
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from schema_mcp.dialects.base import SessionLimits, Statement
from schema_mcp.dialects.sqlite.connection import DatabaseFile, SqliteConnection
from schema_mcp.errors import CallError, ConfigurationError, ErrorCode, StaleSchema
from schema_mcp.schema.model import TableName
from schema_mcp.schema.select import Selection
from tests.sqlite import DIALECT, LIMIT_S, answer, delete, execute, opened, rows_of

NUMBERS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT {} FROM n"
LIMITS = SessionLimits(statement_timeout_s=5, lock_timeout_s=5, idle_in_transaction_timeout_s=5, read_only=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    path.touch()
    return path


async def begun(connection: SqliteConnection) -> asyncio.Event:
    """An event that is set once a statement on the connection calls the SQL function `begun`."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    await connection.create_function("begun", 0, lambda: loop.call_soon_threadsafe(event.set) and None)
    return event


async def test_who_closes_a_connection_that_others_have_given_up_does_not_wait_for_ever(path: Path) -> None:
    connection = await SqliteConnection(DatabaseFile(path=path, read_only=False, lock_timeout_s=LIMIT_S))
    goes_on = threading.Event()
    working = asyncio.create_task(connection.run(lambda _: goes_on.wait(LIMIT_S)))
    await asyncio.sleep(0)  # the thread has it
    closings = [asyncio.create_task(connection.close()) for _ in range(2)]
    await asyncio.sleep(0)
    connection.stop()
    for closing_ in closings:
        closing_.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({working, *closings})
    assert connection.is_closed()


def test_a_thread_that_outlasts_its_event_loop_ends_without_a_word(path: Path) -> None:
    goes_on = threading.Event()

    async def leave() -> threading.Thread:
        connection = await SqliteConnection(DatabaseFile(path=path, read_only=False, lock_timeout_s=LIMIT_S))
        connection._tx.put_nowait((asyncio.get_running_loop().create_future(), lambda: goes_on.wait(LIMIT_S)))
        connection.stop()
        return connection._thread

    thread = asyncio.run(leave())
    goes_on.set()
    thread.join(LIMIT_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("running", [True, False])
async def test_a_cancelled_statement_stops_and_its_connection_goes_on(path: Path, running: bool) -> None:
    async with opened(path) as connection:
        event = await begun(connection)
        with anyio.fail_after(LIMIT_S):
            task = asyncio.create_task(rows_of(connection, Statement(NUMBERS.format("count(begun())"), ())))
            await (event.wait() if running else asyncio.sleep(0))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not connection.is_closed()
        assert await answer(connection, "SELECT 7", "INT") == ['{"a":7}']


async def test_a_connection_that_does_not_stop_in_time_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schema_mcp.dialects.sqlite.connection.STOP_LIMIT_S", 0.05)
    connection = await SqliteConnection(DatabaseFile(path=path, read_only=False, lock_timeout_s=LIMIT_S))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer, anyio.fail_after(LIMIT_S / 2):
        writer.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(rows_of(connection, Statement(DIALECT.begin_write, ())))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connection.is_closed()
        with pytest.raises(ValueError, match="closed") as caught:
            await rows_of(connection, Statement("SELECT 1", ()))
        error = DIALECT.translate(caught.value, None)
        assert error is not None
        assert error.code is ErrorCode.DATABASE_UNAVAILABLE
        await connection.close()
    await asyncio.to_thread(connection._thread.join)


async def test_a_statement_stops_under_a_cancel_scope_too(path: Path) -> None:
    async with opened(path) as connection:
        event = await begun(connection)
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:
                group.start_soon(rows_of, connection, Statement(NUMBERS.format("count(begun())"), ()))
                await event.wait()
                group.cancel_scope.cancel()
        assert await answer(connection, "SELECT 7", "INT") == ['{"a":7}']


async def test_closing_the_iterator_early_frees_the_database(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        async with aclosing(DIALECT.fetch(connection, Statement(NUMBERS.format("x"), ()), 0)) as batches:
            assert len(await anext(batches)) == 500
        execute(path, "DROP TABLE t")


async def test_a_cancelled_write_leaves_nothing_behind(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        event = await begun(connection)
        await rows_of(connection, Statement(DIALECT.begin_write, ()))
        with anyio.fail_after(LIMIT_S):
            insert = f"INSERT INTO t {NUMBERS.format('x + coalesce(begun(), 0)')}"
            task = asyncio.create_task(rows_of(connection, Statement(insert, ())))
            await event.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        if connection.in_transaction:
            await rows_of(connection, Statement("ROLLBACK", ()))
        assert await answer(connection, "SELECT count(*) FROM t", "INT") == ['{"a":0}']


async def test_a_cancelled_reading_leaves_no_transaction_open(path: Path) -> None:
    execute(path, "".join(f"CREATE TABLE t{n} (a, b, c);" for n in range(300)))
    async with opened(path) as connection:
        task = asyncio.create_task(DIALECT.read(connection, "s", Selection(), None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.in_transaction
        assert len((await DIALECT.read(connection, "s", Selection(), None)).schema.tables) == 300


SCHEMA = """
    CREATE TABLE owner (id INTEGER PRIMARY KEY);
    CREATE TABLE t (
        id INTEGER PRIMARY KEY, "a.b" TEXT UNIQUE, c TEXT NOT NULL DEFAULT '', owner INT REFERENCES owner (id),
        n INT CONSTRAINT positive CHECK (n > 0), m INT CHECK (m  <
        9)
    );
    CREATE TRIGGER guard BEFORE INSERT ON t WHEN new.c = 'no' BEGIN SELECT raise(ABORT, 'never no'); END;
    CREATE TABLE s (i INT) STRICT;
    INSERT INTO t (id, "a.b") VALUES (1, 'x');
"""
REFUSALS = [
    ("INSERT INTO t (id) VALUES (1)", ErrorCode.UNIQUE_VIOLATION, "table 't' already has a row with the same 'id'."),
    (
        "INSERT INTO t (\"a.b\") VALUES ('x')",
        ErrorCode.UNIQUE_VIOLATION,
        "table 't' already has a row with the same 'a.b'.",
    ),
    ("INSERT INTO t (c) VALUES (NULL)", ErrorCode.NOT_NULL_VIOLATION, "column 'c' of table 't' takes no null."),
    ("INSERT INTO t (n) VALUES (0)", ErrorCode.CHECK_VIOLATION, "The row does not keep the rule of table 't': n > 0."),
    ("INSERT INTO t (m) VALUES (9)", ErrorCode.CHECK_VIOLATION, "The row does not keep the rule of table 't': m < 9."),
    (
        "INSERT INTO t (owner) VALUES (5)",
        ErrorCode.FOREIGN_KEY_VIOLATION,
        "A row of table 't' refers to a row that does not exist, or is still referred to.",
    ),
    ("INSERT INTO t (c) VALUES ('no')", ErrorCode.CONSTRAINT_VIOLATION, "table 't' refused the row: never no."),
    ("INSERT INTO s VALUES ('x')", ErrorCode.INVALID_VALUE, "cannot store TEXT value in INT column s.i."),
    ("INSERT INTO t (id) VALUES ('x')", ErrorCode.INVALID_VALUE, "The row's key takes an integer, and something else"),
    ("SELECT nothere FROM t", ErrorCode.STALE_SCHEMA, "The database has changed: no such column: nothere."),
    ("SELECT a FROM gone", ErrorCode.STALE_SCHEMA, "The database has changed: no such table: gone."),
    ("INSERT INTO t (gone) VALUES (1)", ErrorCode.STALE_SCHEMA, "The database has changed: table t has no column"),
    ("SELECT zeroblob(2000000000)", ErrorCode.INVALID_VALUE, "A value is larger than SQLite can hold."),
    ("SELECT abs(-9223372036854775808)", ErrorCode.INVALID_VALUE, "A sum or a result is beyond 9223372036854775807"),
]


async def refusal(connection: SqliteConnection, statement: Statement) -> CallError:
    schema = (await DIALECT.read(connection, "s", Selection(), None)).schema
    with pytest.raises((sqlite3.Error, OverflowError)) as caught:
        await rows_of(connection, statement)
    translated = DIALECT.translate(caught.value, schema.tables.get(TableName(source="s", schema="main", name="t")))
    assert translated is not None
    return translated


@pytest.mark.parametrize(("sql", "code", "message"), REFUSALS)
async def test_refusals_name_what_was_wrong(path: Path, sql: str, code: ErrorCode, message: str) -> None:
    execute(path, SCHEMA)
    async with opened(path) as connection:
        error = await refusal(connection, Statement(sql, ()))
    assert (error.code, error.retryable, error.message[: len(message)]) == (code, False, message)
    assert isinstance(error, StaleSchema) == (code is ErrorCode.STALE_SCHEMA)


async def test_a_foreign_key_violation_lists_the_keys_that_it_may_be(path: Path) -> None:
    execute(path, SCHEMA)
    async with opened(path) as connection:
        error = await refusal(connection, Statement("INSERT INTO t (owner) VALUES (5)", ()))
    assert error.hint == "Check these: owner -> owner (id)."


async def test_a_number_that_the_driver_cannot_bind_is_an_invalid_value(path: Path) -> None:
    async with opened(path) as connection:
        assert (await refusal(connection, Statement("SELECT ?", (2**70,)))).code is ErrorCode.INVALID_VALUE


def test_other_errors_are_not_ours() -> None:
    foreign = (OverflowError("int too large to convert to float"), ValueError("x"), TimeoutError(), KeyError("y"))
    assert [DIALECT.translate(error, None) for error in foreign] == [None] * len(foreign)


async def test_a_lock_is_waited_for_and_then_told(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            error = await refusal(connection, Statement(DIALECT.begin_write, ()))
            assert (error.code, error.retryable) == (ErrorCode.LOCK_TIMEOUT, True)
        await rows_of(connection, Statement(DIALECT.begin_write, ()))
        await rows_of(connection, Statement("COMMIT", ()))


async def refused_opening(path: Path, *, read_only: bool = False) -> CallError:
    with pytest.raises(sa.exc.DBAPIError) as caught:
        async with opened(path, read_only=read_only):
            pass
    translated = DIALECT.translate(caught.value, None)
    assert translated is not None
    assert translated.code is ErrorCode.DATABASE_UNAVAILABLE
    return translated


async def test_a_missing_file_is_told_and_not_made(path: Path) -> None:
    delete(path)
    assert (await refused_opening(path)).message == f"database file '{path}' does not exist."
    assert os.listdir(path.parent) == []


async def test_what_is_no_database_is_told(path: Path) -> None:
    assert (await refused_opening(path.parent)).message == f"'{path.parent}' is not a file."
    with path.open("wb") as file:
        file.write(b"not a database " * 100)
    assert (await refused_opening(path)).message == "The file is not a SQLite database, or it is encrypted."


async def test_a_damaged_file_is_told(path: Path) -> None:
    execute(path, "CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    async with opened(path) as connection:
        error = await refusal(connection, Statement("SELECT a FROM t", ()))
    assert (error.code, error.message) == (ErrorCode.DATABASE_UNAVAILABLE, "The database file is damaged.")


@pytest.mark.parametrize("replace", [True, False])
async def test_no_statement_runs_on_a_file_that_is_no_longer_there(path: Path, replace: bool) -> None:
    execute(path, "CREATE TABLE t (a)")
    other = path.with_name("other.db")
    execute(other, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        os.replace(other, path) if replace else delete(path)
        with pytest.raises(sqlite3.Error) as caught:
            await rows_of(connection, Statement("INSERT INTO t VALUES (1)", ()))
        error = DIALECT.translate(caught.value, None)
        assert error is not None
        how = "was replaced by another file" if replace else "is gone"
        assert (error.code, error.message) == (ErrorCode.DATABASE_UNAVAILABLE, f"database file '{path}' {how}.")


async def test_a_read_only_connection_writes_nothing(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path, read_only=True) as connection:
        error = await refusal(connection, Statement("INSERT INTO t VALUES (1)", ()))
        assert error.code is ErrorCode.READ_ONLY
        assert await answer(connection, "PRAGMA query_only", "INT") == ['{"a":1}']


@pytest.mark.parametrize("name", ["a?mode=memory", "a#b", "a%41b", "a b", "ä名😀", "'\"", "file:x"])
async def test_paths_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        settings = "SELECT (SELECT file FROM pragma_database_list), foreign_keys, timeout"
        settings += " FROM pragma_foreign_keys, pragma_busy_timeout"
        found = await connection.run(lambda raw: raw.execute(settings).fetchone())
    assert found == (str(path), 1, 50)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///x.db?mode=ro"])
def test_urls_that_name_no_file_or_carry_parameters_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url: "):
        DIALECT.engine_options(sa.make_url(url), LIMITS)
