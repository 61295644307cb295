"""Making the next catalog out of the current one, and swapping it in: one at a time, whoever asks.

Where many tables are concerned the work is done in a thread, so that the event loop goes on answering; the swap itself
is one assignment. It does not know how a schema was read, nor who is told of a new catalog.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from schema_mcp.catalog.build import BuildSettings, Catalog, build
from schema_mcp.catalog.former import Former
from schema_mcp.catalog.past import remembering
from schema_mcp.catalog.registry import Registry
from schema_mcp.catalog.surface import Surface
from schema_mcp.catalog.told import told_difference
from schema_mcp.observe.events import CatalogReplaced, Observe
from schema_mcp.schema.diff import SchemaDiff
from schema_mcp.schema.model import Schema, Table
from schema_mcp.security.policy import Policy
from schema_mcp.tools.naming import display_name
from schema_mcp.tools.target import ToolLimits

#: More tables than this are built in a thread: building the tools of a table takes some 0.1 ms, and taking over those
#: of one that stays 0.01 ms.
BUILD_INLINE_TABLES = 50
KEEP_INLINE_TABLES = 2_000


class Swap:
    """The way of every catalog into the registry, once the first empty one is there."""

    def __init__(self, registry: Registry, settings: BuildSettings, observe: Observe) -> None:
        self._registry = registry
        self._settings = settings
        self._observe = observe
        #: Held while the next catalog is made out of the current one.
        self._making = asyncio.Lock()

    async def adopt(self, schemas: Mapping[str, Schema], former: Former) -> frozenset[str]:
        """Serves schemas of an earlier time for sources that have none yet; which sources these are.

        `former`: names that were served then.
        """
        async with self._making:
            current = self._registry.current
            taken = {name: schema for name, schema in schemas.items() if name not in current.schemas}
            served = {**current.schemas, **taken}
            unconfirmed = current.unconfirmed | taken.keys()
            catalog = await asyncio.to_thread(
                lambda: build(self._settings, served, remembering(current, former.under(self.policy)), unconfirmed)
            )
            if not taken:
                catalog = replace(catalog, generation=current.generation)
            self._registry.replace(catalog)
        return frozenset(taken)

    @property
    def policy(self) -> Policy:
        """The one that catalogs are made by."""
        return self._settings.policy

    async def resettle(
        self, policy: Policy, surface: Surface, limits: ToolLimits, together: Callable[[], None]
    ) -> None:
        """Makes catalogs by these from now on, beginning with the current one; its tables stay.

        `together` is called in the same moment in which that is swapped in: no call meets one without the other.
        """
        async with self._making:
            previous, before = self._registry.current, self._settings
            # What is equal stays the very object, by which `build` knows it again.
            settings = replace(
                before,
                policy=before.policy if policy == before.policy else policy,
                surface=surface,
                limits=before.limits if limits == before.limits else limits,
            )
            if settings == before:
                together()
                return
            making = partial(build, settings, previous.schemas, previous, previous.unconfirmed)
            many = len(previous.targets) > BUILD_INLINE_TABLES
            catalog = await asyncio.to_thread(making) if many else making()
            self._settings = settings
            together()
            self._registry.replace(catalog)

    async def confirm(self, names: Iterable[str]) -> None:
        """The same tools, known to be true: no change for anybody who lists them."""
        async with self._making:
            current = self._registry.current
            unconfirmed = current.unconfirmed.difference(names)
            if unconfirmed != current.unconfirmed:
                self._registry.replace(replace(current, unconfirmed=unconfirmed))

    async def replace(self, read: Mapping[str, Schema], changes: Sequence[SchemaDiff]) -> None:
        """Serves what was `read`, by source, which differs by `changes` from what is served."""
        async with self._making:
            previous = self._registry.current
            to_build = sum(len(change.names) for change in changes)
            if to_build > BUILD_INLINE_TABLES or len(previous.targets) > KEEP_INLINE_TABLES:
                catalog, told = await asyncio.to_thread(self._made, previous, read, changes)
            else:
                catalog, told = self._made(previous, read, changes)
            self._registry.replace(catalog)
        if told is not None:
            self._observe(told)

    def _made(
        self, previous: Catalog, read: Mapping[str, Schema], changes: Sequence[SchemaDiff]
    ) -> tuple[Catalog, CatalogReplaced | None]:
        """The next catalog, and what there is to tell of it."""
        schemas = {**previous.schemas, **read}
        catalog = build(self._settings, schemas, previous, previous.unconfirmed.difference(read))
        if read.keys() <= previous.schemas.keys() and not any(change.structural for change in changes):
            return catalog, None
        names = ChangedNames.of(catalog, changes)
        return catalog, CatalogReplaced(
            generation=catalog.generation,
            added=names.added,
            removed=names.removed,
            changed=names.changed,
            listed_tools=len(catalog.listed),
            listed_bytes=sum(map(len, catalog.listed_json)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedNames:
    """Tables of a change, as arguments name them."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    @classmethod
    def of(cls, catalog: Catalog, changes: Sequence[SchemaDiff]) -> "ChangedNames":
        """In the order of the changes, of those that callers may know of."""
        changes = [told_difference(catalog.policy, change) for change in changes]
        defaults = {source: schema.default_schema for source, schema in catalog.schemas.items()}

        def names(tables: Iterable[Table]) -> tuple[str, ...]:
            return tuple(
                display_name(table.name, defaults[table.name.source], several=catalog.limits.several)
                for table in tables
            )

        return cls(
            added=names(table for change in changes for table in change.added),
            removed=names(table for change in changes for table in change.removed),
            changed=names(after for change in changes for _, after in change.changed),
        )
