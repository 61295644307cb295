"""The answer to COMMIT is lost: the database is asked what became of the transaction, and the call tells that."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schema_mcp.config.database import parse_database
from schema_mcp.dialects.base import SessionLimits
from schema_mcp.dialects.postgresql.dialect import PostgresqlDialect
from schema_mcp.execute.engines import Database
from schema_mcp.execute.outcome import Outcome, resolve, take_mark
from tests.peers import Inside, inside
from tests.postgres import PostgresServer
from tests.proxy import Proxy, proxied
from tests.waiting import until

TARGETS = Path(__file__).parent.parent / "migrations" / "targets"
INSERT: tuple[str, dict[str, Any]] = ("insert_cats", {"rows": [{"id": 1, "name": "Tom"}]})


class Home:
    """A database on a server of the test's own, with a table `cats`."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.server = server
        self.url = url
        self._name = url.rpartition("/")[2]
        self.execute("CREATE TABLE cats (id integer PRIMARY KEY, name text)")

    def execute(self, sql: str) -> str:
        return self.server.execute(sql, self._name)

    def rows(self) -> int:
        return int(self.execute("SELECT count(*) FROM cats"))


@pytest.fixture
def home(own_server: PostgresServer, own_database: str) -> Home:
    return Home(own_server, own_database)


pytestmark = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)


@asynccontextmanager
async def between(home: Home, **settings: Any) -> AsyncIterator[tuple[Inside, Proxy]]:
    """The program, and the proxy that it reaches the database through."""
    async with proxied(home.url) as proxy, inside(proxy.url, access__mode="write", **settings) as program:
        await program.peer.names()
        yield program, proxy


async def test_a_write_whose_answer_is_lost_is_answered_as_if_nothing_had_happened(home: Home) -> None:
    async with between(home) as (program, proxy):
        proxy.lose(b"COMMIT", reply=True)
        answer = await program.peer.call("insert_cats", {**INSERT[1], "returning": ["name"]})
        assert (answer["inserted"], answer["rows"], answer["outcome"]) == (1, [{"name": "Tom"}], "committed")
        proxy.lose(b"COMMIT", reply=True)
        assert (await program.peer.call("delete_cats", {"where": {"id": 1}}))["outcome"] == "committed"
        assert (proxy.lost, home.rows()) == (2, 0)


async def test_a_write_whose_commit_never_arrives_is_done_again_and_once(home: Home) -> None:
    async with between(home) as (program, proxy):
        proxy.lose(b"COMMIT")
        assert (await program.peer.call(*INSERT))["outcome"] == "committed"
        assert (proxy.lost, home.rows()) == (1, 1)


async def test_a_write_that_touches_nothing_needs_nobody_to_ask(home: Home) -> None:
    async with between(home) as (program, proxy):
        proxy.lose(b"COMMIT", reply=True)
        answer = await program.peer.call("update_cats", {"where": {"id": 7}, "set": {"name": "Tim"}})
        assert (answer["updated"], answer["outcome"], proxy.lost) == (0, "committed", 1)


async def test_a_batch_whose_answer_is_lost_is_answered_too(home: Home) -> None:
    calls = [
        {"tool": "insert_cats", "arguments": {"rows": [{"id": 1}]}},
        {"tool": "update_cats", "arguments": {"where": {"id": 1}, "set": {"name": "Tim"}}},
    ]
    async with between(home) as (program, proxy):
        proxy.lose(b"COMMIT", reply=True)
        answer = await program.peer.call("run_batch", {"calls": calls})
        assert (answer["outcome"], len(answer["results"]), proxy.lost) == ("committed", 2, 1)
        assert home.execute("SELECT name FROM cats") == "Tim"


async def test_a_statement_of_a_callers_own_is_answered_too(home: Home) -> None:
    async with between(home, access__sql="write") as (program, proxy):
        proxy.lose(b"COMMIT", reply=True)
        answer = await program.peer.call("execute_sql", {"sql": "INSERT INTO cats VALUES (1) RETURNING id"})
        assert (answer["rows"], proxy.lost) == ([{"id": 1}], 1)
        proxy.lose(b"COMMIT")
        error = await program.peer.error("execute_sql", {"sql": "INSERT INTO cats VALUES (2)"})
        assert (error["code"], error["retryable"], error["hint"]) == (
            "database_unavailable",
            True,
            "Nothing was written. Send it again.",
        )
        assert home.rows() == 1


