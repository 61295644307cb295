"""The watcher: one task that waits, looks at the gate, reads, compares, builds and swaps.

In this order, for each source: (1) wait for the timer or for somebody who asks; (2) the gate, one cheap statement, says
whether anything can have changed; (3) read the schema, wait until `debounce_s` has passed since the gate opened, and
accept the reading only if the gate has not moved meanwhile or a second reading is equal (catalog reads tear under DDL,
even in one snapshot); (4) build the next catalog and swap it in. A failed read keeps the last good one and backs off.

It does not know who is told of a new catalog: the registry's subscribers are.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from schema_mcp.catalog.build import BuildSettings, build
from schema_mcp.catalog.registry import Registry
from schema_mcp.dialects.base import Connection, Gate, Reading
from schema_mcp.errors import CallError, CatalogReadError, ErrorCode
from schema_mcp.execute.engines import Database
from schema_mcp.observe.events import CatalogRead, CatalogReadFailed, CatalogReplaced, Observe, ReadingPostponed
from schema_mcp.schema.diff import SchemaDiff, diff
from schema_mcp.schema.model import Schema
from schema_mcp.schema.select import Selection
from schema_mcp.tools.base import RefreshOutcome

#: A whole look at one source: connecting, two readings, and the wait between them.
LOOK_TIMEOUT_S = 120.0
#: Readings in one look before "the schema never stands still" is given as the reason of failure.
MAX_READINGS = 5
#: Longest wait between two tries when the database cannot be reached, and when it can but the reading fails.
MAX_RECONNECT_WAIT_S = 2.0
MAX_BACKOFF_S = 30.0
#: More tables than this are built in a thread, so that the event loop goes on answering.
BUILD_INLINE_TABLES = 50


@dataclass(slots=True)
class _Source:
    """What the watcher remembers of one database."""

    database: Database
    connection: Connection | None = None
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    gate: Gate | None = None
    schema: Schema | None = None
    postponed: bool = False
    failures: int = 0
    try_again_at: float = 0.0
    error: str | None = None


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
    ) -> None:
        self._sources = {name: _Source(database) for name, database in databases.items()}
        self._selection = selection
        self._registry = registry
        self._settings = settings
        self._observe = observe
        self._poll_interval_s = poll_interval_s
        self._debounce_s = debounce_s
        self._wake = asyncio.Event()
        self._forced: list[asyncio.Future[RefreshOutcome]] = []
        self._looks: list[asyncio.Future[RefreshOutcome]] = []
        #: Set once every source has been tried.
        self.first_look = asyncio.Event()

    @property
    def interval_s(self) -> float:
        """How often the timer has to tick: as configured, or sooner where a look costs next to nothing."""
        own = [source.database.dialect.gate_interval_s for source in self._sources.values()]
        return min([self._poll_interval_s, *(interval for interval in own if interval is not None)])

    @property
    def errors(self) -> Mapping[str, str]:
        """Why the last look failed, per source that failed."""
        return {name: source.error for name, source in self._sources.items() if source.error is not None}

    def tick(self) -> None:
        """Asks for a look; comes back at once."""
        self._wake.set()

    async def look(self) -> RefreshOutcome:
        """A look that begins after this call; reads only if the gate has moved."""
        return await self._ask(self._looks)

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
            async with asyncio.timeout(2 * self.interval_s):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _cycle(self) -> None:
        forced, self._forced = self._forced, []
        looks, self._looks = self._looks, []
        changes: list[SchemaDiff] = []
        for name, source in self._sources.items():
            if forced or time.monotonic() >= source.try_again_at:
                change = await self._look_at(name, source, force=bool(forced))
                if change is not None:
                    changes.append(change)
        if changes:
            await self._replace(changes)
        outcome = self._outcome(changes)
        for future in (*forced, *looks):
            if not future.done():
                future.set_result(outcome)

    async def _look_at(self, name: str, source: _Source, *, force: bool) -> SchemaDiff | None:
        """What changed; None if nothing did, or if it could not be read."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                reading = await self._read(name, source, force=force)
        except Exception as error:  # noqa: BLE001 - the boundary of the watcher's task
            await _close(source)
            self._failed(name, source, error)
            return None
        source.failures, source.try_again_at, source.error = 0, 0.0, None
        if reading is None:
            return None
        source.gate, source.postponed = reading.gate, bool(reading.postponed)
        change = diff(source.schema, reading.schema)
        first = source.schema is None
        source.schema = reading.schema
        if reading.postponed:
            tables = tuple(sorted(str(table) for table in reading.postponed))
            self._observe(ReadingPostponed(source=name, tables=tables))
        self._observe(
            CatalogRead(
                source=name,
                tables=len(reading.schema.tables),
                changed=bool(change),
                duration_ms=(time.monotonic() - started) * 1000,
            )
        )
        return change if change or first else None

    async def _read(self, name: str, source: _Source, *, force: bool) -> Reading | None:
        """An accepted reading; None while the gate stands still."""
        connection = await _open(source)
        dialect = source.database.dialect
        gate = await dialect.gate(connection)
        opened = time.monotonic()
        if source.gate is not None and gate.identity != source.gate.identity:
            await _close(source)
            await source.database.renew()
            connection = await _open(source)
        elif gate == source.gate and not force and not source.postponed:
            return None
        reading = await dialect.read(connection, name, self._selection, source.schema)
        if source.schema is not None:
            await asyncio.sleep(max(0.0, opened + self._debounce_s - time.monotonic()))
        for _ in range(MAX_READINGS):
            if await dialect.gate(connection) == reading.gate:
                return reading
            again = await dialect.read(connection, name, self._selection, source.schema)
            if again.schema == reading.schema:
                return again
            reading = again
        raise CatalogReadError(f"the schema of '{name}' changed during each of {MAX_READINGS} readings")

    def _failed(self, name: str, source: _Source, error: Exception) -> None:
        source.failures += 1
        message, unavailable = _explain(name, source.database, error)
        longest = MAX_RECONNECT_WAIT_S if unavailable else MAX_BACKOFF_S
        wait_s = min(self._poll_interval_s * 2.0 ** min(source.failures - 1, 20), max(longest, self._poll_interval_s))
        wait_s *= random.uniform(0.8, 1.0)
        source.try_again_at = time.monotonic() + wait_s
        if message != source.error:
            self._observe(CatalogReadFailed(source=name, message=message, failures=source.failures, retry_in_s=wait_s))
        source.error = message

    async def _replace(self, changes: list[SchemaDiff]) -> None:
        schemas = {name: source.schema for name, source in self._sources.items() if source.schema is not None}
        previous = self._registry.current
        if sum(len(change.names) for change in changes) > BUILD_INLINE_TABLES:
            catalog = await asyncio.to_thread(build, self._settings, schemas, previous)
        else:
            catalog = build(self._settings, schemas, previous)
        self._registry.replace(catalog)
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

    def _outcome(self, changes: list[SchemaDiff]) -> RefreshOutcome:
        catalog = self._registry.current
        return RefreshOutcome(
            generation=catalog.generation,
            tables=len(catalog.targets),
            added=tuple(str(table.name) for change in changes for table in change.added),
            removed=tuple(str(table.name) for change in changes for table in change.removed),
            changed=tuple(str(after.name) for change in changes for _, after in change.changed),
            errors=self.errors,
        )


async def _open(source: _Source) -> Connection:
    if source.connection is None:
        source.connection = await source.resources.enter_async_context(source.database.single())
    return source.connection


async def _close(source: _Source) -> None:
    source.connection = None
    resources, source.resources = source.resources, AsyncExitStack()
    try:
        await resources.aclose()
    except Exception:  # noqa: BLE001 - closing a connection that is lost anyway
        return


def _explain(name: str, database: Database, error: Exception) -> tuple[str, bool]:
    """A message without secrets, and whether the database did not answer at all."""
    if isinstance(error, CatalogReadError):
        return str(error), error.unavailable
    if isinstance(error, TimeoutError):
        return f"reading the schema of '{name}' took longer than {LOOK_TIMEOUT_S:g} s", False
    translated = error if isinstance(error, CallError) else database.dialect.translate(error, None)
    if translated is not None:
        hint = f". {translated.hint}" if translated.hint else ""
        return translated.message.rstrip(".") + hint, translated.code is ErrorCode.DATABASE_UNAVAILABLE
    return f"reading the schema of '{name}' failed ({type(error).__name__})", False
