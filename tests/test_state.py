"""The store itself, on SQLite and PostgreSQL: made once, shared by many, each change kept once."""

import asyncio
import json
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from schema_mcp.config.load import load
from schema_mcp.errors import ConfigurationError
from schema_mcp.schema.model import Column, Schema, Table, TableKind, TableName
from schema_mcp.schema.select import Selection
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.state import history as history_module
from schema_mcp.state import migrate
from schema_mcp.state.history import History, Outcome
from schema_mcp.state.place import NoPlace, Place, identify, locate
from schema_mcp.state.records import Gone, HistoryQuery, Seen
from schema_mcp.state.store import REVISIONS, Store, metadata
from tests.conftest import Place as Database
from tests.peers import LIMIT_S, MODERN, Peer, environment, http_server, inside, join
from tests.postgres import Server
from tests.waiting import until, until_it_holds

SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
SERVED = sa.make_url("postgresql://reader:secret@db.internal/shop")
EVERYTHING = HistoryQuery(limit=1000)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, servers: Callable[[str], Server], tmp_path: Path) -> Iterator[str]:
    """Where there is no store yet: a file in a folder that is not there, and an empty database."""
    if request.param == "sqlite":
        yield str(tmp_path / "kept" / "state.sqlite")
        return
    server, name = servers("18"), f"store_{uuid.uuid4().hex}"
    yield server.create_database(name)
    server.drop_database(name)


def store_at(url: str) -> Store:
    place = locate(url, SERVED)
    assert isinstance(place, Place)
    return Store(place, lock_timeout_s=5)


def history_of(store: Store, *, started_at: float = 0.0, max_changes: int = 1000) -> History:
    """One server's view of the store."""
    return History(store, "who", "main", started_at=started_at, max_changes=max_changes)


INTEGER = SqlType(kind=TypeKind.INTEGER, native="integer", cast="integer", precision=32)


def table(name: str, *columns: str) -> Table:
    return Table(
        name=TableName(source="main", schema="public", name=name),
        kind=TableKind.TABLE,
        columns=tuple(
            Column(name=column, position=position, type=INTEGER, nullable=True)
            for position, column in enumerate(columns, 1)
        ),
    )


def seen(order: int, *tables: Table, era: str = "a", taken_at: float | None = None) -> Seen:
    return Seen(
        schema=Schema(
            source="main", dialect="postgresql", default_schema="public", tables={table.name: table for table in tables}
        ),
        era=era,
        order=(order,) if order else (),
        taken_at=float(order) if taken_at is None else taken_at,
    )


async def told(history: History) -> list[tuple[str, str, tuple[str, ...]]]:
    page = await history.changes(EVERYTHING)
    return [(change.table.name, str(change.kind), change.sentences) for change in page.changes]


ONE, TWO = table("cats", "id"), table("cats", "id", "name")
TOLD = ("cats", "changed", ("column name added (integer)",))


async def test_a_slower_server_does_not_write_the_old_state_back(store_url: str) -> None:
    store = store_at(store_url)
    await store.open()
    quick, slow = history_of(store), history_of(store)
    assert await quick.record(seen(1, ONE)) is Outcome.UNCHANGED
    assert await slow.record(seen(1, ONE)) is Outcome.UNCHANGED
    assert await quick.record(seen(3, TWO)) is Outcome.RECORDED
    assert await slow.record(seen(2, ONE, taken_at=9)) is Outcome.OLDER
    assert await slow.record(seen(4, TWO)) is Outcome.UNCHANGED
    assert await slow.record(seen(5, ONE)) is Outcome.RECORDED
    assert await quick.record(seen(5, ONE)) is Outcome.UNCHANGED
    assert await told(quick) == [("cats", "changed", ("column name removed",)), TOLD]
    loaded = await history_of(store).load(schema=True)
    assert loaded.schema == seen(5, ONE).schema


async def test_where_snapshots_do_not_compare_the_clock_orders(store_url: str) -> None:
    store = store_at(store_url)
    await store.open()
    history = history_of(store)
    await history.record(seen(7, ONE, taken_at=100))
    # The server was restored from a backup, or the file replaced: an era of its own.
    assert await history.record(seen(3, TWO, era="b", taken_at=99)) is Outcome.OLDER
    assert await history.record(seen(3, TWO, era="b", taken_at=101)) is Outcome.RECORDED
    assert await history.record(seen(0, ONE, era="b", taken_at=102)) is Outcome.RECORDED


