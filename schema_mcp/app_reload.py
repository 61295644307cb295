"""Other settings in a running server: `[access]`, `[tools]`, `[limits]`, read again when the file has changed or the
server is asked (SIGHUP).

    file changed, and stands still | asked -> config reads -> what may change now -> next catalog -> all at once

Whatever is wrong with the new settings, the last good ones stay. A running call keeps what it began with.
"""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType

from schema_mcp.app_settings import policy, surface, tool_limits
from schema_mcp.app_source import AppSource
from schema_mcp.config.model import Settings
from schema_mcp.config.origin import Origin, Stamp
from schema_mcp.config.reread import Reread, reread
from schema_mcp.errors import ConfigurationError
from schema_mcp.observe.events import Observe, SettingsRefused, SettingsReread
from schema_mcp.server.results import internal_failure
from schema_mcp.server.tool_service import CatalogToolService
from schema_mcp.watch.swap import Swap

#: Seconds between two looks at the file. It is read once two looks have found the same: editors write in two steps.
LOOK_INTERVAL_S = 0.5


class Reload:
    """The settings in force, and the way of others into their place."""

    def __init__(
        self, settings: Settings, sources: Mapping[str, AppSource], service: CatalogToolService, swap: Swap
    ) -> None:
        self.settings = settings
        self._sources = sources
        self._service = service
        self._swap = swap
        self._subscribers: list[Callable[[Settings], None]] = []

    def subscribe(self, subscriber: Callable[[Settings], None]) -> None:
        """`subscriber` is called in the moment in which other settings take effect; must not block."""
        self._subscribers.append(subscriber)

    async def apply(self, found: Settings) -> Reread:
        """Goes on with what of `found` may change in a running server.

        Raises: ConfigurationError, and nothing is changed.
        """
        read = reread(self.settings, found)
        if read.changed:
            new = read.settings
            # Whatever can fail does so before anything is changed.
            resettle = [source.resettling(new) for source in self._sources.values()]
            executors = MappingProxyType({name: source.executor(new) for name, source in self._sources.items()})

            def together() -> None:
                for each in resettle:
                    each()
                self._service.dispatch.executors = executors
                self.settings = new
                for subscriber in self._subscribers:
                    subscriber(new)

            await self._swap.resettle(policy(new), surface(new), tool_limits(new), together)
        return read


class FileWatch:
    """Has the settings read again when their file has changed, and once at first: it may have changed already."""

    def __init__(self, origin: Origin, reload: Reload, observe: Observe) -> None:
        self._origin = origin
        self._reload = reload
        self._observe = observe
        self._woken = asyncio.Event()
        self._asked = False
        #: What the last look found, what was read last, and whether a file has been in use.
        self._seen: Stamp = None
        self._read: Stamp = None
        self._used = origin.stamp() is not None

    def tick(self) -> None:
        """It is time for a look."""
        self._woken.set()

    def ask(self) -> None:
        """The file is to be read at once, changed or not."""
        self._asked = True
        self._woken.set()

    async def run(self) -> None:
        """Looks when it is told to, until it is cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self.look()

    async def look(self) -> None:
        """One look, and what follows from it."""
        asked, self._asked = self._asked, False
        if not (asked or self._used):
            return  # whoever may put a file into the working directory is not yet the owner of the server
        found, seen = self._origin.stamp(), self._seen
        self._seen = found
        if asked or (found == seen and found != self._read):
            self._read = found
            await self._take(found, asked=asked)

    async def _take(self, found: Stamp, *, asked: bool) -> None:
        try:
            self._require(found)
            read = await self._reload.apply(self._origin.read())
        except ConfigurationError as error:
            self._observe(SettingsRefused(mistakes=error.mistakes))
        except Exception as defect:  # noqa: BLE001 - the task's boundary: the last good settings stay
            self._observe(internal_failure("reading the configuration again", defect))
        else:
            self._used = self._used or found is not None
            if asked or read.changed or read.later:
                self._observe(SettingsReread(changed=read.changed, later=read.later))

    def _require(self, found: Stamp) -> None:
        """No file, and an empty one, mean the defaults, which may allow more than the owner has ever said: what was a
        file with content is not taken for that. Raises: ConfigurationError.
        """
        if self._used and (found is None or found[2] == 0):
            state = "is gone" if found is None else "is empty"
            raise ConfigurationError([f"{self._origin.path}: {state}; the defaults hold after a restart"])
