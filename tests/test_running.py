"""Calls against a database: they stop when they must, write all or nothing, and leave every connection as it was."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Any

import asyncpg
import pytest

from tests.conftest import Place
from tests.notes_server import VERSION, Raw, request
from tests.peers import LEGACY, LIMIT_S, MODERN, Inside, Peer, inside, served
from tests.waiting import until

#: Where the version of PostgreSQL makes no difference.
PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("place", ["18"], indirect=True)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS n FROM n"
#: A view that answers after a minute or never, and a table whose insert takes as long.
SLOW = {
    "postgresql": (
        "CREATE VIEW slow AS SELECT 1 AS n FROM pg_sleep(60)",
        "CREATE TABLE slow_rows (id integer PRIMARY KEY, pause text DEFAULT pg_sleep(60)::text)",
    ),
    "sqlite": (
        f"CREATE VIEW slow AS {ENDLESS}",
        "CREATE TABLE slow_rows (id integer PRIMARY KEY)",
        f"CREATE TRIGGER pause AFTER INSERT ON slow_rows BEGIN INSERT INTO slow_rows {ENDLESS}; END",
    ),
}
START = (
    "CREATE TABLE parents (id integer PRIMARY KEY)",
    "CREATE TABLE cats (id integer PRIMARY KEY, name text NOT NULL UNIQUE, lives integer CHECK (lives > 0), "
    "parent integer REFERENCES parents (id))",
)
TOM = {"id": 1, "name": "Tom"}


def begin(place: Place, *more: str) -> None:
    for sql in (*START, *SLOW[place.product], *more):
        place.execute(sql)


def busy(place: Place, what: str = "%slow%") -> bool:
    """Whether a statement of the program's runs in the database, or has left a transaction open."""
    if place.product == "postgresql":
        answer = place.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            f"AND application_name = 'schema-mcp' AND state <> 'idle' AND query LIKE '{what}'"
        )
        return bool(int(answer))
    with closing(sqlite3.connect(place.url, isolation_level=None, timeout=0)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


def count(place: Place, table: str) -> int:
    answer = place.execute(f"SELECT count(*) FROM {table}")
    return int(answer) if isinstance(answer, str) else int(answer[0][0])


@asynccontextmanager
async def locked(place: Place, table: str) -> AsyncIterator[None]:
    """Somebody else holds the table, on SQLite the whole database."""
    if place.product == "sqlite":
        with closing(sqlite3.connect(place.url, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
        return
    holder = await asyncpg.connect(place.url)
    try:
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await holder.close()


async def idle(program: Inside, place: Place) -> None:
    """Nothing runs, nothing is open, and no connection of the pool is out."""
    await until(lambda: not busy(place, "%"))
    assert program.app.database.in_use == 0


async def answers(peer: Peer, name: str = "query_cats") -> None:
    async with asyncio.timeout(2):
        assert await peer.rows(name) == []


# Cancelled


@PLACES
@ERAS
@pytest.mark.parametrize(("name", "arguments"), [("query_slow", {}), ("insert_slow_rows", {"rows": [{"id": 1}]})])
async def test_a_call_that_its_client_cancels_leaves_nothing_running(
    place: Place, era: str, name: str, arguments: dict[str, Any]
) -> None:
    begin(place)
    async with inside(place.url, era=era, pool__size=1) as program:
        call = asyncio.create_task(program.peer.call(name, arguments))
        await until(lambda: program.app.database.in_use == 1 and busy(place))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not busy(place))
        await answers(program.peer)  # by the only connection there is
        await idle(program, place)
        assert count(place, "slow_rows") == 0


@PLACES
async def test_many_calls_cancelled_at_any_moment_leave_nothing_running(place: Place) -> None:
    begin(place)
    names = [("query_slow", {}), ("query_cats", {}), ("insert_cats", {"rows": [TOM]})]
    async with inside(place.url, pool__size=3) as program:
        for wait_s in (0.0, 0.001, 0.003, 0.01, 0.03):
            await asyncio.gather(*[program.peer.call("query_cats") for _ in range(9)])
            calls = [asyncio.create_task(program.peer.call(*names[n % 3])) for n in range(30)]
            await asyncio.wait(calls, timeout=wait_s)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        await until(lambda: program.app.database.in_use == 0)
        await idle(program, place)
        assert count(place, "cats") in (0, 1)
        assert len(await program.peer.rows("query_cats")) == count(place, "cats")


@PLACES
@ERAS
async def test_a_client_that_goes_away_over_stdio_leaves_nothing_running(place: Place, era: str) -> None:
    begin(place)
    async with served(place.url, "stdio") as scene:
        async with AsyncExitStack() as stack:
            scene.stack = stack
            peer = await scene.join(era)
            call = asyncio.create_task(peer.call("query_slow"))
            stack.callback(call.cancel)
            await until(lambda: busy(place))
        await until(lambda: not busy(place))
        with suppress(asyncio.CancelledError):
            await call


@POSTGRESQL
@ERAS
async def test_a_call_cancelled_over_http_leaves_nothing_running(place: Place, era: str) -> None:
    begin(place)
    async with served(place.url, "http") as scene:
        peer = await scene.join(era)
        call = asyncio.create_task(peer.call("query_slow"))
        await until(lambda: busy(place))
        call.cancel()
        await asyncio.wait({call})
        await until(lambda: not busy(place))
        await answers(peer)


@POSTGRESQL
async def test_a_client_that_goes_away_over_http_leaves_nothing_running(place: Place) -> None:
    """In the stateless era; of the other tells `test_cancelling`."""
    begin(place)
    headers = (f"MCP-Protocol-Version: {VERSION}", "Mcp-Method: tools/call", "Mcp-Name: query_slow")
    async with served(place.url, "http") as scene:
        async with Raw(scene.target, *headers) as client:
            body = request(1, "tools/call", MODERN, name="query_slow", arguments={})
            call = asyncio.create_task(client.post(body, until=b"never"))
            await until(lambda: busy(place))
        with suppress(asyncio.IncompleteReadError, OSError):
            await call
        await until(lambda: not busy(place))


# Limits


@PLACES
@pytest.mark.parametrize("setting", ["limits__statement_timeout_s", "limits__call_timeout_s"])
async def test_a_call_that_takes_too_long_is_stopped_and_told(place: Place, setting: str) -> None:
    begin(place)
    settings: dict[str, Any] = {setting: 0.3}
    async with inside(place.url, pool__size=1, **settings) as program:
        for name, arguments in (("query_slow", {}), ("insert_slow_rows", {"rows": [{"id": 1}]})):
            async with asyncio.timeout(5):
                error = await program.peer.error(name, arguments)
            assert error["code"] == "timeout", error
            assert error["retryable"] == (setting == "limits__call_timeout_s"), error
        await answers(program.peer)
        await idle(program, place)
        assert count(place, "slow_rows") == 0


@PLACES
async def test_a_lock_that_another_session_holds_is_told_and_nothing_is_written(place: Place) -> None:
    begin(place)
    async with inside(place.url, pool__size=1, limits__lock_timeout_s=0.2) as program:
        await program.peer.names()
        async with locked(place, "cats"):
            error = await program.peer.error("insert_cats", {"rows": [TOM]})
            assert (error["code"], error["retryable"]) == ("lock_timeout", True)
        assert (await program.peer.call("insert_cats", {"rows": [TOM]}))["inserted"] == 1
        await idle(program, place)


@PLACES
async def test_a_call_that_finds_no_free_connection_is_told_busy(place: Place) -> None:
    begin(place)
    async with inside(place.url, pool__size=1, pool__acquire_timeout_s=0.2) as program:
        call = asyncio.create_task(program.peer.call("query_slow"))
        await until(lambda: program.app.database.in_use == 1)
        error = await program.peer.error("query_cats")
        assert (error["code"], error["retryable"]) == ("busy", True)
        call.cancel()
        await asyncio.wait({call})
        await answers(program.peer)
        await idle(program, place)


@PLACES
async def test_two_hundred_calls_at_once_share_three_connections(place: Place) -> None:
    begin(place)
    async with inside(place.url, pool__size=3, pool__acquire_timeout_s=20) as program:
        calls = [
            program.peer.call("insert_cats", {"rows": [{"id": n, "name": str(n)}]})
            if n % 2
            else program.peer.call("query_cats", {"where": {"id": n}})
            for n in range(200)
        ]
        done = await asyncio.gather(*calls)
        assert [answer for answer in done if "error" in answer] == []
        assert count(place, "cats") == 100
        await idle(program, place)


async def test_ten_thousand_rows_come_in_one_answer(place: Place) -> None:
    begin(place)
    rows = [{"id": n, "name": f"cat {n}"} for n in range(10_000)]
    async with inside(place.url, results__max_bytes=10_000_000) as program:
        assert (await program.peer.call("insert_cats", {"rows": rows}))["inserted"] == 10_000
        found = await program.peer.rows("query_cats", {"columns": ["id", "name"], "limit": 10_000})
        assert found == rows
        await idle(program, place)


# Refused


REFUSED = (
    ({"id": 1, "name": "Tim"}, "unique_violation"),
    ({"id": 2, "name": "Tom"}, "unique_violation"),
    ({"id": 2, "name": "Tim", "lives": 0}, "check_violation"),
    ({"id": 2, "name": "Tim", "parent": 7}, "foreign_key_violation"),
)


async def test_a_refused_write_leaves_the_connection_clean(place: Place) -> None:
    begin(place, "INSERT INTO cats (id, name) VALUES (1, 'Tom')")
    async with inside(place.url, pool__size=1) as program:
        for row, code in REFUSED:
            error = await program.peer.error("insert_cats", {"rows": [{"id": 9, "name": "good"}, row]})
            assert (error["code"], error["retryable"]) == (code, False)
            await idle(program, place)
        assert (await program.peer.call("insert_cats", {"rows": [{"id": 2, "name": "Tim"}]}))["inserted"] == 1
        assert [row["id"] for row in await program.peer.rows("query_cats")] == [1, 2]


async def test_rows_with_different_columns_are_inserted_all_or_none(place: Place) -> None:
    begin(place)
    good = [TOM, {"id": 2, "name": "Tim", "lives": 9}, {"id": 3, "name": "Kim"}]
    async with inside(place.url) as program:
        error = await program.peer.error("insert_cats", {"rows": [*good, {"id": 3, "name": "twice", "lives": 1}]})
        assert error["code"] == "unique_violation"
        assert count(place, "cats") == 0
        answer = await program.peer.call("insert_cats", {"rows": good, "returning": ["id", "lives"]})
        assert answer["rows"] == [{"id": 1, "lives": None}, {"id": 2, "lives": 9}, {"id": 3, "lives": None}]
        assert count(place, "cats") == 3


@POSTGRESQL
async def test_a_constraint_that_is_checked_at_commit_is_told_as_what_it_is(place: Place) -> None:
    begin(place, "CREATE TABLE late (id integer REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
    async with inside(place.url, pool__size=1) as program:
        error = await program.peer.error("insert_late", {"rows": [{"id": 5}]})
        assert error["code"] == "foreign_key_violation"
        assert count(place, "late") == 0
        await idle(program, place)


# The schema changes under prepared statements

ALTERATIONS = (
    "ALTER TABLE cats ADD COLUMN age integer",
    "ALTER TABLE cats ALTER COLUMN lives TYPE bigint",
    "ALTER TABLE cats ALTER COLUMN lives TYPE text USING lives::text",
    "ALTER TABLE cats ALTER COLUMN lives TYPE integer USING lives::integer",
    "ALTER TABLE cats ALTER COLUMN lives TYPE bytea USING ''",
    "ALTER TABLE cats ALTER COLUMN lives TYPE integer USING 7",
    "ALTER TABLE cats RENAME COLUMN age TO years",
    "ALTER TABLE cats DROP COLUMN years",
    "DROP TABLE cats; CREATE TABLE cats (name text, id text PRIMARY KEY, lives integer)",
)


@pytest.mark.parametrize("place", ["16", "18"], indirect=True)
async def test_calls_that_fit_the_schema_of_the_moment_succeed_while_it_changes(place: Place) -> None:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY, name text, lives integer)")
    async with inside(place.url, pool__size=3, watch__poll_interval_s=60.0) as program:
        failed: list[Any] = []

        async def run(tool: str, arguments: dict[str, Any]) -> None:
            answer = await program.peer.call(tool, arguments)
            if "error" in answer:
                failed.append((tool, answer["error"]))

        for number, sql in enumerate(("SELECT 1", *ALTERATIONS)):
            await asyncio.to_thread(place.execute, sql)
            await run("insert_cats", {"rows": [{"id": str(number), "name": "x", "lives": "7777"}]})
            reads = [run("query_cats", {"limit": limit}) for limit in (1, 2, 3, 1000)]
            await asyncio.gather(*reads)
        assert failed == []
        await idle(program, place)


@PLACES
async def test_a_table_that_changes_all_the_time_gives_no_internal_error(place: Place) -> None:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY, name text)")
    codes: set[str] = set()
    async with inside(place.url, pool__size=3) as program:

        async def call_often(tool: str, arguments: dict[str, Any]) -> None:
            while not done.is_set():
                answer = await program.peer.call(tool, arguments)
                codes.add(answer["error"]["code"] if "error" in answer else "ok")

        done = asyncio.Event()
        await program.peer.names()
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
            for arguments in ({}, {"where": {"name": "x"}}, {"limit": 1000}):
                group.create_task(call_often("query_cats", arguments))
            for n in range(12):
                for sql in (
                    f"ALTER TABLE cats ADD COLUMN c{n} integer",
                    "ALTER TABLE cats RENAME COLUMN name TO title",
                    "ALTER TABLE cats RENAME COLUMN title TO name",
                    "ALTER TABLE cats RENAME TO dogs",
                    "ALTER TABLE dogs RENAME TO cats",
                    f"ALTER TABLE cats DROP COLUMN c{n}",
                ):
                    await asyncio.to_thread(place.execute, sql)
            done.set()
        assert "ok" in codes
        assert codes <= {"ok", "stale_schema", "lock_timeout"}
        await idle(program, place)
