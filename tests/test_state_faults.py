"""A store that cannot be used stops nothing: the server runs without history, says so once, and takes it up again."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schema_mcp.observe.events import HistoryKept, HistoryUnavailable, InternalFailure
from tests.conftest import Place
from tests.peers import Inside, inside
from tests.postgres import PostgresServer
from tests.proxy import proxied
from tests.waiting import until

SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
ON_18 = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)
BRIEFLY: dict[str, Any] = {"state__lock_timeout_s": 0.1}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def cats(place: Place) -> Place:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY)")
    return place


async def kept(program: Inside) -> None:
    keeper = program.app.keeper
    await until(lambda: keeper.status.kept and keeper.settled.is_set() and not keeper.status.waiting)


async def without(program: Inside) -> str:
    """Waits until there is no history; why. The tools go on, and tell it too."""
    keeper = program.app.keeper
    await until(lambda: keeper.opened.is_set() and not keeper.status.kept)
    assert "query_cats" in await program.peer.names()
    assert "rows" in await program.peer.call("query_cats")
    told = (await program.peer.call("server_status"))["history"]
    answer = await program.peer.call("schema_changes")
    assert answer["changes"] == []
    assert answer["history"] == {"kept": False, "reason": told["reason"], "hint": told["hint"]}
    return str(told["reason"])


def said(program: Inside) -> list[HistoryUnavailable]:
    assert [seen for seen in program.observed if isinstance(seen, InternalFailure)] == []
    return [seen for seen in program.observed if isinstance(seen, HistoryUnavailable)]


async def changes(program: Inside) -> list[tuple[str, str]]:
    await kept(program)
    answer = await program.peer.call("schema_changes")
    return [(change["table"], change["kind"]) for change in answer["changes"]]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program has the file and does not let go of it. Only while the program does nothing with it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


@SQLITE
async def test_a_folder_that_cannot_be_made(cats: Place, tmp_path: Path) -> None:
    write(tmp_path / "file", b"")
    async with inside(cats.url, state__url=str(tmp_path / "file" / "state.sqlite")) as program:
        assert (await without(program)).startswith("it cannot be written")
        (line,) = said(program)
        assert "state.url" in line.hint
    async with inside(cats.url, state__url=str(tmp_path)) as program:
        assert (await without(program)).startswith("it cannot be written")


@SQLITE
@pytest.mark.parametrize("content", [b"no database at all" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_damaged_file_is_left_as_it_is(cats: Place, store: Path, content: bytes) -> None:
    write(store, content)
    async with inside(cats.url, state__url=str(store)) as program:
        assert await without(program) == "it is damaged, or no SQLite database"
        assert len(said(program)) == 1
        assert store.read_bytes() == content  # noqa: ASYNC240
        # Whoever moves it away has a history from then on.
        remove(store)
        await kept(program)
        cats.execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        assert await changes(program) == [("dogs", "added")]


@SQLITE
async def test_a_store_of_a_newer_version_is_left_alone(cats: Place, store: Path) -> None:
    async with inside(cats.url, state__url=str(store)) as program:
        await program.peer.names()
        await kept(program)
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE schema_mcp_version SET version_num = 'from the future'")
    async with inside(cats.url, state__url=str(store)) as program:
        reason = await without(program)
        assert reason == "it is of a newer schema-mcp (revision 'from the future', this one knows 0004)"
        (line,) = said(program)
        assert line.hint.startswith("Upgrade schema-mcp")


@SQLITE
async def test_a_store_that_is_locked_at_start_is_taken_up_when_it_is_free(cats: Place, store: Path) -> None:
    async with inside(cats.url, state__url=str(store)) as program:
        await program.peer.names()
        await kept(program)
    cats.execute("CREATE TABLE dogs (id integer)")
    with ExitStack() as lock:
        lock.enter_context(locked(store))
        async with inside(cats.url, state__url=str(store), **BRIEFLY) as program:
            assert await without(program) == "another program holds it locked"
            lock.close()
            assert await changes(program) == [("dogs", "added")]
            assert len(said(program)) == 1


@SQLITE
async def test_changes_while_the_store_is_locked_are_all_recorded_afterwards(cats: Place, store: Path) -> None:
    async with inside(cats.url, state__url=str(store), **BRIEFLY) as program:
        await program.peer.names()
        await kept(program)
        with locked(store):
            for sql in ("CREATE TABLE dogs (id integer)", "ALTER TABLE dogs ADD COLUMN x text", "DROP TABLE dogs"):
                cats.execute(sql)
                await program.peer.hears()
            assert await without(program) == "another program holds it locked"
        assert await changes(program) == [("dogs", "removed"), ("dogs", "changed"), ("dogs", "added")]
        assert len(said(program)) == 1
        assert [type(seen) for seen in program.observed].count(HistoryKept) == 2


@SQLITE
async def test_a_full_disk_stops_the_history_until_there_is_room(cats: Place, store: Path) -> None:
    async with inside(cats.url, state__url=str(store)) as program:
        await program.peer.names()
        await kept(program)
        engine = program.app.keeper._store._engine.sync_engine

        def fill(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size for the smallest limit
            cursor.close()

        sa.event.listen(engine, "connect", fill)
        wide = ", ".join(f"column_{n} text DEFAULT 'some words of a default'" for n in range(200))
        cats.execute(f"CREATE TABLE wide ({wide})")
        await program.peer.hears()
        assert await without(program) == "its disk is full, or it has come to its limit"
        assert len(said(program)) == 1
        sa.event.remove(engine, "connect", fill)
        assert await changes(program) == [("wide", "added")]


@SQLITE
async def test_a_store_that_is_deleted_under_the_server_begins_anew(cats: Place, store: Path) -> None:
    async with inside(cats.url, state__url=str(store)) as program:
        await program.peer.names()
        await kept(program)
        remove(store)
        cats.execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        await until(lambda: said(program))
        assert await changes(program) == []
        cats.execute("CREATE TABLE birds (id integer)")
        await program.peer.hears()
        assert await changes(program) == [("birds", "added")]


@SQLITE
@ON_18
async def test_a_server_of_the_store_that_is_down_and_comes_back(
    cats: Place, own_server: PostgresServer, own_database: str
) -> None:
    async with inside(cats.url, state__url=own_database) as program:
        await program.peer.names()
        await kept(program)
    own_server.stop()
    cats.execute("CREATE TABLE dogs (id integer)")
    async with inside(cats.url, state__url=own_database) as program:
        assert await without(program) == "its server does not answer"
        own_server.start_again()
        assert await changes(program) == [("dogs", "added")]
        own_server.stop()
        cats.execute("CREATE TABLE birds (id integer)")
        await program.peer.hears()
        assert await without(program) == "its server does not answer"
        cats.execute("DROP TABLE dogs")
        await program.peer.hears()
        own_server.start_again()
        assert await changes(program) == [("dogs", "removed"), ("birds", "added"), ("dogs", "added")]
        assert len(said(program)) == 2


@SQLITE
@ON_18
async def test_a_commit_whose_answer_is_lost_is_not_recorded_twice(
    cats: Place, own_server: PostgresServer, own_database: str
) -> None:
    async with proxied(own_database) as proxy, inside(cats.url, state__url=proxy.url) as program:
        await program.peer.names()
        await kept(program)
        proxy.lose(b"COMMIT", reply=True)
        cats.execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        await until(lambda: proxy.lost)
        await until(lambda: said(program))
        assert await changes(program) == [("dogs", "added")]


@SQLITE
@ON_18
async def test_a_store_that_swallows_everything_delays_neither_lists_nor_calls_nor_the_end(
    cats: Place, own_server: PostgresServer, own_database: str
) -> None:
    async with proxied(own_database) as proxy:
        proxy.stall()
        started = asyncio.get_running_loop().time()
        async with inside(cats.url, state__url=proxy.url) as program:
            assert "query_cats" in await program.peer.names()
            assert await program.peer.rows("query_cats") == []
            cats.execute("CREATE TABLE dogs (id integer)")
            await program.peer.hears()
            history = (await program.peer.call("server_status"))["history"]
            assert (history["kept"], history["waiting"]) == (False, 2)
        assert asyncio.get_running_loop().time() - started < 3


@SQLITE
@ON_18
async def test_a_role_without_rights_in_the_store_is_told_what_it_needs(
    cats: Place, own_server: PostgresServer, own_database: str
) -> None:
    name = own_database.rpartition("/")[2]
    own_server.execute(f"DROP ROLE IF EXISTS stranger; REVOKE CREATE ON DATABASE {name} FROM public")
    own_server.execute("CREATE ROLE stranger LOGIN PASSWORD 'a word'")
    try:
        async with inside(cats.url, state__url=own_server.url(name, "stranger", "a word")) as program:
            assert await without(program) == "the role may not do there what the history needs"
        async with inside(cats.url, state__url=own_server.url(name, "stranger", "another")) as program:
            assert await without(program) == "it refuses the sign-in"
            assert "another" not in str(said(program))
    finally:
        own_server.execute("DROP ROLE stranger")
