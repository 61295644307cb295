"""Serving on standard input and output: its end, its faults, and what must never reach the wire."""

import asyncio
import json
import socket
from pathlib import Path

import anyio
import pytest

from schema_mcp.server.transports import stdio
from tests.notes_server import (
    COMMAND,
    ERAS,
    LEGACY,
    LIMIT_S,
    MODERN,
    ROOT,
    Lines,
    Notes,
    ends_after,
    opening,
    process,
    request,
    serve,
)

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
async def test_stdio_ends_soon_after_sigterm(era: str, state: str) -> None:
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
