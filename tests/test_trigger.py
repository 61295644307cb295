"""The opt-in trigger: changes are heard at once, and without it, or when it is lost, the poll alone is right."""

import asyncio
import subprocess
import uuid

import pytest

from schema_mcp.observe.events import ListeningChanged
from tests.peers import COMMAND, LIMIT_S, Inside, environment, inside
from tests.postgres import PostgresServer, Server


def trigger(action: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "trigger", action, url], capture_output=True, text=True, timeout=LIMIT_S, env=environment({})
    )


async def heard(program: Inside) -> None:
    async with asyncio.timeout(LIMIT_S):
        await program.peer.told.get()


async def test_with_the_trigger_a_change_is_told_long_before_the_poll(server: Server, database: str) -> None:
    name = database.rpartition("/")[2]
    installed = trigger("install", database)
    assert (installed.returncode, installed.stderr) == (0, "")
    async with inside(database, watch__poll_interval_s=600.0) as program:
        assert program.app.listener is not None
        async with asyncio.timeout(LIMIT_S):
            await program.app.listener.listening.wait()
        assert await program.peer.table_tools() == []
        server.execute("CREATE TABLE cats (id integer PRIMARY KEY)", name)
        await heard(program)
        assert await program.peer.table_tools() == ["insert_cats", "query_cats"]
        server.execute("DROP TABLE cats", name)
        await heard(program)
        assert await program.peer.table_tools() == []
    assert trigger("uninstall", database).stdout == "removed: the poll goes on\n"
    left = "SELECT count(*) FROM pg_event_trigger"
    assert server.execute(left, name) == "0"


async def test_a_lost_listener_connects_again_and_looks_at_once(own_server: PostgresServer, own_database: str) -> None:
    name = own_database.rpartition("/")[2]
    assert trigger("install", own_database).returncode == 0
    async with inside(own_database, watch__poll_interval_s=600.0) as program:
        assert program.app.listener is not None
        async with asyncio.timeout(LIMIT_S):
            await program.app.listener.listening.wait()
        await program.peer.names()
        own_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'schema-mcp';"
            "CREATE TABLE cats (id integer PRIMARY KEY)",
            name,
        )
        await heard(program)
        assert await program.peer.table_tools() == ["insert_cats", "query_cats"]
    told = [event.listening for event in program.observed if isinstance(event, ListeningChanged)]
    assert told[:3] == [True, False, True]


async def test_without_the_trigger_nobody_listens_and_the_poll_finds_the_change(server: Server, database: str) -> None:
    async with inside(database, watch__poll_interval_s=0.1) as program:
        await program.peer.names()
        server.execute("CREATE TABLE cats (id integer PRIMARY KEY)", database.rpartition("/")[2])
        await heard(program)
        assert program.app.listener is not None
        assert not program.app.listener.listening.is_set()
    assert not [event for event in program.observed if isinstance(event, ListeningChanged)]


async def test_listening_can_be_turned_off(database: str) -> None:
    async with inside(database, watch__listen="off") as program:
        assert program.app.listener is None


def test_a_role_without_the_right_is_told_what_it_takes(server: Server, database: str) -> None:
    role = f"plain_{uuid.uuid4().hex[:8]}"
    name = database.rpartition("/")[2]
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'a good one'; GRANT CREATE ON DATABASE {name} TO {role}", name)
    try:
        refused = trigger("install", server.url(name, role, "a good one"))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.endswith("An event trigger needs a superuser.\n")
        assert "a good one" not in refused.stderr
        assert server.execute("SELECT count(*) FROM pg_event_trigger", name) == "0"
    finally:
        server.execute(f"DROP OWNED BY {role}; DROP ROLE {role}", name)


@pytest.mark.parametrize(("action", "word"), [("show", "CREATE EVENT TRIGGER schema_mcp_ddl")])
def test_the_sql_is_shown_and_nothing_is_done(action: str, word: str, database: str, server: Server) -> None:
    shown = trigger(action, database)
    assert shown.returncode == 0
    assert word in shown.stdout
    assert server.execute("SELECT count(*) FROM pg_event_trigger", database.rpartition("/")[2]) == "0"


@pytest.mark.parametrize("action", ["show", "install", "uninstall"])
def test_sqlite_needs_no_trigger_and_says_so(action: str) -> None:
    refused = trigger(action, "sample.sqlite")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the trigger is for PostgreSQL" in refused.stderr
