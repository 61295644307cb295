"""A client of a stdio server that costs next to nothing: blocking pipes, lines of bytes, no model of the protocol.

What it measures is the server, the two pipes and the wake-ups between the processes.
"""

import os
import select
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

#: Every wait for a line ends here.
LIMIT_S = 60.0
HANDSHAKE_VERSION = "2025-11-25"
STATELESS_VERSION = "2026-07-28"
INFO = {"name": "benchmark", "version": "1"}
#: What each request of the stateless era carries (MCP 2026-07-28, basic).
META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": INFO,
}
_NOTIFICATION = b'"method":"notifications/'

PROGRAM = (sys.executable, "-m", "schema_mcp", "serve")
FLOOR = (sys.executable, str(Path(__file__).with_name("floor_server.py")))


class Peer:
    """One server process and the client's end of its pipes. `stateless`: speaks the era without a handshake."""

    def __init__(self, process: "subprocess.Popen[bytes]", *, stateless: bool) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._stateless = stateless
        self._write_to = process.stdin.fileno()
        self._read_from = process.stdout.fileno()
        self._held = b""
        self._notifications: deque[bytes] = deque()
        self._next_id = 0

    def connect(self) -> None:
        """The handshake, where the era has one."""
        if self._stateless:
            return
        given = {"protocolVersion": HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": INFO}
        self.ask("initialize", given)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result. Raises: RuntimeError for an error."""
        return result_of(self.exchange(self.request(method, params)))

    def request(self, method: str, params: Mapping[str, Any]) -> bytes:
        """The line that asks."""
        self._next_id += 1
        if self._stateless:
            params = {**params, "_meta": META}
        return orjson.dumps({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}) + b"\n"

    def call(self, tool: str, arguments: Mapping[str, Any]) -> bytes:
        """The line that calls a tool."""
        return self.request("tools/call", {"name": tool, "arguments": arguments})

    def exchange(self, line: bytes) -> bytes:
        """Sends a request and waits for its answer; notifications that come first are kept."""
        os.write(self._write_to, line)
        while _NOTIFICATION in (answer := self._line(LIMIT_S))[:200]:
            self._notifications.append(answer)
        return answer

    def exchange_all(self, lines: Sequence[bytes]) -> list[bytes]:
        """Sends all of them and then waits for as many answers, in the order they come in."""
        os.write(self._write_to, b"".join(lines))
        answers: list[bytes] = []
        while len(answers) < len(lines):
            if _NOTIFICATION not in (answer := self._line(LIMIT_S))[:200]:
                answers.append(answer)
        return answers

    def next_notification(self, method: str) -> None:
        """Waits for the next one of that method."""
        wanted = f'"method":"{method}"'.encode()
        deadline = time.monotonic() + LIMIT_S
        while True:
            line = self._notifications.popleft() if self._notifications else self._line(deadline - time.monotonic())
            if wanted in line[:200]:
                return

    def forget_notifications(self) -> None:
        """Drops what came and was not waited for."""
        self._notifications.clear()

    def _send(self, message: Mapping[str, Any]) -> None:
        os.write(self._write_to, orjson.dumps(message) + b"\n")

    def _line(self, limit_s: float) -> bytes:
        parts = [self._held]
        while b"\n" not in parts[-1]:
            readable, _, _ = select.select([self._read_from], [], [], max(0.0, limit_s))
            if not readable:
                raise TimeoutError(f"no line from the server within {limit_s:g} s")
            chunk = os.read(self._read_from, 1 << 20)
            if not chunk:
                raise EOFError("the server has ended")
            parts.append(chunk)
        line, _, self._held = b"".join(parts).partition(b"\n")
        return line


@contextmanager
def serving(
    command: Sequence[str], url: str, *, stateless: bool = False, connect: bool = True, **settings: object
) -> Iterator[Peer]:
    """A server as a process of its own, connected, until the block ends. Settings: `watch__poll_interval_s=0.1`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHEMA_MCP_")}
    environment["SCHEMA_MCP_STATE__URL"] = "off"  # nothing goes into the user's data folder
    environment |= {f"SCHEMA_MCP_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            cwd=folder,  # no config.toml of somebody's
            env=environment,
        )
        try:
            peer = Peer(process, stateless=stateless)
            if connect:
                peer.connect()
            yield peer
        except (EOFError, OSError):
            errors.seek(0)
            print(errors.read().decode(errors="replace")[-2000:], file=sys.stderr)
            raise
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def result_of(answer: bytes) -> dict[str, Any]:
    """The result in an answer's line. Raises: RuntimeError for an error, also one that a tool tells."""
    message = orjson.loads(answer)
    if "result" not in message or message["result"].get("isError"):
        raise RuntimeError(f"the server answered {answer[:500]!r}")
    result: dict[str, Any] = message["result"]
    return result
