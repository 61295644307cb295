"""The program with its owner, who edits `config.toml` while it serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schema_mcp.app import running
from schema_mcp.config.origin import Origin
from schema_mcp.observe.events import Observation, SettingsRefused, SettingsReread
from schema_mcp.server.handlers import ToolServer
from tests.peers import LEGACY, Inside, join

#: What stands in every file.
BASE = "[watch]\npoll_interval_s = 0.1\n[state]\nurl = 'off'\n"


@dataclass
class Owner(Inside):
    """`said`: what the server says of its settings."""

    file: Path
    said: "asyncio.Queue[Observation]"

    def write(self, text: str) -> None:
        """Other content, without a word to the server."""
        self.file.write_text(BASE + text)

    async def ask(self) -> Observation:
        """What the server says when it is told to read the file."""
        assert self.app.file_watch is not None
        self.app.file_watch.ask()
        return await self.said.get()

    async def edit(self, text: str) -> Observation:
        """Both."""
        self.write(text)
        return await self.ask()


@asynccontextmanager
async def owned(
    url: str | None, folder: Path, text: str | None = "", *, era: str = LEGACY, **flags: Any
) -> AsyncIterator[Owner]:
    """Over a database, or those of the file; `text` None: there is no file. Keywords: flags."""
    file = folder / "config.toml"
    if text is not None:
        file.write_text(BASE + text)
    given = {"database.url": url, **{name.replace("__", "."): value for name, value in flags.items()}}
    origin = Origin(file=None, environment={}, flags=given, directory=folder)
    observed: list[Observation] = []
    said: asyncio.Queue[Observation] = asyncio.Queue()

    def observe(observation: Observation) -> None:
        observed.append(observation)
        if isinstance(observation, SettingsReread | SettingsRefused):
            said.put_nowait(observation)

    async with asyncio.timeout(30), AsyncExitStack() as stack:
        app = await stack.enter_async_context(running(origin.read(), observe, origin))
        server = ToolServer(app.service, observe=observe)
        telling = asyncio.create_task(server.changes.follow(app.list_changed))
        stack.callback(telling.cancel)
        yield Owner(app, server, await join(stack, server, era), observed, file, said)


def took(*changed: str, later: tuple[str, ...] = ()) -> SettingsReread:
    """The keys that took effect, and those that do at the next start."""
    return SettingsReread(changed=changed, later=later)
