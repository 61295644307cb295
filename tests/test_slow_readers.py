"""Clients over HTTP that take their time with an answer, or never take it."""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from mcp_types import JSONRPCResponse

from schema_mcp.caller import Caller
from schema_mcp.server.service import ToolAnswer
from schema_mcp.server.transports import unsent
from schema_mcp.tools.options import Report
from tests.notes_server import ERAS, LEGACY, LIMIT_S, MODERN, VERSION, Notes, Raw, http_server, request

#: More than the buffers of the system take of one connection.
SIZE = 16_000_000


class Large(Notes):
    """Every tool answers with `SIZE` bytes."""

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, report: Report | None = None
    ) -> ToolAnswer:
        return ToolAnswer(json=b'{"text":"%s"}' % (b"x" * SIZE), is_error=False)


async def asking(stack: AsyncExitStack, url: str, era: str) -> Raw:
    """A client whose answer has begun to come, and that reads nothing of it."""
    headers = (f"MCP-Protocol-Version: {VERSION}", "Mcp-Method: tools/call", "Mcp-Name: echo")
    client = await stack.enter_async_context(Raw(url, *(headers if era == MODERN else ())))
    if era == LEGACY:
        await client.open_session()
    await client.post(request(1, "tools/call", era, name="echo", arguments={}), until=b"xxx")
    return client


async def rest(client: Raw) -> int:
    """How many bytes still come before the connection is broken, or the answer is whole."""
    size = 0
    try:
        while size < SIZE and (data := await client._calls.read(1_000_000)):
            size += len(data)
    except ConnectionError:
        pass
    return size


@ERAS
async def test_an_answer_that_is_read_slowly_comes_whole(era: str) -> None:
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
        client = await asking(stack, await stack.enter_async_context(http_server(Large(), structured=False)), era)
        assert await rest(client) > SIZE - 100


@ERAS
async def test_a_client_that_takes_nothing_is_let_go_of(era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent, "STUCK_S", 0.1)
    gone = asyncio.Event()
    given_up = unsent.Unsent.send

    async def send(*arguments: Any) -> None:
        try:
            await given_up(*arguments)
        except asyncio.CancelledError:
            gone.set()
            raise

    monkeypatch.setattr(unsent.Unsent, "send", send)
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
        client = await asking(stack, await stack.enter_async_context(http_server(Large(), structured=False)), era)
        await gone.wait()
        assert await rest(client) < SIZE - 1_000_000


async def test_the_oldest_answers_make_room_where_all_hold_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent, "MAX_UNSENT_BYTES", SIZE * 5 // 2)
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
        url = await stack.enter_async_context(http_server(Large(), structured=False))
        clients = [await asking(stack, url, MODERN) for _ in range(4)]
        sizes = [await rest(client) for client in clients]
    whole = [size > SIZE - 100 for size in sizes]
    assert whole[-2:] == [True, True]
    assert not whole[0]


@ERAS
async def test_an_answer_that_waits_for_its_client_is_held_once(era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the bytes that are left of it: what the SDK made them of is gone."""
    monkeypatch.setattr(unsent, "STUCK_S", LIMIT_S)
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
        client = await asking(stack, await stack.enter_async_context(http_server(Large(), structured=False)), era)
        gc.collect()
        held = [one.result for one in gc.get_objects() if isinstance(one, JSONRPCResponse) and one.id == 1]
        assert all(len(str(result)) < 100 for result in held)
        assert await rest(client) > SIZE - 100
