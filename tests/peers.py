"""Clients of the real server: the SDK's client in both eras, over both transports or inside the test's own process."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters

from schema_mcp.app import App, running
from schema_mcp.config.load import load
from schema_mcp.observe.events import Observation
from schema_mcp.server.handlers import ToolServer

#: The tools that are always there.
FIXED = [
    "begin_transaction",
    "commit_transaction",
    "describe_table",
    "insert_rows",
    "list_tables",
    "query_rows",
    "refresh_schema",
    "rollback_transaction",
    "run_batch",
    "schema_changes",
    "server_status",
]
#: Of them those that begin and end transactions.
TRANSACTIONS = ["begin_transaction", "commit_transaction", "rollback_transaction"]
#: Those that are there in mode `write` as well.
FIXED_IN_WRITE = ["delete_rows", "update_rows"]
#: Every wait of a test ends here.
LIMIT_S = 20.0
#: The eras, by the names that the SDK's client has for them: it settles on 2026-07-28 when left to itself.
LEGACY, MODERN = "legacy", "auto"


@dataclass
class Peer:
    """A connected client that counts what it is told. `told`: one item a `list_changed`."""

    client: Client
    told: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's object; that the text says the same is checked on the way."""
        result = await self.client.call_tool(tool, dict(arguments or {}))
        (content,) = result.content
        assert isinstance(content, types.TextContent)
        answer: dict[str, Any] = json.loads(content.text)
        assert answer == result.structured_content
        assert result.is_error == ("error" in answer), answer
        return answer

    async def error(self, tool: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The error object of a call that must fail."""
        answer = await self.call(tool, arguments)
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    async def rows(self, tool: str, arguments: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a call that must succeed."""
        answer = await self.call(tool, arguments)
        assert "rows" in answer, answer
        rows: list[dict[str, Any]] = answer["rows"]
        return rows

    async def names(self) -> list[str]:
        """The names of the listed tools."""
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def table_tools(self) -> list[str]:
        """The names of the listed tools that belong to a table."""
        return [name for name in await self.names() if name not in (*FIXED, *FIXED_IN_WRITE)]

    async def hears(self) -> None:
        """Waits for the next `list_changed`."""
        async with asyncio.timeout(LIMIT_S):
            await self.told.get()


async def join(stack: AsyncExitStack, target: Any, era: str) -> Peer:
    """A client of `target` that listens for changes in the way of its era."""
    told: asyncio.Queue[None] = asyncio.Queue()

    async def notice(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.put_nowait(None)

    client = Client(target, mode=era, cache=None, message_handler=notice if era == LEGACY else None)
    peer = Peer(await stack.enter_async_context(client), told)
    if era == MODERN:
        stream = await stack.enter_async_context(client.listen(tools_list_changed=True))

        async def listen() -> None:
            async for _ in stream:
                told.put_nowait(None)

        task = asyncio.create_task(listen())
        stack.callback(task.cancel)
    return peer


@dataclass
class Inside:
    """The real program within the test's process, with everything that it observed."""

    app: App
    server: ToolServer
    peer: Peer
    observed: list[Observation]


@asynccontextmanager
async def inside(url: str, *, era: str = LEGACY, limit_s: float = 60, **settings: Any) -> AsyncIterator[Inside]:
    """The program over a database, and one client. Settings as keywords: `watch__poll_interval_s=0.1`."""
    async with _inside({"database.url": url}, {}, era, settings, limit_s) as program:
        yield program


@asynccontextmanager
async def inside_several(*, era: str = LEGACY, **given: Any) -> AsyncIterator[Inside]:
    """The same over several databases: keywords with `__` are settings, the others URLs by the name of the source."""
    settings = {name: value for name, value in given.items() if "__" in name}
    urls = {name: given[name] for name in given.keys() - settings.keys()}
    settings = {name: value for name, value in settings.items() if not name.startswith("sources__")}
    variables = {f"SCHEMA_MCP_SOURCES__{name.upper()}__URL": url for name, url in urls.items()}
    variables |= {f"SCHEMA_MCP_{name.upper()}": given[name] for name in given if name.startswith("sources__")}
    async with _inside({}, variables, era, settings) as program:
        yield program


@asynccontextmanager
async def _inside(
    flags: dict[str, Any], variables: Mapping[str, str], era: str, settings: Mapping[str, Any], limit_s: float = 60
) -> AsyncIterator[Inside]:
    observed: list[Observation] = []
    flags |= {name.replace("__", "."): value for name, value in settings.items()}
    flags.setdefault("watch.poll_interval_s", 0.1)
    flags.setdefault("state.url", "off")
    configured = load(file=None, environment=variables, flags=flags)
    async with asyncio.timeout(limit_s), AsyncExitStack() as stack:
        app = await stack.enter_async_context(running(configured, observed.append))
        server = ToolServer(app.service, observe=observed.append)
        telling = asyncio.create_task(server.changes.follow(app.list_changed))
        stack.callback(telling.cancel)
        peer = await join(stack, server, era)
        yield Inside(app, server, peer, observed)


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as keywords (`watch__poll_interval_s=0.1`) as the environment variables of a server."""
    named = {"watch__poll_interval_s": 0.2, "state__url": "off", **settings}
    return {f"SCHEMA_MCP_{name.upper()}": str(value) for name, value in named.items()}


COMMAND = [sys.executable, "-W", "error", "-m", "schema_mcp"]


class Scene:
    """Clients of one database: over HTTP all of one server, over stdio each of a server of its own."""

    def __init__(self, stack: AsyncExitStack, target: Any) -> None:
        self.stack = stack
        self.target = target

    async def join(self, era: str) -> Peer:
        """A further client."""
        return await join(self.stack, self.target, era)


@asynccontextmanager
async def served(url: str, transport: str, **settings: Any) -> AsyncIterator[Scene]:
    """The real server as a subprocess."""
    variables = environment(settings)
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        target: Any = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "serve", url], env=variables)
        if transport == "http":
            target = await stack.enter_async_context(http_server(url, variables))
        yield Scene(stack, target)


@asynccontextmanager
async def http_server(url: str, variables: Mapping[str, str]) -> AsyncIterator[str]:
    """A server on a free port; its URL."""
    arguments = [*COMMAND, "serve", url, "--transport", "http", "--port", "0"]
    async with await anyio.open_process(arguments, env={**os.environ, **variables}) as process:
        assert process.stderr is not None
        words = b""
        while (found := re.search(rb"serving on http at (\S+)", words)) is None:
            words += await process.stderr.receive()
        reading = asyncio.create_task(_drain(process.stderr))
        try:
            yield found[1].decode()
        finally:
            process.terminate()
            await process.wait()
            reading.cancel()


async def _drain(stream: Any) -> None:
    async for _ in stream:
        pass