async def test_many_that_record_at_once_keep_each_change_once(store_url: str) -> None:
    stores = [store_at(store_url) for _ in range(5)]
    await asyncio.gather(*[store.open() for store in stores])
    histories = [history_of(store) for store in stores]
    states = [(table("cats", *[f"c{n}" for n in range(count)])) for count in range(1, 5)]
    for number, state in enumerate(states, 1):
        await asyncio.gather(*[history.record(seen(number, state)) for history in histories])
    assert [sentences for _, _, sentences in await told(histories[0])] == [
        (f"column c{count} added (integer)",) for count in (3, 2, 1)
    ]
    assert len({await history.secret("cursor") for history in histories}) == 1


async def test_a_rename_is_told_as_removed_and_added_and_both_names_are_remembered(store_url: str) -> None:
    store = store_at(store_url)
    await store.open()
    history = history_of(store)
    await history.record(seen(1, ONE))
    await history.record(seen(2, table("dogs", "id")))
    assert [(name, kind) for name, kind, _ in await told(history)] == [("dogs", "added"), ("cats", "removed")]
    (gone,) = (await history_of(store).load(schema=False)).gone
    assert gone == Gone(
        table=ONE.name, columns=frozenset({"id"}), rights=frozenset({"delete", "insert", "select", "update"})
    )


async def test_what_changed_between_two_runs_is_told_with_both_times(store_url: str) -> None:
    store = store_at(store_url)
    await store.open()
    before = history_of(store)
    await before.record(seen(1, ONE))
    await before.confirm(50.0)
    after = history_of(store, started_at=60.0)
    await after.record(seen(2, TWO, taken_at=61.0))
    await after.record(seen(3, ONE, taken_at=62.0))
    page = await after.changes(EVERYTHING)
    assert [(change.at, change.since) for change in page.changes] == [(62.0, None), (61.0, 50.0)]
    assert page.kept_since == 1.0


async def test_the_oldest_changes_are_forgotten_beyond_the_limit(store_url: str) -> None:
    store = store_at(store_url)
    await store.open()
    history = history_of(store, max_changes=3)
    for number in range(1, 8):
        await history.record(seen(number, *[table(f"t{n}", "id") for n in range(number)]))
    assert [name for name, _, _ in await told(history)] == ["t6", "t5", "t4"]


async def test_ten_thousand_tables_are_kept_and_only_the_changed_one_is_written_again(tmp_path: Path) -> None:
    store = store_at(str(tmp_path / "state.sqlite"))
    await store.open()
    tables = {n: table(f"t{n:05}", "id", "name", "age") for n in range(10_000)}
    history = history_of(store)
    await history.record(seen(1, *tables.values()))
    written: list[int] = []
    sa.event.listen(
        store._engine.sync_engine,
        "after_cursor_execute",
        lambda connection, cursor, statement, *_: written.append(1) if "schema_mcp_table" in statement else None,
    )
    tables[7] = table("t00007", "id")
    started = time.process_time()
    assert await history.record(seen(2, *tables.values())) is Outcome.RECORDED
    assert len(written) == 2  # the row is deleted and written anew
    assert time.process_time() - started < 2
    assert await told(history) == [("t00007", "changed", ("column name removed", "column age removed"))]
    # Another process knows nothing and compares by digests.
    tables[8] = table("t00008", "id", "name", "age", "weight")
    other = history_of(store)
    assert await other.record(seen(3, *tables.values())) is Outcome.RECORDED
    assert (await told(history))[0] == ("t00008", "changed", ("column weight added (integer)",))
    loaded = await history_of(store).load(schema=True)
    assert loaded.schema == seen(3, *tables.values()).schema


