"""Tells a session that an operation of its has ended, where the session is of the handshake era and still there.

By `notifications/message` (MCP 2025-11-25, server/utilities/logging), logger `operations`: the one notification of that
era that says something of its own and that every client takes or drops; it is no log line, and holds no value of a
row. A client that has set its level above `info` is not told. Later revisions have no session: their clients ask.
"""

import anyio
from mcp.server.lowlevel import Server
from mcp_types import EmptyResult, SetLevelRequestParams

from schema_mcp.execute.operations import Operation
from schema_mcp.server.changes import SEND_TIMEOUT_S
from schema_mcp.server.sessions import Context, Sessions

LOGGER, LEVEL = "operations", "info"
#: Levels at which LEVEL is told (RFC 5424: the more verbose ones and itself).
_TOLD = frozenset({"debug", LEVEL})


class Announced:
    """The announcements of one server."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._quiet: set[str] = set()

    def add_to(self, server: "Server[object]") -> None:
        """Has the server take the level that a client sets."""
        server.add_request_handler("logging/setLevel", SetLevelRequestParams, self._set_level)

    def forget(self, session: str) -> None:
        """The session has ended."""
        self._quiet.discard(session)

    async def ended(self, operation: Operation) -> None:
        """Tells the session that started it, bounded by the time that a stuck client may take."""
        record = operation.record
        data = {
            "operation_id": record.id,
            "tool": record.tool,
            "status": str(record.status),
            "message": f"operation {record.status}: check_operation tells its result",
        }
        for session in self._sessions:
            if session.id == operation.caller.session and session.id not in self._quiet:
                with anyio.move_on_after(SEND_TIMEOUT_S):
                    await session.connection.notify(
                        "notifications/message", {"level": LEVEL, "logger": LOGGER, "data": data}
                    )

    async def _set_level(self, context: Context, params: SetLevelRequestParams) -> EmptyResult:
        session = self._sessions.caller(context).session
        if session is not None:
            (self._quiet.discard if params.level in _TOLD else self._quiet.add)(session)
        return EmptyResult()
