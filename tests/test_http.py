"""Serving over HTTP: its end, whom it listens to, and what it costs."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.client import Client

from schema_mcp.caller import Caller
from schema_mcp.errors import UsageError
from schema_mcp.server.transports.http import HttpSettings, serve_http
from schema_mcp.tools.base import ToolSpec
from tests.notes_server import (
    ERAS,
    LEGACY,
    MODERN,
    VERSION,
    Lines,
    Notes,
    Raw,
    ends_after,
    http_server,
    process,
    request,
    serve,
)

# HTTP


@ERAS
@pytest.mark.parametrize("state", ["idle", "listening", "calling"])
async def test_http_ends_soon_after_sigterm(era: str, state: str) -> None:
    results: list[types.CallToolResult] = []
    heard = asyncio.Event()

    async def note(message: Any) -> None:
        heard.set()

    async with process("http") as running, AsyncExitStack() as stack:
        assert running.stderr
        errors = Lines(running.stderr)
        url = (await errors.next()).decode()
        client = await stack.enter_async_context(Client(url, mode=era, cache=None, message_handler=note))

        async def call() -> None:
            results.append(await client.call_tool("wait"))

        if state == "listening":
            if era == MODERN:
                stream = await stack.enter_async_context(client.listen(tools_list_changed=True))
            while not heard.is_set():  # until then the client may not have opened its stream
                await client.call_tool("grow")
                with anyio.move_on_after(0.2):
                    await heard.wait()
        async with anyio.create_task_group() as tasks:
            if state == "calling":
                tasks.start_soon(call)
                assert await errors.next() == b"waiting"
            await ends_after(running, running.terminate)
        if state == "listening" and era == MODERN:
            events = [type(event).__name__ async for event in stream]  # ended by its result, not by a lost connection
            assert events == ["ToolsListChanged"]
    if state == "calling":
        assert [result.structured_content["error"]["code"] for result in results] == ["cancelled"]


async def test_http_lets_go_of_an_open_stream_and_of_half_a_request_in_order() -> None:
    async with AsyncExitStack() as stack:
        async with http_server(Notes()) as url:
            client = await stack.enter_async_context(Raw(url))
            await client.open_session()
            stream = await client.open_stream()
            half, writer = await asyncio.open_connection("127.0.0.1", client.port)
            stack.callback(writer.transport.abort)
            writer.write(f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Length: 9\r\n\r\n{{".encode())
            await client.post(request(1, "ping", LEGACY), until=b"result")  # the server has read the other one by then
        assert (await stream.read()).endswith(b"0\r\n\r\n")
        assert (await half.readline()).split()[1] == b"503"


async def test_http_does_not_list_the_tools_for_a_call() -> None:
    class Counting(Notes):
        listed = 0

        async def tools(self, caller: Caller) -> Sequence[ToolSpec]:
            self.listed += 1
            return await super().tools(caller)

    notes = Counting()
    body = request(1, "tools/call", MODERN, name="echo", arguments={"n": 1})
    headers = (f"MCP-Protocol-Version: {VERSION}", "Mcp-Method: tools/call", "Mcp-Name: echo")
    async with http_server(notes) as url, Raw(url, *headers) as client:
        assert b"200 OK" in await client.post(body, until=b"structuredContent")
    assert notes.listed == 0


async def test_http_takes_only_its_own_hosts_and_origins() -> None:
    async with http_server(Notes()) as url:
        port = int(url.split(":")[2].split("/")[0])
        own, body = f"Host: 127.0.0.1:{port}", request(1, "tools/list", MODERN)

        async def status(*headers: str, path: str = "/mcp") -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = [
                f"POST {path} HTTP/1.1",
                *headers,
                "Content-Type: application/json",
                "Accept: application/json, text/event-stream",
                f"MCP-Protocol-Version: {VERSION}",
                "Mcp-Method: tools/list",
                f"Content-Length: {len(body)}",
            ]
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
            line = await reader.readline()
            writer.transport.abort()
            return int(line.split()[1])

        assert await status(f"{own} \t", f"Origin:   http://127.0.0.1:{port} ") == 200
        for host in ("127.0.0.1", "localhost", "[::1]"):
            assert await status(f"Host: {host}:{port}") == 200
            assert await status(own, f"Origin: http://{host}:{port}") == 200
        evil = [
            "evil.com",
            "127.0.0.1",
            f"127.0.0.1:{port}@evil.com",
            "127.0.0.1:80@evil.com",
            f"localhost:{port}.evil.com",
            f"localhost.:{port}",
            f"127.0.0.1:{port + 1}",
            "",
        ]
        assert [await status(f"Host: {host}") for host in evil] == [421] * len(evil)
        assert await status(f"Host: evil.com:{port}", path="/elsewhere") == 421
        assert await status(own, own) in (400, 421)
        origins = [f"http://{host}" for host in evil] + ["null", f"https://127.0.0.1:{port}", f"127.0.0.1:{port}"]
        assert [await status(own, f"Origin: {origin}") for origin in origins] == [403] * len(origins)
        both = f"Origin: http://127.0.0.1:{port}"
        assert await status(own, both, "Origin: http://evil.com") == 403


async def test_http_listens_on_the_loopback_alone_and_says_what_to_do_when_it_cannot() -> None:
    async def refused(**settings: Any) -> str:
        with pytest.raises(UsageError) as caught:
            await serve_http(serve(Notes()), HttpSettings(**settings), asyncio.Event(), print)
        return str(caught.value)

    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        assert "until there is sign-in" in await refused(host=host)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert await refused(port=port) == (
            f"127.0.0.1:{port} is taken by another program: stop that one or choose another --port (0 takes a free one)"
        )
    assert "no wildcards" in await refused(port=0, allowed_hosts=("db.internal:*",))