async def test_a_schema_of_another_format_is_not_loaded_and_is_written_anew(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(store_url)
    await store.open()
    await history_of(store).record(seen(1, ONE, table("dogs", "id")))
    async with store.writing() as connection:
        await connection.execute(sa.text(f"UPDATE {prefix(store)}schema_mcp_table SET value = '{{}}', digest = ''"))
    monkeypatch.setattr(history_module, "FORMAT", 3)
    later = history_of(store)
    assert (await later.load(schema=True)).schema is None
    # What cannot be read cannot be compared; that a table is gone is known all the same.
    assert await later.record(seen(2, TWO)) is Outcome.RECORDED
    assert [(name, kind) for name, kind, _ in await told(later)] == [("dogs", "removed")]
    assert (await history_of(store).load(schema=True)).schema == seen(2, TWO).schema


def prefix(store: Store) -> str:
    return "" if store.place.file is not None else "schema_mcp."


async def test_a_damaged_row_means_no_schema_to_load(store_url: str) -> None:
    store = store_at(store_url)
    await store.open()
    await history_of(store).record(seen(1, ONE))
    async with store.writing() as connection:
        await connection.execute(sa.text(f"UPDATE {prefix(store)}schema_mcp_table SET value = 'x'"))
    assert (await history_of(store).load(schema=True)).schema is None


def test_the_program_knows_every_revision_that_there_is() -> None:
    assert migrate.revisions() == REVISIONS


async def test_the_tables_are_what_the_migrations_make(store_url: str) -> None:
    store = store_at(store_url)
    await store.open()
    assert await store.revision() == REVISIONS[-1]

    def difference(connection: sa.Connection) -> set[str]:
        inspector = sa.inspect(connection)
        schema = "schema_mcp" if connection.dialect.name == "postgresql" else None
        found = {
            (name, column["name"])
            for name in inspector.get_table_names(schema=schema)
            for column in inspector.get_columns(name, schema=schema)
        }
        return {".".join(pair) for pair in found ^ {(t.name, c.name) for t in metadata.tables.values() for c in t.c}}

    async with store.reading() as connection:
        assert await connection.run_sync(difference) == set()


async def test_a_file_that_we_make_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "state.sqlite"
    before = os.umask(0o022)
    try:
        await store_at(str(path)).open()
    finally:
        os.umask(before)
    assert modes(path) == (0o700, 0o600)


def modes(path: Path) -> tuple[int, int]:
    return stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)


# Where it is


def test_auto_is_a_file_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    place = locate("auto", SERVED)
    assert isinstance(place, Place)
    assert place.file is not None
    assert place.file.is_relative_to(tmp_path)
    assert place.file.name == "state.sqlite"


def test_a_store_is_named_without_its_secrets() -> None:
    place = locate("postgres://me:secret@db.internal/state?sslmode=require&password=secret", SERVED)
    assert isinstance(place, Place)
    assert "secret" not in place.shown
    assert "db.internal/state" in place.shown
    assert isinstance(locate("off", SERVED), NoPlace)


