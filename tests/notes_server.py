"""A server over a small service kept in memory, and clients of it: the SDK's in both eras, and raw bytes.

Run as a program (`python -m tests.notes_server stdio|http`), this file is the server that the tests start and end.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import orjson
import pytest
from anyio.abc import Process
from mcp import StdioServerParameters
from mcp.client.client import Client

from schema_mcp.caller import Caller
from schema_mcp.observe.events import Observation
from schema_mcp.server.handlers import ToolServer
from schema_mcp.server.service import ToolAnswer, UnknownToolError
from schema_mcp.server.transports import stdio
from schema_mcp.server.transports.http import HttpSettings, serve_http
from schema_mcp.tools.base import Action, Annotations, ToolSpec
from schema_mcp.tools.options import Report

ROOT = Path(__file__).parent.parent
SECRET = "postgres://u:p4ss@h/db"
LIMIT_S = 20.0
#: It takes a tenth of that; the machine may be busy.
STOP_LIMIT_S = 5.0
COMMAND = [sys.executable, "-W", "error", "-m", "tests.notes_server"]
#: The eras, by the names that the SDK's client has for them: it settles on 2026-07-28 when left to itself.
LEGACY, MODERN = "legacy", "auto"
VERSION = "2026-07-28"
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
TRANSPORTS = pytest.mark.parametrize("transport", ["stdio", "http"])


def tool(name: str) -> ToolSpec:
    return ToolSpec(
        name=name,
        kind="test",
        action=Action.INSPECT,
        table=None,
        title=name.title(),
        description=f"The tool {name}.",
        input_schema={"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False},
        annotations=Annotations(read_only=True, destructive=False, idempotent=True),
    )


class Notes:
    """The service: tools that answer, fail, wait, print, and grow the list."""

    list_ttl_ms = 1500
    instructions = "Notes of a test."

    def __init__(self) -> None:
        self.server: ToolServer | None = None
        self.observed: list[Observation] = []
        self.specs = [tool(name) for name in ("echo", "whoami", "crash", "wait", "shout", "grow")]
        self.events: list[str] = []
        self.waiting = asyncio.Event()
        self.released = asyncio.Event()

    async def tools(self, caller: Caller) -> Sequence[ToolSpec]:
        return tuple(self.specs)

    def forget(self, session: str) -> None:
        self.events.append("a session ended")

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, report: Report | None = None
    ) -> ToolAnswer:
        match name:
            case "echo":
                rows = [{"big": 2**70, "nothing": None, "zero": -0.0, "text": "ä\n\u2028"}]
                return answer({"arguments": dict(arguments), "rows": rows})
            case "whoami":
                return answer({"session": caller.session, "principal": caller.principal})
            case "crash":
                raise RuntimeError(f"cannot reach {SECRET}") from ValueError(SECRET)
            case "wait":
                print("waiting", file=sys.stderr, flush=True)
                self.waiting.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)  # a driver rolls back with awaits like these
                    await asyncio.sleep(0)
                    self.released.set()
                    print("released", file=sys.stderr, flush=True)
            case "shout":
                print("a stray word")  # stays in Python's buffer
                os.write(1, b"and bytes\n")
                return answer({})
            case "grow":
                assert self.server is not None
                self.specs.append(tool(f"tool_{len(self.specs)}"))
                sent = await self.server.changes.announce()
                return answer({"sessions": sent.sessions, "dropped": sent.dropped})
        raise UnknownToolError(name)


def answer(value: Mapping[str, Any]) -> ToolAnswer:
    # The json module, because a row may hold an integer beyond 64 bits.
    return ToolAnswer(json=json.dumps(value, ensure_ascii=False).encode(), is_error=False)


def serve(notes: Notes, **options: Any) -> ToolServer:
    notes.server = ToolServer(notes, observe=notes.observed.append, **options)
    return notes.server


async def program(transport: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = serve(Notes())
    if transport == "stdio":
        await stdio.serve_stdio(server, stop)
    else:
        await serve_http(server, HttpSettings(port=0), stop, lambda url: print(url, file=sys.stderr, flush=True))
    print("ended", file=sys.stderr, flush=True)


# The harness


@asynccontextmanager
async def http_server(notes: Notes, **options: Any) -> AsyncIterator[str]:
    """The service over HTTP in this process; gives the URL."""
    stop = asyncio.Event()
    urls: list[str] = []
    ready = asyncio.Event()

    def on_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve_http, serve(notes, **options), HttpSettings(port=0), stop, on_ready)
        with anyio.fail_after(LIMIT_S):
            await ready.wait()
        try:
            yield urls[0]
        finally:
            stop.set()


class Scene:
    """Clients of one service: all of one HTTP server, or each of a stdio process of its own."""

    def __init__(self, stack: AsyncExitStack, target: Any, era: str) -> None:
        #: Everything that is opened on the way, closed in the opposite order.
        self.stack = stack
        self._target = target
        self._era = era

    async def connect(self, **options: Any) -> Client:
        client = Client(self._target, mode=self._era, cache=None, **options)
        return await self.stack.enter_async_context(client)


@asynccontextmanager
async def served(transport: str, era: str) -> AsyncIterator[Scene]:
    with anyio.fail_after(LIMIT_S):
        async with AsyncExitStack() as stack:
            target: Any = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "stdio"], cwd=ROOT)
            if transport == "http":
                target = await stack.enter_async_context(http_server(Notes()))
            yield Scene(stack, target, era)


class Raw:
    """A client over HTTP that is made of bytes: one connection for its requests, one for its stream."""

    def __init__(self, url: str, *headers: str) -> None:
        self.port = int(url.split(":")[2].split("/")[0])
        self._writers: list[asyncio.StreamWriter] = []
        self._headers = list(headers)

    async def __aenter__(self) -> "Raw":
        self._calls = await self._connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader

    def _send(self, writer: asyncio.StreamWriter, method: str, body: bytes) -> None:
        head = [
            f"{method} /mcp HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *self._headers,
        ]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    async def post(self, body: bytes, until: bytes) -> bytes:
        self._send(self._writers[0], "POST", body)
        return await self._calls.readuntil(until)

    async def open_session(self) -> str:
        answer = await self.post(opening(LEGACY).splitlines()[0], until=b"serverInfo")
        found = re.search(rb"mcp-session-id: (\w+)", answer, re.I)
        assert found
        self._headers.append(f"Mcp-Session-Id: {found[1].decode()}")
        return found[1].decode()

    async def delete(self, session: str) -> None:
        """Ends the session."""
        self._headers.append(f"Mcp-Session-Id: {session}")
        self._send(self._writers[0], "DELETE", b"")
        await self._calls.readuntil(b"\r\n\r\n")

    async def open_stream(self) -> asyncio.StreamReader:
        reader = await self._connect()
        self._send(self._writers[-1], "GET", b"")
        await reader.readuntil(b"\r\n\r\n")
        return reader


@asynccontextmanager
async def process(transport: str) -> AsyncIterator[Process]:
    with anyio.fail_after(LIMIT_S):
        # Buffered like a process that an MCP client starts, whatever runs the tests.
        environment = os.environ | {"PYTHONUNBUFFERED": ""}
        async with await anyio.open_process([*COMMAND, transport], cwd=ROOT, env=environment) as started:
            try:
                yield started
            finally:
                if started.returncode is None:
                    started.kill()


class Lines:
    """The lines that a process writes, one after the other."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._held = b""

    async def next(self) -> bytes:
        while b"\n" not in self._held:
            try:
                self._held += await self._stream.receive()
            except anyio.EndOfStream:
                return b""
        line, _, self._held = self._held.partition(b"\n")
        return line

    async def rest(self) -> list[bytes]:
        lines = []
        while line := await self.next():
            lines.append(line)
        return lines


def request(number: int, method: str, era: str, **params: Any) -> bytes:
    if era == MODERN:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + b"\n"


def opening(era: str) -> bytes:
    """What a client sends before its first request."""
    if era == MODERN:
        return b""
    start = request(
        0, "initialize", era, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t", "version": "1"}
    )
    return start + b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


async def ends_after(running: Process, send: Callable[[], Any], limit_s: float = STOP_LIMIT_S) -> None:
    """Does `send` and expects the process to end by itself, in time, with exit code 0 and no traceback."""
    assert running.stderr
    began = monotonic()
    send()
    words = await Lines(running.stderr).rest()
    code = await running.wait()
    assert (code, words[-1:]) == (0, [b"ended"]), words
    assert not any(b"Traceback" in word or b"rror" in word for word in words), words
    assert monotonic() - began < limit_s


if __name__ == "__main__":
    asyncio.run(program(sys.argv[1]))
