"""The protocol layer over a small service kept in memory: both eras, both transports, the SDK's client and raw bytes.

Run as a program (`python -m tests.test_serving stdio|http`), this file is the server that the tests start and end.
"""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import mcp_types as types
import orjson
import pytest
from anyio.abc import Process
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from schema_mcp.caller import Caller
from schema_mcp.errors import UsageError
from schema_mcp.observe.events import InternalFailure, ListChangedSent, Observation
from schema_mcp.server import changes as changes_module
from schema_mcp.server.handlers import ToolServer
from schema_mcp.server.service import ToolAnswer, UnknownToolError
from schema_mcp.server.transports import stdio
from schema_mcp.server.transports.http import HttpSettings, serve_http
from schema_mcp.tools.base import Action, Annotations, ToolSpec

ROOT = Path(__file__).parent.parent
SECRET = "postgres://u:p4ss@h/db"
LIMIT_S = 20.0
STOP_LIMIT_S = 2.0
COMMAND = [sys.executable, "-W", "error", "-m", "tests.test_serving"]
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

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> ToolAnswer:
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


# Standard input and output


@ERAS
async def test_stdio_ends_with_its_input_and_still_answers_what_was_asked(era: str) -> None:
    async with process("stdio") as running:
        assert running.stdin
        assert running.stdout
        await running.stdin.send(opening(era) + request(1, "tools/call", era, name="whoami", arguments={}))
        await running.stdin.aclose()
        answers = [json.loads(line) for line in await Lines(running.stdout).rest()]
        assert [each["id"] for each in answers] == ([1] if era == MODERN else [0, 1])
        assert "result" in answers[-1]
        await ends_after(running, lambda: None)


@ERAS
@pytest.mark.parametrize("state", ["unopened", "idle", "listening", "calling"])
async def test_stdio_ends_within_two_seconds_of_sigterm(era: str, state: str) -> None:
    async with process("stdio") as running:
        assert running.stdin
        assert running.stdout
        assert running.stderr
        lines = Lines(running.stdout)
        if state == "unopened":
            await running.stdin.send(b"\n[]\n")  # not a request: the era is still open
            await lines.next()
        else:
            await running.stdin.send(opening(era) + request(1, "tools/list", era))
            while json.loads(await lines.next()).get("id") != 1:
                pass
        if state == "listening" and era == MODERN:
            await running.stdin.send(request(2, "subscriptions/listen", era, notifications={"toolsListChanged": True}))
            await lines.next()
        if state == "calling":
            await running.stdin.send(request(2, "tools/call", era, name="wait", arguments={}))
            assert await Lines(running.stderr).next() == b"waiting"
        await ends_after(running, running.terminate)
        last = [json.loads(line) for line in await lines.rest()]
    if state == "calling":
        assert [each["result"]["structuredContent"]["error"]["code"] for each in last] == ["cancelled"]
    if state == "listening" and era == MODERN:
        assert [each["id"] for each in last] == [2]


async def test_lines_that_are_no_message_are_answered_and_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "MAX_LINE_BYTES", 1000)
    asked = [
        b"{nonsense",
        b'{"jsonrpc":"2.0","id":1',
        b"[]",
        b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":8,"method":"ping","params":{"x":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":9,"result":[]}',
        b'"' + b"x" * 200_000 + b'"',
        b"\xff\xfe",
    ]
    source, sink = Given(b"\r\n".join(asked) + b"\n" + opening(LEGACY) + request(10, "ping", LEGACY)), Kept()
    with anyio.fail_after(LIMIT_S):
        await stdio.serve_wire(serve(Notes()), source, sink, asyncio.Event())
    answers = [json.loads(line) for line in sink.data.splitlines()]
    refused = [(each["id"], each["error"]["code"]) for each in answers if "error" in each]
    assert refused == [
        (None, -32700),
        (None, -32700),
        (None, -32600),
        (7, -32600),
        (None, -32600),
        (8, -32600),
        (None, -32600),
        (None, -32700),
    ]
    assert [each["id"] for each in answers if "result" in each] == [0, 10]


class Given:
    """Input in pieces of odd sizes, then its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        piece, self._data = self._data[:4097], self._data[4097:]
        return piece

    def close(self) -> None:
        pass


class Kept:
    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data

    async def close(self) -> None:
        pass


async def test_what_is_printed_by_the_way_never_reaches_the_wire() -> None:
    async with process("stdio") as running:
        assert running.stdin
        assert running.stdout
        assert running.stderr
        shout = [request(number, "tools/call", MODERN, name="shout", arguments={}) for number in (0, 1)]
        await running.stdin.send(b"".join(shout))
        await running.stdin.aclose()
        assert sorted(json.loads(line)["id"] for line in await Lines(running.stdout).rest()) == [0, 1]
        words = await Lines(running.stderr).rest()
    assert words.count(b"a stray word") == 2
    assert words.count(b"and bytes") == 2


async def test_stdio_serves_from_a_file_to_a_file_and_over_one_socket(tmp_path: Path) -> None:
    command = [*COMMAND, "stdio"]
    asked = request(1, "tools/call", MODERN, name="whoami", arguments={})
    (tmp_path / "in").write_bytes(asked)
    with anyio.fail_after(LIMIT_S):
        with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
            await anyio.run_process(command, stdin=source, stdout=sink, cwd=ROOT)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            async with await anyio.open_process(
                command, stdin=theirs.fileno(), stdout=theirs.fileno(), cwd=ROOT
            ) as running:
                theirs.close()
                ours.sendall(asked)
                ours.shutdown(socket.SHUT_WR)
                await ends_after(running, lambda: None, LIMIT_S)  # its start is in it
            heard = ours.recv(65536)
    for written in ((tmp_path / "out").read_bytes(), heard):
        assert json.loads(written)["id"] == 1
        assert "result" in json.loads(written)


# HTTP


@ERAS
@pytest.mark.parametrize("state", ["idle", "listening", "calling"])
async def test_http_ends_within_two_seconds_of_sigterm(era: str, state: str) -> None:
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


async def test_an_auto_client_settles_on_the_stateless_era() -> None:
    async with http_server(Notes()) as url, Client(url) as client:
        assert client.protocol_version == VERSION
        assert [each.name for each in (await client.list_tools()).tools][:1] == ["echo"]


if __name__ == "__main__":
    asyncio.run(program(sys.argv[1]))
