"""One served database, wired: its connections, its follower, what runs its calls and keeps its history.

It knows no other source; `app.py` puts them together.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from schema_mcp.app_operations import LongRunners, long_runners
from schema_mcp.app_settings import (
    execution_limits,
    queue_limits,
    session_limits,
    sql_session_limits,
    transaction_session_limits,
)
from schema_mcp.catalog.build import BuildSettings, Catalog
from schema_mcp.catalog.past import past
from schema_mcp.catalog.registry import Registry
from schema_mcp.config.database import KEY, SAMPLE, parse_database
from schema_mcp.config.model import SOURCE, Settings, SourceSettings
from schema_mcp.dialects.base import Reading
from schema_mcp.execute.cache import ResultCache
from schema_mcp.execute.engines import Database
from schema_mcp.execute.executor import Executor
from schema_mcp.execute.sql import SqlExecutor
from schema_mcp.execute.writes import Writes
from schema_mcp.observe.events import Observe
from schema_mcp.samples.shop import create as create_sample
from schema_mcp.schema.model import TableName
from schema_mcp.schema.select import Selection
from schema_mcp.security.policy import Policy
from schema_mcp.state.keeper import Keeper
from schema_mcp.state.keys import Keys
from schema_mcp.state.place import AUTO, NoPlace, Place, identify, locate
from schema_mcp.state.records import Hooks, Loaded, Seen
from schema_mcp.tools.base import SourceStatus
from schema_mcp.watch.follower import Follower, Rhythm
from schema_mcp.watch.listen import Listener
from schema_mcp.watch.role import RoleCheck
from schema_mcp.watch.rows import RowWatch
from schema_mcp.watch.swap import Swap


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSource:
    """What runs for one database."""

    database: Database
    follower: Follower
    keeper: Keeper
    #: Hears of changes at once, where the database can tell of them.
    listener: Listener | None
    role: RoleCheck
    #: Runs callers' own statements, where they are allowed.
    sql: SqlExecutor
    #: Connections of transactions that stay open over several calls.
    transaction_database: Database
    #: The same for operations, on connections of their own that may be busy for long.
    long: LongRunners
    #: Keeps idempotency keys for a database that has no table for them.
    keys: Keys
    #: To be told of writes.
    writes: Writes
    observe: Observe
    #: Tells who waits for it that rows have changed.
    rows: RowWatch

    def executor(self, settings: Settings) -> Executor:
        """Runs calls under these limits."""
        limits = execution_limits(settings)
        return Executor(self.database, limits, self.follower.notice, self.keys, self.observe, self.writes)

    def resettling(self, settings: Settings) -> Callable[[], None]:
        """A function that cannot fail: what begins after its call is held to these limits by the database; what runs
        goes on as it began.

        Raises: ConfigurationError.
        """
        reopen = self.database.reopening(session_limits(settings))
        reopen_transactions = self.transaction_database.reopening(transaction_session_limits(settings))
        reopen_sql = self.sql.database.reopening(sql_session_limits(settings))
        limits = execution_limits(settings)
        queue = queue_limits(settings)
        resettle_long = self.long.resettling(settings)

        def resettle() -> None:
            self.database.queue.limits = self.sql.queue.limits = queue
            reopen()
            reopen_sql()
            reopen_transactions()
            self.sql.limits = limits
            resettle_long()

        return resettle

    async def close(self) -> None:
        """Closes the connections."""
        await self.database.close()
        await self.sql.database.close()
        await self.transaction_database.close()
        await self.long.close()

    def status(self, catalog: Catalog, settings: Settings) -> SourceStatus:
        """How it stands."""
        name, follower = self.database.name, self.follower
        return SourceStatus(
            source=name,
            product=self.database.dialect.name,
            tables=sum(table.source == name for table in catalog.targets),
            confirmed=follower.confirmed,
            confirmed_at=follower.confirmed_at,
            error=follower.error,
            failing_since=follower.failing_since,
            left_out=tuple(one for one in follower.left_out if _may_be_named(catalog, name, one)),
            listening=self.listener is not None and self.listener.listening.is_set(),
            interval_s=follower.interval_s,
            pool_size=settings.pool.size,
            pool_in_use=self.database.in_use,
            history=self.keeper.status,
            warnings=self.role.warnings,
            pool_waiting=self.database.queue.waiting,
            retry_in_s=follower.retry_in_s,
        )


def wire(
    settings: Settings,
    source: SourceSettings,
    url: sa.URL,
    registry: Registry,
    swap: Swap,
    build_settings: BuildSettings,
    observe: Observe,
    cache: ResultCache | None = None,
) -> AppSource:
    """The source, which does nothing yet. Raises: ConfigurationError."""
    dialect = build_settings.dialects[source.name]
    where = place(settings, source, url)
    database = Database(
        source.name,
        url,
        dialect,
        session_limits(settings),
        size=settings.pool.size,
        acquire_timeout_s=settings.pool.acquire_timeout_s,
        queue=queue_limits(settings),
    )
    sql_database = Database(
        source.name,
        url,
        dialect,
        sql_session_limits(settings),
        size=1,
        acquire_timeout_s=settings.pool.acquire_timeout_s,
        queue=queue_limits(settings),
        beside=database,
    )
    transaction_database = Database(
        source.name,
        url,
        dialect,
        transaction_session_limits(settings),
        size=settings.pool.transaction_size,
        acquire_timeout_s=settings.pool.acquire_timeout_s,
        beside=database,
    )
    rows = RowWatch(database, observe, listens=settings.watch.listen == "auto")
    ended = cache.drop if cache is not None else lambda: None
    writes = Writes(ended=ended, committed=rows.wrote)
    role = RoleCheck(database, observe)
    selection = select(source)

    def on_reading(reading: Reading, changed: bool) -> None:
        keeper.note(_seen(reading), changed=changed)
        role.reached.set()

    follower = Follower(
        database,
        selection,
        registry,
        swap,
        build_settings.row_estimates,
        Rhythm(
            poll_interval_s=settings.watch.poll_interval_s,
            debounce_s=settings.watch.debounce_s,
            full_refresh_s=settings.watch.full_refresh_s,
        ),
        observe,
        on_reading=on_reading,
    )
    several, secret = build_settings.limits.several, build_settings.cursor_secret
    who = identify(source.name, url, selection, settings.watch.reader)
    keeper = Keeper(
        where,
        who,
        source.name,
        Hooks(
            give=lambda left: _give(follower, left, swap.policy, several=several),
            reached=lambda: follower.reached,
            share_secret=secret.share if settings.server.secret is None else lambda _: None,
            confirmed_at=lambda: follower.confirmed_at,
            refresh=follower.read_again,
        ),
        observe,
        looked=follower.first_look,
        max_changes=settings.state.max_changes,
        lock_timeout_s=settings.state.lock_timeout_s,
    )
    keys = Keys(where, who, keep_s=settings.state.idempotency_keep_s, lock_timeout_s=settings.state.lock_timeout_s)
    listens = settings.watch.listen == "auto" and dialect.name == "postgresql"
    return AppSource(
        database=database,
        follower=follower,
        keeper=keeper,
        listener=Listener(database, follower.notice, observe) if listens else None,
        role=role,
        sql=SqlExecutor(sql_database, execution_limits(settings), follower.notice, writes),
        transaction_database=transaction_database,
        long=long_runners(settings, source.name, url, database, follower.notice, keys, observe, writes),
        keys=keys,
        writes=writes,
        observe=observe,
        rows=rows,
    )


def _may_be_named(catalog: Catalog, source: str, left_out: str) -> bool:
    """Whether a relation that is left out would be served; its name says no schema."""
    schema = catalog.schemas.get(source)
    return schema is not None and catalog.policy.serves(
        TableName(source=source, schema=schema.default_schema, name=left_out)
    )


def url_of(source: SourceSettings) -> sa.URL:
    """What the configuration names. Raises: ConfigurationError."""
    return parse_database(source.url, KEY if source.name == SOURCE else f"sources.{source.name}.url")


@contextmanager
def database_url(source: SourceSettings) -> Iterator[sa.URL]:
    """The configured database; the sample is made in a folder of its own and removed at the end.

    Raises: ConfigurationError.
    """
    if source.url != SAMPLE:
        yield url_of(source)
        return
    with tempfile.TemporaryDirectory(prefix="schema-mcp-") as folder:
        path = Path(folder) / "shop.sqlite"
        create_sample(path)
        yield parse_database(str(path))


def select(source: SourceSettings) -> Selection:
    """Which relations are served."""
    return Selection(
        schemas=source.schemas,
        include=source.include,
        exclude=source.exclude,
        hide_columns=source.hide_columns,
    )


def place(settings: Settings, source: SourceSettings, url: sa.URL) -> Place | NoPlace:
    """Where the history of the source, the database at `url`, is kept. Raises: ConfigurationError."""
    if source.url == SAMPLE and settings.state.url == AUTO:
        return NoPlace(
            reason="the sample is made anew at each start", hint="Serve a database of your own to have a history."
        )
    return locate(settings.state.url, url)


async def _give(follower: Follower, left: Loaded, policy: Policy, *, several: bool) -> None:
    """What an earlier process left, to the follower."""
    if left.schema is not None or left.gone:
        former = await asyncio.to_thread(past, left.gone, left.default_schema, policy, several=several)
        await follower.adopt(left.schema, left.confirmed_at or 0.0, former)


def _seen(reading: Reading) -> Seen:
    gate = reading.gate
    return Seen(schema=reading.schema, era=gate.era, order=gate.order, taken_at=round(gate.taken_at, 6))
