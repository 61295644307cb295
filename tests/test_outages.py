"""PostgreSQL goes away and comes back, and the network between loses things: calls tell the truth, and go on."""

import asyncio
import time
from typing import Any, TypeAlias

import pytest

from schema_mcp.dialects.postgresql import dialect
from tests.peers import Inside, inside
from tests.postgres import PostgresServer
from tests.proxy import proxied
from tests.waiting import until, until_it_holds

ON_18 = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)

Call: TypeAlias = tuple[str, dict[str, Any]]

START = "CREATE TABLE cats (id integer PRIMARY KEY, name text)"
INSERT: Call = ("insert_cats", {"rows": [{"id": 1, "name": "Tom"}]})
QUERY: Call = ("query_cats", {})

#: A database that is there again is used again within so many seconds.
BACK_S = 2.0


class Home:
    """A database on a server of the test's own."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.server = server
        self.url = url
        self._name = url.rpartition("/")[2]
        self.execute(START)

    def execute(self, sql: str) -> str:
        return self.server.execute(sql, self._name)

    def rows(self) -> int:
        return int(self.execute("SELECT count(*) FROM cats"))

    def terminate_all(self) -> int:
        """Ends every connection of the program's; how many."""
        return int(
            self.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'schema-mcp'"
            )
        )

    def asleep(self) -> bool:
        """Whether a statement of the program's has come to its pg_sleep."""
        return self.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"

    def active(self) -> int:
        """How many connections of the program's do anything or have a transaction open."""
        return int(
            self.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'schema-mcp' AND state <> 'idle'"
            )
        )


@pytest.fixture
def home(own_server: PostgresServer, own_database: str) -> Home:
    return Home(own_server, own_database)


async def fill(program: Inside, size: int) -> None:
    """Has the pool open all its connections, by calls that need one each at the same moment."""
    await program.peer.names()
    await asyncio.gather(*[program.peer.call(*QUERY) for _ in range(3 * size)])


async def succeed_at_once(program: Inside, calls: int) -> None:
    answers = await asyncio.gather(*[program.peer.call(*QUERY) for _ in range(calls)])
    assert [answer for answer in answers if "error" in answer] == []
    assert program.app.database.in_use == 0


# The server


async def test_calls_while_the_server_is_down_say_so_and_those_after_it_is_back_succeed(home: Home) -> None:
    async with inside(home.url, pool__size=5) as program:
        await fill(program, 5)
        tools = await program.peer.names()
        home.execute("CHECKPOINT")  # the servers of the tests do not sync what they commit
        home.server.stop("immediate")
        for call in (QUERY, INSERT, QUERY):
            error = await program.peer.error(*call)
            assert (error["code"], error["retryable"]) == ("database_unavailable", True), error
        assert await program.peer.names() == tools
        home.server.start_again()
        async with asyncio.timeout(BACK_S):
            await succeed_at_once(program, 15)
        assert (await program.peer.call(*INSERT))["inserted"] == 1
        home.execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        assert "query_dogs" in await program.peer.names()


async def test_a_restart_between_two_calls_is_not_noticed(home: Home) -> None:
    async with inside(home.url, pool__size=5) as program:
        await fill(program, 5)
        home.server.restart()
        await succeed_at_once(program, 15)


@ON_18
async def test_a_server_that_is_away_is_not_stormed(home: Home) -> None:
    async with proxied(home.url) as proxy, inside(proxy.url, pool__size=5) as program:
        await fill(program, 5)
        home.server.stop()
        assert (await program.peer.error(*QUERY))["code"] == "database_unavailable"
        opened, started = proxy.opened, time.monotonic()
        for _ in range(2):
            errors = await asyncio.gather(*[program.peer.error(*QUERY) for _ in range(100)])
            assert {error["code"] for error in errors} == {"database_unavailable"}
            assert all(0 < error["details"]["retry_after_s"] <= 1 for error in errors)
        assert time.monotonic() - started < 5
        assert proxy.opened - opened < 30
        home.server.start_again()
        async with asyncio.timeout(BACK_S):
            await succeed_at_once(program, 15)


@ON_18
async def test_writers_go_on_within_two_seconds_after_a_crash_of_the_server(home: Home) -> None:
    ids = iter(range(1_000_000))
    back: list[float] = []

    async def write(program: Inside, until_ok_after: asyncio.Event) -> None:
        while True:
            crashed = until_ok_after.is_set()
            answer = await program.peer.call("insert_cats", {"rows": [{"id": next(ids)}]})
            if crashed and "error" not in answer:
                back.append(time.monotonic())
                return

    async with inside(home.url, pool__size=10) as program:
        await program.peer.names()
        home.execute("CHECKPOINT")
        accepting = asyncio.Event()
        writers = [asyncio.create_task(write(program, accepting)) for _ in range(20)]
        await until(lambda: home.rows() > 100)
        await asyncio.to_thread(home.server.kill)
        await asyncio.to_thread(home.server.start_again)
        accepting.set()
        started = time.monotonic()
        await asyncio.gather(*writers)
        assert max(back) - started < BACK_S


