"""Tells every client that the list of tools has changed, in both protocol eras.

Handshake era (to 2025-11-25): a notification to each registered session. Stateless era (2026-07-28): an event to each
stream that a client opened with `subscriptions/listen`. Which change it was, and whether it was one, others know.
"""

from collections.abc import Callable

import anyio
from mcp.server.connection import Connection
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, SubscriptionsListenRequestParams, SubscriptionsListenResult

from schema_mcp.observe.events import ListChangedSent, Observe
from schema_mcp.server.activated import ListChanged
from schema_mcp.server.sessions import Context, Session, Sessions

#: How long a session may take to accept a notification before it counts as stuck.
SEND_TIMEOUT_S = 5.0


class Changes:
    """The two channels. `disconnect`: set by a transport that can cut the stream of a client that stopped reading."""

    def __init__(self, sessions: Sessions, observe: Observe) -> None:
        self._sessions = sessions
        self._observe = observe
        self._bus = InMemorySubscriptionBus()
        self._streams = ListenHandler(self._bus)
        self._closed = False
        self.disconnect: Callable[[Connection], None] = lambda connection: None

    async def announce(self, only: frozenset[str] | None = None) -> ListChangedSent:
        """Sends `notifications/tools/list_changed` to all, or to these sessions, at once; how many sessions took it.

        A session that is not of the handshake era is that of the stdio connection, whose streams are the only ones.

        A stuck session holds up nobody but the caller, for at most `SEND_TIMEOUT_S`. Its stream is cut, so that the
        client, should it live, connects again and lists again.
        """
        sessions = tuple(session for session in self._sessions if only is None or session.id in only)
        if only is None or len(sessions) < len(only):
            await self._bus.publish(ToolsListChanged())
        stuck: list[Session] = []

        async def notify(session: Session) -> None:
            with anyio.move_on_after(SEND_TIMEOUT_S) as limit:
                await session.connection.send_tool_list_changed()
            if limit.cancelled_caught:
                stuck.append(session)
                self.disconnect(session.connection)

        async with anyio.create_task_group() as sending:
            for session in sessions:
                sending.start_soon(notify, session)
        sent = ListChangedSent(sessions=len(sessions) - len(stuck), dropped=len(stuck))
        self._observe(sent)
        return sent

    async def follow(self, changed: ListChanged) -> None:
        """Announces each time `changed` is set, until it is cancelled. What changes meanwhile is announced again."""
        while True:
            await changed.wait()
            await self.announce(changed.take())

    async def listen(self, context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serves one stream of a stateless-era client until it leaves or `close` ends it with a result."""
        if self._closed:
            raise MCPError(code=INTERNAL_ERROR, message="The server is stopping; listen again once it is back.")
        return await self._streams(context, params)

    def close(self) -> None:
        """Ends every listen stream with its final result, which each then sends by itself, and takes no new one."""
        self._closed = True
        self._streams.close()
