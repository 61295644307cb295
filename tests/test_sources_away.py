"""One of several databases is away, at the start or later: the others go on, and what is told of it is true."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Place, sqlite_place
from tests.peers import FIXED, LEGACY, LIMIT_S, MODERN, Inside, inside_several
from tests.proxy import proxied
from tests.waiting import until

pytest_plugins = "tests.standing"

MUGS = "CREATE TABLE mugs (id integer PRIMARY KEY)"
SHOP = ["insert_shop_mugs", "query_shop_mugs"]
CRM = ["insert_crm_mugs", "query_crm_mugs"]
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])


@pytest.fixture
def shop(tmp_path: Path) -> Place:
    """The one that is always there."""
    place = sqlite_place(tmp_path / "shop.sqlite")
    place.execute(MUGS)
    return place


@pytest.fixture
def crm(tmp_path: Path) -> Place:
    """The one that goes away."""
    place = sqlite_place(tmp_path / "crm.sqlite")
    place.execute(MUGS)
    return place


def take_away(place: Place) -> None:
    os.rename(place.url, place.url + ".away")


def bring_back(place: Place) -> None:
    os.rename(place.url + ".away", place.url)


async def told_of(program: Inside, source: str) -> dict[str, Any]:
    """What list_tables says of the source, and its hint."""
    answer = await program.peer.call("list_tables", {"source": source})
    (told,) = answer["sources"]
    return {**told, "hint": answer.get("hint"), "shown": [table["table"] for table in answer["tables"]]}


@ERAS
async def test_a_source_that_is_away_at_the_start_joins_when_it_comes(shop: Place, crm: Place, era: str) -> None:
    take_away(crm)
    began = time.time()
    async with inside_several(shop=shop.url, crm=crm.url, era=era) as program:
        assert await program.peer.names() == [*FIXED, *SHOP]
        assert await program.peer.rows("query_shop_mugs") == []
        told = await told_of(program, "crm")
        assert (told["state"], told["confirmed"], told["tables"], told["shown"]) == ("unreachable", False, 0, [])
        assert str(time.gmtime(began).tm_year) == told["since"][:4]
        for tool, arguments in (
            ("query_crm_mugs", {}),
            ("query_rows", {"table": "crm.mugs"}),
            ("describe_table", {"table": "crm.main.mugs"}),
            ("insert_rows", {"table": "crm.mugs", "rows": [{"id": 1}]}),
        ):
            error = await program.peer.error(tool, arguments)
            assert (error["code"], error["retryable"]) == ("database_unavailable", True)
            assert error["message"] == f"no table of source 'crm' can be served: {told['reason']}"
        unknown = await program.peer.error("query_rows", {"table": "cups"})
        assert unknown["hint"] == "list_tables tells the tables there are. Nothing is known yet of: crm."
        refreshed = await program.peer.call("refresh_schema")
        assert (refreshed["refreshed"], refreshed["tables"]) == (False, 1)
        assert refreshed["errors"] == [{"source": "crm", "message": told["reason"]}]
        assert (await program.peer.call("refresh_schema", {"source": "shop"}))["refreshed"] is True
        bring_back(crm)
        await program.peer.hears()
        assert await program.peer.table_tools() == sorted([*CRM, *SHOP])
        assert (await program.peer.call("insert_crm_mugs", {"rows": [{"id": 1}]}))["inserted"] == 1
        told = await told_of(program, "crm")
        assert told == {
            "source": "crm",
            "state": "confirmed",
            "confirmed": True,
            "tables": 1,
            "hint": None,
            "shown": ["crm.mugs"],
        }


@pytest.mark.parametrize("tool", ["query_crm_mugs", "query_rows"])
async def test_a_batch_tells_of_a_source_that_was_never_there_what_a_call_tells(
    shop: Place, crm: Place, tool: str
) -> None:
    take_away(crm)
    async with inside_several(shop=shop.url, crm=crm.url) as program:
        arguments = {"table": "crm.mugs"} if tool == "query_rows" else {}
        alone = await program.peer.error(tool, arguments)
        assert (alone["code"], alone["retryable"]) == ("database_unavailable", True)
        calls = [{"tool": "query_shop_mugs"}, {"tool": tool, "arguments": arguments}]
        assert await program.peer.error("run_batch", {"calls": calls[1:]}) == alone
        assert await program.peer.error("run_batch", {"calls": calls}) == alone
        answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
        assert [result.get("error") for result in answer["results"]] == [None, alone]


async def test_a_source_that_goes_away_keeps_its_tools_and_leaves_the_others_alone(shop: Place, crm: Place) -> None:
    async with inside_several(shop=shop.url, crm=crm.url) as program:
        tools = await program.peer.table_tools()
        take_away(crm)
        await until(lambda: program.app.watcher.errors)
        assert await program.peer.table_tools() == tools == sorted([*CRM, *SHOP])
        error = await program.peer.error("insert_crm_mugs", {"rows": [{"id": 1}]})
        assert (error["code"], error["retryable"]) == ("database_unavailable", True)
        assert (await program.peer.call("insert_shop_mugs", {"rows": [{"id": 1}]}))["inserted"] == 1
        told = await told_of(program, "crm")
        assert (told["state"], told["confirmed"], told["shown"]) == ("unreachable", True, ["crm.mugs"])
        assert told["hint"].startswith("Not answering: crm. ")
        assert (await told_of(program, "shop"))["hint"] is None
        status = await program.peer.call("server_status")
        assert [(one["source"], one["state"], "since" in one, "retry_in_s" in one) for one in status["sources"]] == [
            ("crm", "unreachable", True, True),
            ("shop", "confirmed", False, False),
        ]
        shop.execute("CREATE TABLE cups (id integer)")
        await program.peer.hears()
        assert "query_shop_cups" in await program.peer.names()
        bring_back(crm)
        await until(lambda: not program.app.watcher.errors)
        assert (await program.peer.call("insert_crm_mugs", {"rows": [{"id": 1}]}))["inserted"] == 1


async def test_a_server_that_does_not_say_a_word_holds_up_nobody(
    shop: Place, shared_postgresql: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schema_mcp.server.inquiries.REFRESH_TIMEOUT_S", 0.5)
    monkeypatch.setattr("schema_mcp.dialects.postgresql.dialect.CONNECT_TIMEOUT_S", 60.0)
    async with proxied(shared_postgresql.url) as proxy:
        proxy.stall()
        began = time.monotonic()
        async with inside_several(shop=shop.url, far=proxy.url) as program:
            assert await program.peer.names() == [*FIXED, *SHOP]
            assert await program.peer.rows("query_shop_mugs") == []
            shop.execute("CREATE TABLE cups (id integer)")
            await program.peer.hears()
            assert await program.peer.rows("query_shop_cups") == []
            refreshed = await program.peer.call("refresh_schema", {"source": "shop"})
            assert (refreshed["tables"], refreshed["refreshed"]) == (2, True)
            refreshed = await program.peer.call("refresh_schema")
            late = {"source": "far", "message": "reading the schema takes longer than 0.5 s; it goes on"}
            assert (refreshed["tables"], refreshed["errors"]) == (2, [late])
            assert (await program.peer.error("refresh_schema", {"source": "far"}))["code"] == "timeout"
            assert not program.app.watcher.first_look.is_set()
        assert time.monotonic() - began < LIMIT_S, "waited for the connection that nobody answers"


async def test_a_source_that_is_away_is_served_from_the_last_time(shop: Place, crm: Place, tmp_path: Path) -> None:
    state = {"state__url": str(tmp_path / "state.sqlite")}
    async with inside_several(shop=shop.url, crm=crm.url, **state) as program:
        for source in program.app.sources.values():
            await source.keeper.settled.wait()
            await source.keeper.finish()
    take_away(crm)
    async with inside_several(shop=shop.url, crm=crm.url, **state) as program:
        await until(lambda: program.app.registry.current.unconfirmed)
        assert await program.peer.table_tools() == sorted([*CRM, *SHOP])
        told = await told_of(program, "crm")
        assert (told["state"], told["confirmed"], told["shown"]) == ("unreachable", False, ["crm.mugs"])
        assert (await program.peer.error("query_crm_mugs"))["code"] == "database_unavailable"
        assert await program.peer.rows("query_shop_mugs") == []
        shop.execute("DROP TABLE mugs")
        await program.peer.hears()
        bring_back(crm)
        await until(lambda: not program.app.registry.current.unconfirmed)
        assert await program.peer.table_tools() == CRM
        gone = await program.peer.error("query_shop_mugs")
        assert gone["code"] == "stale_schema"


async def test_with_every_source_away_the_reason_of_each_is_told(shop: Place, crm: Place) -> None:
    take_away(shop)
    take_away(crm)
    async with inside_several(shop=shop.url, crm=crm.url) as program:
        assert await program.peer.names() == FIXED
        error = await program.peer.error("list_tables")
        assert error["code"] == "database_unavailable"
        assert error["message"].count("; ") == 1
        status = await program.peer.call("server_status")
        assert [one["state"] for one in status["sources"]] == ["unreachable", "unreachable"]
        bring_back(shop)
        await program.peer.hears()
        assert await program.peer.table_tools() == SHOP


async def test_a_wrong_sign_in_to_one_source_is_told_without_the_password(
    shop: Place, shared_postgresql: Place
) -> None:
    wrong = f"postgresql://nobody_here:hunter2@{shared_postgresql.url.partition('@')[2]}"
    async with inside_several(shop=shop.url, crm=wrong) as program:
        assert await program.peer.names() == [*FIXED, *SHOP]
        await until(lambda: program.app.watcher.errors)
        told = await told_of(program, "crm")
        assert told["state"] == "unreachable"
        assert "hunter2" not in str([told, program.observed])
