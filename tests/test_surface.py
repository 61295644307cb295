"""Which tools are listed: for all, and for a session that has activated tables; what a list costs."""

import json
import os
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from schema_mcp.config.load import load
from schema_mcp.errors import ConfigurationError
from tests.conftest import Place
from tests.peers import COMMAND, FIXED, LEGACY, LIMIT_S, MODERN, Inside, environment, inside, join, served
from tests.test_cli import run as run_command

SESSION = [*FIXED, "activate_tables"]


def listed(*tables: str) -> list[str]:
    return [*sorted(SESSION), *sorted(f"{kind}_{table}" for table in tables for kind in ("query", "insert"))]


@pytest.fixture
def pets(place: Place) -> Place:
    place.execute("CREATE TABLE pets (id integer primary key, name text)")
    place.execute("CREATE TABLE vets (id integer primary key)")
    return place


async def test_a_session_lists_the_tools_of_the_tables_that_it_activates_and_no_other_session_does(pets: Place) -> None:
    async with inside(pets.url, tools__surface="progressive") as program, AsyncExitStack() as stack:
        other = await join(stack, program.server, LEGACY)
        assert await program.peer.names() == await other.names() == listed()
        answer = await program.peer.call("activate_tables", {"tables": ["vets"]})
        assert answer == {"active": ["vets"], "tools": ["query_vets", "insert_vets"], "schema_version": 1}
        await program.peer.hears()
        assert await program.peer.names() == listed("vets")
        assert await other.names() == listed()
        assert other.told.empty()


async def test_what_is_activated_adds_up_until_it_is_replaced(pets: Place) -> None:
    async with inside(pets.url, tools__surface="progressive") as program:
        await program.peer.call("activate_tables", {"tables": ["vets"]})
        await program.peer.call("activate_tables", {"tables": ["pets", "pets"]})
        assert await program.peer.names() == listed("pets", "vets")
        answer = await program.peer.call("activate_tables", {"tables": ["pets"], "replace": True})
        assert answer["active"] == ["pets"]
        assert await program.peer.names() == listed("pets")
        assert (await program.peer.call("activate_tables", {"tables": [], "replace": True}))["active"] == []
        assert await program.peer.names() == listed()


async def hears_of(program: Inside, place: Place, sql: str) -> None:
    while not program.peer.told.empty():
        program.peer.told.get_nowait()
    place.execute(sql)
    await program.peer.hears()


async def test_a_session_hears_of_changes_in_what_it_has_activated_and_others_do_not(pets: Place) -> None:
    async with inside(pets.url, tools__surface="progressive") as program, AsyncExitStack() as stack:
        other = await join(stack, program.server, LEGACY)
        await program.peer.call("activate_tables", {"tables": ["vets"]})
        await program.peer.hears()
        await hears_of(program, pets, "ALTER TABLE vets ADD COLUMN since date")
        (tool,) = [t for t in (await program.peer.client.list_tools()).tools if t.name == "query_vets"]
        assert "since" in tool.input_schema["properties"]["where"]["properties"]
        await hears_of(program, pets, "DROP TABLE vets")
        assert await program.peer.names() == listed()
        assert other.told.empty()


async def test_a_call_to_a_tool_that_is_not_listed_works(pets: Place) -> None:
    async with inside(pets.url, tools__surface="generic") as program:
        assert await program.peer.names() == sorted(FIXED)
        assert (await program.peer.call("insert_pets", {"rows": [{"id": 1}]}))["inserted"] == 1
        assert await program.peer.rows("query_pets") == [{"id": 1, "name": None}]


async def test_tables_that_are_pinned_are_listed_whatever_the_surface(pets: Place) -> None:
    for surface in ("generic", "progressive"):
        async with inside(pets.url, tools__surface=surface, tools__pin=["pets"]) as program:
            assert await program.peer.table_tools() == [
                *(["activate_tables"] if surface == "progressive" else []),
                "insert_pets",
                "query_pets",
            ]


