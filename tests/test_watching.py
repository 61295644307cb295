"""Watching: what it costs, what it makes of a database that fails, and that it never stops."""

import asyncio
import gc
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from schema_mcp.catalog.build import build
from schema_mcp.observe.events import CatalogRead, CatalogReadFailed, CatalogReplaced, InternalFailure
from tests.conftest import Place
from tests.peers import FIXED, LIMIT_S, Inside, inside
from tests.postgres import PostgresServer
from tests.proxy import proxied
from tests.waiting import until

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("place", ["18"], indirect=True)
ON_18 = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)

START = "CREATE TABLE cats (id integer PRIMARY KEY, name text)"
CATS = ["insert_cats", "query_cats"]
CATS_AND_DOGS = ["insert_cats", "insert_dogs", "query_cats", "query_dogs"]
#: A look every so often, where nothing but waiting for one is tested.
QUICK: dict[str, Any] = {"watch__poll_interval_s": 0.05, "watch__debounce_s": 0.0}


def seen(program: Inside, kind: type) -> list[Any]:
    """What was observed of one kind."""
    return [observation for observation in program.observed if isinstance(observation, kind)]


async def look(program: Inside, times: int = 1) -> None:
    async with asyncio.timeout(LIMIT_S):
        for _ in range(times):
            await program.app.watcher.look()


async def failing(program: Inside) -> str:
    """Waits until looks fail; why the program says they do."""
    await until(lambda: program.app.watcher.errors)
    answer = await program.peer.call("refresh_schema")
    assert answer["refreshed"] is False
    (error,) = answer["errors"]
    assert isinstance(error["message"], str)
    return error["message"]


# What it costs


async def test_a_look_while_nothing_changes_is_one_statement(own_server: PostgresServer, own_database: str) -> None:
    name = own_database.rpartition("/")[2]
    own_server.execute(START, name)
    async with inside(own_database, watch__poll_interval_s=60.0) as program:
        await look(program, 2)
        await until(program.app.sources["database"].role.asked.is_set)
        begin = own_server.log_bytes()
        await look(program, 25)
        statements = re.findall(r"^.*\] schema-mcp LOG: .*$", own_server.log_text(begin), re.M)
        assert [line for line in statements if "pg_current_snapshot" not in line] == []
        assert len(statements) == 25
        assert len(seen(program, CatalogRead)) == 1


@PLACES
async def test_what_changes_no_table_makes_no_new_catalog(place: Place) -> None:
    place.execute(START)
    async with inside(place.url, watch__poll_interval_s=60.0) as program:
        await look(program)
        catalog = program.app.registry.current
        for sql in ("INSERT INTO cats VALUES (1, 'Tom')", "ANALYZE"):
            place.execute(sql)
            await look(program)
        assert program.app.registry.current is catalog
        assert len(seen(program, CatalogReplaced)) == 1
        # On SQLite rows do not move the gate.
        assert len(seen(program, CatalogRead)) == (3 if place.product == "postgresql" else 2)


@POSTGRESQL
async def test_a_refresh_tells_what_changed_by_the_names_that_arguments_take(place: Place) -> None:
    place.execute(f"{START}; CREATE SCHEMA other; CREATE TABLE other.birds (id integer)")
    async with inside(place.url, watch__poll_interval_s=60.0, database__schemas=["public", "other"]) as program:
        await look(program)
        place.execute("CREATE TABLE dogs (id integer); ALTER TABLE cats ADD age integer; DROP TABLE other.birds")
        answer = await program.peer.call("refresh_schema")
        assert (answer["added"], answer["removed"], answer["changed"]) == (["dogs"], ["other.birds"], ["cats"])


@PLACES
async def test_a_thousand_tables_are_read_and_built_while_the_event_loop_goes_on(place: Place) -> None:
    columns = ", ".join(f"c{n} text" for n in range(8))
    place.execute(START)
    tables = [f"CREATE TABLE t{n} (id integer PRIMARY KEY, {columns})" for n in range(1000)]
    async with inside(place.url, watch__poll_interval_s=60.0, tools__surface="tables") as program:
        await program.peer.names()
        if place.product == "postgresql":
            place.execute(";".join(tables))
        else:
            with closing(sqlite3.connect(place.url)) as connection:
                connection.executescript("BEGIN;" + ";".join(tables) + ";COMMIT")
        async with turns() as lasted:
            assert (await program.app.watcher.refresh()).tables == 1001
            assert (await program.app.watcher.refresh()).tables == 1001
        assert max(lasted) < 0.05


