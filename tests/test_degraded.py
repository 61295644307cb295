"""A database that is there and cannot do everything: each way has its words, tools stay listed, and what passes is over
without a restart."""

import os
import signal
import uuid
from collections.abc import Iterator

import asyncpg
import pytest

from tests.peers import Inside, inside
from tests.postgres import PostgresServer
from tests.waiting import until_it_holds

pytestmark = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)

INSERT = ("insert_cats", {"rows": [{"id": 1}]})
#: When another try is promised to be worth it, while a server is read-only.
PROMISED_S = 5.0


class Home:
    """A database with a table `cats`, and a role of its own that has no special rights. `url`: as that role."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.server = server
        self.name = url.rpartition("/")[2]
        self.role = f"cat_{uuid.uuid4().hex}"
        self.url = server.url(self.name, self.role, "x")
        self.execute("CREATE TABLE cats (id integer PRIMARY KEY)")
        self.execute(f"CREATE ROLE {self.role} LOGIN PASSWORD 'x'; GRANT ALL ON cats TO {self.role}")

    def execute(self, sql: str) -> str:
        return self.server.execute(sql, self.name)

    def end_all(self) -> None:
        self.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{self.role}'")


@pytest.fixture
def home(own_server: PostgresServer, own_database: str) -> Iterator[Home]:
    home = Home(own_server, own_database)
    yield home
    home.end_all()
    home.execute(f"DROP OWNED BY {home.role}; DROP ROLE {home.role}")


async def writes(program: Inside) -> bool:
    return "error" not in await program.peer.call("insert_cats", {"rows": [{"id": uuid.uuid4().int % 2**31}]})


async def _is_told(program: Inside, sqlstate: str) -> bool:
    answer = await program.peer.call("insert_cats", {"rows": [{"id": uuid.uuid4().int % 2**31}]})
    return bool(answer.get("error", {}).get("sqlstate") == sqlstate)


async def test_a_server_without_a_free_connection_says_so_and_is_used_once_it_has_one(home: Home) -> None:
    async with inside(home.url, pool__size=3, watch__listen="off") as program:
        tools = await program.peer.names()
        home.execute(f"ALTER ROLE {home.role} CONNECTION LIMIT 0")
        home.end_all()
        error = await program.peer.error(*INSERT)
        assert (error["code"], error["sqlstate"], error["retryable"], error["details"]) == (
            "database_unavailable",
            "53300",
            True,
            {"retry_after_s": 1.0},
        )
        assert error["message"].startswith("the database is unavailable: it has no free connection (")
        assert await program.peer.names() == tools
        home.execute(f"ALTER ROLE {home.role} CONNECTION LIMIT -1")
        assert await writes(program)


async def test_connections_that_are_open_are_used_while_no_other_can_be_opened(home: Home) -> None:
    async with inside(home.url, pool__size=3, watch__listen="off") as program:
        assert await writes(program)
        home.execute(f"ALTER ROLE {home.role} CONNECTION LIMIT 1")
        assert await writes(program)


async def test_a_role_that_is_let_in_no_more_is_no_matter_of_trying_again(home: Home) -> None:
    async with inside(home.url, watch__listen="off") as program:
        tools = await program.peer.names()
        assert await writes(program)
        home.execute(f"ALTER ROLE {home.role} PASSWORD 'y'")
        assert await writes(program)
        home.end_all()
        error = await program.peer.error(*INSERT)
        assert (error["code"], error["sqlstate"], error["retryable"]) == ("database_unavailable", "28P01", False)
        assert "details" not in error
        assert "Check the user, the password" in error["hint"]
        assert await program.peer.names() == tools
        home.execute(f"ALTER ROLE {home.role} PASSWORD 'x'")
        assert await writes(program)


async def test_a_database_that_was_set_to_read_only_is_read_and_says_so(home: Home) -> None:
    home.execute(f"ALTER DATABASE {home.name} SET default_transaction_read_only = on")
    async with inside(home.url, watch__listen="off") as program:
        error = await program.peer.error(*INSERT)
        assert (error["code"], error["retryable"], error["sqlstate"], error["details"]) == (
            "read_only",
            True,
            "25006",
            {"retry_after_s": PROMISED_S},
        )
        assert "standby" in error["hint"]
        assert await program.peer.rows("query_cats") == []
        home.execute(f"BEGIN READ WRITE; ALTER DATABASE {home.name} RESET default_transaction_read_only; COMMIT")
        assert await writes(program)


async def test_a_standby_is_read_and_written_as_soon_as_it_has_taken_over(home: Home) -> None:
    standby = PostgresServer.standby(home.server)
    try:
        async with inside(standby.url(home.name, home.role, "x"), watch__listen="off") as program:
            error = await program.peer.error(*INSERT)
            assert (error["code"], error["retryable"]) == ("read_only", True)
            assert await program.peer.rows("query_cats") == []
            standby.execute("SELECT pg_promote()")
            assert await writes(program)
    finally:
        standby.close()


async def test_a_server_that_shuts_down_says_so_until_it_is_back(home: Home) -> None:
    """One of its processes is held, so that the shutdown takes as long as the test wants it to."""
    async with inside(home.url, watch__listen="off") as program:
        tools = await program.peer.names()
        held = await asyncpg.connect(home.server.url(home.name))
        pid = await held.fetchval("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            os.kill(home.server.pid, signal.SIGINT)
            await until_it_holds(lambda: _is_told(program, "57P03"))
            error = await program.peer.error(*INSERT)
            assert (error["code"], error["retryable"]) == ("database_unavailable", True)
            assert 0 < error["details"]["retry_after_s"] <= 1
            assert error["message"].startswith("the database is unavailable: it is starting up, recovering or shutting")
            assert await program.peer.names() == tools
        finally:
            os.kill(pid, signal.SIGCONT)
            held.terminate()
        home.server.stop()
        home.server.start_again()
        assert await writes(program)
