"""A place between the transport of a connection and asyncpg's own protocol, where the server's messages are met first.

For what asyncpg gives no way to: it takes rows in whole, and leaves out what it has no use for. It is taken while the
connection is idle, and left again once no message is half through.
"""

import asyncio
import struct
from typing import Any

from schema_mcp.dialects.base import Connection

#: A message: its kind, and its length without the kind (manual, Frontend/Backend Protocol, Message Formats).
HEAD = struct.Struct("!Bi")


class Between(asyncio.Protocol):
    """What stands there says in `data_received` what goes on, and calls `_step_aside` behind it."""

    def __init__(self, connection: Connection) -> None:
        self._transport: Any = connection._transport
        self._behind: Any = self._transport.get_protocol()
        #: A head that has not come in whole, and what is missing of the message that comes.
        self._head = b""
        self._missing = 0
        self._leaving = False
        self._transport.set_protocol(self)

    def leave(self) -> None:
        """The connection is as it was once no message is half through."""
        self._leaving = True
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

    def _is_half_through(self) -> bool:
        return bool(self._head or self._missing)

    def _step_aside(self) -> None:
        if self._leaving and not self._is_half_through() and self._transport.get_protocol() is self:
            self._transport.set_protocol(self._behind)
