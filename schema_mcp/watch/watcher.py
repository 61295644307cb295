"""The watcher: one task that waits, looks at the gate, reads, compares, builds and swaps.

In this order, for each source: (1) wait for the timer or for somebody who asks; (2) the gate, one cheap statement, says
whether anything can have changed; (3) read what has changed in the schema, wait until `debounce_s` has passed since the
gate opened, and accept the reading only if the gate has not moved meanwhile or a second reading finds nothing changed
of what was read (catalog reads tear under DDL, even in one snapshot); (4) build the next catalog and swap it in.
Whatever fails, the last good one stays, and the next try comes later and later.

Where the gate moves with every commit, looks that find nothing are spaced by what they cost, unless the gate hints at
the schema. Every `full_refresh_s` everything is read again, for what no digest tells.

It does not know who is told of a new catalog: the registry's subscribers are.
"""

import asyncio
import random
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace

from schema_mcp.catalog.build import BuildSettings, Former, build
from schema_mcp.catalog.past import remembering
from schema_mcp.catalog.registry import Registry
from schema_mcp.dialects.base import Connection, Reading
from schema_mcp.errors import CallError, CatalogReadError, ErrorCode
from schema_mcp.execute.engines import Database
from schema_mcp.observe.events import (
    CatalogRead,
    CatalogReadFailed,
    CatalogReplaced,
    InternalFailure,
    Observe,
    ReadingPostponed,
)
from schema_mcp.schema.diff import SchemaDiff, diff
from schema_mcp.schema.model import Schema, Table
from schema_mcp.schema.select import Selection
from schema_mcp.tools.base import RefreshOutcome
from schema_mcp.tools.naming import display_name
from schema_mcp.watch.pace import Pace

#: A whole look at one source: connecting, two readings, and the wait between them.
LOOK_TIMEOUT_S = 120.0
#: Readings in one look before "the schema never stands still" is given as the reason of failure.
MAX_READINGS = 5
#: Longest wait between two tries: for what passes by itself (the database is away, the schema never stands still), and
#: for what somebody has to put right.
FIRST_SHORT_WAIT_S = 0.1
MAX_SHORT_WAIT_S = 2.0
MAX_LONG_WAIT_S = 30.0
#: A look that finds nothing waits for so many answers, which is no cost.
ROUND_TRIPS = 5
#: More tables than this are compared or built in a thread, so that the event loop goes on answering: comparing a table
#: takes some 0.01 ms, building its tools 0.1 ms, and taking over the tools of one that stays 0.01 ms.
COMPARE_INLINE_TABLES = 500
BUILD_INLINE_TABLES = 50
KEEP_INLINE_TABLES = 2_000


@dataclass(slots=True)
class _Source:
    """What the watcher remembers of one database. `schema` is served, and `reading` is its source."""

    database: Database
    connection: Connection | None = None
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    schema: Schema | None = None
    reading: Reading | None = None
    #: When the served schema was last found true, in seconds since 1970.
    confirmed_at: float | None = None
    failures: int = 0
    try_again_at: float = 0.0
    error: str | None = None
    #: The last look failed because the schema did not stand still.
    unsettled: bool = False
    pace: Pace = field(default_factory=Pace)
    full_refresh_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Found:
    """An accepted reading, and what it changes against the current catalog."""

    source: _Source
    reading: Reading
    change: SchemaDiff


