"""A storm of DDL while twenty clients list and call: no list that never was, nothing missed, no row of another table.

`STORM_SECONDS` and `STORM_SERVERS` (`make storm`) make it last longer, on more servers; `STORM_SEED` repeats one.
"""

import asyncio
import os
import random
import sqlite3
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from mcp import StdioServerParameters

from tests.conftest import SERVERS
from tests.peers import COMMAND, LEGACY, MODERN, environment, http_server, join
from tests.postgres import Server
from tests.storm import oracle
from tests.storm.clients import Client
from tests.storm.ddl import PostgresqlSession, Session, SqliteSession, storm
from tests.storm.journal import Journal
from tests.waiting import until

SECONDS = float(os.environ.get("STORM_SECONDS", "6"))
SEED = int(os.environ.get("STORM_SEED", random.randrange(10**6)))
PLACES = os.environ.get("STORM_SERVERS", "18 sqlite").split()
if PLACES == ["all"]:
    PLACES = [*SERVERS, "sqlite"]

STATEMENTS_PER_S = 20.0
WORKERS = 4
POLL_S = 0.2
#: How old a list may be, and how late a change may be told: by the poll, and what a busy machine needs beside it.
BOUND_S = POLL_S + float(os.environ.get("STORM_SLACK_S", "5"))


@dataclass(frozen=True, kw_only=True)
class Field:
    """A database that a storm goes over. `url`: as the program connects."""

    url: str
    sessions: Sequence[Session]
    #: The rows of a query, as somebody else asks it.
    ask: Callable[[str], list[tuple[str, ...]]]


@asynccontextmanager
async def postgresql_field(server: Server) -> AsyncIterator[Field]:
    """A database of its own and a role that owns nothing."""
    name = f"test_{uuid.uuid4().hex}"
    role = f"role_{name}"
    url = server.create_database(name)
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'word'")

    def ask(sql: str) -> list[tuple[str, ...]]:
        return [tuple(line.split("|")) for line in server.execute(sql, name).splitlines()]

    async with AsyncExitStack() as stack:
        stack.callback(server.execute, f"DROP ROLE {role}")
        stack.callback(server.drop_database, name)
        connections = [await asyncpg.connect(url) for _ in range(WORKERS)]
        for connection in connections:
            stack.callback(connection.terminate)
        sessions = [PostgresqlSession(connection, role) for connection in connections]
        yield Field(url=server.url(name, role, "word"), sessions=sessions, ask=ask)


