"""Opens the databases that faults are played over, and the program over each, when they are first needed."""

import asyncio
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

from tests.faults.clock import clock_variables
from tests.faults.postgres_place import PostgresPlace
from tests.faults.program import Program
from tests.faults.round import Stage
from tests.faults.sqlite_place import SqlitePlace
from tests.postgres import PostgresServer
from tests.proxy import proxied

#: The size of the disk that is filled.
SMALL_MIB = 16


class NotHere(Exception):
    """This machine does not let us make the place."""


class Theatre:
    """The stages by place, transport, and whether the program's clock can be stepped. `stack` closes all of them."""

    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._servers: dict[str, PostgresServer] = {}
        self._stages: dict[tuple[str, str, bool], Stage] = {}

    async def stage(self, place: str, transport: str, *, stepped: bool = False) -> Stage:
        """The program over that place by that transport. Raises: NotHere."""
        key = (place, transport, stepped)
        if key not in self._stages:
            name = f"{place}-{transport}{'-stepped' * stepped}"
            made = await (self._sqlite if place.startswith("sqlite") else self._postgresql)(place, name)
            variables = dict(made.variables)
            if stepped:
                variables |= clock_variables(self._directory / f"{name}.clock")
            stage = Stage(place=made, program=Program(made.url, transport, variables))
            self._stack.push_async_callback(stage.program.killed)
            await stage.start()
            self._stages[key] = stage
        return self._stages[key]

    def versions(self) -> dict[str, str]:
        """What each server of PostgreSQL says that it is."""
        return {name: server.execute("SHOW server_version") for name, server in sorted(self._servers.items())}

    async def _postgresql(self, place: str, name: str) -> PostgresPlace:
        """On 18 with idempotency keys beside the data, on 16 with those in the server's own store."""
        if place not in self._servers:
            self._servers[place] = await asyncio.to_thread(PostgresServer.start, int(place))
            self._stack.callback(self._servers[place].close)
        server, beside = self._servers[place], place == "18"
        database, url = await asyncio.to_thread(PostgresPlace.prepare, server, keeps_keys=beside)
        proxy = await self._stack.enter_async_context(proxied(url))
        made = PostgresPlace(place, server, database, proxy, None if beside else self._directory / f"{name}.state")
        self._stack.push_async_callback(made.close)
        return made

    async def _sqlite(self, place: str, name: str) -> SqlitePlace:
        directory = self._directory / name
        directory.mkdir()
        if place == "sqlite-small":
            await asyncio.to_thread(self._mount, directory)
        return SqlitePlace(place, directory / "faults.sqlite", "wal" if place == "sqlite-wal" else "delete")

    def _mount(self, directory: Path) -> None:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m", "tmpfs", directory], capture_output=True
        )
        if mounted.returncode != 0:
            raise NotHere(f"no small disk can be mounted: {mounted.stderr.decode().strip()}")
        self._stack.callback(lambda: subprocess.run(["umount", "-l", directory], capture_output=True))
