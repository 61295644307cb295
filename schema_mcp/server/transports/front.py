"""What stands before the SDK's ASGI application: who may come in, and how everybody is let go.

The Host and Origin of each request are compared as whole strings before anything of its body is read (MCP 2025-11-25
and 2026-07-28, transports: DNS rebinding). The SDK's own check comes after the body and after opening a session, and
lets `127.0.0.1:80@evil.com` pass where the port is a wildcard.

It knows which requests are open, and can end each as if its client had gone: uvicorn itself would wait for them. And it
tells of clients that have gone: in a session of the handshake era the SDK lets their calls run to the end, for clients
that come back for the answer (MCP 2025-11-25, transports: resumability), which nobody can here: no answer is stored.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from mcp.server.connection import Connection

from schema_mcp.server.calls import WAY, Outstanding, Way
from schema_mcp.server.transports.unsent import PIECE_BYTES, Unsent

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: How long the last bytes of a cut response may take to leave.
CUT_S = 0.1


@dataclass(eq=False, slots=True)
class _Open:
    """A request being served."""

    session_id: str | None
    waits_for_changes: bool
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    given_up: bool = False

    def give_up(self) -> None:
        """See `Receiver.give_up`."""
        self.given_up = True
        self.scope.cancel()


class Front:
    """The ASGI application that uvicorn runs. `hosts` and `origins`: the header values that may come in."""

    def __init__(self, app: "ASGIApp", *, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.encode() for host in hosts)
        self._origins = frozenset(origin.encode() for origin in origins)
        self._open: set[_Open] = set()
        self._unanswered = Outstanding[_Open]()
        self._unsent = Unsent()
        self._stopping = False
        #: Set by whoever knows the connections: breaks that of the client at this address.
        self.abort: Callable[[tuple[str, int]], None] = lambda client: None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # httptools, unlike h11, hands over the blanks after a value, which are no part of it (RFC 9110, 5.5).
        scope = {**scope, "headers": [(name, value.strip(b" \t")) for name, value in scope["headers"]]}
        if self._stopping:
            await _answer(send, 503, b"The server is stopping")
        elif len(hosts := _values(scope, b"host")) != 1 or hosts[0] not in self._hosts:
            await _answer(send, 421, b"Invalid Host header")
        elif len(origins := _values(scope, b"origin")) > 1 or (origins and origins[0] not in self._origins):
            await _answer(send, 403, b"Invalid Origin header")
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        session_ids = _values(scope, b"mcp-session-id")
        request = _Open(
            session_id=session_ids[0].decode("latin-1") if session_ids else None,
            waits_for_changes=scope["method"] == "GET",
        )
        started = completed = False
        held: list[Message] = []
        way = Way()
        if request.session_id is not None:  # else the SDK cancels the call itself
            scope[WAY] = way

        async def heard() -> "Message":
            message = await receive()
            if message["type"] == "http.disconnect" and not completed:
                way.close()
            return message

        async def watched(message: "Message") -> None:
            nonlocal started, completed
            started = True
            completed = message["type"] == "http.response.body" and not message.get("more_body", False)
            if len(message.get("body", b"")) > PIECE_BYTES or (held and completed):
                held.append(message)
                return
            await send_held()
            await send(message)

        async def send_held() -> None:
            """What is large is sent when the SDK is done with the request, and has let go of what it was made of; of
            an event stream, on which an answer comes last, at the latest with its next sign of life."""
            while held:
                await self._unsent.send(request, send, held.pop(0))

        self._open.add(request)
        if not request.waits_for_changes:
            self._unanswered.add(request)
        try:
            with request.scope:
                await self._app(scope, heard, watched)
                way.let_go()
                await send_held()
        finally:
            if not completed:
                way.close()
            self._open.discard(request)
            self._unanswered.discard(request)
        if request.given_up:
            self.abort(scope["client"])
        elif request.scope.cancelled_caught and not completed:
            with anyio.move_on_after(CUT_S):
                if started:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                else:
                    await _answer(send, 503, b"The server is stopping")

    def disconnect(self, connection: Connection) -> None:
        """Ends the stream on which a session of the handshake era is told of changes; its client may open another."""
        for request in self._open:
            if request.waits_for_changes and request.session_id == connection.session_id:
                request.scope.cancel()

    def refuse(self) -> None:
        """Takes no further request."""
        self._stopping = True

    async def settled(self) -> None:
        """Returns once every request has its answer; those that only wait for changes never get one."""
        await self._unanswered.empty()

    def close(self) -> None:
        """Ends what is still open."""
        for request in self._open:
            request.scope.cancel()


def _values(scope: "Scope", name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


async def _answer(send: "Send", status: int, text: bytes) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
