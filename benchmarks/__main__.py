"""`python -m benchmarks [SUBJECT ...]`: measures and prints the figures beside their budgets. A miss is no failure."""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Sequence

from benchmarks import call, ddl, gate, language, listing, memory, progress, read, start, transactions
from benchmarks.databases import databases
from benchmarks.figures import Figure, markdown, table

SUBJECTS = {
    module.SUBJECT: module.measure
    for module in (gate, read, ddl, call, language, listing, progress, transactions, memory, start)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the subjects that were asked for; its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.subjects) - set(SUBJECTS):
        parser.error(f"no such subject: {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    figures: list[Figure] = []
    started = time.monotonic()
    with databases() as place:
        machine = _machine(place.server.execute("SHOW server_version"))
        for subject in arguments.subjects or SUBJECTS:
            began = time.monotonic()
            found = asyncio.run(SUBJECTS[subject](place, arguments.tables))
            _note(f"{subject}: {time.monotonic() - began:.0f} s")
            figures += found
    if arguments.format == "json":
        print(json.dumps({"machine": machine, "figures": [figure.as_dict() for figure in figures]}, indent=1))
    elif arguments.format == "markdown":
        print(markdown(figures))
    else:
        print(f"{machine}; {time.monotonic() - started:.0f} s\n\n{table(figures)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"{', '.join(SUBJECTS)}; without one all")
    parser.add_argument(
        "--tables", type=_counts, default=(100, 1_000), metavar="N,N", help="sizes of schema (default: 100,1000)"
    )
    formats = parser.add_mutually_exclusive_group()
    for name in ("json", "markdown"):
        formats.add_argument(f"--{name}", dest="format", action="store_const", const=name)
    return parser


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(","))
    if min(counts) < 2:
        raise argparse.ArgumentTypeError("at least 2 tables")
    return counts


def _machine(postgresql: str) -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = f"Python {platform.python_version()}, PostgreSQL {postgresql}, SQLite {sqlite3.sqlite_version}"
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load}; {versions}"


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
