"""`schema-mcp serve`: the program with a transport, until a signal or the end of stdin."""

import asyncio
import signal

from schema_mcp.app import App, running
from schema_mcp.commands.collector import settle, settle_catalog
from schema_mcp.config.model import Settings
from schema_mcp.config.origin import Origin
from schema_mcp.observe.events import ListCosts, ServerStarted, ServerStopped
from schema_mcp.observe.log import configure, log
from schema_mcp.server.handlers import ToolServer
from schema_mcp.server.transports.stdio import serve_stdio


async def serve(settings: Settings, origin: Origin) -> int:
    """Serves until SIGTERM, SIGINT, or, on stdio, the end of input. Exit code 0.

    On SIGHUP, or when the file of `origin` changes, the settings are read again.

    Raises: ConfigurationError, UsageError before anything is served.
    """
    configure(settings.log.level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    settle()
    async with running(settings, log, origin) as app:
        app.registry.subscribe(settle_catalog)
        server = ToolServer(
            app.service,
            observe=log,
            structured=settings.results.structured,
            page_size=settings.tools.page_size,
        )
        app.operations.ended.append(server.announced.ended)
        app.reload.subscribe(lambda settings: _resize(server, settings))
        if app.file_watch is not None:
            loop.add_signal_handler(signal.SIGHUP, app.file_watch.ask)
        telling = asyncio.create_task(server.changes.follow(app.list_changed), name="tell of changes")
        counting = asyncio.create_task(_tell_costs(app), name="tell of costs")
        try:
            if settings.server.transport == "http":
                await _serve_http(settings, server, stop)
            else:
                log(ServerStarted(transport="stdio", address=""))
                await serve_stdio(server, stop)
        finally:
            telling.cancel()
            counting.cancel()
            await asyncio.wait({telling, counting})
    log(ServerStopped(reason="signal" if stop.is_set() else "end of input"))
    return 0


def _resize(server: ToolServer, settings: Settings) -> None:
    server.page_size = settings.tools.page_size


async def _tell_costs(app: App) -> None:
    """Once there are tables: what a model pays for the list, and what it would for another."""
    await app.service.freshness.ready.wait()
    catalog = app.registry.current
    costs = await asyncio.to_thread(catalog.costs)
    log(
        ListCosts(
            surface=catalog.surface.kind,
            listed_tools=len(catalog.listed),
            listed_bytes=sum(map(len, catalog.listed_json)),
            others=tuple((cost.surface, cost.tools, cost.bytes) for cost in costs),
        )
    )


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
