"""Composition: the only file that knows every room. Settings in, a running server out."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa

from schema_mcp.catalog.build import BuildSettings, Catalog, Surface, build
from schema_mcp.catalog.registry import Registry
from schema_mcp.config.database import SAMPLE, parse_database
from schema_mcp.config.model import Settings
from schema_mcp.dialects.base import Dialect, SessionLimits
from schema_mcp.dialects.choose import choose_dialect
from schema_mcp.execute.engines import Database
from schema_mcp.execute.executor import ExecutionLimits, Executor
from schema_mcp.observe.events import Observe
from schema_mcp.samples.shop import create as create_sample
from schema_mcp.schema.select import Selection
from schema_mcp.security.policy import AccessMode, Policy
from schema_mcp.server.tool_service import CatalogToolService
from schema_mcp.tools.target import ToolLimits
from schema_mcp.watch.listen import Listener
from schema_mcp.watch.poll import Poll
from schema_mcp.watch.watcher import Watcher

#: The one source of a configuration with a `[database]` section.
SOURCE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything that runs, wired together."""

    database: Database
    registry: Registry
    watcher: Watcher
    service: CatalogToolService
    #: Set after each change of the served list; whoever tells the clients clears it.
    list_changed: asyncio.Event
    #: Hears of changes at once, where the database can tell of them.
    listener: Listener | None


@asynccontextmanager
async def running(settings: Settings, observe: Observe) -> AsyncIterator[App]:
    """The program without a transport: connections, watcher, tools. Everything is closed at the end."""
    with _database_url(settings) as url:
        async with _running(settings, observe, url) as app:
            yield app


@asynccontextmanager
async def _running(settings: Settings, observe: Observe, url: sa.URL) -> AsyncIterator[App]:
    policy = Policy(mode=AccessMode(settings.access.mode))
    dialect = choose_dialect(url, portable_reader=settings.watch.reader == "information_schema")
    database = Database(
        SOURCE,
        url,
        dialect,
        _session_limits(settings, policy),
        size=settings.pool.size,
        acquire_timeout_s=settings.pool.acquire_timeout_s,
    )
    build_settings = _build_settings(settings, policy, dialect)
    registry = Registry(build(build_settings, {}, None))
    watcher = Watcher(
        {SOURCE: database},
        Selection(
            schemas=settings.database.schemas,
            include=settings.database.include,
            exclude=settings.database.exclude,
            hide_columns=settings.database.hide_columns,
        ),
        registry,
        build_settings,
        observe,
        poll_interval_s=settings.watch.poll_interval_s,
        debounce_s=settings.watch.debounce_s,
        full_refresh_s=settings.watch.full_refresh_s,
    )
    limits = ExecutionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        call_timeout_s=settings.limits.call_timeout_s,
        max_bytes=settings.results.max_bytes,
    )
    executor = Executor(database, limits, watcher.notice)
    service = CatalogToolService(
        registry,
        {SOURCE: executor},
        watcher,
        observe,
        list_ttl_ms=round(settings.watch.poll_interval_s * 1000),
    )
    listens = settings.watch.listen == "auto" and dialect.name == "postgresql"
    listener = Listener(database, watcher.notice, observe) if listens else None
    app = App(
        database=database,
        registry=registry,
        watcher=watcher,
        service=service,
        list_changed=asyncio.Event(),
        listener=listener,
    )
    registry.subscribe(lambda before, after: _tell(app, before, after))
    poll = Poll(watcher.interval_s, watcher.tick)
    tasks = {asyncio.create_task(watcher.run(), name="watcher")}
    if listener is not None:
        tasks.add(asyncio.create_task(listener.run(), name="listener"))
    poll.start()
    try:
        yield app
    finally:
        poll.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await database.close()


@contextmanager
def _database_url(settings: Settings) -> Iterator[sa.URL]:
    """The configured database; the sample is made in a folder of its own and removed at the end.

    Raises: ConfigurationError.
    """
    if settings.database.url != SAMPLE:
        yield parse_database(settings.database.url)
        return
    with tempfile.TemporaryDirectory(prefix="schema-mcp-") as folder:
        path = Path(folder) / "shop.sqlite"
        create_sample(path)
        yield parse_database(str(path))


def _tell(app: App, before: Catalog, after: Catalog) -> None:
    """The first reading is no change for those who wait for it; later ones are if a byte of the list differs."""
    waited_for = not app.watcher.first_look.is_set() and not app.service.listed
    if before.listed_json != after.listed_json and not waited_for:
        app.list_changed.set()


def _session_limits(settings: Settings, policy: Policy) -> SessionLimits:
    return SessionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        lock_timeout_s=settings.limits.lock_timeout_s,
        idle_in_transaction_timeout_s=settings.limits.call_timeout_s,
        read_only=policy.engine_read_only,
    )


def _build_settings(settings: Settings, policy: Policy, dialect: Dialect) -> BuildSettings:
    secret = settings.server.secret
    return BuildSettings(
        policy=policy,
        surface=Surface(kind=settings.tools.surface, max_listed=settings.tools.max_listed, pin=settings.tools.pin),
        limits=ToolLimits(
            default_limit=settings.results.default_limit,
            max_rows=settings.results.max_rows,
            max_insert_rows=settings.limits.insert_rows,
        ),
        dialects=MappingProxyType({SOURCE: dialect}),
        cursor_secret=secret.encode() if secret else secrets.token_bytes(32),
    )