@asynccontextmanager
async def turns() -> AsyncIterator[list[float]]:
    """How long each turn of the event loop worked, in seconds; what other programs do meanwhile does not count."""
    lasted: list[float] = []

    async def measure() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            lasted.append(time.thread_time() - began)

    gc.freeze()  # collecting all that a whole test run leaves behind takes 0.1 s
    task = asyncio.create_task(measure())
    try:
        yield lasted
    finally:
        task.cancel()
        gc.unfreeze()


# A database that fails


async def test_while_the_server_is_down_the_tools_stay_and_one_line_is_logged(
    own_server: PostgresServer, own_database: str
) -> None:
    name = own_database.rpartition("/")[2]
    own_server.execute(START, name)
    async with inside(own_database, **QUICK) as program:
        assert await program.peer.table_tools() == CATS
        catalog = program.app.registry.current
        own_server.stop()
        assert "database" in await failing(program)
        begin = len(program.observed)
        await asyncio.gather(*[program.app.watcher.refresh() for _ in range(5)])
        await failing(program)
        assert [item for item in program.observed[begin:] if isinstance(item, CatalogReadFailed)] == []
        assert program.app.registry.current is catalog
        assert await program.peer.table_tools() == CATS
        own_server.start_again()
        own_server.execute("CREATE TABLE dogs (id integer)", name)
        await program.peer.hears()
        assert await program.peer.table_tools() == CATS_AND_DOGS
        assert (await program.peer.call("refresh_schema"))["refreshed"] is True


@POSTGRESQL
async def test_the_longer_a_database_fails_the_rarer_it_is_asked(place: Place) -> None:
    async with proxied(place.url) as proxy, inside(proxy.url, **QUICK) as program:
        await program.peer.names()
        proxy.lose(b"pg_current_snapshot", times=1000)
        proxy.reset()
        await until(lambda: proxy.lost == 3)
        began = time.monotonic()
        await until(lambda: proxy.lost == 5)
        assert time.monotonic() - began > 0.4  # not two polls, 0.1 s
        assert seen(program, CatalogReadFailed)[0].failures == 1


@ON_18
async def test_a_role_that_may_not_connect_any_more_keeps_its_tools_until_it_may_again(
    own_server: PostgresServer, own_database: str
) -> None:
    name = own_database.rpartition("/")[2]
    role = f"role_{name}"
    url = own_server.url(name, role, "word")
    own_server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'word'; {START}; GRANT ALL ON cats TO {role}", name)
    try:
        async with inside(url, **QUICK) as program:
            assert await program.peer.table_tools() == CATS
            own_server.execute(
                f"REVOKE CONNECT ON DATABASE {name} FROM public; "
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
            )
            assert "permission denied" in await failing(program)
            assert await program.peer.table_tools() == CATS
            own_server.execute(f"GRANT CONNECT ON DATABASE {name} TO {role}")
            own_server.execute(f"CREATE TABLE dogs (id integer); GRANT ALL ON dogs TO {role}", name)
            await program.peer.hears()
            assert await program.peer.table_tools() == CATS_AND_DOGS
    finally:
        own_server.execute(f"DROP OWNED BY {role}", name)
        own_server.execute(f"REVOKE ALL ON DATABASE {name} FROM {role}; DROP ROLE {role}")


@POSTGRESQL
async def test_a_network_that_stands_still_is_told_and_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schema_mcp.dialects.postgresql.reader.GATE_LIMIT_S", 0.3)
    monkeypatch.setattr("schema_mcp.dialects.postgresql.dialect.CONNECT_TIMEOUT_S", 0.3)
    place.execute(START)
    async with proxied(place.url) as proxy, inside(proxy.url, **QUICK) as program:
        await program.peer.names()
        proxy.stall()
        assert "no answer in time" in await failing(program)
        proxy.go_on()
        place.execute("CREATE TABLE dogs (id integer)")
        await program.peer.hears()
        assert await program.peer.table_tools() == CATS_AND_DOGS


@PLACES
async def test_a_catalog_that_cannot_be_built_leaves_the_last_one_and_is_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, secret = [True], "a value"

    def build_or_not(*args: Any) -> Any:
        if broken[0]:
            raise ZeroDivisionError(secret)
        return build(*args)

    place.execute(START)
    async with inside(place.url, **QUICK) as program:
        await program.peer.names()
        monkeypatch.setattr("schema_mcp.watch.swap.build", build_or_not)
        place.execute("CREATE TABLE dogs (id integer)")
        assert await failing(program) == "the schema of 'database' cannot be served: ZeroDivisionError, see the log"
        (failure,) = seen(program, InternalFailure)
        assert "build_or_not" in failure.traceback
        assert secret not in failure.traceback
        assert await program.peer.table_tools() == CATS
        broken[0] = False
        await program.peer.hears()
        assert await program.peer.table_tools() == CATS_AND_DOGS


