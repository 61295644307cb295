"""The program under test as a process of its own: started, counted, killed, and listened to.

What it writes to stderr is kept, because a traceback there is a defect whatever the clients were told.
"""

import asyncio
import os
import re
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from schema_mcp.config.load import known_keys
from tests.faults.wires import LINE_BYTES, HttpWire, Pipes, StdioWire, Wire
from tests.notes_server import LEGACY, MODERN
from tests.peers import COMMAND, environment

#: From the start of the process to its first word that it serves.
START_LIMIT_S = 30.0
POOL_SIZE = 16
TRANSACTION_POOL_SIZE = 6
#: Those of both pools, the watcher's, and one that asks what became of a COMMIT.
MOST_CONNECTIONS = POOL_SIZE + TRANSACTION_POOL_SIZE + 2
#: Of a traceback that are told.
TRACEBACK_LINES = 60
CALL_TIMEOUT_S = 3.0
LOCK_TIMEOUT_S = 1.0
IDLE_IN_TRANSACTION_S = 1.0

_SETTINGS: Mapping[str, Any] = {
    "access__mode": "write",
    "tools__surface": "tables",
    "pool__size": POOL_SIZE,
    "pool__acquire_timeout_s": 2.0,
    "pool__transaction_size": TRANSACTION_POOL_SIZE,
    "limits__call_timeout_s": CALL_TIMEOUT_S,
    "limits__statement_timeout_s": 2.5,
    "limits__lock_timeout_s": LOCK_TIMEOUT_S,
    "transactions__idle_timeout_s": IDLE_IN_TRANSACTION_S,
    "transactions__max_age_s": 10.0,
    "transactions__per_session": TRANSACTION_POOL_SIZE,
}


def settings() -> dict[str, Any]:
    """What the program is run with; keys that it does not have yet are left out."""
    return {name: value for name, value in _SETTINGS.items() if name.replace("__", ".") in known_keys()}


class Program:
    """One process. `url`: of its database, as it connects. `transport`: "http" or "stdio"."""

    def __init__(self, url: str, transport: str, variables: Mapping[str, str] | None = None) -> None:
        self.transport = transport
        self.words: deque[str] = deque(maxlen=2_000)
        self._url = url
        self.variables = {**environment(settings()), **(variables or {})}
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._pipes: Pipes | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._address = ""

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process of now."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pipes(self) -> Pipes:
        """Its standard streams, of the transport "stdio"."""
        assert self._pipes is not None
        return self._pipes

    async def start(self) -> None:
        """Serving; over HTTP on the port that it had before, if it had one."""
        arguments = [*COMMAND, "serve", self._url]
        if self.transport == "http":
            arguments += ["--transport", "http", "--port", str(self._port)]
        self._process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self.variables},
            limit=LINE_BYTES,
            start_new_session=True,
        )
        async with asyncio.timeout(START_LIMIT_S):
            await self._serving(self._process)
        self._hearing = asyncio.create_task(self._hear(self._process))
        if self.transport == "stdio":
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._pipes = Pipes(self._process.stdout, self._process.stdin, LEGACY)

    def wire(self, number: int) -> Wire:
        """A client; of two over HTTP, one of each era."""
        if self.transport == "stdio":
            return StdioWire(self.pipes)
        return HttpWire(self._address, MODERN if number % 2 else LEGACY)

    def http_wire(self, era: str) -> HttpWire:
        """A client over HTTP of that era."""
        return HttpWire(self._address, era)

    def files(self) -> int:
        """How many files and sockets it has open."""
        return int(psutil.Process(self.pid).num_fds())

    def files_of(self, path: Path) -> int:
        """How many of them are that file, or were when it was still there (on Linux)."""
        count = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(OSError):
                count += os.readlink(link).removesuffix(" (deleted)") == str(path)
        return count

    def threads(self) -> int:
        return int(psutil.Process(self.pid).num_threads())

    def memory_bytes(self) -> int:
        """Of real memory that it takes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def kill(self) -> None:
        """kill -9."""
        if self.running:
            self.process.kill()

    async def killed(self) -> None:
        """Killed, and gone."""
        self.kill()
        await self.gone(START_LIMIT_S)

    async def gone(self, limit_s: float) -> int:
        """Its exit code, once it has ended. Raises: TimeoutError."""
        async with asyncio.timeout(limit_s):
            code = await self.process.wait()
        if self._hearing is not None:
            await asyncio.wait({self._hearing}, timeout=1)
            self._hearing.cancel()
        if self._pipes is not None:
            self._pipes.close()
        return code

    async def stop(self) -> int:
        """Its exit code after SIGTERM. Raises: TimeoutError."""
        if self.running:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        return await self.gone(START_LIMIT_S)

    def tracebacks(self) -> list[str]:
        """What stderr has of defects since this was last asked, each with the lines after it."""
        lines = list(self.words)
        self.words.clear()
        return [
            "".join(lines[at : at + TRACEBACK_LINES])
            for at, line in enumerate(lines)
            if line.startswith("Traceback") or "internal" in line.lower()
        ]

    async def _serving(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := (await process.stderr.readline()).decode():
            self.words.append(line)
            if found := re.search(r"serving on http at (\S+)", line):
                self._address = found[1]
                self._port = int(found[1].split(":")[2].split("/")[0])
                return
            if "serving on" in line:
                return
        raise RuntimeError(f"the program ended at its start: {''.join(self.words)}")

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.words.append(line.decode(errors="replace"))
