"""The watcher: every source with its follower, each in a task of its own, so that none waits for another.

It asks one of them or all, and puts together what they answer. It does not know how a source is followed.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

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
        return self._together(await asyncio.gather(*[one.look() for one in self._asked(source).values()]))

    async def refresh(self, source: str | None = None, *, limit_s: float | None = None) -> RefreshOutcome:
        """A reading that begins after this call, whatever the gate says and however long the back-off.

        A source that takes longer than `limit_s` is told as one that could not be read. Raises: TimeoutError where
        that is every one.
        """
        tasks = {asyncio.create_task(follower.refresh()): name for name, follower in self._asked(source).items()}
        try:
            done, late = await asyncio.wait(tasks, timeout=limit_s)
        finally:
            for task in tasks:
                task.cancel()
        if not done:
            raise TimeoutError
        outcome = self._together([task.result() for task in tasks if task in done])
        too_long = {tasks[task]: f"reading the schema takes longer than {limit_s:g} s; it goes on" for task in late}
        return replace(outcome, errors={**outcome.errors, **too_long})

    async def run(self) -> None:
        """Watches until it is cancelled."""
        async with asyncio.TaskGroup() as following:
            for name, follower in self.followers.items():
                following.create_task(follower.run(), name=f"follower of {name}")
            for follower in self.followers.values():
                await follower.first_look.wait()
            self.first_look.set()

    def _asked(self, source: str | None) -> Mapping[str, Follower]:
        return self.followers if source is None else {source: self.followers[source]}

    def _together(self, found: list[RefreshOutcome]) -> RefreshOutcome:
        return RefreshOutcome(
            generation=self._registry.current.generation,
            tables=sum(outcome.tables for outcome in found),
            added=tuple(name for outcome in found for name in outcome.added),
            removed=tuple(name for outcome in found for name in outcome.removed),
            changed=tuple(name for outcome in found for name in outcome.changed),
            errors={source: text for outcome in found for source, text in outcome.errors.items()},
        )
