"""The history of the schema as clients and the command line see it, over restarts and outages."""

import asyncio
import json
import re
import subprocess
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schema_mcp.observe.events import HistoryKept, ListChangedSent
from tests.conftest import Place
from tests.peers import COMMAND, FIXED, LIMIT_S, MODERN, Inside, environment, http_server, inside, join
from tests.proxy import proxied
from tests.sqlite import delete
from tests.waiting import until, until_it_holds

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("place", ["18"], indirect=True)
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)

CATS = "CREATE TABLE cats (id integer PRIMARY KEY, name varchar(50))"


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "kept" / "state.sqlite")


async def recorded(program: Inside) -> None:
    """Waits until every reading so far is in the store."""
    keeper = program.app.keeper
    await until(lambda: keeper.settled.is_set() and keeper.status.kept and not keeper.status.waiting)


async def changes(program: Inside, **arguments: Any) -> list[tuple[str, str, list[str]]]:
    """What schema_changes tells: table, kind, sentences."""
    await recorded(program)
    answer = await program.peer.call("schema_changes", arguments)
    return [(change["table"], change["kind"], change["changes"]) for change in answer["changes"]]


@PLACES
async def test_each_change_is_told_newest_first_by_table_and_since_a_time(place: Place, store: str) -> None:
    place.execute(CATS)
    varchar, integer = {
        "postgresql": ("character varying(20)", "integer"),
        "sqlite": ("varchar(20)", "INTEGER"),
    }[place.product]
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        assert await changes(program) == []
        place.execute("CREATE TABLE dogs (id integer NOT NULL, tag varchar(20))")
        await program.peer.hears()
        place.execute("ALTER TABLE cats ADD COLUMN age integer")
        await program.peer.hears()
        place.execute("DROP TABLE dogs")
        await program.peer.hears()
        removed = ("dogs", "removed", ["table removed: dropped, renamed, or the role may no longer use it"])
        changed = ("cats", "changed", [f"column age added ({integer})"])
        columns = f"id ({integer}, not null), tag ({varchar})"
        added = ("dogs", "added", [f"table added with 2 columns: {columns}"])
        assert await changes(program) == [removed, changed, added]
        assert await changes(program, limit=1) == [removed]
        for name in ("dogs", "public.dogs" if place.product == "postgresql" else "main.dogs"):
            assert await changes(program, table=name) == [removed, added]
        assert await changes(program, table="cats") == [changed]
        answer = await program.peer.call("schema_changes", {"limit": 2})
        assert (answer["truncated"], answer["history"]["kept"]) == (True, True)
        first_two = answer["changes"]
        assert await changes(program, since=first_two[1]["at"]) == [removed]
        assert await changes(program, since="2000-01-01") == [removed, changed, added]
        hour = timezone_ahead(first_two[1]["at"])
        assert await changes(program, since=hour) == [removed]


