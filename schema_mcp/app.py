"""Composition: the only file that knows every room. Settings in, a running server out."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa

from schema_mcp.catalog.build import BuildSettings, Catalog, build
from schema_mcp.catalog.past import past
from schema_mcp.catalog.registry import Registry
from schema_mcp.catalog.surface import Surface
from schema_mcp.config.database import SAMPLE, parse_database
from schema_mcp.config.model import Settings
from schema_mcp.dialects.base import Dialect, Reading, SessionLimits
from schema_mcp.dialects.choose import choose_dialect
from schema_mcp.execute.engines import Database
from schema_mcp.execute.executor import ExecutionLimits, Executor
from schema_mcp.execute.sql import SqlExecutor
from schema_mcp.observe.events import Observe
from schema_mcp.samples.shop import create as create_sample
from schema_mcp.schema.select import Selection
from schema_mcp.security.policy import AccessMode, Policy, SqlMode
from schema_mcp.server.activated import ListChanged
from schema_mcp.server.tool_service import CatalogToolService
from schema_mcp.state.keeper import Keeper
from schema_mcp.state.place import AUTO, NoPlace, Place, identify, locate
from schema_mcp.state.records import Hooks, Loaded, Seen
from schema_mcp.tools.base import ServerStatus, SourceStatus
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.target import ToolLimits
from schema_mcp.watch.listen import Listener
from schema_mcp.watch.poll import Poll
from schema_mcp.watch.role import RoleCheck
from schema_mcp.watch.watcher import Watcher

#: The one source of a configuration with a `[database]` section.
SOURCE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything that runs, wired together."""

    database: Database
    registry: Registry
    watcher: Watcher
    keeper: Keeper
    service: CatalogToolService
    #: Set after each change of the served list; whoever tells the clients clears it.
    list_changed: ListChanged
    #: Hears of changes at once, where the database can tell of them.
    listener: Listener | None
    role: RoleCheck
    #: Runs callers' own statements, where they are allowed.
    sql: SqlExecutor


@asynccontextmanager
async def running(settings: Settings, observe: Observe) -> AsyncIterator[App]:
    """The program without a transport: connections, watcher, tools. Everything is closed at the end."""
    with _database_url(settings) as url:
        async with _running(settings, observe, url) as app:
            yield app


@asynccontextmanager
async def _running(settings: Settings, observe: Observe, url: sa.URL) -> AsyncIterator[App]:
    policy = Policy(mode=AccessMode(settings.access.mode), sql=SqlMode(settings.access.sql))
    dialect = choose_dialect(url, portable_reader=settings.watch.reader == "information_schema")
    database = Database(
        SOURCE,
        url,
        dialect,
        _session_limits(settings, policy),
        size=settings.pool.size,
        acquire_timeout_s=settings.pool.acquire_timeout_s,
    )
    secret = CursorSecret(settings.server.secret.encode() if settings.server.secret else secrets.token_bytes(32))
    build_settings = _build_settings(settings, policy, dialect, secret)
    registry = Registry(build(build_settings, {}, None))
    selection = select(settings)
    looked = asyncio.Event()
    keeper = Keeper(
        place(settings, url),
        identify(SOURCE, url, selection, settings.watch.reader),
        SOURCE,
        Hooks(
            give=lambda left: _give(watcher, left),
            reached=lambda: watcher.reached(SOURCE),
            share_secret=secret.share if settings.server.secret is None else lambda _: None,
            confirmed_at=lambda: watcher.confirmed_at(SOURCE),
            refresh=lambda: watcher.read_again(),
        ),
        observe,
        looked=looked,
        max_changes=settings.state.max_changes,
        lock_timeout_s=settings.state.lock_timeout_s,
    )

    def on_reading(reading: Reading, changed: bool) -> None:
        keeper.note(_seen(reading), changed=changed)
        role.reached.set()

    watcher = Watcher(
        {SOURCE: database},
        selection,
        registry,
        build_settings,
        observe,
        poll_interval_s=settings.watch.poll_interval_s,
        debounce_s=settings.watch.debounce_s,
        full_refresh_s=settings.watch.full_refresh_s,
        first_look=looked,
        on_reading=on_reading,
    )
    limits = ExecutionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        call_timeout_s=settings.limits.call_timeout_s,
        max_bytes=settings.results.max_bytes,
    )
    executor = Executor(database, limits, watcher.notice)
    sql_session = replace(_session_limits(settings, policy), read_only=not policy.sql_writes)
    sql_database = Database(
        SOURCE, url, dialect, sql_session, size=1, acquire_timeout_s=settings.pool.acquire_timeout_s
    )
    sql = SqlExecutor(sql_database, limits, watcher.notice)
    role = RoleCheck(database, observe)
    service = CatalogToolService(
        registry,
        {SOURCE: executor},
        watcher,
        keeper,
        observe,
        sql={SOURCE: sql},
        status=lambda: _status(app, settings),
        list_ttl_ms=round(settings.watch.poll_interval_s * 1000),
    )
    listens = settings.watch.listen == "auto" and dialect.name == "postgresql"
    listener = Listener(database, watcher.notice, observe) if listens else None
    app = App(
        database=database,
        registry=registry,
        watcher=watcher,
        keeper=keeper,
        service=service,
        list_changed=service.list_changed,
        listener=listener,
        role=role,
        sql=sql,
    )
    registry.subscribe(lambda before, after: _tell(app, before, after))
    poll = Poll(watcher.interval_s, watcher.tick)
    tasks = {
        asyncio.create_task(watcher.run(), name="watcher"),
        asyncio.create_task(keeper.run(), name="keeper"),
        asyncio.create_task(_settle(app), name="first tables"),
        asyncio.create_task(role.run(), name="role"),
    }
    if listener is not None:
        tasks.add(asyncio.create_task(listener.run(), name="listener"))
    poll.start()
    try:
        yield app
    finally:
        poll.stop()
        await keeper.finish()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await database.close()
        await sql_database.close()


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


