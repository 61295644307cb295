"""The current catalog, and who wants to know of the next: one reference, swapped in one assignment."""

from collections.abc import Callable
from typing import TypeAlias

from schema_mcp.catalog.build import Catalog

#: Called after a swap with the catalog before and the current one; must not block.
Subscriber: TypeAlias = Callable[[Catalog, Catalog], None]


class Registry:
    """Holds the current catalog. A running call keeps the one it began with."""

    def __init__(self, catalog: Catalog) -> None:
        self._current = catalog
        self._subscribers: list[Subscriber] = []

    @property
    def current(self) -> Catalog:
        """The catalog of this moment."""
        return self._current

    def subscribe(self, subscriber: Subscriber) -> None:
        """`subscriber` is called after each swap."""
        self._subscribers.append(subscriber)

    def replace(self, catalog: Catalog) -> None:
        """Makes `catalog` current and tells the subscribers."""
        before, self._current = self._current, catalog
        for subscriber in self._subscribers:
            subscriber(before, catalog)
