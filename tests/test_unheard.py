"""Where no notification comes (a pooler, a standby, a broken connection) the poll alone finds every change."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from schema_mcp.observe.events import CatalogReadFailed, ListeningChanged
from tests.peers import COMMAND, LIMIT_S, Inside, environment, inside
from tests.postgres import PostgresServer
from tests.proxy import proxied
from tests.waiting import until

ON_18 = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)
CATS = ["insert_cats", "query_cats"]


def install_trigger(url: str) -> None:
    subprocess.run(
        [*COMMAND, "trigger", "install", url], check=True, capture_output=True, timeout=LIMIT_S, env=environment({})
    )


async def listens(program: Inside) -> None:
    assert program.app.listener is not None
    async with asyncio.timeout(LIMIT_S):
        await program.app.listener.listening.wait()


def heard(program: Inside) -> list[bool]:
    """Whether notifications came, each time that it changed."""
    return [event.listening for event in program.observed if isinstance(event, ListeningChanged)]


async def connected(program: Inside, times: int) -> None:
    await until(lambda: heard(program).count(True) == times)


@ON_18
async def test_a_change_that_nobody_tells_of_is_found_by_the_poll(
    own_server: PostgresServer, own_database: str
) -> None:
    """A replica's rights keep the trigger silent, as a pooler keeps the notification."""
    install_trigger(own_database)
    async with inside(own_database, watch__poll_interval_s=0.1) as program:
        await listens(program)
        await program.peer.names()
        silent = "SET session_replication_role = replica; CREATE TABLE cats (id integer)"
        own_server.execute(silent, own_database.rpartition("/")[2])
        await program.peer.hears()
        assert await program.peer.table_tools() == CATS


@ON_18
async def test_what_happens_while_the_listener_is_cut_off_is_found_when_it_is_back(
    own_server: PostgresServer, own_database: str
) -> None:
    name = own_database.rpartition("/")[2]
    install_trigger(own_database)
    async with proxied(own_database) as proxy, inside(proxy.url, watch__poll_interval_s=600.0) as program:
        await listens(program)
        assert await program.peer.table_tools() == []
        for tables in (["cats"], ["cats", "dogs"]):
            proxy.stall()
            own_server.execute(f"CREATE TABLE {tables[-1]} (id integer)", name)
            proxy.reset()
            proxy.go_on()
            await program.peer.hears()
            assert await program.peer.table_tools() == sorted(
                f"{kind}_{t}" for kind in ("insert", "query") for t in tables
            )
            await connected(program, times=1 + len(tables))
        assert heard(program) == [True, False, True, False, True]


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    """A server that replays what the primary commits, and takes no writes."""
    server = PostgresServer.standby(primary)
    with closing(server):
        yield server


@ON_18
async def test_on_a_standby_the_poll_follows_what_is_replayed(own_server: PostgresServer, own_database: str) -> None:
    name = own_database.rpartition("/")[2]
    install_trigger(own_database)
    with standby_of(own_server) as standby:
        async with inside(standby.url(name), watch__poll_interval_s=0.1) as program:
            assert await program.peer.table_tools() == []
            own_server.execute("CREATE TABLE cats (id integer); INSERT INTO cats VALUES (1)", name)
            await program.peer.hears()
            assert await program.peer.table_tools() == CATS
            assert await program.peer.rows("query_cats") == [{"id": 1}]
            error = await program.peer.error("insert_cats", {"rows": [{"id": 2}]})
            assert error["code"] == "read_only"
            own_server.execute("ALTER TABLE cats ADD age integer", name)
            await program.peer.hears()
            assert await program.peer.rows("query_cats") == [{"id": 1, "age": None}]
            assert program.app.listener is not None
            assert not program.app.listener.listening.is_set()
        assert [item for item in program.observed if isinstance(item, CatalogReadFailed)] == []
