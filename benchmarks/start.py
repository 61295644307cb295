"""From starting the process to the first answer, and the memory it holds."""

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import psutil

from benchmarks.client import FLOOR, PROGRAM, serving
from benchmarks.databases import ROWS, Databases
from benchmarks.figures import Budget, Figure

SUBJECT = "start"
ROUNDS = 5
#: Calls of ten thousand rows before memory is looked at again.
CALLS_OF_MANY = 20
MANY = 10_000
MAX_BYTES = 100_000_000

_START = Budget(limit=800.0, text="800 ms")
_IDLE = Budget(limit=95.0, text="95 MiB")
_AFTER = Budget(limit=120.0, text="120 MiB (10 million rows)")

_IMPORTS = {
    "python alone": "pass",
    "python and the SDK's server": "import mcp.server.lowlevel",
}


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """A small database: one table. The number of tables elsewhere does not matter."""
    postgresql, sqlite = databases.items("postgresql"), databases.items("sqlite")
    contenders = {name: partial(_importing, code) for name, code in _IMPORTS.items()}
    contenders |= {
        "the floor server": partial(_starting, FLOOR, postgresql),
        "PostgreSQL": partial(_starting, PROGRAM, postgresql),
        "SQLite": partial(_starting, PROGRAM, sqlite),
        "the sample": partial(_starting, PROGRAM, "sample"),
        "PostgreSQL, with its history": partial(
            _starting, PROGRAM, postgresql, state__url=str(databases.folder / "history.sqlite")
        ),
    }
    _starting(PROGRAM, postgresql, state__url=str(databases.folder / "history.sqlite"))  # makes the store
    served = [name for name in contenders if name not in (*_IMPORTS, "the floor server")]
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            times[name].append(run())
    sdk = "python and the SDK's server"
    figures = [
        Figure(
            subject=SUBJECT,
            what=name if name in _IMPORTS else f"start to the first tools/list: {name}",
            unit="ms",
            values=tuple(values),
            floor=median(times[sdk]) if name in served else None,
            floor_name=sdk,
            budget=_START if name in served else None,
        )
        for name, values in times.items()
    ]
    for name, command, url in (
        ("the floor server", FLOOR, postgresql),
        ("PostgreSQL", PROGRAM, postgresql),
        ("SQLite", PROGRAM, sqlite),
    ):
        figures += _memory(name, command, url)
    return figures


def _importing(code: str) -> float:
    """Milliseconds until an interpreter has done that and ended."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - started) * 1000


def _starting(command: Sequence[str], url: str, **settings: Any) -> float:
    """Milliseconds until the first list of tools is here; stopping the process is not counted."""
    started = time.perf_counter()
    with serving(command, url, **settings) as peer:
        peer.ask("tools/list", {})
        return (time.perf_counter() - started) * 1000


def _memory(name: str, command: Sequence[str], url: str) -> list[Figure]:
    budgets = (None, None) if command is FLOOR else (_IDLE, _AFTER)
    with serving(command, url, results__max_bytes=MAX_BYTES) as peer:
        peer.ask("tools/list", {})
        peer.ask("tools/call", {"name": "query_items", "arguments": {"where": {"id": 1}}})
        idle = _resident_mib(peer.pid)
        for _ in range(CALLS_OF_MANY):
            peer.exchange(peer.call("query_items", {"limit": MANY}))
        after = _resident_mib(peer.pid)
    return [
        Figure(subject=SUBJECT, what=f"memory, {name}, idle", unit="MiB", values=(idle,), budget=budgets[0]),
        Figure(
            subject=SUBJECT,
            what=f"memory, {name}, after {CALLS_OF_MANY} calls of {MANY:,} of {ROWS:,} rows",
            unit="MiB",
            values=(after,),
            budget=budgets[1],
        ),
    ]


def _resident_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20
