"""What the server's memory grows by at most while it answers: from a table of ten million rows, a row with one value of
200 MB, and to clients that do not read.

The peak is the kernel's own (VmHWM of /proc/PID/status, set back before), so that nothing between two looks is missed.
"""

import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson
import psutil

from benchmarks.client import HANDSHAKE_VERSION, INFO, META, PROGRAM, STATELESS_VERSION, Peer, serving
from benchmarks.databases import LABELS, PRODUCTS, VAST_CHARACTERS, VAST_ROWS, Databases
from benchmarks.figures import Budget, Figure
from tests.peers import environment, http_server

SUBJECT = "memory"
ROUNDS = 3
#: Clients that do not read, and the bytes that each keeps in its own buffer.
READERS, BUFFER_BYTES = 50, 4_096
#: How long answers may take to be made, and what is still on its way to arrive.
LIMIT_S, SETTLE_S = 60.0, 1.0
LARGE = f"{VAST_CHARACTERS // 1_000_000} MB"
TOOL = "query_numbers"
_GROWTH = Budget(limit=64.0, of="max", text="64 MiB")


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """The number of tables does not matter here."""
    figures = []
    for product in PRODUCTS:
        figures += _large(databases, product)
        figures += [await _slow_readers(databases, product, stateless=stateless) for stateless in (True, False)]
    return figures


def _large(databases: Databases, product: str) -> list[Figure]:
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        f"10,000 of {VAST_ROWS:,} rows": ("query_numbers", {"limit": 10_000}),
        f"a count of {VAST_ROWS:,} rows": ("query_numbers", {"aggregate": ["count"]}),
        f"one value of {LARGE}": ("query_documents", {}),
        f"order_by one of {LARGE}": ("query_documents", {"order_by": ["body"]}),
        f"execute_sql of one of {LARGE}": ("execute_sql", {"sql": "SELECT body FROM documents"}),
    }
    figures = []
    with serving(PROGRAM, databases.vast(product), access__sql="read") as peer:
        _make(peer, "query_numbers", {"limit": 10})
        for what, (tool, arguments) in calls.items():
            values = tuple(_growth(peer.pid, partial(_make, peer, tool, arguments)) for _ in range(ROUNDS))
            figures.append(_figure(f"{what}, {LABELS[product]}", values))
    return figures


def _make(peer: Peer, tool: str, arguments: dict[str, Any]) -> None:
    """What is too large to be taken may be refused, by its name."""
    answer = peer.exchange(peer.call(tool, arguments))
    if b'"isError":true' in answer and b"larger than a statement" not in answer:
        raise RuntimeError(f"{tool} failed: {answer[:500]!r}")


async def _slow_readers(databases: Databases, product: str, *, stateless: bool) -> Figure:
    """Each asks for many rows and reads the first bytes of its answer alone."""
    asking = _asking_stateless if stateless else _asking
    async with AsyncExitStack() as stack:
        url = urlsplit(await stack.enter_async_context(http_server(databases.vast(product), environment({}))))
        (server,) = [child for child in psutil.Process().children() if "http" in child.cmdline()]
        with closing(asking(url, 1)) as first:
            first.recv(64)
        values = tuple([_growth(server.pid, partial(_ask_all, url, asking)) for _ in range(ROUNDS)])
    era = "stateless" if stateless else "handshake"
    return _figure(f"{READERS} clients that do not read their 10,000 rows, {LABELS[product]}, {era}", values)


def _ask_all(url: SplitResult, asking: Callable[[SplitResult, int], socket.socket]) -> None:
    with ExitStack() as sockets:
        open_ = [sockets.enter_context(closing(asking(url, 10_000))) for _ in range(READERS)]
        for each in open_:
            if not each.recv(64).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("a call failed")
        time.sleep(SETTLE_S)


def _asking_stateless(url: SplitResult, limit: int) -> socket.socket:
    """A connection that has sent a call of the stateless era."""
    params = {"name": TOOL, "arguments": {"limit": limit}, "_meta": META}
    head = {"MCP-Protocol-Version": STATELESS_VERSION, "Mcp-Method": "tools/call", "Mcp-Name": TOOL}
    return _posted(url, head, {"id": 1, "method": "tools/call", "params": params})


def _asking(url: SplitResult, limit: int) -> socket.socket:
    """The same with a session of its own, which is opened first."""
    given = {"protocolVersion": HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": INFO}
    with closing(_posted(url, {}, {"id": 1, "method": "initialize", "params": given})) as first:
        answer = first.recv(4_096)
    (session,) = re.findall(rb"(?i)mcp-session-id: (\S+)", answer)
    head = {"MCP-Protocol-Version": HANDSHAKE_VERSION, "Mcp-Session-Id": session.decode()}
    _posted(url, head, {"method": "notifications/initialized"}).close()
    params = {"name": TOOL, "arguments": {"limit": limit}}
    return _posted(url, head, {"id": 2, "method": "tools/call", "params": params})


def _posted(url: SplitResult, further: dict[str, str], message: dict[str, Any]) -> socket.socket:
    """A connection that has sent the message."""
    body = orjson.dumps({"jsonrpc": "2.0", **message})
    head = {
        "Host": url.netloc,
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(body)),
        **further,
    }
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    connection.settimeout(LIMIT_S)
    connection.connect((url.hostname, url.port))
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    connection.sendall(f"POST {url.path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    return connection


def _growth(pid: int, run: Callable[[], None]) -> float:
    """MiB that the process holds at most while it runs, beyond what it held before."""
    before: int = psutil.Process(pid).memory_info().rss
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # sets the peak back (man 5 proc)
    run()
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return max(0, int(peak) * 1024 - before) / 2**20


def _figure(what: str, values: tuple[float, ...]) -> Figure:
    return Figure(subject=SUBJECT, what=f"memory: {what}", unit="MiB more", values=values, budget=_GROWTH)
