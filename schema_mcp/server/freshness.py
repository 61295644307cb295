"""Whether the tables are there yet, and whether they are of today: what a call waits for, each wait bounded."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from schema_mcp.catalog.build import Catalog
from schema_mcp.catalog.registry import Registry
from schema_mcp.errors import ErrorCode, Unavailable
from schema_mcp.server.meant import source_of
from schema_mcp.state.keeper import Keeper
from schema_mcp.watch.watcher import Watcher

#: How long the first list of tools waits for the first reading, so that it holds the tables if they can be had.
FIRST_LOOK_TIMEOUT_S = 5.0
#: How long it waits for it before it takes the tables that an earlier process left.
FIRST_LOOK_GRACE_S = 0.3
#: How long it waits for other sources when one is there already.
OTHERS_TIMEOUT_S = 1.0
#: How long a call that names something of an earlier process waits for what that left.
PAST_TIMEOUT_S = 1.0
#: How long a call that may be stale waits for a look at the schema.
LOOK_TIMEOUT_S = 5.0


class Freshness:
    """`ready`: there are tables, or it is known that there are none yet: the first look failed and nothing was left."""

    def __init__(self, registry: Registry, watcher: Watcher, keepers: Mapping[str, Keeper]) -> None:
        self.ready = asyncio.Event()
        self._registry = registry
        self._watcher = watcher
        self._keepers = keepers
        #: Some call has waited for the first tables, and found some: who comes later takes those there are.
        self._waited = False

    async def first_tables(self) -> None:
        """Waits for them, a little longer the first time than where some call has waited already."""
        if self._waited:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_GRACE_S):
                await self._watcher.first_look.wait()
        limit_s = OTHERS_TIMEOUT_S if self._registry.current.schemas else FIRST_LOOK_TIMEOUT_S
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.ready.wait()
        self._waited = bool(self._registry.current.schemas)

    async def past_came(self, source: str | None) -> bool:
        """Whether what other processes left was not there a moment ago, and is now: shared keys, names of the past."""
        keepers = self._keepers.values() if source is None else [self._keepers[source]]
        unsettled = [keeper for keeper in keepers if not keeper.settled.is_set()]
        with suppress(TimeoutError):
            async with asyncio.timeout(PAST_TIMEOUT_S):
                for keeper in unsettled:
                    await keeper.settled.wait()
        return any(keeper.settled.is_set() for keeper in unsettled)

    async def first_catalog(self, name: str, arguments: Mapping[str, Any]) -> Catalog:
        """The catalog once there is one. Raises: Unavailable, with the reason why there is none for this call."""
        await self.first_tables()
        catalog, errors = self._registry.current, self._watcher.errors
        if name == "refresh_schema":
            return catalog
        if not catalog.schemas:
            reasons = "; ".join(errors.values()) or "its schema has not been read yet"
            raise _unavailable(f"no table can be served: {reasons}")
        source = source_of(catalog, name, arguments)
        if source is not None and source not in catalog.schemas:
            reason = errors.get(source) or "its schema has not been read yet"
            raise _unavailable(f"no table of source '{source}' can be served: {reason}")
        return catalog

    async def look(self, source: str | None) -> None:
        """Has the database looked at now, and waits for what is found. `source`: None for all."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await self._watcher.look(source)
        except TimeoutError:
            return


def _unavailable(message: str) -> Unavailable:
    return Unavailable(
        ErrorCode.DATABASE_UNAVAILABLE,
        message,
        "The server tries again by itself; call again once the database can be reached.",
    )
