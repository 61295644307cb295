"""MCP over standard input and output: a JSON-RPC message a line (MCP 2025-11-25 and 2026-07-28, transports/stdio).

Our own transport, because the SDK's sends each line through worker threads, which cost a third of a call and keep the
process alive until the next line comes. The client's first request decides the era; the SDK sees to that.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass

import anyio
from mcp.shared._context_streams import ContextReceiveStream, ContextSendStream, create_context_streams
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)

from schema_mcp.server.calls import Outstanding
from schema_mcp.server.handlers import ToolServer
from schema_mcp.server.results import internal_failure
from schema_mcp.server.transports.pipes import FLUSH_S, Sink, Source, standard_streams

#: The longest line that is read. A longer one is dropped and answered with an error.
MAX_LINE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A line that is no message. `answer`: what its sender is told, None where nobody waits to be told."""

    answer: JSONRPCError | None


async def serve_stdio(server: ToolServer, stop: asyncio.Event) -> None:
    """Serves the client on the process's standard streams until it closes its end or `stop` is set.

    Raises: UsageError if standard input or output is closed.
    """
    if sys.platform == "win32":
        await _serve_windows(server, stop)
        return
    async with standard_streams() as (source, sink):
        await serve_wire(server, source, sink, stop)


async def serve_wire(server: ToolServer, source: Source, sink: Sink, stop: asyncio.Event) -> None:
    """Serves one connection on a pair of byte streams. Returns once nothing of it runs any more.

    At the end of the input, as at `stop`, requests already read may still be answered: `ToolServer.finish`.
    """
    to_server, from_client = create_context_streams[SessionMessage | Exception](0)
    to_writer, from_server = create_context_streams[SessionMessage](0)
    refusals = to_writer.clone()
    unanswered = Outstanding[RequestId]()
    over = asyncio.Event()
    wound_up = asyncio.Event()
    reading = anyio.CancelScope()

    async def read() -> None:
        with closing(refusals), reading:
            await _read(source, to_server, refusals, unanswered)
        over.set()

    async def serve() -> None:
        await server.run(from_client, to_writer, server.create_initialization_options())
        over.set()

    async def write() -> None:
        await _write(server, sink, from_server, unanswered)
        over.set()
        wound_up.set()

    async def wait_for_stop() -> None:
        await stop.wait()
        over.set()

    with closing(to_server), closing(from_client), closing(to_writer), closing(refusals), closing(from_server):
        async with anyio.create_task_group() as tasks:
            for work in (read, serve, write, wait_for_stop):
                tasks.start_soon(work)
            await over.wait()
            reading.cancel()
            await server.finish(unanswered.empty)
            to_server.close()
            with anyio.move_on_after(FLUSH_S):
                await wound_up.wait()
            tasks.cancel_scope.cancel()


async def _read(
    source: Source,
    to_server: ContextSendStream[SessionMessage | Exception],
    refusals: ContextSendStream[SessionMessage],
    unanswered: Outstanding[RequestId],
) -> None:
    try:
        async for line in _lines(source):
            message = _message(line)
            match message:
                case Refusal(answer=answer):
                    if answer is not None:
                        await refusals.send(SessionMessage(answer))
                    continue
                case JSONRPCRequest(id=request_id):
                    unanswered.add(request_id)
                case JSONRPCNotification(
                    method="notifications/cancelled", params={"requestId": int() | str() as given}
                ):
                    unanswered.discard(given)  # nobody waits for its answer
            await to_server.send(SessionMessage(message))
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # the connection has ended from the other side


async def _write(
    server: ToolServer,
    sink: Sink,
    from_server: ContextReceiveStream[SessionMessage],
    unanswered: Outstanding[RequestId],
) -> None:
    async with from_server:
        async for item in from_server:
            message = item.message
            try:
                await sink.write(_encoded(server, message) + b"\n")
            except OSError:  # the client has gone
                return
            if isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
                unanswered.discard(message.id)


def _encoded(server: ToolServer, message: JSONRPCMessage) -> bytes:
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode()
    except Exception as defect:  # noqa: BLE001 - one that cannot be written must not end the connection
        server.observe(internal_failure("stdio", defect))
        request_id = message.id if isinstance(message, JSONRPCResponse) else None
        return _error(request_id, INTERNAL_ERROR, "The answer cannot be written as JSON.").model_dump_json().encode()


async def _lines(source: Source) -> AsyncIterator[bytes | None]:
    """The lines that are not blank, without their ends. None stands for one that was longer than `MAX_LINE_BYTES`."""
    held = bytearray()
    too_long = False
    while chunk := await source.read():
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            if too_long:
                yield None
            elif line := bytes(held + part).strip():
                yield line
            held.clear()
            too_long = False
        if not too_long:
            held += rest
        if len(held) > MAX_LINE_BYTES:
            held.clear()
            too_long = True
    if line := bytes(held).strip():
        yield line


def _message(line: bytes | None) -> JSONRPCMessage | Refusal:
    """The message of a line. The SDK drops a line it cannot read; a client would wait for its answer for ever."""
    if line is None:
        return _refusal(None, INVALID_REQUEST, f"Invalid request: the line is longer than {MAX_LINE_BYTES} bytes.")
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return _refused(line)
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and "id" in json.loads(line):
        return _refusal(None, INVALID_REQUEST, "Invalid request: the id is neither a string nor an integer.")
    return message


def _refused(line: bytes) -> Refusal:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return _refusal(None, PARSE_ERROR, "Parse error: the line is not JSON.")
    if not isinstance(found, dict):
        return _refusal(
            None, INVALID_REQUEST, "Invalid request: a line is one JSON-RPC object; batches are not served."
        )
    if "method" not in found and ("result" in found or "error" in found):
        return Refusal(answer=None)  # an answer that cannot be read is no question
    given = found.get("id")
    if isinstance(given, int) and not isinstance(given, bool):
        request_id: RequestId | None = given
    else:
        request_id = given if isinstance(given, str) and given.isprintable() else None
    return _refusal(request_id, INVALID_REQUEST, "Invalid request: not a JSON-RPC 2.0 message.")


def _refusal(request_id: RequestId | None, code: int, message: str) -> Refusal:
    return Refusal(answer=_error(request_id, code, message))


def _error(request_id: RequestId | None, code: int, message: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=message))


async def _serve_windows(server: ToolServer, stop: asyncio.Event) -> None:
    """By the SDK's transport: the event loop of Windows cannot wait for its pipes."""
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (incoming, outgoing), anyio.create_task_group() as tasks:

        async def serve() -> None:
            await server.run(incoming, outgoing, server.create_initialization_options())
            tasks.cancel_scope.cancel()

        tasks.start_soon(serve)
        await stop.wait()
        tasks.cancel_scope.cancel()
