"""What a caller's own statement gives and no answer can hold: cut and named, and on PostgreSQL never taken in whole."""

import asyncio
import base64
import sys
from typing import Any

import pytest

from schema_mcp.dialects.postgresql.shortening import Shortening
from tests.conftest import Place
from tests.peers import LEGACY, served
from tests.test_execute_sql import turned_on
from tests.test_large_values import CAP, grown, peak, server_process
from tests.test_operations import ended, start
from tests.test_running import PLACES, POSTGRESQL

#: Expressions by what they are cut to: so many of the letter stand for the rest.
KINDS = {
    "text": ("repeat('é', 50000)", "é" * 50_000),
    "json": ("json_build_object('k', repeat('j', 50000))", '{"k" : "' + "j" * 50_000),
    "array": ("array_fill('a'::text, array[20000])", "{" + "a," * 20_000),
    "record": ("ROW(1, repeat('r', 50000))", "(1," + "r" * 50_000),
    "range": ("textrange(repeat('a', 50000), repeat('b', 50000))", "[" + "a" * 50_000),
}


@POSTGRESQL
async def test_the_beginning_of_a_large_value_of_any_type_is_a_string_that_is_named(place: Place) -> None:
    place.execute("CREATE TYPE textrange AS RANGE (subtype = text)")
    async with turned_on(place, results__max_bytes=CAP) as program:
        for kind, (expression, whole) in KINDS.items():
            asked = {"sql": f"SELECT 7 AS n, {expression} AS large, 'last' AS l"}
            answer = await program.peer.call("execute_sql", asked)
            (row,) = answer["rows"]
            assert (row["n"], row["l"], answer["cut_columns"]) == (7, "last", ["large"]), kind
            assert whole.startswith(row["large"]), kind
            assert CAP / 12 < len(row["large"]) < CAP, kind
        asked = {"sql": "SELECT convert_to(repeat('abc', 20000), 'UTF8') AS large"}
        answer = await program.peer.call("execute_sql", asked)
        text = answer["rows"][0]["large"]
        assert base64.b64encode(b"abc" * 20_000).decode().startswith(text)
        assert CAP / 2 < len(text) < CAP


@POSTGRESQL
async def test_what_is_just_too_large_for_one_answer_is_cut_as_what_is_huge(place: Place) -> None:
    async with turned_on(place, results__max_bytes=CAP) as program:
        for size in (CAP - 100, CAP, 2 * CAP - 1, 2 * CAP, 2 * CAP + 1, 10 * CAP):
            answer = await program.peer.call("execute_sql", {"sql": f"SELECT repeat('x', {size}) AS large"})
            (row,) = answer["rows"]
            assert set(row["large"]) == {"x"}
            if size < CAP - 50:
                assert (len(row["large"]), answer.get("cut_columns")) == (size, None)
            else:
                assert answer["cut_columns"] == ["large"]
                assert CAP - 200 < len(row["large"]) < CAP


@POSTGRESQL
async def test_rows_are_taken_up_to_the_first_that_does_not_fit_however_large_it_is(place: Place) -> None:
    async with turned_on(place, results__max_bytes=CAP) as program:
        for size in (CAP, 5 * CAP, 100_000):
            sql = f"SELECT n, repeat('x', CASE WHEN n = 4 THEN {size} ELSE 3 END) AS t FROM generate_series(1, 9) AS n"
            answer = await program.peer.call("execute_sql", {"sql": sql})
            assert answer["rows"] == [{"n": n, "t": "xxx"} for n in (1, 2, 3)]
            assert (answer["truncated"], answer.get("cut_columns")) == (True, None)


