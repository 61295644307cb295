"""Clients made of bytes, for thousands of calls that may be given up or lost at any moment: over HTTP and over stdio.

They speak both eras. A client over HTTP has a connection of its own; to give up a call is to close it (2026-07-28) or
to say so (2025-11-25). Over stdio all of them share one pair of pipes. They know tools and answers, and no databases.
"""

import asyncio
import itertools
import json
import re
import socket
import struct
from contextlib import suppress
from typing import Any, Protocol

import orjson

from tests.faults.journal import NoAnswer
from tests.notes_server import LEGACY, MODERN, VERSION, opening, request

#: Longer than any call may take; an answer that comes later is none.
WAIT_S = 20.0
#: The longest line that is read.
LINE_BYTES = 64 * 1024 * 1024


class Wire(Protocol):
    """A client of the server."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer's object; cancelled, it tells the server so. Raises: NoAnswer."""
        ...

    async def tools(self) -> list[str]:
        """The names of the listed tools. Raises: NoAnswer."""
        ...

    def close(self) -> None:
        """Lets go of the connection, without a word."""
        ...


def answer_of(message: dict[str, Any]) -> dict[str, Any]:
    """The object that a tool answered with; a JSON-RPC error as an error whose code is its number."""
    if "error" in message:
        error = message["error"]
        return {"error": {"code": str(error["code"]), "message": str(error["message"]), "retryable": False}}
    result: dict[str, Any] = message["result"]
    answer: dict[str, Any] = json.loads(result["content"][0]["text"])
    return answer


class HttpWire:
    """One client over HTTP, on one connection, opened when it is needed and whenever it was lost."""

    def __init__(self, url: str, era: str = MODERN) -> None:
        self.port = int(url.split(":")[2].split("/")[0])
        self.era = era
        self._ids = itertools.count(1)
        self._session: list[str] = []
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer's object; cancelled, it tells the server so. Raises: NoAnswer."""
        number = next(self._ids)
        try:
            return answer_of(await self._ask(number, "tools/call", name=tool, arguments=arguments))
        except asyncio.CancelledError:
            self.close()
            if self._session:
                given_up = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
                with suppress(NoAnswer):
                    await self._post(orjson.dumps(given_up))
            raise

    async def tools(self) -> list[str]:
        """The names of the listed tools. Raises: NoAnswer."""
        message = await self._ask(next(self._ids), "tools/list")
        return [tool["name"] for tool in message["result"]["tools"]]

    async def open(self) -> None:
        """Connected, with a session where the era has one. Raises: NoAnswer."""
        if self.era == LEGACY and not self._session:
            initialize, initialized = opening(LEGACY).splitlines()
            headers, _ = await self._post(initialize)
            found = re.search(rb"mcp-session-id: (\w+)", headers, re.I)
            if found is None:
                raise NoAnswer("the server opened no session")
            self._session = [f"Mcp-Session-Id: {found[1].decode()}"]
            await self._post(initialized)

    async def send(self, tool: str, arguments: dict[str, Any]) -> None:
        """Sends a call whose answer nobody will wait for, and that asks to be told how far it is. Raises: NoAnswer."""
        await self.open()
        number = next(self._ids)
        message = orjson.loads(request(number, "tools/call", self.era, name=tool, arguments=arguments))
        message["params"].setdefault("_meta", {})["progressToken"] = f"progress of {number}"
        try:
            await self._write(orjson.dumps(message), tool)
        except OSError as error:
            self.close()
            raise NoAnswer(str(error)) from error

    async def read_some(self, count: int) -> None:
        """Reads so many bytes of what comes. Raises: NoAnswer."""
        assert self._reader is not None
        try:
            async with asyncio.timeout(WAIT_S):
                await self._reader.readexactly(count)
        except (OSError, EOFError, TimeoutError) as error:
            raise NoAnswer(str(error)) from error

    def close(self) -> None:
        """Lets go of the connection: a FIN, and RST for whatever comes on it yet."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    def reset(self) -> None:
        """Lets go of the connection by RST, as a machine does that was switched off and on."""
        if self._writer is not None:
            raw: socket.socket = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    async def _ask(self, number: int, method: str, **params: Any) -> dict[str, Any]:
        await self.open()
        _, body = await self._post(request(number, method, self.era, **params), method, params.get("name", ""))
        for line in body.splitlines():
            line = line.removeprefix(b"data: ")
            if line.startswith(b"{"):
                message: dict[str, Any] = orjson.loads(line)
                if message.get("id") == number:
                    return message
        raise NoAnswer(f"no answer in the response: {body[:200]!r}")

    async def _post(self, body: bytes, method: str = "", name: str = "") -> tuple[bytes, bytes]:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._write(body, name, method)
                assert self._reader is not None
                return await _response(self._reader)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.close()
            raise NoAnswer(f"{type(error).__name__} {error}") from error

    async def _write(self, body: bytes, name: str, method: str = "tools/call") -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LINE_BYTES)
        more = list(self._session)
        if self.era == MODERN:
            more = [
                f"MCP-Protocol-Version: {VERSION}",
                f"Mcp-Method: {method}",
                *([f"Mcp-Name: {name}"] if name else []),
            ]
        head = [
            "POST /mcp HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *more,
        ]
        self._writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        await self._writer.drain()


async def _response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Headers and body. Raises: ValueError when it is no success; what streams raise."""
    headers = await reader.readuntil(b"\r\n\r\n")
    if found := re.search(rb"content-length: (\d+)", headers, re.I):
        body = await reader.readexactly(int(found[1]))
    elif b"chunked" in headers.lower():
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = b""
    status = int(headers.split()[1])
    if status not in (200, 202):
        raise ValueError(f"HTTP {status}")
    return headers, body


class Pipes:
    """One client's end of a server's standard streams, which several writers share. `lost`: the server's end closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, era: str) -> None:
        self.era = era
        self.lost = asyncio.Event()
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        writer.write(opening(era))
        self._reading = asyncio.create_task(self._read(reader))

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The response; cancelled, it tells the server so. Raises: NoAnswer."""
        number = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self.write(request(number, method, self.era, **params))
            async with asyncio.timeout(WAIT_S):
                return await answer
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {WAIT_S:g} s") from error
        except asyncio.CancelledError:
            given_up = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
            with suppress(NoAnswer):
                self.write(orjson.dumps(given_up) + b"\n")
            raise
        finally:
            del self._waiting[number]

    def write(self, data: bytes) -> None:
        """Sends bytes. Raises: NoAnswer."""
        if self.lost.is_set() or self._writer.is_closing():
            raise NoAnswer("the pipe is closed")
        self._writer.write(data)

    def end(self) -> None:
        """The end of the server's input."""
        self._writer.close()

    def close(self) -> None:
        """Lets go of the pipes."""
        self._reading.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                message = orjson.loads(line)
                waiting = self._waiting.get(message.get("id"))
                if waiting is not None and not waiting.done() and "method" not in message:
                    waiting.set_result(message)
        finally:
            self.lost.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(NoAnswer("the server closed its output"))


class StdioWire:
    """One of those who share a server's pipes."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer's object; cancelled, it tells the server so. Raises: NoAnswer."""
        return answer_of(await self._pipes.ask("tools/call", name=tool, arguments=arguments))

    async def tools(self) -> list[str]:
        """The names of the listed tools. Raises: NoAnswer."""
        return [tool["name"] for tool in (await self._pipes.ask("tools/list"))["result"]["tools"]]

    def close(self) -> None:
        """Nothing: the pipes are everybody's."""
