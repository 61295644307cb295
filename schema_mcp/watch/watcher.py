"""The watcher: every source with its follower, each in a task of its own, so that none waits for another.

It asks one of them or all, and puts together what they answer. It does not know how a source is followed.
"""

import asyncio
from collections.abc import Mapping

from schema_mcp.catalog.registry import Registry
from schema_mcp.tools.base import RefreshOutcome
from schema_mcp.watch.follower import Follower


class Watcher:
    """All followers, by source. A `source` of None is all of them."""

    def __init__(self, followers: Mapping[str, Follower], registry: Registry) -> None:
        self.followers = followers
        self._registry = registry
        #: Set once every source has been tried.
        self.first_look = asyncio.Event()

    @property
    def errors(self) -> Mapping[str, str]:
        """Why the last look failed, per source that failed."""
        return {name: follower.error for name, follower in self.followers.items() if follower.error is not None}

    def confirmed(self, source: str) -> bool:
        """Whether the served schema was read from the database in this process."""
        return self.followers[source].confirmed

    async def look(self, source: str | None = None) -> RefreshOutcome:
        """A look that begins after this call; reads only if the gate has moved."""
        return self._together(await asyncio.gather(*[follower.look() for follower in self._asked(source)]))

    async def refresh(self, source: str | None = None) -> RefreshOutcome:
        """A reading that begins after this call, whatever the gate says and however long the back-off."""
        return self._together(await asyncio.gather(*[follower.refresh() for follower in self._asked(source)]))

    async def run(self) -> None:
        """Watches until it is cancelled."""
        async with asyncio.TaskGroup() as following:
            for name, follower in self.followers.items():
                following.create_task(follower.run(), name=f"follower of {name}")
            for follower in self.followers.values():
                await follower.first_look.wait()
            self.first_look.set()

    def _asked(self, source: str | None) -> list[Follower]:
        return list(self.followers.values()) if source is None else [self.followers[source]]

    def _together(self, found: list[RefreshOutcome]) -> RefreshOutcome:
        return RefreshOutcome(
            generation=self._registry.current.generation,
            tables=sum(outcome.tables for outcome in found),
            added=tuple(name for outcome in found for name in outcome.added),
            removed=tuple(name for outcome in found for name in outcome.removed),
            changed=tuple(name for outcome in found for name in outcome.changed),
            errors={source: text for outcome in found for source, text in outcome.errors.items()},
        )
