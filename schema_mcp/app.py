"""Composition: with `app_source.py` the only file that knows every room. Settings in, a running server out."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

import sqlalchemy as sa

from schema_mcp.app_operations import operations
from schema_mcp.app_reload import LOOK_INTERVAL_S, FileWatch, Reload
from schema_mcp.app_settings import (
    cache_limits,
    limits_in_force,
    policy,
    readable,
    surface,
    tool_limits,
    transaction_limits,
)
from schema_mcp.app_source import AppSource, database_url, wire
from schema_mcp.caller import Caller
from schema_mcp.catalog.build import BuildSettings, Catalog, build
from schema_mcp.catalog.registry import Registry
from schema_mcp.config.model import Settings
from schema_mcp.config.origin import Origin
from schema_mcp.dialects.choose import choose_dialect
from schema_mcp.execute.cache import ResultCache
from schema_mcp.execute.engines import Database
from schema_mcp.execute.operations import Operations
from schema_mcp.execute.sql import SqlExecutor
from schema_mcp.execute.transactions import Transactions
from schema_mcp.observe.events import Observe
from schema_mcp.server.activated import ListChanged
from schema_mcp.server.dispatch import Dispatch
from schema_mcp.server.operations import OperationCalls
from schema_mcp.server.service import version
from schema_mcp.server.tool_service import CatalogToolService
from schema_mcp.server.waits import Waits
from schema_mcp.state.keeper import Keeper
from schema_mcp.tools.base import ServerStatus
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.watch.changes import SchemaChanges
from schema_mcp.watch.listen import Listener
from schema_mcp.watch.poll import Poll
from schema_mcp.watch.swap import Swap
from schema_mcp.watch.watcher import Watcher


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything that runs, wired together."""

    sources: Mapping[str, AppSource]
    registry: Registry
    watcher: Watcher
    service: CatalogToolService
    transactions: Transactions
    changes: SchemaChanges
    operations: Operations
    #: Set after each change of the served list; whoever tells the clients clears it.
    list_changed: ListChanged
    reload: Reload
    #: Follows the file of the settings, where the program was told which it is.
    file_watch: FileWatch | None

    @property
    def database(self) -> Database:
        """The first source's, which most often is the only one; so are `keeper`, `listener` and `sql`."""
        return self._first.database

    @property
    def keeper(self) -> Keeper:
        """See `database`."""
        return self._first.keeper

    @property
    def listener(self) -> Listener | None:
        """See `database`."""
        return self._first.listener

    @property
    def sql(self) -> SqlExecutor:
        """See `database`."""
        return self._first.sql

    @property
    def _first(self) -> AppSource:
        return next(iter(self.sources.values()))


@asynccontextmanager
async def running(settings: Settings, observe: Observe, origin: Origin | None = None) -> AsyncIterator[App]:
    """The program without a transport: connections, watcher, tools. Everything is closed at the end.

    `origin`: where the settings come from, if they are to be read again when they change.

    Raises: ConfigurationError.
    """
    with ExitStack() as stack:
        urls = {source.name: stack.enter_context(database_url(source)) for source in settings.served}
        async with _running(settings, observe, urls, origin) as app:
            yield app


