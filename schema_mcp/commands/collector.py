"""Python's garbage collector in a process that holds many values which stay.

A full collection visits every object there is and holds the event loop meanwhile: 100 to 300 ms at 10,000 tables. What
a schema and its tools consist of holds no cycles, so that reference counting frees it; the collector need not know it.
"""

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `ease` comes before all imports that take time
    from schema_mcp.catalog.build import Catalog

#: Objects made between two collections of the youngest, how many of those make one of the young, and how many of these
#: a full one. While the program starts nearly everything stays, and looking at it is lost time. Once it serves, each
#: collection holds the event loop: the young may be 30,000 objects, which is 10 to 30 ms.
_STARTING = (50_000, 20, 100)
_SERVING = (10_000, 2, 1_000)

#: A catalog with so many new tables is worth while being taken out of the collector's sight, for ever.
_MANY_TABLES = 1_000


def ease() -> None:
    """For the whole process, and best before the imports, whose collections are a tenth of the time to start."""
    gc.set_threshold(*_STARTING)


def settle() -> None:
    """What there is by now stays: no later collection walks it, and from now on each is short."""
    gc.freeze()
    gc.set_threshold(*_SERVING)


def settle_catalog(before: "Catalog", after: "Catalog") -> None:
    """Subscriber of the registry: `settle` after many tables were made at once."""
    if len(after.targets) >= _MANY_TABLES:
        known = before.targets
        if sum(known.get(name) is not target for name, target in after.targets.items()) >= _MANY_TABLES:
            settle()
