"""The protocol over both transports and in both eras: listing, calling, sessions, changes, cancelling."""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from schema_mcp.caller import Caller
from schema_mcp.observe.events import InternalFailure, ListChangedSent
from schema_mcp.server import changes as changes_module
from schema_mcp.tools.base import ToolSpec
from tests.notes_server import (
    ERAS,
    LEGACY,
    LIMIT_S,
    MODERN,
    SECRET,
    TRANSPORTS,
    VERSION,
    Lines,
    Notes,
    Raw,
    http_server,
    opening,
    process,
    request,
    serve,
    served,
    tool,
)

# Listing and calling


@TRANSPORTS
@ERAS
async def test_a_client_lists_the_tools_and_learns_that_the_list_may_change(transport: str, era: str) -> None:
    async with served(transport, era) as scene:
        client = await scene.connect()
        listed = await client.list_tools()
        found = client.session.discover_result if era == MODERN else client.session.initialize_result
    assert [each.model_dump(by_alias=True, exclude_none=True) for each in listed.tools] == [
        spec.as_dict() for spec in Notes().specs
    ]
    assert listed.next_cursor is None
    assert found is not None
    assert found.capabilities.tools == types.ToolsCapability(list_changed=True)
    assert found.instructions == "Notes of a test."
    if era == MODERN:
        assert (listed.ttl_ms, listed.cache_scope) == (1500, "private")
        assert (found.ttl_ms, found.cache_scope) == (1500, "private")  # type: ignore[union-attr]


@TRANSPORTS
@ERAS
async def test_an_answer_is_the_same_as_text_and_as_an_object_to_the_last_digit(transport: str, era: str) -> None:
    async with served(transport, era) as scene:
        result = await (await scene.connect()).call_tool("echo", {"n": 2**65})
    assert isinstance(result.content[0], types.TextContent)
    assert json.loads(result.content[0].text) == result.structured_content
    assert result.structured_content == {
        "arguments": {"n": 2**65},
        "rows": [{"big": 2**70, "nothing": None, "zero": -0.0, "text": "ä\n\u2028"}],
    }
    assert (len(result.content), result.is_error) == (1, False)


@TRANSPORTS
@ERAS
async def test_an_unknown_tool_is_a_protocol_error_that_names_it_and_near_ones(transport: str, era: str) -> None:
    async with served(transport, era) as scene:
        client = await scene.connect()
        with pytest.raises(MCPError) as caught:
            await client.call_tool("ecko", {"n": 1})
    assert (caught.value.code, caught.value.message) == (-32602, "Unknown tool: 'ecko'. Did you mean echo?")


@TRANSPORTS
@ERAS
async def test_a_defect_is_a_result_that_tells_nothing_of_its_cause(transport: str, era: str) -> None:
    async with served(transport, era) as scene:
        result = await (await scene.connect()).call_tool("crash")
    assert result.is_error
    assert isinstance(result.structured_content, dict)
    assert result.structured_content["error"]["code"] == "internal_error"
    assert "p4ss" not in result.model_dump_json()


async def test_a_defect_is_observed_by_class_and_place_without_its_text() -> None:
    notes = Notes()
    async with Client(serve(notes), mode=LEGACY) as client:
        await client.call_tool("crash")
    (failure,) = notes.observed
    assert isinstance(failure, InternalFailure)
    assert failure.where == "tools/call 'crash'"
    assert re.findall(r"^(?:caused by )?(builtins\.\w+)$", failure.traceback, re.M) == [
        "builtins.RuntimeError",
        "builtins.ValueError",
    ]
    assert "p4ss" not in failure.traceback


async def test_a_defect_while_listing_leaks_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tools(caller: Caller) -> Sequence[ToolSpec]:
        raise RuntimeError(SECRET)

    notes = Notes()
    monkeypatch.setattr(notes, "tools", tools)
    async with Client(serve(notes), mode=LEGACY) as client:
        with pytest.raises(MCPError) as caught:
            await client.list_tools()
        result = await client.call_tool("no such tool, whose near names cannot be listed")
    assert (caught.value.code, result.is_error) == (-32603, True)
    assert "p4ss" not in caught.value.message + result.model_dump_json()


async def test_results_are_text_alone_where_objects_are_turned_off() -> None:
    async with Client(serve(Notes(), structured=False), mode=MODERN) as client:
        result = await client.call_tool("whoami")
    assert result.structured_content is None
    assert isinstance(result.content[0], types.TextContent)


async def test_pages_join_to_the_list_and_a_cursor_holds_for_its_list_only() -> None:
    notes = Notes()
    async with Client(serve(notes, page_size=4), mode=LEGACY) as client:
        first = await client.list_tools()
        second = await client.list_tools(cursor=first.next_cursor)
        assert [each.name for each in (*first.tools, *second.tools)] == [spec.name for spec in notes.specs]
        assert second.next_cursor is None
        notes.specs.append(tool("new"))
        for cursor in (first.next_cursor, "nonsense"):
            with pytest.raises(MCPError) as caught:
                await client.list_tools(cursor=cursor)
            assert caught.value.code == -32602