def select(settings: Settings) -> Selection:
    """Which relations are served."""
    database = settings.database
    return Selection(
        schemas=database.schemas,
        include=database.include,
        exclude=database.exclude,
        hide_columns=database.hide_columns,
    )


def place(settings: Settings, url: sa.URL) -> Place | NoPlace:
    """Where the history of the database at `url` is kept. Raises: ConfigurationError."""
    if settings.database.url == SAMPLE and settings.state.url == AUTO:
        return NoPlace(
            reason="the sample is made anew at each start", hint="Serve a database of your own to have a history."
        )
    return locate(settings.state.url, url)


async def _give(watcher: Watcher, left: Loaded) -> None:
    """What an earlier process left, to the watcher."""
    if left.schema is not None or left.gone:
        schemas = {} if left.schema is None else {SOURCE: (left.schema, left.confirmed_at or 0.0)}
        await watcher.adopt(schemas, await asyncio.to_thread(past, left.gone, left.default_schema))


async def _settle(app: App) -> None:
    """Says when it is known whether there are tables."""
    await app.keeper.opened.wait()
    await app.watcher.first_look.wait()
    app.service.ready.set()


def _seen(reading: Reading) -> Seen:
    gate = reading.gate
    return Seen(schema=reading.schema, era=gate.era, order=gate.order, taken_at=round(gate.taken_at, 6))


def _status(app: App, settings: Settings) -> ServerStatus:
    catalog, watcher = app.registry.current, app.watcher
    source = SourceStatus(
        source=SOURCE,
        product=app.database.dialect.name,
        tables=len(catalog.targets),
        confirmed=watcher.confirmed(SOURCE),
        confirmed_at=watcher.confirmed_at(SOURCE),
        error=watcher.errors.get(SOURCE),
        left_out=tuple(watcher.left_out(SOURCE)),
        listening=app.listener is not None and app.listener.listening.is_set(),
        interval_s=watcher.interval_s,
        pool_size=settings.pool.size,
        pool_in_use=app.database.in_use,
        warnings=app.role.warnings,
    )
    return ServerStatus(
        generation=catalog.generation,
        sources=(source,),
        history=app.keeper.status,
        listed_tools=len(catalog.listed),
        listed_bytes=sum(len(json) for json in catalog.listed_json),
    )


def _tell(app: App, before: Catalog, after: Catalog) -> None:
    """The first tables are no change for those who wait for them; later ones are if a byte of the list differs."""
    if after.schemas:
        app.service.ready.set()
    waited_for = not app.service.listed and (not app.watcher.first_look.is_set() or bool(after.unconfirmed))
    if before.listed_json != after.listed_json and not waited_for:
        app.list_changed.set()
    else:
        app.service.replaced(before, after)


def _session_limits(settings: Settings, policy: Policy) -> SessionLimits:
    return SessionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        lock_timeout_s=settings.limits.lock_timeout_s,
        idle_in_transaction_timeout_s=settings.limits.call_timeout_s,
        read_only=policy.engine_read_only,
    )


def _build_settings(settings: Settings, policy: Policy, dialect: Dialect, secret: CursorSecret) -> BuildSettings:
    return BuildSettings(
        policy=policy,
        surface=Surface(
            kind=settings.tools.surface,
            max_listed=settings.tools.max_listed,
            pin=settings.tools.pin,
            groups=frozenset(settings.tools.groups),
        ),
        limits=ToolLimits(
            default_limit=settings.results.default_limit,
            max_rows=settings.results.max_rows,
            max_insert_rows=settings.limits.insert_rows,
        ),
        dialects=MappingProxyType({SOURCE: dialect}),
        cursor_secret=secret,
    )
