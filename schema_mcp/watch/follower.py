"""The follower of one source: waits, looks at the gate, reads, compares and has the reading swapped in.

In this order: (1) wait for the timer or for somebody who asks; (2) the gate, one cheap statement, says whether anything
can have changed; (3) read what has changed in the schema, wait until `debounce_s` has passed since the gate opened, and
accept the reading only if the gate has not moved meanwhile or a second reading finds nothing changed of what was read
(catalog reads tear under DDL, even in one snapshot); (4) build the next catalog and swap it in. Whatever fails, the
last good one stays, and the next try comes later and later.

Where the gate moves with every commit, looks that find nothing are spaced by what they cost, unless the gate hints at
the schema. Every `full_refresh_s` everything is read again, for what no digest tells.

It does not know how the next catalog is made (`swap.py`), who is told of it, nor that there are other sources: a
database that is away or slow holds up nobody but those who ask for it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from schema_mcp.catalog.build import Catalog
from schema_mcp.catalog.estimates import RowEstimates
from schema_mcp.catalog.former import Former
from schema_mcp.catalog.registry import Registry
from schema_mcp.dialects.base import Reading
from schema_mcp.execute.engines import Database
from schema_mcp.observe.events import CatalogRead, Observe, ReadingPostponed, RelationsLeftOut
from schema_mcp.schema.diff import SchemaDiff, diff
from schema_mcp.schema.model import Schema
from schema_mcp.schema.select import Selection
from schema_mcp.tools.base import RefreshOutcome
from schema_mcp.watch.source import Source, TooLong, Unsettled
from schema_mcp.watch.swap import ChangedNames, Swap

#: A whole look at one source: connecting, two readings, and the wait between them.
LOOK_TIMEOUT_S = 120.0
#: Readings in one look before "the schema never stands still" is given as the reason of failure.
MAX_READINGS = 5
#: A look that finds nothing waits for so many answers, which is no cost.
ROUND_TRIPS = 5
#: More tables than this are compared in a thread, so that the event loop goes on answering: comparing one takes some
#: 0.01 ms.
COMPARE_INLINE_TABLES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often a source is looked at; see `[watch]`. `poll_interval_s` bounds waits, should the timer never tick."""

    poll_interval_s: float
    debounce_s: float
    full_refresh_s: float


@dataclass(frozen=True, slots=True)
class _Found:
    """An accepted reading, and what it changes against the served schema."""

    reading: Reading
    change: SchemaDiff