@contextmanager
def sqlite_field(path: Path) -> Iterator[Field]:
    """A file in the mode in which readers and a writer do not wait for each other."""

    def ask(sql: str) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            return [tuple(str(value) for value in row) for row in connection.execute(sql)]

    ask("PRAGMA journal_mode = wal")
    yield Field(url=str(path), sessions=[SqliteSession(str(path)) for _ in range(WORKERS)], ask=ask)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that there is to judge by. `since`: when the storm began. `found`: where each token is, by origins."""

    journal: Journal
    records: list[oracle.Record]
    since: float
    found: Mapping[str, list[str]]

    @property
    def findings(self) -> list[str]:
        journal, everywhere = self.journal, oracle.list_changes(self.journal)
        findings: list[str] = []
        for record in self.records:
            findings += oracle.torn(journal, record, BOUND_S)
            findings += oracle.unconverged(journal, record)
            findings += oracle.missed(journal, record, self.since, BOUND_S)
            findings += oracle.needless(record, everywhere, self.since)
            findings += oracle.misled(journal, record.calls, frozenset())
            findings += oracle.lost(journal, record.calls, self.found)
        return findings

    def summary(self) -> str:
        """What happened, in numbers: a storm that nobody felt shows nothing."""
        lists = sum(len(record.lists) for record in self.records)
        calls = [call for record in self.records for call in record.calls]
        told = [len(record.told) for record in self.records]
        codes = [call.error or "ok" for call in calls]
        counted = ", ".join(f"{codes.count(code)} {code}" for code in sorted(set(codes)))
        delays = sorted(delay for record in self.records for delay in _delays(self.journal, record, self.since))
        late = delays[int(len(delays) * 0.99)]
        return (
            f"seed {SEED}: {len(self.journal.entries)} commits, {lists} lists, {len(calls)} calls ({counted}), "
            f"{min(told)} to {max(told)} notifications a client; from commit to notification "
            f"{statistics.median(delays):.3f} s (median), {late:.3f} s (99 %), {delays[-1]:.3f} s (at most)"
        )


def _delays(journal: Journal, record: oracle.Record, since: float) -> Iterator[float]:
    """From each acknowledged commit to the next notification."""
    for entry in journal.entries:
        following = [told for told in record.told if told >= entry.started]
        if entry.started > since and following:
            yield max(0.0, following[0] - entry.ended)


async def weather(place: Field, seconds: float) -> Outcome:
    """Twenty clients: eighteen of one server over HTTP, two over stdio each of its own; half of each era."""
    url, eras = place.url, (LEGACY, MODERN)
    settings: dict[str, Any] = {"watch__poll_interval_s": POLL_S, "tools__surface": "tables"}
    journal = Journal({}, time.monotonic())
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(http_server(url, environment(settings)))
        stdio = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "serve", url], env=environment(settings))
        targets: list[tuple[str, Any, int]] = [("http", address, 9), ("stdio", stdio, 1)]
        clients = [
            Client(f"{kind} {era} {number}", await join(stack, target, era), SEED)
            for kind, target, count in targets
            for era in eras
            for number in range(count)
        ]
        for client in clients:
            hearing = asyncio.create_task(client.hear())
            stack.callback(hearing.cancel)
            assert await client.list() == {}
        records = [client.record for client in clients]

        async def lull() -> None:
            """Until everybody has been told of the last change, or long enough to say that it was missed."""
            last = (oracle.list_changes(journal) or [0.0])[-1]
            with suppress(TimeoutError):
                await until(lambda: all(record.told and record.told[-1] >= last for record in records), BOUND_S + 0.5)

        over, since = asyncio.Event(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run(over))
            graveyard = await storm(
                place.sessions, journal, lull, seconds=seconds, statements_per_s=STATEMENTS_PER_S, seed=SEED
            )
            over.set()
        last = journal.entries[-1].shown
        await asyncio.gather(*[client.settle(last, BOUND_S) for client in clients])
    return Outcome(
        journal=journal,
        records=records,
        since=since,
        found=_found(place, journal, graveyard),
    )


def _found(place: Field, journal: Journal, graveyard: Mapping[str, Sequence[str]]) -> Mapping[str, list[str]]:
    """Of each token, the origins of the tables that hold it, or did when they were dropped; once a row."""
    tokens = [(note, origin) for origin, notes in graveyard.items() for note in notes]
    for name, table in journal.entries[-1].state.items():
        rows = place.ask(f"SELECT note, origin FROM {name} WHERE note IS NOT NULL")
        assert all(origin == table.origin for _, origin in rows)
        tokens += [(note, origin) for note, origin in rows]
    found: dict[str, list[str]] = {}
    for note, origin in tokens:
        found.setdefault(note, []).append(origin)
    return found


def judge(outcome: Outcome) -> None:
    print(outcome.summary())
    findings = outcome.findings
    assert not findings, f"seed {SEED}, {len(findings)} findings:\n" + "\n".join(findings[:20])
    assert all(record.told and record.calls for record in outcome.records)


@pytest.mark.parametrize("name", [name for name in PLACES if name != "sqlite"], ids="postgresql-{}".format)
async def test_a_storm_over_postgresql(name: str, servers: Callable[[str], Server]) -> None:
    async with postgresql_field(servers(name)) as place:
        judge(await weather(place, SECONDS))


@pytest.mark.skipif("sqlite" not in PLACES, reason="not asked for")
async def test_a_storm_over_sqlite(tmp_path: Path) -> None:
    with sqlite_field(tmp_path / "storm.sqlite") as place:
        judge(await weather(place, SECONDS / 2))
