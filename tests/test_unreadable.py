"""Catalogs that cannot be read for a while: the last good tools stay, one line says why, and the program goes on."""

import os
import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any

import anyio
import asyncpg
import pytest

from schema_mcp.observe.events import CatalogReadFailed
from tests.conftest import Place
from tests.peers import Inside, inside
from tests.proxy import proxied
from tests.waiting import until

POSTGRESQL = pytest.mark.parametrize("place", ["18"], indirect=True)
START = "CREATE TABLE cats (id integer PRIMARY KEY)"
CATS = ["insert_cats", "query_cats"]
CATS_AND_DOGS = ["insert_cats", "insert_dogs", "query_cats", "query_dogs"]
QUICK: dict[str, Any] = {"watch__poll_interval_s": 0.05, "watch__debounce_s": 0.0}


@pytest.fixture
def role(place: Place) -> Iterator[str]:
    """A role that may read and write what there is from the start, and owns nothing."""
    name = f"role_{uuid.uuid4().hex}"
    place.execute(f"{START}; CREATE ROLE {name} LOGIN PASSWORD 'word'; GRANT ALL ON cats TO {name}")
    yield name
    place.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(place: Place, role: str) -> str:
    return f"postgresql://{role}:word@{place.url.partition('@')[2]}"


def failures(program: Inside) -> list[str]:
    return [item.message for item in program.observed if isinstance(item, CatalogReadFailed)]


async def reason(program: Inside) -> str:
    """Waits until looks fail; what the program says of it, to whoever asks for a refresh and, once, in its log."""
    await until(lambda: program.app.watcher.errors)
    answer = await program.peer.call("refresh_schema")
    assert answer["refreshed"] is False
    (error,) = answer["errors"]
    assert failures(program) == [error["message"]]
    assert await program.peer.table_tools() == CATS
    return str(error["message"])


async def goes_on(program: Inside) -> None:
    await program.peer.hears()
    assert await program.peer.table_tools() == CATS_AND_DOGS
    assert (await program.peer.call("refresh_schema"))["refreshed"] is True


@POSTGRESQL
async def test_a_catalog_that_somebody_has_locked_is_read_afterwards(place: Place) -> None:
    """As VACUUM FULL of a catalog does, for as long as it takes."""
    place.execute(START)
    async with inside(place.url, **QUICK) as program:
        assert await program.peer.table_tools() == CATS
        holder = await asyncpg.connect(place.url)
        async with holder.transaction():
            await holder.execute("LOCK TABLE pg_catalog.pg_foreign_server")  # without which others can live
            place.execute("CREATE TABLE dogs (id integer)")
            assert "lock" in await reason(program)
            assert await program.peer.rows("query_cats") == []
        await holder.close()
        await goes_on(program)


@POSTGRESQL
async def test_a_catalog_that_the_role_may_not_read_is_told(place: Place, role: str) -> None:
    async with inside(as_role(place, role), **QUICK) as program:
        assert await program.peer.table_tools() == CATS
        place.execute("REVOKE SELECT ON pg_catalog.pg_constraint FROM public; CREATE TABLE dogs (id integer)")
        assert "permission denied" in await reason(program)
        place.execute(f"GRANT SELECT ON pg_catalog.pg_constraint TO public; GRANT ALL ON dogs TO {role}")
        await goes_on(program)


@POSTGRESQL
async def test_a_role_that_loses_the_schema_has_no_tools_of_it_until_it_may_use_it_again(
    place: Place, role: str
) -> None:
    async with inside(as_role(place, role), **QUICK) as program:
        assert await program.peer.table_tools() == CATS
        place.execute("REVOKE USAGE ON SCHEMA public FROM public")
        await program.peer.hears()
        assert await program.peer.table_tools() == []
        place.execute("GRANT USAGE ON SCHEMA public TO public")
        await program.peer.hears()
        assert await program.peer.table_tools() == CATS


@POSTGRESQL
@pytest.mark.parametrize("reply", [True, False], ids=["answer", "question"])
async def test_a_connection_that_is_lost_in_mid_reading_costs_that_reading(place: Place, reply: bool) -> None:
    place.execute(START)
    async with proxied(place.url) as proxy, inside(proxy.url, **QUICK) as program:
        assert await program.peer.table_tools() == CATS
        proxy.lose(b"pg_constraint", reply=reply, times=1_000)
        proxy.reset()  # a new connection has to send every statement as text
        place.execute("CREATE TABLE dogs (id integer)")
        await until(lambda: proxy.lost > 2)
        assert (await program.peer.call("refresh_schema"))["refreshed"] is False
        assert len(failures(program)) <= 2  # of the connection that was broken, and of those that are lost
        assert await program.peer.table_tools() == CATS
        proxy.lose(b"", times=0)
        await goes_on(program)


@POSTGRESQL
async def test_a_reading_that_takes_too_long_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.execute(START)
    async with proxied(place.url) as proxy, inside(proxy.url, **QUICK) as program:
        assert await program.peer.table_tools() == CATS
        monkeypatch.setattr("schema_mcp.dialects.postgresql.reader.READ_LIMIT_S", 0.0)
        place.execute("CREATE TABLE dogs (id integer)")
        assert "no answer in time" in await reason(program)
        monkeypatch.undo()
        await goes_on(program)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_file_that_loses_its_end_under_the_program_is_told_and_used_once_it_is_whole(place: Place) -> None:
    place.execute(START)
    place.execute("INSERT INTO cats VALUES (1)")
    file = anyio.Path(place.url)
    whole = await file.read_bytes()
    async with inside(place.url, **QUICK) as program:
        assert await program.peer.rows("query_cats") == [{"id": 1}]
        os.truncate(file, 4096)
        error = await program.peer.error("query_cats")
        assert (error["code"], error["retryable"]) == ("database_unavailable", False)
        assert "damaged" in error["message"]
        await file.write_bytes(whole)
        assert await program.peer.rows("query_cats") == [{"id": 1}]


@POSTGRESQL
async def test_a_table_under_a_long_alter_holds_up_nobody_even_while_others_come_all_the_time(place: Place) -> None:
    place.execute("CREATE TABLE cats (id integer, age integer CHECK (age > 0))")
    async with inside(place.url, **QUICK) as program, anyio.create_task_group() as others:
        holder, maker = [await asyncpg.connect(place.url) for _ in range(2)]
        await program.peer.names()
        place.execute("ALTER TABLE cats ADD COLUMN name text")
        await holder.execute("BEGIN; ALTER TABLE cats ADD COLUMN weight integer CHECK (weight > 0)")

        async def make() -> None:
            for number in count():
                await maker.execute(f"CREATE TABLE more_{number} (id integer)")

        others.start_soon(make)
        for number in (100, 300):
            await until(lambda number=number: f"query_more_{number}" in program.app.registry.current.table_tools)  # type: ignore[misc]
        assert failures(program) == []
        others.cancel_scope.cancel()
        holder.terminate()
        maker.terminate()
