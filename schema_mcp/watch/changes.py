"""Waiting for the schema to change: what each new catalog changed of what callers may see, and who waits for that.

It knows the catalogs of this process alone, and of them the last few; the history (`state`) knows the rest.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from secrets import token_hex

from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import ErrorCode, LimitReached
from schema_mcp.schema.model import TableName

#: Catalogs whose changes are remembered, and calls that may wait at a time.
MAX_REMEMBERED, MAX_WAITING = 200, 100


@dataclass(frozen=True, slots=True)
class Changed:
    """What a catalog changed, with the names that callers know the tables by."""

    generation: int
    added: tuple[tuple[TableName, str], ...]
    removed: tuple[tuple[TableName, str], ...]
    changed: tuple[tuple[TableName, str], ...]

    def of(self, source: str | None) -> bool:
        """Whether a table of that source is among them; None: any."""
        every = (*self.added, *self.removed, *self.changed)
        return any(source in (None, name.source) for name, _ in every)


class SchemaChanges:
    """Used from the event loop only. `process` tells its generations from those of another process."""

    def __init__(self) -> None:
        self.process = token_hex(4)
        self._known: deque[Changed] = deque(maxlen=MAX_REMEMBERED)
        #: Of the catalog of now.
        self.generation = 0
        #: Who waits now.
        self.waiting: set[asyncio.Event] = set()

    def replaced(self, before: Catalog, after: Catalog) -> None:
        """A catalog has taken the place of another."""
        self.generation = after.generation
        old, new = before.targets, after.targets
        made = Changed(
            after.generation,
            tuple((name, new[name].display) for name in new if name not in old),
            tuple((name, old[name].display) for name in old if name not in new),
            tuple((name, new[name].display) for name in new if name in old and new[name].table is not old[name].table),
        )
        if not made.of(None):
            return
        self._known.append(made)
        for each in self.waiting:
            each.set()

    def since(self, generation: int, source: str | None) -> tuple[Changed, ...] | None:
        """What has changed of that source since then, in order; None where it is no longer known."""
        if len(self._known) == MAX_REMEMBERED and self._known[0].generation > generation + 1:
            return None
        return tuple(one for one in self._known if one.generation > generation and one.of(source))

    async def wait(self, generation: int, source: str | None, timeout_s: float) -> tuple[Changed, ...] | None:
        """As `since`, as soon as there is something, or at the end. Raises: LimitReached (`busy`)."""
        if len(self.waiting) >= MAX_WAITING:
            raise LimitReached(
                ErrorCode.BUSY,
                f"{MAX_WAITING} calls wait for a change of the schema, and more may not",
                "Try again in a few seconds.",
                retryable=True,
            )
        woken = asyncio.Event()
        self.waiting.add(woken)
        try:
            async with asyncio.timeout(timeout_s):
                while (found := self.since(generation, source)) == ():
                    woken.clear()
                    await woken.wait()
        except TimeoutError:
            return ()
        finally:
            self.waiting.discard(woken)
        return found
