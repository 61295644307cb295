"""The cache of results: the same call of the same caller is answered again, until somebody may have made it untrue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from schema_mcp.execute.cache import CacheLimits, ResultCache
from tests.conftest import Place
from tests.peers import LEGACY, MODERN, Inside, Peer, inside, join
from tests.test_running import PLACES, locked
from tests.waiting import until, until_it_holds


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def cache(clock: Clock | None = None, **limits: Any) -> ResultCache:
    return ResultCache(CacheLimits(**{"ttl_s": 10, **limits}), clock or Clock())


def test_an_answer_holds_for_its_time_counted_from_when_it_began_to_be_read() -> None:
    kept = cache(clock := Clock())
    keep = kept.reading()
    clock.now_s += 4
    keep("a", b"{}", 1)
    found = kept.find("a")
    assert found is not None
    assert (found[0].json, found[0].rows, found[1]) == (b"{}", 1, 4_000)
    clock.now_s += 6
    assert kept.find("a") is None
    assert (len(kept), kept.bytes) == (0, 0)


def test_the_answers_that_were_not_used_for_longest_go_first() -> None:
    kept = cache(max_entries=2)
    for key in "ab":
        kept.reading()(key, b"{}", 0)
    kept.find("a")
    kept.reading()("c", b"{}", 0)
    assert [kept.find(key) is not None for key in "abc"] == [True, False, True]


def test_the_answers_take_no_more_bytes_than_they_may() -> None:
    kept = cache(max_bytes=10)
    kept.reading()("a", b"1234567", 0)
    kept.reading()("b", b"1234", 0)
    assert [kept.find(key) is not None for key in "ab"] == [False, True]
    kept.reading()("c", b"12345678901", 0)
    assert [kept.find(key) is not None for key in "bc"] == [True, False]
    kept.reading()("b", b"12", 0)
    assert kept.bytes == 2


def test_what_was_being_read_while_something_was_written_is_not_kept() -> None:
    kept = cache()
    keep = kept.reading()
    kept.reading()("b", b"{}", 0)
    kept.drop()
    keep("a", b"{}", 0)
    assert [kept.find(key) is not None for key in "ab"] == [False, False]
    assert (len(kept), kept.bytes) == (0, 0)


# In the program


@asynccontextmanager
async def shop(place: Place, **settings: Any) -> AsyncIterator[Inside]:
    place.execute("CREATE TABLE parts (id integer PRIMARY KEY, name text)")
    place.execute("CREATE TABLE uses (id integer PRIMARY KEY, part integer REFERENCES parts (id) ON DELETE CASCADE)")
    place.execute("CREATE VIEW named AS SELECT name FROM parts")
    place.execute("INSERT INTO parts VALUES (1, 'bolt')")
    place.execute("INSERT INTO uses VALUES (1, 1)")
    settings = {"cache__ttl_s": 600, "access__mode": "write", **settings}
    async with inside(place.url, **settings) as program:
        yield program


async def meta(peer: Peer, tool: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the result's `_meta` says of the cache."""
    result = await peer.client.call_tool(tool, arguments or {})
    assert not result.is_error
    return {name: value for name, value in (result.meta or {}).items() if name in ("cached", "age_ms")}


async def cached(peer: Peer, tool: str, arguments: dict[str, Any] | None = None) -> bool:
    return bool(await meta(peer, tool, arguments))


@PLACES
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_the_same_call_is_answered_again_and_says_so(place: Place, era: str) -> None:
    async with shop(place, era=era) as program:
        first = await program.peer.call("query_parts", {"where": {"id": 1}, "columns": ["name"]})
        place.execute("UPDATE parts SET name = 'nut'")
        told = await meta(program.peer, "query_parts", {"columns": ["name"], "where": {"id": 1}})
        assert told["cached"] is True
        assert 0 <= told["age_ms"] < 60_000
        assert await program.peer.call("query_parts", {"where": {"id": 1}, "columns": ["name"]}) == first
        # Another call is another matter.
        assert not await cached(program.peer, "query_parts", {"columns": ["name"], "where": {"id": 2}})
        assert await program.peer.rows("query_rows", {"table": "parts"}) == [{"id": 1, "name": "nut"}]


@PLACES
async def test_nothing_is_kept_unless_it_is_asked_for(place: Place) -> None:
    async with shop(place, cache__ttl_s=0) as program:
        for _ in range(2):
            assert await meta(program.peer, "query_parts") == {}


@PLACES
async def test_an_answer_is_given_to_its_session_alone(place: Place) -> None:
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(shop(place))
        other = await join(stack, program.server, LEGACY)
        assert not await cached(program.peer, "query_parts")
        assert not await cached(other, "query_parts")
        assert await cached(other, "query_parts")