async def test_any_surface_can_have_activation_and_where_there_is_no_session_there_is_none(pets: Place) -> None:
    settings: dict[str, Any] = {"tools__groups": "activate_tables", "tools__surface": "generic"}
    async with served(pets.url, "http", **settings) as scene:
        session, stateless = await scene.join(LEGACY), await scene.join(MODERN)
        assert await session.names() == sorted(SESSION)
        assert await stateless.names() == sorted(FIXED)
        with pytest.raises(Exception, match="Unknown tool: 'activate_tables'"):
            await stateless.call("activate_tables", {"tables": ["pets"]})
        await session.call("activate_tables", {"tables": ["pets"]})
        await session.hears()
        assert await session.names() == listed("pets")
        assert stateless.told.empty()


async def test_the_stateless_era_has_a_session_on_stdio(pets: Place) -> None:
    async with served(pets.url, "stdio", tools__surface="progressive") as scene:
        peer = await scene.join(MODERN)
        await peer.call("activate_tables", {"tables": ["pets"]})
        await peer.hears()
        assert await peer.names() == listed("pets")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "'tables' takes at least one table's name"),
        ({"tables": []}, "'tables' takes at least one table's name"),
        ({"tables": "pets"}, "'tables' takes an array, got 'pets'"),
        ({"tables": ["pests"]}, "there is no table 'pests'. Did you mean 'pets'?"),
        ({"tables": [1]}, "'table' takes a table's name as a string"),
        ({"tables": ["pets"], "only": True}, "unknown argument 'only'."),
    ],
)
async def test_what_cannot_be_activated_is_refused(pets: Place, arguments: dict[str, Any], message: str) -> None:
    async with inside(pets.url, tools__surface="progressive") as program:
        assert (await program.peer.error("activate_tables", arguments))["message"] == message
        assert await program.peer.names() == listed()


def test_the_price_of_each_surface_is_told_and_true() -> None:
    shown = run_command("tools", "sample").stdout.splitlines()
    heading = "What a model pays for the list, by tools.surface (now auto):"
    start = shown.index(heading) + 1
    prices = {line.split()[0]: line.split(None, 1)[1] for line in shown[start : start + 3]}
    for surface in ("tables", "generic"):
        tools = json.loads(run_command("tools", "sample", "--json", SCHEMA_MCP_TOOLS__SURFACE=surface).stdout)
        size = len(json.dumps(tools, separators=(",", ":"), ensure_ascii=False).encode()) - 2
        assert prices[surface] == f"{len(tools)} tools, {size:,} bytes, about {size // 4:,} tokens"
    assert prices["progressive"].startswith("12 tools, ")


async def test_what_a_session_has_activated_is_forgotten_with_it(pets: Place) -> None:
    async with inside(pets.url, tools__surface="progressive") as program:
        async with AsyncExitStack() as stack:
            other = await join(stack, program.server, LEGACY)
            await other.call("activate_tables", {"tables": ["pets"]})
            assert len(program.app.service.activated.items()) == 1
        assert program.app.service.activated.items() == []


async def test_a_server_says_at_its_start_what_its_list_costs() -> None:
    variables = {**os.environ, **environment({"tools__surface": "generic"})}
    async with await anyio.open_process([*COMMAND, "sample"], env=variables) as server:
        assert server.stderr is not None
        words = b""
        with anyio.fail_after(LIMIT_S):
            while b"pays" not in words:
                words += await server.stderr.receive()
        server.terminate()
    assert b'what a model pays for the list, tools.surface = "generic": 11 tools, ' in words


def test_a_group_that_does_not_exist_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(file=None, environment={}, flags={"tools.groups": ["all"]})
    assert refused.value.mistakes == (
        "tools.groups: takes words out of activate_tables, set_context, wait_for_change, got 'all'",
    )