# Files


def replace(path: str, content: bytes) -> None:
    other = Path(f"{path}.new")
    other.write_bytes(content)
    os.replace(other, path)


def database_of(*statements: str) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        for sql in statements:
            connection.execute(sql)
        connection.commit()
        return connection.serialize()


DOGS = database_of("CREATE TABLE dogs (id integer)", "INSERT INTO dogs VALUES (7)")


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not a database, " * 99, "not a SQLite database"), (None, "does not exist"), (DOGS[:1024], "damaged")],
)
async def test_a_file_that_is_gone_or_is_no_database_is_told_and_its_successor_served(
    place: Place, content: bytes | None, reason: str
) -> None:
    place.execute(START)
    async with inside(place.url, **QUICK) as program:
        assert await program.peer.table_tools() == CATS
        os.unlink(place.url) if content is None else replace(place.url, content)
        assert reason in await failing(program)
        error = await program.peer.error("query_cats")
        assert (error["code"], error["retryable"]) == ("database_unavailable", content is None)
        assert await program.peer.table_tools() == CATS
        if content is None:
            assert os.listdir(Path(place.url).parent) == []
        replace(place.url, DOGS)
        await program.peer.hears()
        assert await program.peer.table_tools() == ["insert_dogs", "query_dogs"]
        assert await program.peer.rows("query_dogs") == [{"id": 7}]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_file_that_is_replaced_by_another_database_is_followed_at_once(place: Place) -> None:
    place.execute(START)
    async with inside(place.url, **QUICK, pool__size=3) as program:
        await asyncio.gather(*[program.peer.call("query_cats") for _ in range(9)])
        replace(place.url, DOGS)
        await program.peer.hears()
        assert await program.peer.table_tools() == ["insert_dogs", "query_dogs"]
        assert await asyncio.gather(*[program.peer.rows("query_dogs") for _ in range(9)]) == [[{"id": 7}]] * 9


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_file_that_somebody_holds_locked_is_told_and_read_afterwards(place: Place) -> None:
    place.execute(START)
    async with inside(place.url, **QUICK, limits__lock_timeout_s=0.1) as program:
        await program.peer.names()
        with closing(sqlite3.connect(place.url, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            holder.execute("CREATE TABLE dogs (id integer)")
            assert "locked" in await failing(program)
            assert (await program.peer.error("query_cats"))["code"] == "lock_timeout"
            holder.execute("COMMIT")
        await program.peer.hears()
        assert await program.peer.table_tools() == CATS_AND_DOGS


# The start


@ON_18
async def test_without_a_database_the_server_answers_and_its_tools_come_with_it(
    own_server: PostgresServer, own_database: str
) -> None:
    name = own_database.rpartition("/")[2]
    own_server.execute(START, name)
    own_server.stop()
    async with inside(own_server.url(name, "postgres", "pass-word"), **QUICK) as program:
        assert await program.peer.names() == FIXED
        for tool, arguments in (("list_tables", {}), ("query_cats", {}), ("query_rows", {"table": "cats"})):
            error = await program.peer.error(tool, arguments)
            assert (error["code"], error["retryable"]) == ("database_unavailable", True)
            assert "refused" in error["message"]
            assert not any(word in str(error) for word in ("pass-word", "127.0.0.1", str(own_server.port)))
        own_server.start_again()
        await program.peer.hears()
        assert await program.peer.table_tools() == CATS


async def test_a_file_that_is_not_there_yet_is_served_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    async with inside(str(path), **QUICK) as program:
        assert await program.peer.names() == FIXED
        assert "does not exist" in (await program.peer.error("list_tables"))["message"]
        assert "does not exist" in await failing(program)
        assert os.listdir(tmp_path) == []
        replace(str(path), DOGS)
        await program.peer.hears()
        assert await program.peer.table_tools() == ["insert_dogs", "query_dogs"]


# Others at work


@POSTGRESQL
async def test_a_table_that_somebody_is_altering_does_not_hold_up_the_others(place: Place) -> None:
    place.execute(START)
    async with inside(place.url, **QUICK) as program:
        await program.peer.names()
        connection = await asyncpg.connect(place.url)
        async with connection.transaction():
            await connection.execute("ALTER TABLE cats ADD COLUMN age integer CHECK (age > 0)")
            place.execute("CREATE TABLE dogs (id integer)")
            async with asyncio.timeout(2):
                await program.peer.hears()
            assert await program.peer.table_tools() == CATS_AND_DOGS
        await connection.close()
        await program.peer.hears()
        (tool,) = [tool for tool in (await program.peer.client.list_tools()).tools if tool.name == "query_cats"]
        assert "age" in tool.input_schema["properties"]["where"]["properties"]


@POSTGRESQL
async def test_granting_and_revoking_gives_and_takes_tools(place: Place) -> None:
    role = f"role_{place.url.rpartition('/')[2]}"
    place.execute(f"{START}; CREATE ROLE {role} LOGIN PASSWORD 'word'")
    address = place.url.partition("@")[2]
    try:
        async with inside(f"postgresql://{role}:word@{address}", **QUICK) as program:
            assert await program.peer.table_tools() == []
            for sql, expected in (
                (f"GRANT SELECT ON cats TO {role}", ["query_cats"]),
                (f"GRANT INSERT ON cats TO {role}", CATS),
                (f"REVOKE SELECT ON cats FROM {role}", ["insert_cats"]),
                (f"REVOKE ALL ON cats FROM {role}", []),
            ):
                place.execute(sql)
                await program.peer.hears()
                assert await program.peer.table_tools() == expected, sql
            error = await program.peer.error("query_cats")
            assert error["code"] == "stale_schema"
    finally:
        place.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@PLACES
async def test_after_a_storm_of_changes_the_list_is_that_of_the_database(place: Place) -> None:
    place.execute(START)

    async def storm(worker: int) -> None:
        for n in range(12):
            name = f"t{worker}_{n}"
            for sql in (
                f"CREATE TABLE {name} (id integer PRIMARY KEY, a text)",
                f"ALTER TABLE {name} ADD COLUMN b integer",
                f"ALTER TABLE {name} RENAME COLUMN a TO c",
                f"ALTER TABLE {name} RENAME TO {name}_x" if n % 3 else f"DROP TABLE {name}",
            ):
                await asyncio.to_thread(place.execute, sql)

    async with inside(place.url, **QUICK) as program:
        await program.peer.names()
        await asyncio.gather(storm(0), storm(1))
        expected = sorted(
            [*CATS, *(f"{kind}_t{w}_{n}_x" for kind in ("insert", "query") for w in (0, 1) for n in range(12) if n % 3)]
        )
        async with asyncio.timeout(LIMIT_S):
            while await program.peer.table_tools() != expected:
                await program.peer.hears()
        schema = {tool.name: tool.input_schema for tool in (await program.peer.client.list_tools()).tools}
        where = schema["query_t0_1_x"]["properties"]["where"]["properties"]
        assert list(where) == ["id", "c", "b"]
        assert seen(program, InternalFailure) == []


@PLACES
async def test_two_programs_over_one_database_both_follow_it(place: Place) -> None:
    place.execute(START)
    async with inside(place.url, **QUICK) as one, inside(place.url, **QUICK) as other:
        for program in (one, other):
            await program.peer.names()
        place.execute("CREATE TABLE dogs (id integer)")
        for program in (one, other):
            await program.peer.hears()
            assert await program.peer.table_tools() == CATS_AND_DOGS
        await one.peer.call("insert_dogs", {"rows": [{"id": 1}]})
        assert await other.peer.rows("query_dogs") == [{"id": 1}]


# The end


@PLACES
async def test_askers_that_give_up_do_not_end_the_watching(place: Place) -> None:
    place.execute(START)
    async with inside(place.url, watch__poll_interval_s=60.0) as program:
        for wait_s in (0.0, 0.001, 0.005, 0.01):
            asking = [asyncio.create_task(program.app.watcher.refresh()) for _ in range(5)]
            await asyncio.wait(asking, timeout=wait_s)
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
        place.execute("CREATE TABLE dogs (id integer)")
        await look(program)
        assert await program.peer.table_tools() == CATS_AND_DOGS


@POSTGRESQL
@pytest.mark.parametrize("stalled", [True, False])
async def test_the_program_closes_within_two_seconds_whatever_the_network_does(place: Place, stalled: bool) -> None:
    place.execute(START)
    async with proxied(place.url) as proxy, AsyncExitStack() as stack:
        program = await stack.enter_async_context(inside(proxy.url, **QUICK))
        await asyncio.gather(*[program.peer.call("query_cats") for _ in range(9)])
        if stalled:
            proxy.stall()
            refreshing = asyncio.create_task(program.app.watcher.refresh())
            await asyncio.wait({refreshing}, timeout=0.1)
            stack.callback(refreshing.cancel)
        began = time.monotonic()
        await stack.aclose()
        assert time.monotonic() - began < 2.0
    ours = "datname = current_database() AND application_name = 'schema-mcp'"
    await until(lambda: place.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}") == "0")