# Sessions, changes, cancelling


@TRANSPORTS
@ERAS
async def test_a_caller_has_a_session_wherever_the_protocol_has_one(transport: str, era: str) -> None:
    async with served(transport, era) as scene:
        clients = [await scene.connect(), await scene.connect()]
        seen = [(await client.call_tool("whoami")).structured_content["session"] for client in (*clients, *clients)]
    if (transport, era) == ("http", MODERN):
        assert seen == [None] * 4
    else:
        assert seen[:2] == seen[2:]
        assert len({None, *seen}) == 3


@TRANSPORTS
@ERAS
async def test_three_clients_at_once_hear_of_each_change_once(transport: str, era: str) -> None:
    heard: list[asyncio.Queue[str]] = [asyncio.Queue() for _ in range(3)]
    async with served(transport, era) as scene:
        clients = []
        for queue in heard:

            async def note(message: Any, queue: asyncio.Queue[str] = queue) -> None:
                if isinstance(message, types.ToolListChangedNotification):
                    queue.put_nowait(message.method)

            client = await scene.connect(message_handler=note)
            clients.append(client)
            if era == MODERN:
                await scene.stack.enter_async_context(client.listen(tools_list_changed=True))
        changers = clients if transport == "stdio" else clients[:1]
        # A client of the handshake era opens its HTTP stream when it likes; until then it is told nothing.
        for changer, queue in zip(changers * 3, heard, strict=False):
            while queue.empty():
                await changer.call_tool("grow")
                with anyio.move_on_after(0.2):
                    queue.put_nowait(await queue.get())
        before = [len((await client.list_tools()).tools) for client in clients]
        for queue in heard:
            while not queue.empty():
                queue.get_nowait()

        for changer in changers:
            await changer.call_tool("grow")
        assert [await queue.get() for queue in heard] == ["notifications/tools/list_changed"] * 3
        after = [len((await client.list_tools()).tools) for client in clients]
        assert after == [count + 1 for count in before]
        assert [queue.qsize() for queue in heard] == [0, 0, 0]


async def test_a_session_is_forgotten_when_its_client_leaves() -> None:
    notes = Notes()
    server = serve(notes)
    async with Client(server, mode=LEGACY) as client:
        await client.list_tools()
        assert await server.changes.announce() == ListChangedSent(sessions=1, dropped=0)
    assert await server.changes.announce() == ListChangedSent(sessions=0, dropped=0)
    assert notes.observed == [ListChangedSent(sessions=1, dropped=0), ListChangedSent(sessions=0, dropped=0)]


async def test_a_client_that_stops_reading_loses_its_stream_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes_module, "SEND_TIMEOUT_S", 0.2)
    notes = Notes()
    with anyio.fail_after(LIMIT_S):
        async with http_server(notes) as url, Client(url, mode=LEGACY) as lively, Raw(url) as stuck:
            session_id = await stuck.open_session()
            await stuck.post(request(1, "tools/list", LEGACY), until=b"inputSchema")
            await stuck.open_stream()
            assert notes.server is not None
            (connection,) = (
                each.connection for each in notes.server.sessions if each.connection.session_id == session_id
            )
            blocked = False
            while not blocked:
                with anyio.move_on_after(0.2) as limit:
                    await connection.notify("notifications/message", {"level": "info", "data": "x" * 65536})
                blocked = limit.cancelled_caught
            await lively.list_tools()
            assert await notes.server.changes.announce() == ListChangedSent(sessions=1, dropped=1)
            # The stream is gone and with it what blocked the session.
            assert await notes.server.changes.announce() == ListChangedSent(sessions=2, dropped=0)


@ERAS
async def test_a_call_cancelled_over_stdio_is_cleaned_up_and_not_answered(era: str) -> None:
    async with process("stdio") as running:
        assert running.stdin
        assert running.stdout
        assert running.stderr
        words = Lines(running.stderr)
        await running.stdin.send(opening(era) + request(1, "tools/call", era, name="wait", arguments={}))
        assert await words.next() == b"waiting"
        await running.stdin.send(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}\n')
        assert await words.next() == b"released"
        await running.stdin.send(request(2, "tools/call", era, name="whoami", arguments={}))
        await running.stdin.aclose()
        answered = [json.loads(line)["id"] for line in await Lines(running.stdout).rest()]
    assert answered == ([2] if era == MODERN else [0, 2])


@ERAS
async def test_a_call_cancelled_over_http_is_cleaned_up(era: str) -> None:
    notes = Notes()
    with anyio.fail_after(LIMIT_S):
        async with http_server(notes) as url, Client(url, mode=era) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "wait")
                await notes.waiting.wait()
                tasks.cancel_scope.cancel()
            await notes.released.wait()


async def test_an_auto_client_settles_on_the_stateless_era() -> None:
    async with http_server(Notes()) as url, Client(url) as client:
        assert client.protocol_version == VERSION
        assert [each.name for each in (await client.list_tools()).tools][:1] == ["echo"]
