"""Tells a session that an operation of its has ended, where the session is of the handshake era and still there.

By `notifications/message` (MCP 2025-11-25, server/utilities/logging), logger `operations`: the one notification of that
era that says something of its own and that every client takes or drops; it is no log line, and holds no value of a
row. A client that has set its level above `info` is not told. Later revisions have no session: their clients ask.
"""

import anyio
from mcp.server.lowlevel import Server
from mcp_types import EmptyResult, SetLevelRequestParams

from schema_mcp.execute.operations import Operation
from schema_mcp.observe.events import Observe
from schema_mcp.server.changes import SEND_TIMEOUT_S
from schema_mcp.server.results import internal_failure
from schema_mcp.server.sessions import Context, Sessions

LOGGER, LEVEL = "operations", "info"
#: Levels at which LEVEL is told (RFC 5424: the more verbose ones and itself).
_TOLD = frozenset({"debug", LEVEL})


class Announced:
    """The announcements of one server."""

    def __init__(self, sessions: Sessions, observe: Observe) -> None:
        self._sessions = sessions
        self._observe = observe
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
        params = {"level": LEVEL, "logger": LOGGER, "data": data}
        for session in self._sessions:
            if session.id != operation.caller.session or session.id in self._quiet:
                continue
            try:
                with anyio.move_on_after(SEND_TIMEOUT_S):
                    await session.connection.notify("notifications/message", params)
            except Exception as defect:  # noqa: BLE001 - the end of the operation's task
                self._observe(internal_failure("telling of an operation's end", defect))

    async def _set_level(self, context: Context, params: SetLevelRequestParams) -> EmptyResult:
        session = self._sessions.caller(context).session
        if session is not None:
            (self._quiet.discard if params.level in _TOLD else self._quiet.add)(session)
        return EmptyResult()