class Watcher:
    """`poll_interval_s` bounds every wait, should the timer ever fail to tick."""

    def __init__(
        self,
        databases: Mapping[str, Database],
        selection: Selection,
        registry: Registry,
        settings: BuildSettings,
        observe: Observe,
        *,
        poll_interval_s: float,
        debounce_s: float,
        full_refresh_s: float,
        first_look: asyncio.Event | None = None,
        on_reading: Callable[[Reading, bool], None] = lambda reading, changed: None,
    ) -> None:
        self._sources = {name: _Source(database) for name, database in databases.items()}
        self._selection = selection
        self._registry = registry
        self._settings = settings
        self._observe = observe
        self._poll_interval_s = poll_interval_s
        self._debounce_s = debounce_s
        self._full_refresh_s = full_refresh_s
        #: Told of each accepted reading, and whether it differs from the schema before; must not block.
        self._on_reading = on_reading
        #: Held while the next catalog is made out of the current one.
        self._replacing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._forced: list[asyncio.Future[RefreshOutcome]] = []
        self._looks: list[asyncio.Future[RefreshOutcome]] = []
        #: Set once every source has been tried.
        self.first_look = first_look or asyncio.Event()

    @property
    def interval_s(self) -> float:
        """How often the timer has to tick: as configured, or sooner where a look costs next to nothing."""
        own = [source.database.dialect.gate_interval_s for source in self._sources.values()]
        return min([self._poll_interval_s, *(interval for interval in own if interval is not None)])

    @property
    def errors(self) -> Mapping[str, str]:
        """Why the last look failed, per source that failed."""
        return {name: source.error for name, source in self._sources.items() if source.error is not None}

    def confirmed_at(self, source: str) -> float | None:
        """When the served schema was last found true, in seconds since 1970; of a loaded one, by whoever stored it."""
        return self._sources[source].confirmed_at

    def confirmed(self, source: str) -> bool:
        """Whether the served schema was read from the database in this process."""
        return self._sources[source].reading is not None

    def reached(self, source: str) -> bool:
        """Whether the database has answered, so that a reading may be on its way."""
        return self._sources[source].connection is not None

    async def adopt(self, schemas: Mapping[str, tuple[Schema, float]], former: Former) -> None:
        """Until the first reading serves schemas of an earlier time, each with when it was last found true.

        `former`: names that were served then.
        """
        async with self._replacing:
            current = self._registry.current
            taken = {name: pair for name, pair in schemas.items() if self._sources[name].schema is None}
            served = {**current.schemas, **{name: schema for name, (schema, _) in taken.items()}}
            unconfirmed = frozenset(name for name in served if not self.confirmed(name))
            catalog = await asyncio.to_thread(
                lambda: build(self._settings, served, remembering(current, former), unconfirmed)
            )
            if not taken:
                catalog = replace(catalog, generation=current.generation)
            for name, (schema, confirmed_at) in taken.items():
                self._sources[name].schema, self._sources[name].confirmed_at = schema, confirmed_at
            self._registry.replace(catalog)

    def tick(self) -> None:
        """Asks for a look; comes back at once."""
        self._wake.set()

    def notice(self) -> None:
        """As `tick`, by somebody who knows that the schema has changed: no source rests."""
        for source in self._sources.values():
            source.pace.wake()
        self._wake.set()

    async def look(self) -> RefreshOutcome:
        """A look that begins after this call; reads only if the gate has moved."""
        return await self._ask(self._looks)

    def read_again(self) -> None:
        """Asks for a reading, whatever the gate says; comes back at once."""
        self._forced.append(asyncio.get_running_loop().create_future())
        self._wake.set()

    async def refresh(self) -> RefreshOutcome:
        """A reading that begins after this call, whatever the gate says and however long the back-off."""
        return await self._ask(self._forced)

    async def run(self) -> None:
        """Watches until it is cancelled."""
        try:
            while True:
                await self._cycle()
                self.first_look.set()
                await self._wait()
        finally:
            for future in (*self._forced, *self._looks):
                future.cancel()
            for source in self._sources.values():
                await _close(source)

    async def _ask(self, queue: "list[asyncio.Future[RefreshOutcome]]") -> RefreshOutcome:
        future: asyncio.Future[RefreshOutcome] = asyncio.get_running_loop().create_future()
        queue.append(future)
        self._wake.set()
        return await future

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._longest_wait_s()):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    def _longest_wait_s(self) -> float:
        """Until the next try of a source that failed; else two intervals, should the timer ever fail to tick."""
        now = time.monotonic()
        tries = [source.try_again_at - now for source in self._sources.values() if source.error is not None]
        return max(0.0, min([2 * self.interval_s, *tries]))

    async def _cycle(self) -> None:
        forced, looks = len(self._forced), len(self._looks)
        found: list[_Found] = []
        for source in self._sources.values():
            # A call that asks is worth another try where nothing is wrong but that the schema did not stand still.
            if forced or (looks and source.unsettled) or time.monotonic() >= source.try_again_at:
                news = await self._look_at(source, force=bool(forced), asked=bool(looks))
                if news is not None:
                    found.append(news)
        outcome = self._outcome(await self._accept(found))
        for queue, asked in ((self._forced, forced), (self._looks, looks)):
            for future in queue[:asked]:
                if not future.done():
                    future.set_result(outcome)
            del queue[:asked]

    async def _look_at(self, source: _Source, *, force: bool, asked: bool) -> _Found | None:
        """What was read; None if nothing can have changed, or if it could not be read."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S) as limit:
                reading = await self._read(source, force=force, asked=asked)
                change = await _diff(source.schema, reading.schema) if reading is not None else SchemaDiff()
        except Exception as error:  # noqa: BLE001 - the boundary of the watcher's task
            await _close(source)
            self._failed(source, _TooLong(source.database.name) if limit.expired() else error)
            return None
        if reading is None:
            _succeeded(source)
            return None
        known = source.reading.postponed if source.reading is not None else frozenset()
        if reading.postponed - known:
            tables = tuple(sorted(str(table) for table in reading.postponed))
            self._observe(ReadingPostponed(source=source.database.name, tables=tables))
        self._observe(
            CatalogRead(
                source=source.database.name,
                tables=len(reading.schema.tables),
                changed=bool(change),
                duration_ms=(time.monotonic() - started) * 1000,
            )
        )
        return _Found(source, reading, change)

    async def _read(self, source: _Source, *, force: bool, asked: bool) -> Reading | None:
        """An accepted reading; None while the gate stands still, or has moved and the source rests."""
        name, dialect, before = source.database.name, source.database.dialect, source.reading
        connection = await _open(source)
        began = time.monotonic()
        gate = await dialect.gate(connection)
        opened = time.monotonic()
        if before is not None and gate.identity != before.gate.identity:
            await _close(source)
            connection, before = await _open(source), None
        elif before is not None and not force and not before.postponed:
            due = asked or source.pace.heeds(gate, opened)
            if gate == before.gate:
                source.confirmed_at = gate.taken_at
            if gate == before.gate or not due:
                return None
        if before is not None and (force or opened >= source.full_refresh_at):
            before = replace(before, mark=None)
        if before is None or before.mark is None:
            source.full_refresh_at = opened + self._full_refresh_s
        reading = await dialect.read(connection, name, self._selection, before)
        if before is not None and reading.schema is before.schema:
            now = time.monotonic()
            source.pace.found_nothing(gate, opened, now, now - opened - ROUND_TRIPS * (opened - began))
            return reading
        source.pace.found_change(gate)
        if source.reading is not None:
            await asyncio.sleep(max(0.0, opened + self._debounce_s - time.monotonic()))
        for _ in range(MAX_READINGS):
            if await dialect.gate(connection) == reading.gate:
                return reading
            again = await dialect.read(connection, name, self._selection, reading)
            if not await _diff(reading.schema, again.schema):
                return again
            if reading.fresh is not None and again.fresh is not None and not reading.fresh & again.fresh:
                self._wake.set()
                return reading
            reading = again
        raise _Unsettled(name)

    async def _accept(self, found: Sequence[_Found]) -> Sequence[SchemaDiff]:
        """Makes what was read part of the catalog; what that changes."""
        changes = [news.change for news in found]
        if any(changes) or any(news.source.schema is None for news in found):
            try:
                await self._replace({news.source.database.name: news.reading.schema for news in found}, changes)
            except Exception as error:  # noqa: BLE001 - the boundary of the watcher's task
                for news in found:
                    self._failed(news.source, error)
                return ()
        for news in found:
            source, reading = news.source, news.reading
            source.schema, source.reading = reading.schema, reading
            source.confirmed_at = reading.gate.taken_at
            self._settings.row_estimates.replace(source.database.name, reading.row_estimates)
            _succeeded(source)
            self._on_reading(reading, news.change.structural)
        if self._registry.current.unconfirmed:
            await self._confirm()
        return changes

    async def _confirm(self) -> None:
        """The same tools, known to be true: no change for anybody who lists them."""
        async with self._replacing:
            current = self._registry.current
            unconfirmed = frozenset(name for name in current.unconfirmed if not self.confirmed(name))
            if unconfirmed != current.unconfirmed:
                self._registry.replace(replace(current, unconfirmed=unconfirmed))

    def _failed(self, source: _Source, error: Exception) -> None:
        source.failures += 1
        message, passes = _explain(source.database, error)
        first, longest = self._poll_interval_s, max(MAX_LONG_WAIT_S, self._poll_interval_s)
        if passes:
            first, longest = min(self._poll_interval_s, FIRST_SHORT_WAIT_S), MAX_SHORT_WAIT_S
        source.unsettled = isinstance(error, _Unsettled)
        if source.unsettled:
            longest = first  # nothing is wrong: whoever changes the schema will pause, and that moment is to be caught
        wait_s = min(first * 2.0 ** min(source.failures - 1, 20), longest)
        wait_s *= random.uniform(0.8, 1.0)
        source.try_again_at = time.monotonic() + wait_s
        if message is None:
            message = f"the schema of '{source.database.name}' cannot be served: {type(error).__name__}, see the log"
            if message != source.error:
                frames = "".join(traceback.format_tb(error.__traceback__))
                self._observe(InternalFailure(where="the watcher", traceback=f"{type(error).__name__}\n{frames}"))
        if message != source.error:
            self._observe(
                CatalogReadFailed(
                    source=source.database.name, message=message, failures=source.failures, retry_in_s=wait_s
                )
            )
        source.error = message

    async def _replace(self, read: Mapping[str, Schema], changes: Sequence[SchemaDiff]) -> None:
        async with self._replacing:
            kept = {name: source.schema for name, source in self._sources.items() if source.schema is not None}
            schemas = {**kept, **read}
            unconfirmed = frozenset(name for name in kept if name not in read and not self.confirmed(name))
            previous = self._registry.current
            to_build = sum(len(change.names) for change in changes)
            if to_build > BUILD_INLINE_TABLES or len(previous.targets) > KEEP_INLINE_TABLES:
                catalog = await asyncio.to_thread(build, self._settings, schemas, previous, unconfirmed)
            else:
                catalog = build(self._settings, schemas, previous, unconfirmed)
            self._registry.replace(catalog)
        if not any(change.structural for change in changes) and read.keys() <= kept.keys():
            return
        outcome = self._outcome(changes)
        self._observe(
            CatalogReplaced(
                generation=catalog.generation,
                added=outcome.added,
                removed=outcome.removed,
                changed=outcome.changed,
                listed_tools=len(catalog.listed),
                listed_bytes=sum(len(json) for json in catalog.listed_json),
            )
        )

    def _outcome(self, changes: Sequence[SchemaDiff]) -> RefreshOutcome:
        catalog = self._registry.current

        def names(tables: Iterable[Table]) -> tuple[str, ...]:
            return tuple(
                display_name(table.name, catalog.schemas[table.name.source].default_schema) for table in tables
            )

        return RefreshOutcome(
            generation=catalog.generation,
            tables=len(catalog.targets),
            added=names(table for change in changes for table in change.added),
            removed=names(table for change in changes for table in change.removed),
            changed=names(after for change in changes for _, after in change.changed),
            errors=self.errors,
        )


class _Unsettled(CatalogReadError):
    """Somebody goes on changing the schema."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the schema of '{name}' changed during each of {MAX_READINGS} readings")


