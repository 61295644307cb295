"""COPY from and to the client, which nobody here can serve: ended as soon as the server asks for rows or sends some.

What a statement does is not judged by its words. A COPY of that kind is known by the message with which the server
begins it (manual, Frontend/Backend Protocol, COPY Operations); asyncpg would leave out what it gives, and not answer
where it waits for rows. So the messages are followed between the transport and asyncpg's own protocol, which sees
nothing of the copying; a COPY of a file of the server sends none of them. The server sends the first one with the first
rows, some kilobytes of them, or at the end.
"""

import asyncio
import struct
from typing import Any

from schema_mcp.dialects.base import Connection

_COPY_IN, _COPY_OUT = ord("G"), ord("H")
#: CopyData and CopyDone, from the server.
_COPYING = frozenset({_COPY_IN, _COPY_OUT, ord("d"), ord("c")})
#: A message: its kind, and its length without the kind.
_HEAD = struct.Struct("!Bi")
#: CopyFail with an empty reason; the Sync that asyncpg had sent was taken for a part of the copy, so another follows.
_FAIL = b"f" + struct.pack("!i", 5) + b"\0" + b"S" + struct.pack("!i", 4)


class CopyWatch(asyncio.Protocol):
    """Stands before the protocol of a connection that is idle, until it has left.

    `begun`: done once the server has begun a COPY from or to the client. One from it is ended by then, and answered
    with an error; one to it goes on, and what it sends is dropped.
    """

    def __init__(self, connection: Connection) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = connection._transport
        self._behind: Any = self._transport.get_protocol()
        #: A head that has not come in whole, and what is missing of a message that is passed on, or dropped.
        self._head = b""
        self._missing = 0
        self._drops = False
        self._leaving = False
        self._transport.set_protocol(self)

    def leave(self) -> None:
        """The connection is as it was once no message is half through, and a COPY has ended that had begun."""
        self._leaving = True
        self._step_aside()

    def data_received(self, data: bytes) -> None:
        """Called by the transport, with whatever came."""
        if self._head:
            data, self._head = self._head + data, b""
        at = 0
        while at < len(data):
            if not self._missing:
                if len(data) - at < _HEAD.size:
                    self._head = data[at:]
                    break
                kind, length = _HEAD.unpack_from(data, at)
                self._missing = 1 + length
                self._drops = kind in _COPYING
                self._look(kind)
            step = min(self._missing, len(data) - at)
            if not self._drops:
                self._behind.data_received(data[at : at + step])
            self._missing -= step
            at += step
        if self._leaving:
            self._step_aside()

    def eof_received(self) -> bool | None:
        """As the protocol behind has it."""
        kept: bool | None = self._behind.eof_received()
        return kept

    def connection_lost(self, exc: Exception | None) -> None:
        """As the protocol behind has it."""
        self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        """As the protocol behind has it."""
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        """As the protocol behind has it."""
        self._behind.resume_writing()

    def _look(self, kind: int) -> None:
        if kind == _COPY_IN:
            self._transport.write(_FAIL)
        if kind in (_COPY_IN, _COPY_OUT) and not self.begun.done():
            self.begun.set_result(None)

    def _step_aside(self) -> None:
        if not self._head and not self._missing and self._transport.get_protocol() is self:
            self._transport.set_protocol(self._behind)
