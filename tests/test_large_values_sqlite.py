"""Values on SQLite that are larger than an answer: their beginnings come, and SQLite loads none of them in whole."""

import sys

import pytest

from tests.conftest import Place
from tests.peers import LEGACY, Peer, inside, served
from tests.test_large_values import grown, peak, server_process

#: More than is loaded where a statement reads, and more than a statement may look at (`dialects.sqlite.large`).
LARGE, TOO_LARGE = 2_000_001, 16_000_001

SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


@SQLITE
async def test_of_large_values_the_beginnings_come_and_all_else_as_ever(place: Place) -> None:
    columns = 'id integer PRIMARY KEY, t text, b blob, j json, n integer, f real, bo boolean, "it\'s 100%" text'
    place.execute(f"CREATE TABLE kinds ({columns})")
    place.execute("""INSERT INTO kinds VALUES (1, 'é', x'00ff', '{"a": 1}', 9007199254740993, 0.1, 1, '["text",1]')""")
    place.execute("""INSERT INTO kinds VALUES (2, '["text"]', 'te''xt', 'no', 'ten', CAST(x'ff' AS text), 2, '')""")
    async with inside(place.url) as program:
        peer: Peer = program.peer
        small = await peer.rows("query_kinds")
        place.execute(f"INSERT INTO kinds (id, t) VALUES (3, 'é' || hex(zeroblob({LARGE})))")
        place.execute(f"INSERT INTO kinds (id, b) VALUES (4, zeroblob({LARGE}))")
        place.execute(f"INSERT INTO kinds (id, j) VALUES (5, '[\"' || hex(zeroblob({LARGE})) || '\"]')")
        place.execute(
            f"INSERT INTO kinds (id, t) VALUES (6, replace(hex(zeroblob({LARGE})), '0', CAST(x'ff' AS text)))"
        )
        answer = await peer.call("query_kinds")
        assert answer["rows"] == small
        for n, column, beginning in ((3, "t", "é000"), (4, "b", "AAAA"), (5, "j", '["00'), (6, "t", "\ufffdbase64:")):
            answer = await peer.call(
                "query_kinds", {"filters": [{"column": "id", "op": "gte", "value": n}], "limit": 1}
            )
            assert answer["cut_columns"] == [column]
            assert answer["rows"][0][column].startswith(beginning)
            assert len(answer["rows"][0][column]) > 900_000
            assert (answer["next_cursor"] is not None) is (n < 6)
        assert (await peer.rows("query_kinds", {"columns": ["id"], "order_by": ["id desc"]}))[0] == {"id": 6}


@SQLITE
async def test_pages_go_on_behind_large_values_in_their_order(place: Place) -> None:
    place.execute("CREATE TABLE notes (id integer PRIMARY KEY, body text, rank integer)")
    for n in range(12):
        body = f"hex(zeroblob({LARGE}))" if n % 5 == 3 else f"'note {n}'"
        place.execute(f"INSERT INTO notes VALUES ({n}, {body}, {n % 3})")
    async with inside(place.url) as program:
        found: list[int] = []
        arguments: dict[str, object] = {"order_by": ["rank", "id desc"], "limit": 2}
        while True:
            answer = await program.peer.call("query_notes", arguments)
            found += [row["id"] for row in answer["rows"]]
            if answer["next_cursor"] is None:
                break
            arguments = {"cursor": answer["next_cursor"], "order_by": ["rank", "id desc"], "limit": 2}
    assert found == [9, 6, 3, 0, 10, 7, 4, 1, 11, 8, 5, 2]


@SQLITE
async def test_what_has_no_beginning_to_read_is_refused_by_its_size(place: Place) -> None:
    place.execute("CREATE TABLE notes (id integer PRIMARY KEY, body text)")
    place.execute(f"INSERT INTO notes VALUES (1, hex(zeroblob({TOO_LARGE // 2 + 1})))")
    place.execute("CREATE TABLE keyed (id text PRIMARY KEY, body text) WITHOUT ROWID")
    place.execute(f"INSERT INTO keyed VALUES ('a', hex(zeroblob({LARGE})))")
    place.execute("CREATE VIEW seen AS SELECT id, body FROM notes")
    async with inside(place.url, access__mode="write") as program:
        peer = program.peer
        contains = {"filters": [{"column": "body", "op": "contains", "value": "1"}]}
        for tool, arguments in (
            ("query_keyed", {}),
            ("query_seen", {}),
            ("query_notes", contains),
            ("query_notes", {"aggregate": ["max(body)"]}),
        ):
            error = (await peer.call(tool, arguments))["error"]
            assert error["code"] == "invalid_value"
            assert "larger than a statement may" in error["message"]
            assert "columns" in error["hint"]
        assert (await peer.call("query_notes"))["cut_columns"] == ["body"]
        for tool in ("query_keyed", "query_seen"):
            assert len(await peer.rows(tool, {"columns": ["id"]})) == 1
        written = await peer.call("insert_notes", {"rows": [{"id": 2, "body": "y" * LARGE}]})
        assert written["inserted"] == 1
        assert (await peer.call("update_notes", {**contains, "set": {"body": "x"}}))["updated"] == 0
        assert (await peer.call("delete_notes", {"filters": [{"column": "id", "op": "lte", "value": 2}]}))[
            "deleted"
        ] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are told by Linux")
@SQLITE
async def test_the_server_does_not_grow_with_what_the_file_holds(place: Place) -> None:
    place.execute("CREATE TABLE huge (id integer PRIMARY KEY, body text)")
    place.execute("INSERT INTO huge VALUES (1, hex(zeroblob(15000000)))")
    place.execute("CREATE TABLE many (id integer PRIMARY KEY, name text)")
    place.execute(
        "INSERT INTO many WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000) "
        "SELECT x, 'row ' || x FROM n"
    )
    async with served(place.url, "stdio") as scene:
        peer: Peer = await scene.join(LEGACY)
        await peer.call("query_many", {"limit": 10})
        process = server_process()
        before = peak(process)
        assert (await peer.call("query_huge"))["cut_columns"] == ["body"]
        assert (await peer.call("query_many", {"limit": 10_000}))["row_count"] == 10_000
        assert grown(process, before) < 32
