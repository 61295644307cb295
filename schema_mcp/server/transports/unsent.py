"""Answers on their way over HTTP to clients that take their time, and what all of them may hold of memory.

An answer goes out in pieces, the next one when the last has left: the system's own buffers take a few megabytes of each
connection. Who takes less than a piece in `STUCK_S` is let go of, and who has taken longest where all hold too much. No
answer that is being sent holds a connection to a database.
"""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from starlette.types import Send

#: How much goes out at a time.
PIECE_BYTES = 262_144
#: How long a client may take for a piece of its answer.
STUCK_S = 30.0
#: How much of answers may wait for their clients at a time, all together.
MAX_UNSENT_BYTES = 32 * 1024 * 1024


class Receiver(Protocol):
    """A client that an answer goes to."""

    def give_up(self) -> None:
        """It gets no more of it, and its connection is broken."""
        ...


class Unsent:
    """What is being sent, the oldest first."""

    def __init__(self) -> None:
        self._left: dict[Receiver, int] = {}

    async def send(self, receiver: Receiver, send: "Send", message: MutableMapping[str, Any]) -> None:
        """Sends a `http.response.body` of any size. Raises: asyncio.CancelledError where the receiver is given up."""
        body, more = message.get("body", b""), message.get("more_body", False)
        if len(body) <= PIECE_BYTES:
            await send(message)
            return
        self._left[receiver] = len(body)
        try:
            self._make_room()
            for start in range(0, len(body), PIECE_BYTES):
                end = start + PIECE_BYTES
                with anyio.move_on_after(STUCK_S) as limit:
                    await send({**message, "body": body[start:end], "more_body": more or end < len(body)})
                if limit.cancelled_caught:
                    receiver.give_up()
                    await anyio.lowlevel.checkpoint()
                self._left[receiver] = max(0, len(body) - end)
        finally:
            self._left.pop(receiver, None)

    def _make_room(self) -> None:
        """Never gives up the youngest, which alone may be larger."""
        unsent = sum(self._left.values())
        for receiver, left in list(self._left.items())[:-1]:
            if unsent <= MAX_UNSENT_BYTES:
                return
            receiver.give_up()
            unsent -= left
