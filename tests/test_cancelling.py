"""Calls that nobody waits for any more: the database's work ends at once, whichever way its client went."""

import asyncio
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic
from typing import Any

import anyio
import pytest

from schema_mcp.config.database import parse_database
from schema_mcp.dialects.base import SessionLimits
from schema_mcp.dialects.postgresql.dialect import PostgresqlDialect
from schema_mcp.execute.engines import Database
from tests.conftest import Place
from tests.notes_server import Raw, opening, request
from tests.peers import COMMAND, LEGACY, environment, inside, served
from tests.proxy import proxied
from tests.test_progress import SLOWLY
from tests.test_running import answers, begin, busy, count, idle, locked
from tests.waiting import until

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("place", ["18"], indirect=True)
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)

#: It is to take a second; the machine may be busy.
STOP_LIMIT_S = 5.0
STREAM = ("query_slowly", {"limit": 9000})
WAITING = ("insert_cats", {"rows": [{"id": 1, "name": "Tom"}]})


def set_up(place: Place) -> None:
    begin(place, *(sql for sql in SLOWLY[place.product] if "one" not in sql))


@asynccontextmanager
async def work(place: Place, kind: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """A call that would take long: rows that stream, or a write that waits for a lock for as long as the block runs."""
    if kind == "stream":
        yield STREAM
        return
    async with locked(place, "cats"):
        yield WAITING


def connections() -> set[threading.Thread]:
    """The threads of the connections to SQLite that there are."""
    return {thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name}


@PLACES
@pytest.mark.parametrize("kind", ["stream", "lock"])
async def test_a_cancelled_call_lets_go_at_once(place: Place, kind: str) -> None:
    set_up(place)
    async with inside(place.url, pool__size=1, limits__lock_timeout_s=30.0) as program:
        await program.peer.names()
        before = connections()
        async with work(place, kind) as (name, arguments):
            call = asyncio.create_task(program.peer.call(name, arguments))
            what = "%slowly%" if kind == "stream" else "%INTO%cats%"
            begins = (
                (lambda: program.app.database.in_use == 1) if place.product == "sqlite" else lambda: busy(place, what)
            )
            await until(begins)
            began = monotonic()
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            await until(lambda: program.app.database.in_use == 0 and len(connections() - before) <= 1)
            if place.product == "postgresql":
                await until(lambda: not busy(place, what))
            assert monotonic() - began < STOP_LIMIT_S
        await answers(program.peer)
        await idle(program, place)
        assert count(place, "cats") == 0


@PLACES
async def test_a_call_that_waits_for_a_connection_leaves_the_queue(place: Place) -> None:
    set_up(place)
    async with inside(place.url, pool__size=1, pool__acquire_timeout_s=30.0) as program:
        first = asyncio.create_task(program.peer.call("query_slow"))
        await until(lambda: busy(place) and program.app.database.in_use == 1)
        later = [asyncio.create_task(program.peer.call(*WAITING)) for _ in range(3)]
        await program.peer.names()
        for call in later:
            call.cancel()
        await asyncio.wait(later, timeout=STOP_LIMIT_S)
        assert busy(place)
        began = monotonic()
        first.cancel()
        await asyncio.wait({first})
        await answers(program.peer)
        await idle(program, place)
        assert monotonic() - began < STOP_LIMIT_S
        assert count(place, "cats") == 0


@PLACES
async def test_a_cancel_never_hits_another_calls_statement(place: Place) -> None:
    """PostgreSQL is told to cancel what a connection does, whichever statement that is by then, from another one."""
    set_up(place)
    chance, rounds = random.Random(5), 500 if place.product == "postgresql" else 60
    cancelled = [("query_slow", {}), ("query_parents", {}), ("query_slowly", {"limit": 3000})]
    async with inside(place.url, pool__size=1, pool__acquire_timeout_s=30.0, limits__call_timeout_s=30.0) as program:
        for number in range(rounds):
            call = asyncio.create_task(program.peer.call(*chance.choice(cancelled)))
            row = {"rows": [{"id": number, "name": str(number)}]}
            others = [program.peer.call("insert_cats", row), program.peer.call("query_cats", {"where": {"id": number}})]
            on_the_same_connection = asyncio.gather(*others)
            await asyncio.wait({call}, timeout=chance.random() * 0.004)
            call.cancel()
            written, read = await on_the_same_connection
            assert (written.get("inserted"), "rows" in read) == (1, True), (number, written, read)
        await idle(program, place)
        assert count(place, "cats") == rounds


@POSTGRESQL
async def test_a_cancel_that_comes_before_its_statement_is_repeated(place: Place) -> None:
    place.execute("CREATE TABLE pauses (s integer); INSERT INTO pauses VALUES (0)")
    place.execute("CREATE VIEW napping AS SELECT s FROM pauses, pg_sleep(pauses.s)")
    async with proxied(place.url) as proxy, inside(proxy.url, pool__size=1, watch__poll_interval_s=60.0) as program:
        assert await program.peer.rows("query_napping") == [{"s": 0}]  # prepared, so that it is one message from now on
        place.execute("UPDATE pauses SET s = 60")
        go_on, over = proxy.forget(), proxy.over
        call = asyncio.create_task(program.peer.call("query_napping"))
        await until(lambda: program.app.database.in_use == 1)
        await program.peer.names()
        call.cancel()
        await until(lambda: proxy.over > over)  # the cancel has met a session that was idle
        began = monotonic()
        go_on()
        await until(lambda: program.app.database.in_use == 0)
        await until(lambda: not busy(place, "%napping%"))
        assert monotonic() - began < STOP_LIMIT_S


@PLACES
async def test_a_session_over_http_that_is_left_or_ended_stops_its_calls(place: Place) -> None:
    """Nobody can come back for the answer: no stream can be resumed (MCP 2025-11-25, transports)."""
    set_up(place)
    version = "MCP-Protocol-Version: 2025-11-25"
    calls = [("query_slow", {}), STREAM, *([WAITING] if place.product == "postgresql" else [])]
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(served(place.url, "http", limits__lock_timeout_s=30.0))
        for name, arguments in calls:
            for end in ("lost", "deleted"):
                async with AsyncExitStack() as during:
                    if name == "insert_cats":
                        await during.enter_async_context(locked(place, "cats"))
                    other = await during.enter_async_context(Raw(scene.target, version))
                    async with Raw(scene.target, version) as client:
                        session = await client.open_session()
                        body = request(1, "tools/call", LEGACY, name=name, arguments=arguments)
                        call = asyncio.create_task(client.post(body, until=b"never"))
                        await until(lambda: ours(place))
                        began = monotonic()
                        if end == "deleted":
                            await other.delete(session)
                            await until(lambda: not ours(place))
                    with suppress(asyncio.IncompleteReadError, OSError):
                        await call
                    await until(lambda: not ours(place))
                    assert monotonic() - began < STOP_LIMIT_S, (name, end)
        assert count(place, "cats") == 0


def ours(place: Place) -> bool:
    """A statement of the program's other than its looks runs, or has left a transaction open."""
    return busy(place, "%slow%") or (place.product == "postgresql" and busy(place, "%INTO%cats%"))


#: Starts what it is given, sends it its input, tells its process id and lives until it is killed.
CLIENT = """
import subprocess, sys, time
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
server.stdin.write(sys.argv[1].encode())
server.stdin.flush()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("place", "kind"), [("18", "lock"), ("sqlite", "stream")], indirect=["place"])
async def test_a_client_that_is_killed_takes_its_server_and_its_calls_along(place: Place, kind: str) -> None:
    set_up(place)
    async with work(place, kind) as (name, arguments), asyncio.timeout(30):
        asked = opening(LEGACY) + request(1, "tools/call", LEGACY, name=name, arguments=arguments)
        command = [sys.executable, "-c", CLIENT, asked.decode(), *COMMAND, place.url]
        variables = {**os.environ, **environment({"limits__lock_timeout_s": 30.0})}
        async with await anyio.open_process(command, env=variables) as client:
            assert client.stdout is not None
            server = int(await client.stdout.receive())
            await until(lambda: ours(place))
            began = monotonic()
            client.send_signal(signal.SIGKILL)
            await until(lambda: not ours(place))
            assert monotonic() - began < STOP_LIMIT_S
            await until(lambda: not alive(server))
    assert count(place, "cats") == 0


def alive(process: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked for its code does not."""
    try:
        with open(f"/proc/{process}/stat") as found:
            return found.read().split()[2] != "Z"
    except OSError:
        return False


@POSTGRESQL
async def test_connecting_is_given_up_at_any_moment_without_a_word(place: Place) -> None:
    limits = SessionLimits(statement_timeout_s=5, lock_timeout_s=5, idle_in_transaction_timeout_s=5, read_only=False)
    database = Database("pets", parse_database(place.url), PostgresqlDialect(), limits, size=1, acquire_timeout_s=5)
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))

    async def connect() -> None:
        async with database.single():
            pass

    for turns in range(12):  # of the event loop
        connecting = asyncio.create_task(connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            await connecting
        for _ in range(10):
            await asyncio.sleep(0)
        del connecting
        gc.collect()
    await database.close()
    assert heard == []