async def test_a_commit_that_still_runs_is_waited_for(home: Home) -> None:
    home.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END'; "
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON cats DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    async with between(home) as (program, proxy):
        call = asyncio.create_task(program.peer.call(*INSERT))
        await until(lambda: home.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1")
        proxy.reset()
        assert (await call)["outcome"] == "committed"
        assert home.rows() == 1


async def test_a_transaction_that_waits_for_a_commit_that_is_lost_is_ended(home: Home) -> None:
    async with between(home) as (program, proxy):
        proxy.swallow(b"COMMIT")
        answer = await program.peer.call("insert_cats", {**INSERT[1], "timeout_s": 1.5})
        assert (answer["outcome"], proxy.lost, home.rows()) == ("committed", 1, 1)


async def test_an_outcome_that_nobody_can_tell_in_time_is_unknown(home: Home) -> None:
    async with between(home, limits__call_timeout_s=1) as (program, proxy):
        proxy.lose(b"COMMIT", reply=True, then=proxy.stall)
        started = time.monotonic()
        error = await program.peer.error(*INSERT)
        assert time.monotonic() - started < 3
        assert (error["code"], error["retryable"], error["message"], error["hint"]) == (
            "outcome_unknown",
            False,
            "the connection was lost while the insert of table 'cats' was being committed",
            "Query the table before you call again: it may have been done.",
        )
        proxy.go_on()
        assert home.rows() == 1


@pytest.fixture
def durable(home: Home) -> Iterator[Home]:
    """What is committed there survives a crash."""
    home.execute("ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf()")
    yield home
    home.execute("ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf()")


async def test_a_server_that_crashes_after_the_commit_is_asked_when_it_is_back(durable: Home) -> None:
    def crash() -> None:
        durable.server.kill()
        durable.server.start_again()

    async with between(durable) as (program, proxy):
        proxy.lose(b"COMMIT", reply=True, then=crash)
        assert (await program.peer.call(*INSERT))["outcome"] == "committed"
        assert (proxy.lost, durable.rows()) == (1, 1)


@pytest.mark.parametrize("with_key", [False, True])
async def test_where_a_crash_leaves_doubt_a_key_beside_the_data_ends_it(durable: Home, with_key: bool) -> None:
    script = (TARGETS / "postgresql" / "idempotency.sql").read_text()
    durable.execute(f"\\set writer postgres\n{script}")

    def crash_and_forget() -> None:
        durable.server.kill()
        durable.server.start_again()
        durable.execute("CHECKPOINT")  # nothing tells any more what the recovery has met

    async with between(durable) as (program, proxy):
        proxy.lose(b"COMMIT", reply=True, then=crash_and_forget)
        answer = await program.peer.call("insert_cats", INSERT[1] | ({"idempotency_key": "k"} if with_key else {}))
        if with_key:
            assert (answer["inserted"], answer["replayed"]) == (1, True)
        else:
            assert answer["error"]["code"] == "outcome_unknown"
        assert durable.rows() == 1


async def test_the_number_of_a_transaction_that_a_crash_took_back_is_never_another_ones(home: Home) -> None:
    limits = SessionLimits(statement_timeout_s=5, lock_timeout_s=5, idle_in_transaction_timeout_s=5, read_only=False)
    database = Database("home", parse_database(home.url), PostgresqlDialect(), limits, size=1, acquire_timeout_s=5)
    home.execute("CHECKPOINT")
    async with database.single() as connection:
        await connection.execute("BEGIN; INSERT INTO cats VALUES (1)")
        mark = await take_mark(connection, database.dialect)
        home.server.kill()  # nothing of it has come to the disk
        home.server.start_again()
    assert await resolve(database, mark, 5) is Outcome.ROLLED_BACK
    for _ in range(5):
        home.execute("INSERT INTO cats VALUES (2); DELETE FROM cats")
    assert await resolve(database, mark, 5) is Outcome.UNKNOWN
    await database.close()
