"""asyncpg's connection, whose cancels reach the statement, and which may be given up while it connects.

PostgreSQL takes a cancel on a connection of its own, and drops it where the session has not yet begun with the
statement: that then runs on to its end (manual, protocol flow, canceling requests in progress). asyncpg sends one; here
it is sent again until the session has answered. Nothing else goes to the session until the last one has been taken, so
that none can meet the next statement.
"""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
from asyncpg import connect_utils

#: Between two cancels. A server that is busy takes some milliseconds for one.
AGAIN_S = 0.05
#: How long one may take to be sent once nobody waits for it any more.
GIVEN_UP_S = 2.0


class _Upgrade(connect_utils.TLSUpgradeProto):  # type: ignore[misc]
    """As asyncpg's, which waits for what the server says of TLS.

    Where connecting is cancelled before anybody waits, asyncpg leaves its failure to nobody, and asyncio's log tells of
    an exception that was never retrieved. Whoever does wait is told as before.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if not self.on_data.cancelled():
            self.on_data.exception()  # as good as heard


connect_utils.TLSUpgradeProto = _Upgrade


class CancellingConnection(asyncpg.Connection):  # type: ignore[misc]
    """As asyncpg's."""

    __slots__ = ()

    async def _cancel(
        self, waiter: "asyncio.Future[None]", cancel_waiter: "asyncio.Future[None] | None" = None
    ) -> None:
        """`waiter` is done when no cancel is under way any more; `cancel_waiter`, when the session has answered."""
        sent = self._loop.create_future()
        first = sending = self._loop.create_task(super()._cancel(sent, cancel_waiter))
        try:
            while not (await asyncio.wait({first}, timeout=AGAIN_S))[0]:
                if sent.done():
                    sending = self._loop.create_task(self._send_cancel())
                    await asyncio.wait({sending})
                    sending.result()
        except asyncio.CancelledError:
            # The connection is given up. What is being sent is let go: cut short while it connects, asyncpg leaves a
            # failure behind that nobody hears of but asyncio's log.
            if sent.done():
                first.cancel()
            self._loop.call_later(GIVEN_UP_S, sending.cancel)
        finally:
            self._cancellations.discard(asyncio.current_task())
            if not waiter.done():
                waiter.set_result(None)

    async def _send_cancel(self) -> None:
        protocol: Any = self._protocol
        with suppress(OSError):  # the first one tells of it
            await connect_utils._cancel(
                loop=self._loop,
                addr=self._addr,
                params=self._params,
                backend_pid=protocol.backend_pid,
                backend_secret=protocol.backend_secret,
            )
