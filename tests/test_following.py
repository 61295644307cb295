"""The tools follow the schema: a change made by somebody else reaches every client, once, with the right list."""

import asyncio

import pytest

from tests.conftest import Place
from tests.peers import LEGACY, LIMIT_S, MODERN, Inside, Peer, inside, served

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
TRANSPORTS = pytest.mark.parametrize("transport", ["stdio", "http"])

#: What another connection does, and the tools that there must be afterwards.
STEPS = (
    (
        "CREATE TABLE dogs (id integer PRIMARY KEY, name text NOT NULL)",
        ["insert_cats", "insert_dogs", "query_cats", "query_dogs"],
    ),
    ("ALTER TABLE dogs ADD COLUMN age integer", ["insert_cats", "insert_dogs", "query_cats", "query_dogs"]),
    ("ALTER TABLE dogs RENAME TO hounds", ["insert_cats", "insert_hounds", "query_cats", "query_hounds"]),
    ("CREATE VIEW old AS SELECT id FROM hounds", None),
    ("DROP VIEW old", ["insert_cats", "insert_hounds", "query_cats", "query_hounds"]),
    ("DROP TABLE hounds", ["insert_cats", "query_cats"]),
)

START = "CREATE TABLE cats (id integer PRIMARY KEY, name text NOT NULL)"


@TRANSPORTS
async def test_every_client_of_both_eras_is_told_of_every_change(place: Place, transport: str) -> None:
    url, execute = place.url, place.execute
    execute(START)
    async with served(url, transport) as scene:
        peers = [await scene.join(era) for era in (LEGACY, MODERN, LEGACY)]
        for peer in peers:
            assert await peer.table_tools() == ["insert_cats", "query_cats"]
        for sql, expected in STEPS:
            execute(sql)
            for peer in peers:
                await peer.hears()
                if expected is not None:
                    assert await peer.table_tools() == expected, sql
        assert [peer.told.qsize() for peer in peers] == [0, 0, 0]


@ERAS
async def test_an_added_column_is_in_the_schema_of_both_tools(place: Place, era: str) -> None:
    url, execute = place.url, place.execute
    execute(START)
    async with inside(url, era=era) as program:
        await program.peer.names()
        execute("ALTER TABLE cats ADD COLUMN lives integer")
        await program.peer.hears()
        schemas = {tool.name: tool.input_schema for tool in (await program.peer.client.list_tools()).tools}
        assert list(schemas["query_cats"]["properties"]["where"]["properties"]) == ["id", "name", "lives"]
        assert list(schemas["insert_cats"]["properties"]["rows"]["items"]["properties"]) == ["id", "name", "lives"]
        answer = await program.peer.call("insert_cats", {"rows": [{"id": 1, "name": "Tom", "lives": 9}]})
        assert answer["outcome"] == "committed"


QUIET = (
    "INSERT INTO cats VALUES (1, 'Tom')",
    "UPDATE cats SET name = 'Tim'",
    "ANALYZE cats",
    "VACUUM",
    "CREATE INDEX by_name ON cats (name)",
    "DROP INDEX by_name",
    "CREATE TEMPORARY TABLE passing (id integer)",
)


async def test_what_changes_no_tool_tells_nobody(place: Place) -> None:
    url, execute = place.url, place.execute
    execute(START)
    async with inside(url) as program:
        before = [tool.model_dump_json() for tool in (await program.peer.client.list_tools()).tools]
        for sql in QUIET:
            execute(sql)
            assert (await program.peer.call("refresh_schema"))["refreshed"], sql
        assert [tool.model_dump_json() for tool in (await program.peer.client.list_tools()).tools] == before
        # A change that does count comes after all of these, and is the only one that anybody hears of.
        execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        assert program.peer.told.qsize() == 0


async def test_changes_within_the_debounce_make_one_notification(place: Place) -> None:
    url, execute = place.url, place.execute
    execute(START)
    async with inside(url, watch__debounce_s=0.5, watch__poll_interval_s=0.05) as program:
        await program.peer.names()
        for name in ("a", "b", "c", "d"):
            execute(f"CREATE TABLE {name} (id integer)")
        await program.peer.hears()
        assert len(await program.peer.table_tools()) == 10
        assert program.peer.told.qsize() == 0


async def test_a_new_table_answers_before_anybody_has_listed_it(place: Place) -> None:
    url, execute = place.url, place.execute
    execute(START)
    async with inside(url, watch__poll_interval_s=60.0) as program:
        await program.peer.names()
        execute("CREATE TABLE dogs (id integer PRIMARY KEY)")
        assert await program.peer.rows("query_dogs") == []
        execute("CREATE TABLE birds (id integer PRIMARY KEY)")
        assert await program.peer.rows("query_rows", {"table": "birds"}) == []


async def test_a_dropped_table_is_called_stale_not_unknown(place: Place) -> None:
    url, execute = place.url, place.execute
    execute(START)
    execute("CREATE TABLE dogs (id integer PRIMARY KEY)")
    async with inside(url, watch__poll_interval_s=60.0) as program:
        await program.peer.names()
        execute("DROP TABLE dogs")
        first = await program.peer.error("query_dogs")
        later = await program.peer.error("query_dogs")
        generic = await program.peer.error("query_rows", {"table": "dogs"})
        assert [error["code"] for error in (first, later, generic)] == ["stale_schema"] * 3
        assert first["details"] == {"table": "dogs", "columns": []}


async def test_a_dropped_column_is_called_stale_with_the_columns_of_now(place: Place) -> None:
    url, execute = place.url, place.execute
    execute("CREATE TABLE cats (id integer PRIMARY KEY, name text, age integer)")
    async with inside(url, watch__poll_interval_s=60.0) as program:
        await program.peer.names()
        execute("ALTER TABLE cats DROP COLUMN age")
        for _ in range(2):  # found out by the database's refusal, then known from the catalog
            error = await program.peer.error("query_cats", {"where": {"age": 3}})
            assert error["code"] == "stale_schema"
            assert [column["name"] for column in error["details"]["columns"]] == ["id", "name"]
        assert await program.peer.rows("query_cats", {"where": {"id": 3}}) == []


async def _quiet_for_a_look(program: Inside, peer: Peer) -> None:
    async with asyncio.timeout(LIMIT_S):
        await program.app.watcher.look()
    assert peer.told.qsize() == 0


async def test_clients_that_wait_for_the_first_reading_are_told_nothing(place: Place) -> None:
    url, execute = place.url, place.execute
    execute(START)
    async with inside(url) as program:
        assert await program.peer.table_tools() == ["insert_cats", "query_cats"]
        await _quiet_for_a_look(program, program.peer)