@asynccontextmanager
async def _running(
    settings: Settings, observe: Observe, urls: Mapping[str, sa.URL], origin: Origin | None
) -> AsyncIterator[App]:
    began = time.monotonic()
    build_settings = _build_settings(settings, urls)
    registry = Registry(build(build_settings, {}, None))
    changes = SchemaChanges()
    registry.subscribe(changes.replaced)
    swap = Swap(registry, build_settings, observe)
    cache = ResultCache(cache_limits(settings)) if settings.cache.ttl_s else None
    sources = {
        source.name: wire(settings, source, urls[source.name], registry, swap, build_settings, observe, cache)
        for source in settings.served
    }
    transactions = Transactions(
        {name: source.transaction_database for name, source in sources.items()},
        transaction_limits(settings),
    )
    watcher = Watcher({name: source.follower for name, source in sources.items()}, registry)
    service = CatalogToolService(
        registry,
        {name: source.executor(settings) for name, source in sources.items()},
        watcher,
        {name: source.keeper for name, source in sources.items()},
        observe,
        sql={name: source.sql for name, source in sources.items()},
        transactions=transactions,
        status=lambda caller: replace(_status(app, caller, time.monotonic() - began), operations=calls.status(caller)),
        list_ttl_ms=round(settings.watch.poll_interval_s * 1000),
        context_idle_s=settings.tools.context_idle_s,
    )
    service.dispatch.cache = cache
    working = operations(settings, [source.keys.place for source in sources.values()])
    long = Dispatch(
        {name: source.long.executor for name, source in sources.items()},
        {name: source.long.sql for name, source in sources.items()},
        transactions,
        lambda call: service.tried(call, long.run),
        observe,
        service.dispatch,
    )
    long.in_context = service.dispatch.in_context
    service.tasks = calls = OperationCalls(
        working,
        service,
        long,
        observe,
        max_bytes=settings.results.max_bytes,
        task_after_s=settings.operations.task_after_s,
        rules=lambda: readable(reload.settings),
    )
    reload = Reload(settings, sources, service, swap)
    reload.subscribe(lambda new: setattr(service.contexts, "idle_s", new.tools.context_idle_s))
    reload.subscribe(lambda new: _read_alone(transactions) if policy(new).engine_read_only else None)
    app = App(
        sources=MappingProxyType(sources),
        registry=registry,
        watcher=watcher,
        service=service,
        transactions=transactions,
        changes=changes,
        operations=working,
        list_changed=service.list_changed,
        reload=reload,
        file_watch=FileWatch(origin, reload, observe) if origin is not None else None,
    )
    registry.subscribe(lambda before, after: _tell(app, before, after))
    rows = {name: source.rows for name, source in sources.items()}
    Waits(changes, rows, lambda: reload.settings.limits.call_timeout_s).add_to(service.dispatch)
    ticks = [(source.follower.interval_s, source.follower.tick) for source in sources.values()]
    tasks = {
        asyncio.create_task(watcher.run(), name="watcher"),
        asyncio.create_task(_settle(app), name="first tables"),
        asyncio.create_task(transactions.run(), name="transactions"),
        asyncio.create_task(working.follow(), name="operations"),
    }
    for name, source in sources.items():
        tasks.add(asyncio.create_task(source.keeper.run(), name=f"keeper of {name}"))
        tasks.add(asyncio.create_task(source.role.run(), name=f"role in {name}"))
        tasks.add(asyncio.create_task(source.rows.run(), name=f"changes of rows in {name}"))
        if source.listener is not None:
            tasks.add(asyncio.create_task(source.listener.run(), name=f"listener of {name}"))
    if app.file_watch is not None:
        tasks.add(asyncio.create_task(app.file_watch.run(), name="settings"))
        ticks.append((LOOK_INTERVAL_S, app.file_watch.tick))
    poll = Poll(ticks)
    poll.start()
    try:
        yield app
    finally:
        poll.stop()
        await transactions.close()
        await asyncio.gather(working.close(), *[source.keeper.finish() for source in sources.values()])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.gather(*[source.close() for source in sources.values()])


async def _settle(app: App) -> None:
    """Says when it is known whether there are tables."""
    for source in app.sources.values():
        await source.keeper.opened.wait()
    await app.watcher.first_look.wait()
    app.service.freshness.ready.set()


def _read_alone(transactions: Transactions) -> None:
    """Nothing is written from now on, nor committed of what was written before."""
    transactions.end_writing("it was rolled back because the server only reads now (access.mode)")


def _status(app: App, caller: Caller, uptime_s: float) -> ServerStatus:
    catalog, settings = app.registry.current, app.reload.settings
    return ServerStatus(
        generation=catalog.generation,
        sources=tuple(source.status(catalog, settings) for source in app.sources.values()),
        listed_tools=len(catalog.listed),
        listed_bytes=sum(len(json) for json in catalog.listed_json),
        transactions=app.transactions.status(caller),
        version=version(),
        uptime_s=uptime_s,
        limits=limits_in_force(settings),
    )


def _tell(app: App, before: Catalog, after: Catalog) -> None:
    """The first tables are no change for those who wait for them; later ones are if a byte of the list differs."""
    if after.schemas.keys() >= app.sources.keys():
        app.service.freshness.ready.set()
    waited_for = not app.service.listed and (not app.watcher.first_look.is_set() or bool(after.unconfirmed))
    changed = before.listed_json != after.listed_json or before.session_specs(()) != after.session_specs(())
    if changed and not waited_for:
        app.list_changed.set()
    else:
        app.service.replaced(before, after)


def _build_settings(settings: Settings, urls: Mapping[str, sa.URL]) -> BuildSettings:
    portable = settings.watch.reader == "information_schema"
    return BuildSettings(
        policy=policy(settings),
        surface=surface(settings),
        limits=tool_limits(settings),
        dialects=MappingProxyType({name: choose_dialect(url, portable_reader=portable) for name, url in urls.items()}),
        cursor_secret=CursorSecret(
            settings.server.secret.encode() if settings.server.secret else secrets.token_bytes(32)
        ),
    )