@ON_18
async def test_connections_that_an_administrator_ends_are_replaced_without_a_word(home: Home) -> None:
    async with inside(home.url, pool__size=5) as program:
        for _ in range(5):
            await fill(program, 5)
            assert home.terminate_all() >= 5
            await succeed_at_once(program, 15)
            assert home.terminate_all() >= 1
            assert (await program.peer.call("insert_cats", {"rows": [{"id": time.time_ns() % 2**31}]}))["inserted"] == 1
        assert home.rows() == 5


@ON_18
async def test_a_read_whose_connection_is_ended_under_it_is_run_again(home: Home) -> None:
    home.execute(
        "CREATE SEQUENCE tries; GRANT ALL ON SEQUENCE tries TO public; CREATE VIEW once_slow AS "
        "SELECT CASE WHEN nextval('tries') = 1 THEN pg_sleep(60)::text ELSE 'done' END AS word"
    )
    async with inside(home.url, pool__size=1) as program:
        await program.peer.names()
        call = asyncio.create_task(program.peer.rows("query_once_slow"))
        await until(home.asleep)
        home.terminate_all()
        assert await call == [{"word": "done"}]


@ON_18
async def test_a_write_whose_connection_is_ended_under_it_is_applied_once(home: Home) -> None:
    home.execute(
        "CREATE SEQUENCE tries; ALTER TABLE cats ALTER COLUMN name "
        "SET DEFAULT CASE WHEN nextval('tries') = 1 THEN pg_sleep(60)::text ELSE 'Tim' END"
    )
    async with inside(home.url, pool__size=1) as program:
        await program.peer.names()
        call = asyncio.create_task(program.peer.call("insert_cats", {"rows": [{"id": 1}], "returning": ["name"]}))
        await until(home.asleep)
        home.terminate_all()
        assert (await call)["rows"] == [{"name": "Tim"}]
        assert home.rows() == 1


# The network


@ON_18
@pytest.mark.parametrize("pattern", [b"BEGIN", b"INSERT INTO"])
async def test_a_write_that_never_arrives_is_told_as_not_written(home: Home, pattern: bytes) -> None:
    async with proxied(home.url) as proxy, inside(proxy.url) as program:
        await fill(program, 1)
        proxy.lose(pattern, times=3)
        error = await program.peer.error(*INSERT)
        assert (error["code"], error["retryable"], proxy.lost) == ("database_unavailable", True, 3)
        assert home.rows() == 0
        assert (await program.peer.call(*INSERT))["inserted"] == 1


@ON_18
async def test_a_write_whose_reply_is_lost_before_commit_is_run_again_and_applied_once(home: Home) -> None:
    async with proxied(home.url) as proxy, inside(proxy.url) as program:
        await fill(program, 1)
        proxy.lose(b"INSERT INTO", reply=True)
        assert (await program.peer.call(*INSERT))["outcome"] == "committed"
        assert (proxy.lost, home.rows()) == (1, 1)


@ON_18
async def test_a_network_that_stands_still_ends_calls_by_their_limit(home: Home) -> None:
    async with proxied(home.url) as proxy, inside(proxy.url, pool__size=2, limits__call_timeout_s=0.5) as program:
        await fill(program, 2)
        proxy.stall()
        started = time.monotonic()
        answers = await asyncio.gather(*[program.peer.error(*call) for call in (QUERY, INSERT)])
        assert [error["code"] for error in answers] == ["timeout", "timeout"]
        assert time.monotonic() - started < 2.5
        proxy.go_on()
        async with asyncio.timeout(BACK_S):
            await succeed_at_once(program, 6)
        await until(lambda: home.active() == 0)
        assert home.rows() == 0


@ON_18
async def test_a_network_that_stands_still_is_known_also_by_calls_too_short_to_find_out(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "CONNECT_TIMEOUT_S", 1.1)
    async with proxied(home.url) as proxy, inside(proxy.url, pool__size=2, limits__call_timeout_s=1) as program:
        await fill(program, 2)
        proxy.stall()
        assert (await program.peer.error(*QUERY))["code"] == "timeout"

        async def is_away() -> bool:
            code: str = (await program.peer.error(*QUERY))["code"]
            return code == "database_unavailable"

        await until_it_holds(is_away)
        proxy.go_on()
        async with asyncio.timeout(BACK_S):
            await succeed_at_once(program, 6)


@ON_18
async def test_connections_that_the_network_has_forgotten_cost_one_call_and_not_one_each(home: Home) -> None:
    async with proxied(home.url) as proxy, inside(proxy.url, pool__size=5, limits__call_timeout_s=0.5) as program:
        await fill(program, 5)
        proxy.forget()
        assert (await program.peer.error(*QUERY))["code"] == "timeout"
        async with asyncio.timeout(1):
            await succeed_at_once(program, 15)


@ON_18
async def test_connections_that_the_network_breaks_are_replaced(home: Home) -> None:
    async with proxied(home.url) as proxy, inside(proxy.url, pool__size=5) as program:
        await fill(program, 5)
        proxy.reset()
        await succeed_at_once(program, 15)
