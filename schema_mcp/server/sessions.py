"""Who is connected by handshake, and who asks.

The SDK keeps no list of its connections (python-sdk issue 875), so each is registered by the notification `initialized`
or by its first `tools/list`, and is forgotten when the SDK closes its exit stack. In the stateless era a connection is
one request long and is never registered; its clients hear of changes through `subscriptions/listen`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import uuid4

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from schema_mcp.caller import Caller

Context: TypeAlias = ServerRequestContext[Any, Any]

#: Where a connection keeps its session id. Not the Mcp-Session-Id header: whoever has that can act as the client.
_STATE_KEY = "schema_mcp.session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A client of the handshake era, from `initialized` until its connection closes."""

    id: str
    connection: Connection


class Sessions:
    """The open sessions. Mutable, used from the event loop only. `ended` is told of each that has ended."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._open: dict[str, Session] = {}
        #: The one session of a stateless-era client on stdio: there is one connection to a process.
        self._stream_session = uuid4().hex

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def caller(self, context: Context) -> Caller:
        """Who sent this request: a session of the handshake era or of stdio, nobody in particular otherwise."""
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return Caller(session=_session_id(_connection(context)))
        over_http = context.request is not None
        return Caller(session=None if over_http else self._stream_session)

    def register(self, context: Context) -> None:
        """Makes the connection known, once. A request of the stateless era is left alone."""
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return
        connection = _connection(context)
        session = Session(id=_session_id(connection), connection=connection)
        if session.id not in self._open:
            self._open[session.id] = session
            connection.exit_stack.callback(self._close, session.id)

    def _close(self, session: str) -> None:
        self._open.pop(session, None)
        self._ended(session)


def _connection(context: Context) -> Connection:
    return context.session._connection  # the SDK shows it nowhere else


def _session_id(connection: Connection) -> str:
    session_id: str = connection.state.setdefault(_STATE_KEY, uuid4().hex)
    return session_id