@PLACES
async def test_whatever_is_written_through_the_server_drops_what_may_show_it(place: Place) -> None:
    batch = [{"tool": "insert_parts", "arguments": {"rows": [{"id": 10}]}}]
    writes: list[tuple[str, dict[str, Any]]] = [
        ("insert_parts", {"rows": [{"id": 2, "name": "nut"}]}),
        ("update_parts", {"where": {"id": 2}, "set": {"name": "gear"}}),
        ("run_batch", {"calls": batch}),
        ("run_batch", {"calls": [{"tool": "delete_parts", "arguments": {"where": {"id": 10}}}], "mode": "independent"}),
        ("execute_sql", {"sql": "UPDATE parts SET name = 'axle' WHERE id = 2 RETURNING id"}),
        # A key that cascades takes rows of another table with it.
        ("delete_parts", {"where": {"id": 1}}),
    ]
    reads: list[tuple[str, dict[str, Any]]] = [
        ("query_parts", {"columns": ["name"], "order_by": ["id"]}),
        ("query_named", {}),
        ("query_uses", {"include": ["parts"]}),
        ("query_parts", {"aggregate": ["count"]}),
    ]
    async with shop(place, access__sql="write") as program:
        for tool, arguments in writes:
            for read in reads:
                await program.peer.call(*read)
                assert await cached(program.peer, *read)
            answer = await program.peer.call(tool, arguments)
            assert "error" not in answer, answer
            for read in reads:
                assert not await cached(program.peer, *read), (tool, read)
        assert await program.peer.rows("query_uses") == []


@PLACES
async def test_a_catalog_that_has_changed_begins_anew(place: Place) -> None:
    async with shop(place) as program:
        await program.peer.call("query_parts")
        assert await cached(program.peer, "query_parts")
        place.execute("ALTER TABLE parts ADD COLUMN price integer")

        async def shows_it() -> bool:
            return "price" in (await program.peer.rows("query_parts"))[0]

        await until_it_holds(shows_it)


@PLACES
async def test_errors_batches_and_what_is_no_reading_of_a_table_are_not_kept(place: Place) -> None:
    calls = {"calls": [{"tool": "query_parts", "arguments": {}}], "mode": "independent"}
    async with shop(place) as program:
        kept = program.app.service.dispatch.cache
        assert kept is not None
        for _ in range(2):
            assert (await program.peer.error("query_parts", {"columns": ["gone"]}))["code"] == "unknown_column"
            assert not await cached(program.peer, "run_batch", calls)
            assert not await cached(program.peer, "run_batch", {**calls, "mode": "transaction"})
            assert not await cached(program.peer, "list_tables")
        assert len(kept) == 0


@PLACES
async def test_what_was_read_before_a_write_was_committed_is_not_kept_after_it(place: Place) -> None:
    async with shop(place, limits__lock_timeout_s=20) as program:
        kept = program.app.service.dispatch.cache
        assert kept is not None
        keep = kept.reading()
        await program.peer.names()
        async with locked(place, "parts"):
            writing = asyncio.create_task(program.peer.call("insert_parts", {"rows": [{"id": 3}]}))
            await until(lambda: program.app.database.in_use == 1)
        await writing
        keep("read before", b"{}", 0)
        assert len(kept) == 0


@PLACES
async def test_a_page_goes_on_from_the_cursor_of_an_answer_that_was_kept(place: Place) -> None:
    async with shop(place) as program:
        await program.peer.call("insert_parts", {"rows": [{"id": 2, "name": "nut"}]})
        for _ in range(2):
            answer = await program.peer.call("query_parts", {"limit": 1})
            following = await program.peer.rows("query_parts", {"limit": 1, "cursor": answer["next_cursor"]})
            assert following == [{"id": 2, "name": "nut"}]


async def test_a_transaction_over_several_calls_neither_reads_nor_keeps_answers_and_its_end_drops_them(
    place: Place,
) -> None:
    async with shop(place) as program:
        call, names = program.peer.call, {"columns": ["name"]}
        before = await program.peer.rows("query_parts", names)
        handle = (await call("begin_transaction"))["transaction_id"]
        within = {"transaction_id": handle}
        await call("insert_parts", {"rows": [{"id": 2, "name": "nut"}], **within})
        inside_it = await program.peer.rows("query_parts", {**names, **within})
        assert inside_it == [*before, {"name": "nut"}]
        assert await program.peer.rows("query_parts", names) == before
        await call("commit_transaction", within)
        assert await program.peer.rows("query_parts", names) == inside_it