@pytest.mark.parametrize("given", ["mysql://me:secret@h/d", "sqlite://", "sqlite:///", "oracle://secret"])
def test_a_store_that_cannot_be_is_refused_without_its_secrets(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^state\.url: ") as refused:
        locate(given, SERVED)
    assert "secret" not in str(refused.value)


def test_the_served_file_is_not_its_own_store(tmp_path: Path) -> None:
    served = sa.URL.create("sqlite", database=str(tmp_path / "shop.sqlite"))
    with pytest.raises(ConfigurationError, match="another file"):
        locate(str(tmp_path / "." / "shop.sqlite"), served)


def test_a_database_is_known_by_what_decides_its_schema_and_by_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    one = identify("main", SERVED, Selection(), "auto")
    assert "secret" not in one
    assert json.loads(one) == {
        "source": "main",
        "product": "postgresql",
        "host": "db.internal",
        "port": "5432",
        "database": "shop",
        "role": "reader",
        "reader": "auto",
    }
    assert identify("main", SERVED.set(password="other", port=5432), Selection(), "auto") == one
    others = {
        identify("main", SERVED.set(username="writer"), Selection(), "auto"),
        identify("main", SERVED.set(port=5433), Selection(), "auto"),
        identify("main", SERVED.set(host="other"), Selection(), "auto"),
        identify("main", SERVED.set(database="other"), Selection(), "auto"),
        identify("main", SERVED, Selection(exclude=("a",)), "auto"),
        identify("main", SERVED, Selection(), "information_schema"),
    }
    assert len(others | {one}) == 7
    by_parameters = sa.make_url("postgresql:///shop?host=db.internal&user=reader")
    assert identify("main", by_parameters, Selection(), "auto") == one
    monkeypatch.setenv("PGHOST", "db.internal")
    monkeypatch.setenv("PGUSER", "reader")
    assert identify("main", sa.make_url("postgresql:///shop"), Selection(), "auto") == one


def test_state_settings_are_settings_like_any() -> None:
    given = {"SCHEMA_MCP_STATE__URL": "off", "SCHEMA_MCP_STATE__MAX_CHANGES": "5"}
    settings = load(file=None, environment=given, flags={})
    assert settings.state == replace(settings.state, url="off", max_changes=5, lock_timeout_s=10.0)


# Five processes


@asynccontextmanager
async def five(url: str, store_url: str) -> AsyncIterator[list[Peer]]:
    """Clients of five servers that were started at the same moment."""
    variables = environment({"state__url": store_url, "watch__poll_interval_s": 0.1, "log__level": "info"})
    async with asyncio.timeout(3 * LIMIT_S), AsyncExitStack() as stack:
        urls = await asyncio.gather(*[stack.enter_async_context(http_server(url, variables)) for _ in range(5)])
        yield [await join(stack, address, MODERN) for address in urls]


@SQLITE
async def test_five_servers_that_start_at_once_share_a_store_and_keep_each_change_once(
    place: Database, store_url: str
) -> None:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY)")
    async with five(place.url, store_url) as peers:

        async def changes(peer: Peer) -> list[tuple[str, str]]:
            told = (await peer.call("schema_changes"))["changes"]
            return [(change["table"], change["kind"]) for change in told]

        async def all_keep() -> bool:
            stati = [(await peer.call("server_status"))["history"] for peer in peers]
            return all(status["kept"] and not status["waiting"] for status in stati)

        await until_it_holds(all_keep)
        expected: list[tuple[str, str]] = []
        for sql, change in (
            ("CREATE TABLE dogs (id integer)", ("dogs", "added")),
            ("ALTER TABLE dogs ADD COLUMN name text", ("dogs", "changed")),
            ("DROP TABLE dogs", ("dogs", "removed")),
        ):
            place.execute(sql)
            expected.insert(0, change)

            async def is_told() -> bool:
                return len(await changes(peers[0])) >= len(expected)

            await until_it_holds(is_told)
            for peer in peers:
                await peer.call("refresh_schema")
            await until_it_holds(all_keep)
        assert [await changes(peer) for peer in peers] == [expected] * 5


@pytest.mark.parametrize("place", ["18"], indirect=True)
async def test_servers_that_see_a_storm_at_their_own_pace_tell_one_history(
    place: Database, servers: Callable[[str], Server]
) -> None:
    server, name = servers("18"), f"store_{uuid.uuid4().hex}"
    async with AsyncExitStack() as stack:
        store_url = server.create_database(name)
        stack.callback(server.drop_database, name)
        programs = [
            await stack.enter_async_context(
                inside(place.url, state__url=store_url, watch__poll_interval_s=pace, watch__debounce_s=pace / 4)
            )
            for pace in (0.05, 0.11, 0.24)
        ]
        keepers = [program.app.keeper for program in programs]
        for program in programs:
            await program.peer.names()
        await until(lambda: all(keeper.status.kept and keeper.settled.is_set() for keeper in keepers))
        there: set[str] = set()
        for step in range(20):
            table = f"t{step * 7 % 5}"
            await asyncio.to_thread(
                place.execute, f"DROP TABLE {table}" if table in there else f"CREATE TABLE {table} (id integer)"
            )
            there ^= {table}
        await asyncio.to_thread(place.execute, "CREATE TABLE last (id integer)")
        for program in programs:
            await until(lambda program=program: "query_last" in program.app.registry.current.table_tools)  # type: ignore[misc]
        await until(lambda: not any(keeper.status.waiting for keeper in keepers))
        told = [(await program.peer.call("schema_changes"))["changes"] for program in programs]
        assert told[1:] == [told[0]] * 2
        state: dict[str, str] = {}
        for change in reversed(told[0]):
            # Nothing is told twice: what is added was not there, what is removed was.
            assert change["kind"] != state.get(change["table"], "removed")
            state[change["table"]] = change["kind"]
        assert {table for table, kind in state.items() if kind == "added"} == there | {"last"}