def timezone_ahead(at: str) -> str:
    """The same moment as somebody two hours to the east writes it."""
    return (datetime.fromisoformat(at) + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00"


@SQLITE
async def test_what_cannot_be_asked_is_refused_by_name(place: Place, store: str) -> None:
    place.execute(CATS)
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        await recorded(program)
        for arguments, code, word in (
            ({"since": "yesterday"}, "invalid_argument", "'since' takes an ISO 8601 time, got 'yesterday'"),
            ({"since": 5}, "invalid_argument", "'since' takes an ISO 8601 time, got 5"),
            ({"table": "cat"}, "unknown_table", "Did you mean 'cats'?"),
            ({"limit": 0}, "invalid_argument", "'limit' takes an integer"),
            ({"until": "2026-01-01"}, "unknown_argument", "'until'"),
        ):
            error = await program.peer.error("schema_changes", arguments)
            assert error["code"] == code
            assert word in error["message"]


@SQLITE
async def test_without_a_store_the_tools_say_that_and_why(place: Place) -> None:
    place.execute(CATS)
    async with inside(place.url) as program:
        answer = await program.peer.call("schema_changes")
        assert answer == {
            "changes": [],
            "truncated": False,
            "history": {
                "kept": False,
                "reason": 'state.url is "off"',
                "hint": 'Set state.url to "auto" to keep a history.',
            },
        }
        status = await program.peer.call("server_status")
        assert (status["history"]["kept"], status["history"]["reason"]) == (False, 'state.url is "off"')


@PLACES
async def test_what_changed_while_no_server_ran_is_told_at_the_next_start(place: Place, store: str) -> None:
    place.execute(CATS)
    place.execute("CREATE TABLE dogs (id integer, old_name varchar(20))")
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        await recorded(program)
    place.execute("DROP TABLE dogs")
    place.execute("ALTER TABLE cats RENAME COLUMN name TO title")
    async with inside(place.url, state__url=store) as program:
        # Names of the past are known, though this process never served them.
        stale = await program.peer.error("query_dogs")
        assert (stale["code"], stale["details"]) == ("stale_schema", {"tool": "query_dogs", "columns": []})
        stale = await program.peer.error("query_rows", {"table": "dogs"})
        assert stale["code"] == "stale_schema"
        stale = await program.peer.error("query_cats", {"columns": ["name"]})
        assert stale["code"] == "stale_schema"
        assert [column["name"] for column in stale["details"]["columns"]] == ["id", "title"]
        with pytest.raises(Exception, match="Unknown tool: 'query_birds'"):
            await program.peer.call("query_birds")
        told = await changes(program)
        assert [(table, kind) for table, kind, _ in told] == [("dogs", "removed"), ("cats", "changed")]
        assert re.fullmatch(r"column title added \(.*\)", told[1][2][0])
        assert told[1][2][1:] == ["column name removed"]
        for change in (await program.peer.call("schema_changes"))["changes"]:
            after, at = re.fullmatch(r"happened between (\S+) and (\S+)", change["seen_at_start"]).groups()  # type: ignore[union-attr]
            assert datetime.fromisoformat(after) < datetime.fromisoformat(at) <= datetime.now(UTC)
            assert at == change["at"]
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        assert len(await changes(program)) == 2


@POSTGRESQL
async def test_a_database_that_is_away_at_start_has_its_tools_and_they_say_so(place: Place, store: str) -> None:
    place.execute(CATS)
    async with proxied(place.url) as proxy:
        async with inside(proxy.url, state__url=store) as program:
            names = await program.peer.names()
            await recorded(program)
        proxy.stall()  # an address that swallows everything: the slowest way to be away
        started = asyncio.get_running_loop().time()
        async with inside(proxy.url, state__url=store, limits__call_timeout_s=0.5) as program:
            assert await program.peer.names() == names
            assert asyncio.get_running_loop().time() - started < 2.5
            listed = await program.peer.call("list_tables")
            assert [table["table"] for table in listed["tables"]] == ["cats"]
            assert listed["confirmed"] is False
            (source,) = (await program.peer.call("server_status"))["sources"]
            assert (source["confirmed"], source["tables"]) == (False, 1)
            assert (await program.peer.error("query_cats"))["code"] in ("database_unavailable", "timeout")
            generation = program.app.registry.current.generation
            proxy.go_on()
            await until(lambda: program.app.watcher.confirmed("database"))
            assert await program.peer.rows("query_cats") == []
            assert "confirmed" not in await program.peer.call("list_tables")
            (source,) = (await program.peer.call("server_status"))["sources"]
            assert (source["state"], source["confirmed"]) == ("confirmed", True)
            # Being confirmed has changed no tool, and nobody was told of a change.
            assert await program.peer.names() == names
            assert program.app.registry.current.generation == generation
            assert [told for told in program.observed if isinstance(told, ListChangedSent)] == []
            assert await changes(program) == []


@SQLITE
async def test_a_database_file_that_is_gone_at_start_and_comes_back_changed(place: Place, store: str) -> None:
    place.execute(CATS)
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        await recorded(program)
    move(place.url, f"{place.url}.away")
    async with inside(place.url, state__url=store) as program:
        assert await program.peer.table_tools() == ["insert_cats", "query_cats"]
        assert (await program.peer.error("query_cats"))["code"] == "database_unavailable"
        (source,) = (await program.peer.call("server_status"))["sources"]
        assert (source["state"], source["confirmed"]) == ("unreachable", False)
        assert "does not exist" in source["reason"]
        move(f"{place.url}.away", place.url)
        place.execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        assert await program.peer.table_tools() == ["insert_cats", "insert_dogs", "query_cats", "query_dogs"]
        assert [(table, kind) for table, kind, _ in await changes(program)] == [("dogs", "added")]


@SQLITE
async def test_another_selection_or_database_has_a_history_of_its_own(place: Place, store: str, tmp_path: Path) -> None:
    place.execute(CATS)
    place.execute("CREATE TABLE dogs (id integer)")
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        await recorded(program)
    async with inside(place.url, state__url=store, database__include=["cats"]) as program:
        assert await program.peer.table_tools() == ["insert_cats", "query_cats"]
        assert await changes(program) == []
    async with inside(str(tmp_path / "nothing.sqlite"), state__url=store) as program:
        assert await program.peer.names() == FIXED
        assert (await program.peer.error("query_rows", {"table": "cats"}))["code"] == "database_unavailable"


async def test_the_sample_keeps_no_history() -> None:
    async with inside("sample", state__url="auto") as program:
        history = (await program.peer.call("server_status"))["history"]
        assert history == {
            "kept": False,
            "reason": "the sample is made anew at each start",
            "hint": "Serve a database of your own to have a history.",
            "waiting": 0,
        }


@SQLITE
async def test_server_status_tells_how_the_server_stands(place: Place, store: str) -> None:
    place.execute(CATS)
    async with inside(place.url, state__url=store, pool__size=3) as program:
        listed = program.app.registry
        await program.peer.names()
        await recorded(program)
        status = await program.peer.call("server_status")
        (source,) = status["sources"]
        assert source.pop("schema_age_s") < LIMIT_S
        assert datetime.fromisoformat(source.pop("schema_true_at")) <= datetime.now(UTC)
        assert source == {
            "source": "database",
            "product": "sqlite",
            "state": "confirmed",
            "confirmed": True,
            "tables": 1,
            "watch": {"mode": "poll", "interval_s": 0.1},
            "pool": {"size": 3, "in_use": 0, "waiting": 0},
        }
        assert status["history"] == {"kept": True, "where": store, "waiting": 0}
        assert status["surface"] == {
            "listed_tools": len(listed.current.listed),
            "listed_bytes": sum(map(len, listed.current.listed_json)),
        }


@SQLITE
async def test_a_cursor_goes_on_after_a_restart_and_at_another_server_of_the_store(place: Place, store: str) -> None:
    place.execute(CATS)
    place.execute("INSERT INTO cats VALUES (1, 'Tom'), (2, 'Kit'), (3, 'Rex')")
    variables = environment({"state__url": store})
    asked = {"limit": 1, "columns": ["id"]}
    cursor = None
    for expected in (1, 2):
        async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
            url = await stack.enter_async_context(http_server(place.url, variables))
            peer = await join(stack, url, MODERN)
            if cursor is None:
                # The first server of all makes the key after its first look: a page that it signs then is good.
                await until_kept(peer)
            page = await peer.call("query_cats", asked | ({"cursor": cursor} if cursor else {}))
            assert page["rows"] == [{"id": expected}]
            cursor = page["next_cursor"]


async def until_kept(peer: Any) -> None:
    async def kept() -> bool:
        return bool((await peer.call("server_status"))["history"]["kept"])

    await until_it_holds(kept)


def move(path: str, to: str) -> None:
    Path(path).rename(to)


def exists(path: str) -> bool:
    return Path(path).exists()


def command(*arguments: str, store: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "history", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment({"state__url": store}),
    )


@SQLITE
async def test_the_command_shows_the_history_without_the_database(place: Place, store: str) -> None:
    shown = await asyncio.to_thread(command, place.url, store=store)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert f"nothing is kept of this database in {store}" in shown.stderr
    assert not exists(store)
    place.execute(CATS)
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        await recorded(program)
        shown = await asyncio.to_thread(command, place.url, store=store)
        assert (shown.returncode, shown.stdout) == (0, "")
        assert "the history of this database begins at 20" in shown.stderr
        place.execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        place.execute("ALTER TABLE dogs ADD COLUMN name varchar(20)")
        await program.peer.hears()
        await recorded(program)
        told = (await program.peer.call("schema_changes"))["changes"]
    delete(Path(place.url))
    shown = await asyncio.to_thread(command, place.url, store=store)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == (
        f"{told[0]['at']}  changed  dogs\n    column name added (varchar(20))\n"
        f"{told[1]['at']}  added    dogs\n    table added with 1 column: id (INTEGER)\n"
    )
    as_json = await asyncio.to_thread(command, place.url, "--json", "--limit", "1", "--table", "dogs", store=store)
    assert json.loads(as_json.stdout) == told[:1]
    assert as_json.stderr == "older changes are there: --limit\n"
    later = await asyncio.to_thread(command, place.url, "--since", told[0]["at"], store=store)
    assert (later.returncode, later.stdout) == (0, "")
    wrong = await asyncio.to_thread(command, place.url, "--since", "soon", store=store)
    assert (wrong.returncode, "takes an ISO 8601 time" in wrong.stderr) == (2, True)
    off = await asyncio.to_thread(command, place.url, store="off")
    assert (off.returncode, off.stderr) == (
        1,
        'schema-mcp: there is no history: state.url is "off". Set state.url to "auto" to keep a history.\n',
    )


@POSTGRESQL
@pytest.mark.parametrize("reader", ["auto", "information_schema"])
async def test_a_store_in_the_database_that_is_served_never_becomes_tools(place: Place, reader: str) -> None:
    place.execute(f"{CATS}; CREATE SCHEMA schema_mcp; CREATE TABLE schema_mcp.other (id integer)")
    served: dict[str, Any] = {"database__schemas": ["public", "schema_mcp"], "watch__reader": reader}
    async with inside(place.url, state__url=place.url, **served) as program:
        await program.peer.names()
        await recorded(program)
        assert place.execute("SELECT count(*) FROM schema_mcp.schema_mcp_source").strip() == "1"
        await program.peer.call("refresh_schema")
        assert [tool for tool in await program.peer.table_tools() if tool.startswith("query_")] == [
            "query_cats",
            "query_schema_mcp__other",
        ]
        error = await program.peer.error("query_rows", {"table": "schema_mcp.schema_mcp_secret"})
        assert error["code"] == "unknown_table"


@SQLITE
async def test_it_is_said_once_where_the_history_is_kept(place: Place, store: str) -> None:
    async with inside(place.url, state__url=store) as program:
        await program.peer.names()
        await recorded(program)
        assert [seen for seen in program.observed if isinstance(seen, HistoryKept)] == [HistoryKept(where=store)]
