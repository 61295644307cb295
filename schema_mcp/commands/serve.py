"""`schema-mcp serve`: the program with a transport, until a signal or the end of stdin."""

import asyncio
import signal

from schema_mcp.app import running
from schema_mcp.commands.collector import settle, settle_catalog
from schema_mcp.config.model import Settings
from schema_mcp.observe.events import ServerStarted, ServerStopped
from schema_mcp.observe.log import configure, log
from schema_mcp.server.handlers import ToolServer
from schema_mcp.server.transports.stdio import serve_stdio


async def serve(settings: Settings) -> int:
    """Serves until SIGTERM, SIGINT, or, on stdio, the end of input. Exit code 0.

    Raises: ConfigurationError, UsageError before anything is served.
    """
    configure(settings.log.level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    settle()
    async with running(settings, log) as app:
        app.registry.subscribe(settle_catalog)
        server = ToolServer(
            app.service,
            observe=log,
            structured=settings.results.structured,
            page_size=settings.tools.page_size,
        )
        telling = asyncio.create_task(server.changes.follow(app.list_changed), name="tell of changes")
        try:
            if settings.server.transport == "http":
                await _serve_http(settings, server, stop)
            else:
                log(ServerStarted(transport="stdio", address=""))
                await serve_stdio(server, stop)
        finally:
            telling.cancel()
            await asyncio.wait({telling})
    log(ServerStopped(reason="signal" if stop.is_set() else "end of input"))
    return 0


async def _serve_http(settings: Settings, server: ToolServer, stop: asyncio.Event) -> None:
    from schema_mcp.server.transports.http import HttpSettings, serve_http  # late: uvicorn takes time to import

    http = HttpSettings(
        host=settings.server.host,
        port=settings.server.port,
        path=settings.server.path,
        allowed_hosts=settings.server.allowed_hosts,
        allowed_origins=settings.server.allowed_origins,
    )
    await serve_http(server, http, stop, lambda url: log(ServerStarted(transport="http", address=url)))
