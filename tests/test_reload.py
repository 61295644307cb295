"""Other settings in a running server, on every database: what clients see, what the engine holds to, what goes on."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schema_mcp.dialects.base import SessionLimits
from schema_mcp.dialects.sqlite.dialect import SqliteDialect
from schema_mcp.execute.engines import Database
from tests.conftest import Place, sqlite_place
from tests.owner import owned, took
from tests.peers import FIXED, FIXED_IN_WRITE, LEGACY, MODERN, inside
from tests.test_running import POSTGRESQL, SLOW, count, locked
from tests.waiting import until

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)


@pytest.fixture
def pets(place: Place) -> Place:
    place.execute("CREATE TABLE pets (id integer primary key, name text)")
    place.execute("CREATE TABLE vets (id integer primary key, phone text)")
    place.execute("INSERT INTO pets VALUES (1, 'Rex')")
    place.execute("INSERT INTO vets VALUES (7, '555')")
    return place


READING = ["query_pets", "query_vets"]
INSERTING = ["insert_pets", "insert_vets", *READING]


@PLACES
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_tools_that_write_come_and_go_with_the_mode(pets: Place, tmp_path: Path, era: str) -> None:
    async with owned(pets.url, tmp_path, era=era) as owner:
        peer = owner.peer
        assert await peer.table_tools() == INSERTING
        assert await owner.edit("[access]\nmode = 'read'") == took("access.mode")
        await peer.hears()
        fixed = [name for name in FIXED if name != "insert_rows"]
        assert sorted(await peer.names()) == sorted([*fixed, *READING])
        assert await owner.edit("[access]\nmode = 'write'") == took("access.mode")
        await peer.hears()
        assert set(FIXED_IN_WRITE) <= set(await peer.names())
        answer = await peer.call("update_pets", {"where": {"id": 1}, "set": {"name": "Max"}})
        assert answer["updated"] == 1
        assert await peer.rows("query_pets") == [{"id": 1, "name": "Max"}]
        assert peer.told.empty()


@PLACES
async def test_what_is_served_after_a_change_is_what_a_server_that_starts_with_it_serves(
    pets: Place, tmp_path: Path
) -> None:
    text = """
    mask_columns = ["phone"]
    [access]
    mode = "write"
    rules = ["pets(name): read", "vets: insert"]
    max_affected_rows = 5
    [tools]
    pin = ["pets"]
    groups = ["activate_tables"]
    [limits]
    insert_rows = 7
    """
    (tmp_path / "other").mkdir()
    async with (
        owned(pets.url, tmp_path) as owner,
        owned(pets.url, tmp_path / "other", "[database]" + text) as other,
    ):
        await owner.peer.rows("query_vets", {"where": {"phone": "555"}})
        await owner.edit("[database]" + text)
        await owner.peer.hears()
        assert await owner.peer.client.list_tools() == await other.peer.client.list_tools()
        assert await owner.peer.rows("query_vets") == [{"id": 7, "phone": "***"}]
        calls: tuple[tuple[str, dict[str, Any]], ...] = (
            ("query_vets", {"where": {"phone": "555"}}),
            ("insert_pets", {"rows": [{"id": 2, "name": "x"}]}),
            ("insert_pets", {"rows": [{}] * 8}),
            ("delete_rows", {"table": "vets", "all_rows": True}),
        )
        for call in calls:
            assert await owner.peer.error(*call) == await other.peer.error(*call)


async def test_the_engine_itself_refuses_writes_once_the_mode_is_read(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path) as owner:
        await owner.peer.rows("query_pets")  # leaves a connection of the old mode in the pool
        await owner.edit("[access]\nmode = 'read'")
        async with owner.app.database.connection() as connection:
            with pytest.raises(Exception, match=r"read-?only"):
                await connection.execute("DELETE FROM vets")
        await owner.edit("")
        async with owner.app.database.connection() as connection:
            await connection.execute("DELETE FROM vets")
        assert count(pets, "vets") == 0


@PLACES
async def test_an_insert_that_runs_ends_as_it_began(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path, limits__lock_timeout_s=20) as owner:
        await owner.peer.rows("query_pets")  # the insert finds a connection open, as it was before
        async with locked(pets, "pets"):
            insert = asyncio.create_task(owner.peer.call("insert_pets", {"rows": [{"id": 2}]}))
            await until(lambda: owner.app.database.in_use == 1)
            assert await owner.edit("[access]\nmode = 'read'") == took("access.mode")
            assert "insert_pets" not in await owner.peer.names()
        assert (await insert)["outcome"] == "committed"
        assert count(pets, "pets") == 2
        error = await owner.peer.error("insert_pets", {"rows": [{"id": 3}]})
        assert (error["code"], error["message"]) == (
            "stale_schema",
            "tool 'insert_pets' is no longer there: its table was dropped, renamed or is no longer permitted",
        )


@PLACES
async def test_the_surface_changes_and_sessions_keep_what_they_have_activated(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path, "[tools]\nsurface = 'progressive'") as owner:
        await owner.peer.call("activate_tables", {"tables": ["vets"]})
        await owner.peer.hears()
        assert await owner.edit("[tools]\nsurface = 'generic'") == took("tools.surface")
        await owner.peer.hears()
        assert await owner.peer.names() == sorted(FIXED)
        await owner.edit("[tools]\nsurface = 'progressive'\npin = ['pets']")
        await owner.peer.hears()
        assert await owner.peer.table_tools() == ["activate_tables", *INSERTING]


TOO_LONG = "the statement took longer than 0.1 s (limits.statement_timeout_s) and was stopped"


@PLACES
async def test_limits_take_effect_in_the_list_in_calls_and_in_the_database(place: Place, tmp_path: Path) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    async with owned(place.url, tmp_path) as owner:
        await owner.peer.names()
        assert await owner.edit("[limits]\nstatement_timeout_s = 0.1") == took("limits.statement_timeout_s")
        error = await owner.peer.error("query_slow")
        assert (error["code"], error["message"]) == ("timeout", TOO_LONG)
        changed = await owner.edit("[limits]\ninsert_rows = 1\nfilters = 1")
        assert changed == took("limits.statement_timeout_s", "limits.insert_rows", "limits.filters")
        error = await owner.peer.error("insert_slow_rows", {"rows": [{"id": 1}, {"id": 2}]})
        assert error["message"] == "'rows' takes at most 1 rows, got 2"
        filters = [{"column": "id", "op": "gt", "value": 0}] * 2
        error = await owner.peer.error("query_slow_rows", {"filters": filters})
        assert error["message"] == "more than 1 conditions"


@POSTGRESQL
async def test_a_statement_that_runs_keeps_the_time_that_it_began_with(place: Place, tmp_path: Path) -> None:
    place.execute("CREATE VIEW slow AS SELECT 1 AS n FROM pg_sleep(0.3)")
    async with owned(place.url, tmp_path) as owner:
        call = asyncio.create_task(owner.peer.rows("query_slow"))
        await until(lambda: owner.app.database.in_use == 1)
        await owner.edit("[limits]\nstatement_timeout_s = 0.1\ncall_timeout_s = 0.1")
        assert await call == [{"n": 1}]
        assert (await owner.peer.error("query_slow"))["code"] == "timeout"


@PLACES
async def test_a_table_or_column_that_a_rule_hides_is_as_if_it_had_never_been(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path) as owner:
        peer = owner.peer
        await peer.names()
        pets.execute("CREATE TABLE gone (id integer primary key)")
        await peer.hears()
        await peer.rows("query_vets")
        pets.execute("DROP TABLE gone")
        await peer.hears()
        rules = "rules = ['vets: none', 'gone: none', 'pets(name): none']"
        assert await owner.edit(f"[access]\n{rules}") == took("access.rules")
        await peer.hears()
        assert await peer.table_tools() == ["insert_pets", "query_pets"]
        assert await peer.rows("query_pets") == [{"id": 1}]
        (tmp_path / "other").mkdir()
        async with inside(pets.url, access__rules=["vets: none", "gone: none", "pets(name): none"]) as other:
            for name in ("vets", "gone"):
                assert await peer.error("query_rows", {"table": name}) == await other.peer.error(
                    "query_rows", {"table": name}
                )
                assert await unknown(peer, f"query_{name}") == await unknown(other.peer, f"query_{name}")
            call = ("query_pets", {"columns": ["name"]})
            assert await peer.error(*call) == await other.peer.error(*call)


async def unknown(peer: Any, tool: str) -> str:
    with pytest.raises(Exception, match="Unknown tool") as refused:
        await peer.client.call_tool(tool, {})
    return str(refused.value)


@PLACES
async def test_a_callers_own_sql_comes_goes_and_writes_as_the_settings_say(pets: Place, tmp_path: Path) -> None:
    insert = {"sql": "INSERT INTO pets VALUES (2, 'Max')"}
    async with owned(pets.url, tmp_path, "[access]\nmode = 'write'") as owner:
        await owner.peer.names()
        await owner.edit("[access]\nmode = 'write'\nsql = 'read'")
        await owner.peer.hears()
        assert await owner.peer.rows("execute_sql", {"sql": "SELECT id FROM pets"}) == [{"id": 1}]
        assert (await owner.peer.error("execute_sql", insert))["code"] == "not_allowed"
        await owner.edit("[access]\nmode = 'write'\nsql = 'write'")
        assert "error" not in await owner.peer.call("execute_sql", insert)
        assert count(pets, "pets") == 2
        await owner.edit("")
        assert "execute_sql" not in await owner.peer.names()


@PLACES
async def test_a_cursor_goes_on_where_limits_and_mode_change(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path) as owner:
        await owner.peer.call("insert_pets", {"rows": [{"id": 2}, {"id": 3}]})
        first = await owner.peer.call("query_pets", {"columns": ["id"], "limit": 1})
        await owner.edit("[access]\nmode = 'read'\n[limits]\nfilters = 5")
        rest = {"columns": ["id"], "limit": 5, "cursor": first["next_cursor"]}
        assert await owner.peer.rows("query_pets", rest) == [{"id": 2}, {"id": 3}]


async def test_a_connection_that_was_being_opened_under_the_old_mode_serves_no_later_call(tmp_path: Path) -> None:
    url = sa.make_url(f"sqlite:///{sqlite_place(tmp_path / 'pets.sqlite').url}")
    limits = SessionLimits(statement_timeout_s=1, lock_timeout_s=1, idle_in_transaction_timeout_s=1, read_only=False)
    asked, may_open = asyncio.Event(), asyncio.Event()

    class Slow(SqliteDialect):
        def engine_options(self, url: sa.URL, limits: SessionLimits) -> tuple[sa.URL, Mapping[str, Any]]:
            target, options = super().engine_options(url, limits)

            async def open_() -> Any:
                asked.set()
                await may_open.wait()
                return await options["async_creator"]()

            return target, {"async_creator": open_}

    database = Database("database", url, Slow(), limits, size=1, acquire_timeout_s=5)

    async def take() -> None:
        async with database.connection() as connection:
            with pytest.raises(Exception, match="readonly"):
                await connection.execute("CREATE TABLE pets (id)")

    async with asyncio.timeout(10):
        taking = asyncio.create_task(take())
        await asked.wait()
        database.reopening(replace(limits, read_only=True))()
        may_open.set()
        await taking
        await take()
    await database.close()
