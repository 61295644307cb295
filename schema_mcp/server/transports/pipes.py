"""The process's standard streams as the wire: bytes in, bytes out, nothing else on them.

While they serve, descriptor 0 is the null device and descriptor 1 is stderr, so that a stray print, or a child process,
cannot reach the wire; both are put back at the end. Pipes, sockets and terminals are read by the event loop. Anything
else (a regular file, the null device) never makes its reader wait and is read as it stands. POSIX only.
"""

import asyncio
import os
import socket
import stat
import sys
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Protocol

import anyio
import anyio.lowlevel

from schema_mcp.errors import UsageError

if sys.platform != "win32":
    import fcntl

#: How much is read at once.
CHUNK_BYTES = 65536
#: How long the last bytes may take to leave once the wire is to close.
FLUSH_S = 0.25


class Source(Protocol):
    async def read(self) -> bytes:
        """The next bytes, empty at the end."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    async def write(self, data: bytes) -> None:
        """Returns once `data` is sent or may be held back.

        Raises: OSError when nobody reads any more.
        """
        ...

    async def close(self) -> None:
        """Sends what is held back, for `FLUSH_S` at most."""
        ...


@asynccontextmanager
async def standard_streams() -> AsyncIterator[tuple[Source, Sink]]:
    """The wire, taken from the process for as long as the block runs.

    Raises: UsageError if one of the two is closed.
    """
    if sys.__stdin__ is None or sys.__stdout__ is None:  # by now its descriptor may be another's, even the event loop's
        raise UsageError(
            "standard input or output is closed: an MCP client starts this program with pipes on both; "
            "use --transport http to serve without them"
        )
    with _claimed(0) as wire_in, _claimed(1) as wire_out:
        source: Source
        sink: Sink
        if _same_socket(wire_in, wire_out):  # as socat and inetd start a server
            reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=os.dup(wire_in)))
            source, sink = _LoopSource(reader, writer.transport), _LoopSink(writer)
        else:
            source = await _connect_source(wire_in) if _can_wait(wire_in) else _FileSource(wire_in)
            sink = await _connect_sink(wire_out) if _can_wait(wire_out) else _FileSink(wire_out)
        try:
            yield source, sink
        finally:
            source.close()
            await sink.close()


@contextmanager
def _claimed(descriptor: int) -> Iterator[int]:
    """A private duplicate of the descriptor, which itself leads elsewhere until the end."""
    wire = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    # The mode belongs to what is behind the descriptor, which the shell that started us may share.
    blocking = os.get_blocking(wire)
    diversion = os.open(os.devnull, os.O_RDONLY) if descriptor == 0 else _stderr()
    os.dup2(diversion, descriptor)
    os.close(diversion)
    try:
        yield wire
    finally:
        if descriptor == 1 and sys.stdout is not None:
            with suppress(OSError, ValueError):
                sys.stdout.flush()  # what was printed meanwhile goes to stderr, not to the wire at exit
        os.set_blocking(wire, blocking)
        os.dup2(wire, descriptor)
        os.close(wire)


def _stderr() -> int:
    return os.open(os.devnull, os.O_WRONLY) if sys.__stderr__ is None else os.dup(2)


def _can_wait(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def _same_socket(one: int, other: int) -> bool:
    first, second = os.fstat(one), os.fstat(other)
    return stat.S_ISSOCK(first.st_mode) and os.path.samestat(first, second)


async def _connect_source(descriptor: int) -> Source:
    reader = StreamReader(limit=CHUNK_BYTES)
    # The loop closes what it is given; the duplicate that is to be put back stays ours.
    pipe = open(os.dup(descriptor), "rb", buffering=0)  # noqa: ASYNC230, SIM115 - opens nothing, waits for nothing
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: StreamReaderProtocol(reader), pipe)
    return _LoopSource(reader, transport)


async def _connect_sink(descriptor: int) -> Sink:
    loop = asyncio.get_running_loop()
    pipe = open(os.dup(descriptor), "wb", buffering=0)  # noqa: ASYNC230, SIM115 - as above
    transport, protocol = await loop.connect_write_pipe(lambda: StreamReaderProtocol(StreamReader()), pipe)
    return _LoopSink(StreamWriter(transport, protocol, None, loop))


class _LoopSource:
    def __init__(self, reader: StreamReader, transport: asyncio.BaseTransport) -> None:
        self._reader = reader
        self._transport = transport

    async def read(self) -> bytes:
        try:
            return await self._reader.read(CHUNK_BYTES)
        except OSError:  # the peer of a socket went away
            return b""

    def close(self) -> None:
        self._transport.close()


class _LoopSink:
    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with anyio.CancelScope(shield=True), anyio.move_on_after(FLUSH_S) as limit, suppress(OSError):
            await self._writer.wait_closed()
        if limit.cancelled_caught:
            self._writer.transport.abort()


class _FileSource:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        return os.read(self._descriptor, CHUNK_BYTES)

    def close(self) -> None:
        pass


class _FileSink:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        await anyio.lowlevel.checkpoint()

    async def close(self) -> None:
        pass