class _TooLong(CatalogReadError):
    """A look was given up."""

    def __init__(self, name: str) -> None:
        super().__init__(f"reading the schema of '{name}' took longer than {LOOK_TIMEOUT_S:g} s")


async def _diff(before: Schema | None, after: Schema) -> SchemaDiff:
    if len(after.tables) <= COMPARE_INLINE_TABLES:
        return diff(before, after)
    return await asyncio.to_thread(diff, before, after)


async def _open(source: _Source) -> Connection:
    if source.connection is None:
        source.connection = await source.resources.enter_async_context(source.database.single())
    return source.connection


async def _close(source: _Source) -> None:
    source.connection = None
    resources, source.resources = source.resources, AsyncExitStack()
    with suppress(Exception):  # it is lost anyway
        await resources.aclose()


def _succeeded(source: _Source) -> None:
    source.failures, source.try_again_at, source.error = 0, 0.0, None


def _explain(database: Database, error: Exception) -> tuple[str | None, bool]:
    """A message without secrets, None for a defect of ours; and whether the trouble passes by itself."""
    if isinstance(error, CatalogReadError):
        return str(error), error.unavailable or isinstance(error, _Unsettled)
    translated = error if isinstance(error, CallError) else database.dialect.translate(error, None)
    if translated is None:
        return None, False
    return (
        f"{translated.message.rstrip('.')}. {translated.hint}".strip(),
        translated.code is ErrorCode.DATABASE_UNAVAILABLE,
    )
