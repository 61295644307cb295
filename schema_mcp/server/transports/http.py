"""MCP over Streamable HTTP, both eras at one path (MCP 2025-11-25 and 2026-07-28, transports).

The SDK's application under uvicorn, in the event loop of the caller. Signals, and what else ends the program, are the
caller's: uvicorn's own handling of them is off. Imported only when HTTP is asked for, because uvicorn takes time.
"""

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from schema_mcp.errors import UsageError
from schema_mcp.server.handlers import ToolServer
from schema_mcp.server.transports.front import Front

#: How long connections may stay whose clients do not read what they were sent, once all else has ended.
LINGER_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Where to listen. `port` 0: a free one. Further hosts and origins are whole values: `db.internal:8000`,
    `https://app.internal`; the loopback names with the port are always allowed.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    path: str = "/mcp"
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in (*self.allowed_hosts, *self.allowed_origins):
            if "*" in entry:  # the SDK compares those by their beginning
                raise UsageError(
                    f"allowed host or origin '{entry}': no wildcards; write each value in full, with its port"
                )


async def serve_http(
    server: ToolServer, settings: HttpSettings, stop: asyncio.Event, on_ready: Callable[[str], None]
) -> None:
    """Serves until `stop` is set; returns when every connection is closed. `on_ready` gets the URL to connect to.

    Raises: UsageError if it may not or cannot listen there; nothing has been started then.
    """
    listener = _listen(settings)
    port: int = listener.getsockname()[1]
    hosts, origins = _allowed(settings, port)
    app = server.streamable_http_app(
        streamable_http_path=settings.path,
        transport_security=TransportSecuritySettings(allowed_hosts=list(hosts), allowed_origins=list(origins)),
    )
    front = Front(app, hosts=hosts, origins=origins)
    server.changes.disconnect = front.disconnect
    web = _Web(front, lambda: on_ready(f"http://{_authority(settings.host, port)}{settings.path}"))

    front.abort = web.abort

    async def serve() -> None:
        # Never by cancelling: uvicorn would leave its connections and the SDK's sessions behind.
        with anyio.CancelScope(shield=True):
            await web.serve(sockets=[listener])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        try:
            await stop.wait()
        finally:
            with anyio.CancelScope(shield=True):
                front.refuse()
                await server.finish(front.settled)
                front.close()
            web.should_exit = True


class _Web(uvicorn.Server):
    """uvicorn without its signal handlers and its logging, telling when it is ready."""

    def __init__(self, app: Front, on_started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cut = asyncio.get_running_loop().call_later(LINGER_S, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def abort(self, client: tuple[str, int]) -> None:
        """Breaks the connection of the client at that address, with what it has not taken yet."""
        for connection in self.server_state.connections:
            if getattr(connection, "client", None) == client:
                connection.transport.abort()

    def _cut(self) -> None:
        for connection in self.server_state.connections:
            connection.transport.abort()


def _listen(settings: HttpSettings) -> socket.socket:
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    if not _is_loopback(host):
        raise UsageError(
            f"listening on {settings.host} would open the database to the network, and there is no sign-in yet: "
            "use --host 127.0.0.1 until there is sign-in, and a tunnel or a proxy with its own to reach it from afar"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs listen on one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, settings.port))
        listener.listen(2048)  # now, because only this tells that the port is taken
    except OSError as exc:
        listener.close()
        place = _authority(settings.host, settings.port)
        if exc.errno == errno.EADDRINUSE:
            raise UsageError(
                f"{place} is taken by another program: stop that one or choose another --port (0 takes a free one)"
            ) from exc
        raise UsageError(f"cannot listen on {place}: {exc.strerror}; choose another --host or --port") from exc
    listener.setblocking(False)
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _allowed(settings: HttpSettings, port: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The Host and the Origin values that may come in."""
    names = dict.fromkeys(("127.0.0.1", "localhost", "::1", settings.host))
    own = [_authority(name, port) for name in names]
    if port == 80:  # which clients leave out
        own += [f"[{name}]" if ":" in name else name for name in names]
    return (*own, *settings.allowed_hosts), (*(f"http://{host}" for host in own), *settings.allowed_origins)