@POSTGRESQL
async def test_a_transaction_goes_on_after_a_large_value(place: Place) -> None:
    place.execute("CREATE TABLE notes (id integer PRIMARY KEY, body text)")
    async with turned_on(place, "write", access__mode="write", results__max_bytes=CAP) as program:
        peer = program.peer
        handle = (await peer.call("begin_transaction"))["transaction_id"]
        within = {"transaction_id": handle}
        await peer.call("insert_notes", {"rows": [{"id": 1, "body": "z" * 20_000}], **within})
        for _ in range(3):
            answer = await peer.call("execute_sql", {"sql": "SELECT body FROM notes", **within})
            assert (answer["cut_columns"], answer["outcome"]) == (["body"], "in_transaction")
            asked = {"sql": "UPDATE notes SET id = id + 1 RETURNING id, repeat('y', 90000) AS large", **within}
            assert (await peer.call("execute_sql", asked))["cut_columns"] == ["large"]
            # What comes behind is whole, whichever way it comes.
            whole = await peer.rows("query_notes", {"aggregate": ["min(id) as id", "max(body) as body"], **within})
            assert set(whole[0]["body"]) == {"z"}
        assert (await peer.call("commit_transaction", within))["outcome"] == "committed"
        assert place.execute("SELECT id::text || ' ' || length(body) FROM notes") == "4 20000"


@POSTGRESQL
async def test_a_large_value_is_given_up_in_its_midst_and_the_transaction_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.execute("CREATE TABLE notes (id integer PRIMARY KEY)")
    midst = asyncio.Event()
    receive = Shortening.data_received

    def data_received(self: Shortening, data: bytes) -> None:
        receive(self, data)
        if self._row is not None:
            midst.set()

    monkeypatch.setattr(Shortening, "data_received", data_received)
    async with turned_on(place, access__mode="write") as program:
        peer = program.peer
        handle = (await peer.call("begin_transaction"))["transaction_id"]
        for id_ in range(3):
            await peer.call("insert_notes", {"rows": [{"id": id_}], "transaction_id": handle})
            asked = {"sql": "SELECT repeat('x', 30000000)", "transaction_id": handle}
            midst.clear()
            call = asyncio.create_task(peer.call("execute_sql", asked))
            await midst.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert (await peer.call("commit_transaction", {"transaction_id": handle}))["outcome"] == "committed"
        assert place.execute("SELECT count(*) FROM notes") == "3"


@PLACES
async def test_an_operation_names_the_columns_that_it_has_not_kept_whole(place: Place) -> None:
    async with turned_on(place, results__max_bytes=CAP) as program:
        large = "repeat('x', 50000)" if place.product == "postgresql" else "hex(zeroblob(25000))"
        sql = f"SELECT 1 AS n, 'small' AS t UNION ALL SELECT 2, {large} UNION ALL SELECT 3, 'small'"
        id_ = await start(program.peer, "execute_sql", {"sql": sql})
        result = (await ended(program.peer, id_, limit=1))["result"]
        rows: list[Any] = result["rows"]
        while result["next_cursor"] is not None:
            result = (await ended(program.peer, id_, limit=1, cursor=result["next_cursor"]))["result"]
            if result["rows"][0]["n"] == 2:
                assert result["cut_columns"] == ["t"]
            rows += result["rows"]
        assert [row["n"] for row in rows] == [1, 2, 3]
        assert len(rows[1]["t"]) > CAP / 2


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are told by Linux")
@POSTGRESQL
async def test_the_server_does_not_grow_with_what_a_statement_gives(place: Place) -> None:
    small_first = "CASE WHEN n = 1 THEN 'small' ELSE repeat('y', 1000000) END AS body"
    async with served(place.url, "stdio", access__sql="read") as scene:
        peer = await scene.join(LEGACY)
        await peer.call("execute_sql", {"sql": "SELECT generate_series(1, 10000) AS n", "limit": 10_000})
        process = server_process()
        before = peak(process)
        answer = await peer.call("execute_sql", {"sql": "SELECT repeat('x', 60000000) AS body, 1 AS n"})
        assert (answer["cut_columns"], answer["rows"][0]["n"]) == (["body"], 1)
        answer = await peer.call("execute_sql", {"sql": f"SELECT {small_first} FROM generate_series(1, 100) AS n"})
        assert (answer["row_count"], answer["truncated"]) == (1, True)
        columns = ", ".join(f"repeat('z', 1500000) AS c{n}" for n in range(40))
        answer = await peer.call("execute_sql", {"sql": f"SELECT {columns}"})
        assert answer["cut_columns"] == [f"c{n}" for n in range(40)]
        assert grown(process, before) < 64
