"""COPY from and to the client, which nobody here can serve: ended as soon as the server asks for rows or sends some.

What a statement does is not judged by its words. A COPY of that kind is known by the message with which the server
begins it (manual, Frontend/Backend Protocol, COPY Operations); asyncpg would leave out what it gives, and not answer
where it waits for rows. So it sees nothing of the copying (`between.py`); a COPY of a file of the server sends none of
these messages. The server sends the first one with the first rows, some kilobytes of them, or at the end.
"""

import asyncio
import struct

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.postgresql.between import HEAD, Between

_COPY_IN, _COPY_OUT = ord("G"), ord("H")
#: CopyData and CopyDone, from the server.
_COPYING = frozenset({_COPY_IN, _COPY_OUT, ord("d"), ord("c")})
#: CopyFail with an empty reason; the Sync that asyncpg had sent was taken for a part of the copy, so another follows.
_FAIL = b"f" + struct.pack("!i", 5) + b"\0" + b"S" + struct.pack("!i", 4)


class CopyWatch(Between):
    """`begun`: done once the server has begun a COPY from or to the client. One from it is ended by then, and answered
    with an error; one to it goes on, and what it sends is dropped.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Whether the message that comes is not for asyncpg.
        self._drops = False

    def data_received(self, data: bytes) -> None:
        """Called by the transport, with whatever came."""
        if self._head:
            data, self._head = self._head + data, b""
        at = 0
        while at < len(data):
            if not self._missing:
                if len(data) - at < HEAD.size:
                    self._head = data[at:]
                    break
                kind, length = HEAD.unpack_from(data, at)
                self._missing = 1 + length
                self._drops = kind in _COPYING
                self._look(kind)
            step = min(self._missing, len(data) - at)
            if not self._drops:
                self._behind.data_received(data[at : at + step])
            self._missing -= step
            at += step
        self._step_aside()

    def _look(self, kind: int) -> None:
        if kind == _COPY_IN:
            self._transport.write(_FAIL)
        if kind in (_COPY_IN, _COPY_OUT) and not self.begun.done():
            self.begun.set_result(None)