class Follower:
    """Of one source, from `run` on."""

    def __init__(
        self,
        database: Database,
        selection: Selection,
        registry: Registry,
        swap: Swap,
        row_estimates: RowEstimates,
        rhythm: Rhythm,
        observe: Observe,
        *,
        on_reading: Callable[[Reading, bool], None] = lambda reading, changed: None,
    ) -> None:
        self._source = Source(database)
        self._name = database.name
        self._selection = selection
        self._registry = registry
        self._swap = swap
        self._row_estimates = row_estimates
        self._rhythm = rhythm
        self._observe = observe
        #: Told of each accepted reading, and whether it differs from the schema before; must not block.
        self._on_reading = on_reading
        self._wake = asyncio.Event()
        self._forced: list[asyncio.Future[RefreshOutcome]] = []
        self._looks: list[asyncio.Future[RefreshOutcome]] = []
        #: Set once the source has been tried.
        self.first_look = asyncio.Event()

    @property
    def interval_s(self) -> float:
        """How often the timer has to tick: as configured, or sooner where a look costs next to nothing."""
        own = self._source.database.dialect.gate_interval_s
        return self._rhythm.poll_interval_s if own is None else min(self._rhythm.poll_interval_s, own)

    @property
    def error(self) -> str | None:
        """Why the last look failed, if it did."""
        return self._source.error

    @property
    def failing_since(self) -> float | None:
        """When the first of the looks failed that have failed since the last good one, in seconds since 1970."""
        return self._source.failing_since

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until the next look, where the last one failed."""
        return None if self._source.error is None else max(0.0, self._source.try_again_at - time.monotonic())

    @property
    def confirmed_at(self) -> float | None:
        """When the served schema was last found true, in seconds since 1970; of a loaded one, by whoever stored it."""
        return self._source.confirmed_at

    @property
    def confirmed(self) -> bool:
        """Whether the served schema was read from the database in this process."""
        return self._source.reading is not None

    @property
    def left_out(self) -> Sequence[str]:
        """Names of relations that are not served because the database itself cannot describe them."""
        reading = self._source.reading
        return reading.left_out if reading is not None else ()

    @property
    def reached(self) -> bool:
        """Whether the database has answered, so that a reading may be on its way."""
        return self._source.connection is not None

    async def adopt(self, schema: Schema | None, confirmed_at: float, former: Former) -> None:
        """Until the first reading serves a schema of an earlier time, if there is one, last found true at that time.

        `former`: names that were served then.
        """
        schemas = {} if schema is None else {self._name: schema}
        if await self._swap.adopt(schemas, former):
            self._source.schema, self._source.confirmed_at = schema, confirmed_at

    def tick(self) -> None:
        """Asks for a look; comes back at once."""
        self._wake.set()

    def notice(self) -> None:
        """As `tick`, by somebody who knows that the schema has changed: the source does not rest."""
        self._source.pace.wake()
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
        """Follows until it is cancelled."""
        try:
            while True:
                await self._cycle()
                self.first_look.set()
                await self._wait()
        finally:
            for future in (*self._forced, *self._looks):
                future.cancel()
            await self._source.close()

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
        longest = 2 * self.interval_s
        if self._source.error is None:
            return longest
        return max(0.0, min(longest, self._source.try_again_at - time.monotonic()))

    async def _cycle(self) -> None:
        forced, looks = len(self._forced), len(self._looks)
        change = SchemaDiff()
        # A call that asks is worth another try where nothing is wrong but that the schema did not stand still.
        if forced or (looks and self._source.unsettled) or time.monotonic() >= self._source.try_again_at:
            news = await self._look(force=bool(forced), asked=bool(looks))
            if news is not None:
                change = await self._accept(news)
        if not forced and not looks:
            return
        result = await asyncio.to_thread(self._outcome, self._registry.current, change, self._source.error)
        for queue, asked in ((self._forced, forced), (self._looks, looks)):
            for future in queue[:asked]:
                if not future.done():
                    future.set_result(result)
            del queue[:asked]

    def _outcome(self, catalog: Catalog, change: SchemaDiff, error: str | None) -> RefreshOutcome:
        """What a look has found, for whoever asked for it."""
        names = ChangedNames.of(catalog, [change])
        return RefreshOutcome(
            generation=catalog.generation,
            tables=sum(name.source == self._name for name in catalog.targets),
            added=names.added,
            removed=names.removed,
            changed=names.changed,
            errors={} if error is None else {self._name: error},
        )

    async def _look(self, *, force: bool, asked: bool) -> _Found | None:
        """What was read; None if nothing can have changed, or if it could not be read."""
        source, started = self._source, time.monotonic()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S) as limit:
                reading = await self._read(force=force, asked=asked)
                change = await _diff(source.schema, reading.schema) if reading is not None else SchemaDiff()
        except Exception as error:  # noqa: BLE001 - the boundary of the source's task
            await source.close()
            self._failed(TooLong(self._name, LOOK_TIMEOUT_S) if limit.expired() else error)
            return None
        if reading is None:
            source.succeeded()
            return None
        known = source.reading.postponed if source.reading is not None else frozenset()
        if reading.postponed - known:
            tables = tuple(sorted(str(table) for table in reading.postponed))
            self._observe(ReadingPostponed(source=self._name, tables=tables))
        if set(reading.left_out) - set(self.left_out):
            self._observe(RelationsLeftOut(source=self._name, relations=reading.left_out))
        self._observe(
            CatalogRead(
                source=self._name,
                tables=len(reading.schema.tables),
                changed=bool(change),
                duration_ms=(time.monotonic() - started) * 1000,
            )
        )
        return _Found(reading, change)

    async def _read(self, *, force: bool, asked: bool) -> Reading | None:
        """An accepted reading; None while the gate stands still, or has moved and the source rests."""
        source, name = self._source, self._name
        dialect, before = source.database.dialect, source.reading
        connection = await source.open()
        began = time.monotonic()
        gate = await dialect.gate(connection)
        opened = time.monotonic()
        if before is not None and gate.identity != before.gate.identity:
            await source.close()
            connection, before = await source.open(), None
        full = force or (opened >= source.full_refresh_at and gate != source.full_gate)
        if before is not None and not full and not before.postponed:
            due = asked or source.pace.heeds(gate, opened)
            if gate == before.gate:
                source.confirmed_at = gate.taken_at
            if gate == before.gate or not due:
                return None
        if before is not None and full:
            before = replace(before, mark=None)
        reading = await dialect.read(connection, name, self._selection, before)
        if before is None or full:
            source.full_refresh_at, source.full_gate = opened + self._rhythm.full_refresh_s, gate
        if before is not None and reading.schema is before.schema:
            now = time.monotonic()
            source.pace.found_nothing(gate, opened, now, now - opened - ROUND_TRIPS * (opened - began))
            return reading
        source.pace.found_change(gate)
        if source.reading is not None:
            await asyncio.sleep(max(0.0, opened + self._rhythm.debounce_s - time.monotonic()))
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
        raise Unsettled(name, MAX_READINGS)

    async def _accept(self, news: _Found) -> SchemaDiff:
        """Makes what was read part of the catalog; what that changes."""
        source, reading = self._source, news.reading
        if news.change or source.schema is None:
            try:
                await self._swap.replace({self._name: reading.schema}, [news.change])
            except Exception as error:  # noqa: BLE001 - the boundary of the source's task
                self._failed(error)
                return SchemaDiff()
        source.schema, source.reading = reading.schema, reading
        source.confirmed_at = reading.gate.taken_at
        self._row_estimates.replace(self._name, reading.row_estimates)
        source.succeeded()
        self._on_reading(reading, news.change.structural)
        if self._name in self._registry.current.unconfirmed:
            await self._swap.confirm([self._name])
        return news.change

    def _failed(self, error: Exception) -> None:
        self._source.failed(error, self._rhythm.poll_interval_s, self._observe)


async def _diff(before: Schema | None, after: Schema) -> SchemaDiff:
    if len(after.tables) <= COMPARE_INLINE_TABLES:
        return diff(before, after)
    return await asyncio.to_thread(diff, before, after)
