"""One huge value, and many large ones: cut in the database, named, and never in the server's memory as a whole.

On SQLite the database is within the server's process, so that only the answers are compared there.
"""

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Place
from tests.peers import LEGACY, Peer, inside, served
from tests.test_operations import ended, start
from tests.test_running import PLACES, POSTGRESQL

CAP = 2_000
MIB = 2**20


def made(place: Place, *more: str) -> None:
    for sql in (
        "CREATE TABLE notes (id integer PRIMARY KEY, title text, body text)",
        "CREATE TABLE lines (id integer PRIMARY KEY, note integer REFERENCES notes (id), body text)",
        *more,
    ):
        place.execute(sql)


def text(place: Place, letter: str, count: int) -> str:
    """An SQL expression for so many of a letter."""
    return f"repeat('{letter}', {count})" if place.product == "postgresql" else f"'{letter * count}'"


@PLACES
async def test_rows_of_every_size_come_whole_up_to_the_cap_and_above_it_cut_and_named(place: Place) -> None:
    made(place)
    sizes = [10, 16_300, 16_400, 30_000, 99_000, 10, 101_000, 500_000]
    for n, size in enumerate(sizes):
        place.execute(f"INSERT INTO notes VALUES ({n}, 'note {n}', {text(place, 'é', size // 2)})")
    async with inside(place.url, results__max_bytes=100_000) as program:
        for n, size in enumerate(sizes):
            answer = await program.peer.call("query_notes", {"where": {"id": n}})
            (row,) = answer["rows"]
            assert (row["id"], row["title"]) == (n, f"note {n}")
            if size < 100_000:
                assert row["body"] == "é" * (size // 2)
                assert "cut_columns" not in answer
            else:
                assert answer["cut_columns"] == ["body"]
                assert set(row["body"]) == {"é"}
                assert len(row["body"]) > 10_000
        found: list[int] = []
        arguments: dict[str, Any] = {}
        while True:
            answer = await program.peer.call("query_notes", arguments)
            found += [row["id"] for row in answer["rows"]]
            if answer["next_cursor"] is None:
                break
            arguments = {"cursor": answer["next_cursor"]}
        assert found == list(range(len(sizes)))


@PLACES
async def test_what_is_large_is_cut_wherever_it_comes_from(place: Place) -> None:
    large = text(place, "x", 50_000)
    made(place, f"INSERT INTO notes VALUES (1, 'one', {large})", f"INSERT INTO lines VALUES (1, 1, {large})")
    async with inside(place.url, access__mode="write", results__max_bytes=CAP) as program:
        peer = program.peer

        async def cut(tool: str, arguments: dict[str, Any]) -> list[str]:
            answer = await peer.call(tool, arguments)
            assert len(answer["rows"]) == 1
            assert len(str(answer["rows"])) < 2 * CAP
            columns: list[str] = answer["cut_columns"]
            return columns

        assert await cut("query_notes", {"columns": ["body", "id"]}) == ["body"]
        assert await cut("query_notes", {"aggregate": ["max(body) as longest", "count"]}) == ["longest"]
        assert await cut("query_notes", {"aggregate": ["count"], "group_by": ["body"]}) == ["body"]
        assert await cut("query_notes", {"include": ["lines"], "columns": ["id", "title"]}) == ["lines"]
        assert await cut("query_lines", {"include": ["notes"], "columns": ["id"]}) == ["notes"]
        changed = {"where": {"id": 1}, "set": {"title": "two"}, "returning": ["id", "title", "body"]}
        assert await cut("update_notes", changed) == ["body"]
        given = {"rows": [{"id": 2, "title": "y", "body": "y" * 50_000}], "returning": ["id", "body"]}
        assert await cut("insert_notes", given) == ["body"]
        assert await cut("delete_lines", {"where": {"id": 1}, "returning": ["body"]}) == ["body"]
        rows = await peer.rows("query_notes", {"columns": ["id", "title"], "where": {"id": 1}})
        assert rows == [{"id": 1, "title": "two"}]


@POSTGRESQL
async def test_values_of_every_kind_without_a_bound_are_cut(place: Place) -> None:
    place.execute(
        "CREATE TABLE kinds (id integer PRIMARY KEY, b bytea, j json, jb jsonb, a text[], sized_ varchar(90000));"
        "CREATE TABLE sized_ (id integer PRIMARY KEY, sized__ text);"
        "INSERT INTO sized_ VALUES (1, repeat('z', 50000));"
    )
    values = {
        "b": "convert_to(repeat('b', 50000), 'UTF8')",
        "j": """json_build_object('k', repeat('j', 50000))""",
        "jb": """jsonb_build_object('k', repeat('j', 50000))""",
        "a": "array_fill('a'::text, array[20000])",
        "sized_": "repeat('v', 50000)",
    }
    for n, (column, value) in enumerate(values.items()):
        place.execute(f"INSERT INTO kinds (id, {column}) VALUES ({n}, {value})")
    async with inside(place.url, results__max_bytes=CAP) as program:
        for n, column in enumerate(values):
            answer = await program.peer.call("query_kinds", {"where": {"id": n}})
            assert answer["cut_columns"] == [column]
            (row,) = answer["rows"]
            assert isinstance(row[column], str)
            assert len(row[column]) > CAP / 2
            others = {name: value for name, value in row.items() if name not in (column, "id")}
            assert set(others.values()) == {None}
        assert (await program.peer.call("query_sized_", {}))["cut_columns"] == ["sized__"]


def grown(process: psutil.Process, before: int) -> int:
    """MiB by which the most that the process ever had of memory has grown."""
    return (peak(process) - before) // MIB


def peak(process: psutil.Process) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


def server_process() -> psutil.Process:
    (found,) = (
        child for child in psutil.Process().children(recursive=True) if {"schema_mcp", "serve"} <= set(child.cmdline())
    )
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are told by Linux")
@POSTGRESQL
async def test_the_server_does_not_grow_with_what_the_database_holds(place: Place) -> None:
    """The values are made as they are read: to store them would take longer."""
    place.execute("CREATE VIEW huge AS SELECT 1 AS id, repeat('x', 40000000) AS body")
    place.execute("CREATE VIEW large AS SELECT n AS id, repeat('y', 5000000) AS body FROM generate_series(1, 4) AS n")
    place.execute("CREATE VIEW many AS SELECT n AS id, 'row ' || n AS name FROM generate_series(1, 1000000) AS n")
    async with served(place.url, "stdio") as scene:
        peer: Peer = await scene.join(LEGACY)
        await peer.call("query_many", {"limit": 10_000, "columns": ["id"]})
        process = server_process()
        before = peak(process)
        assert (await peer.call("query_huge"))["cut_columns"] == ["body"]
        assert (await peer.call("query_large"))["cut_columns"] == ["body"]
        assert (await peer.call("query_large", {"limit": 10_000}))["truncated"]
        assert (await peer.call("query_many", {"limit": 10_000}))["row_count"] == 10_000
        assert grown(process, before) < 64


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are told by Linux")
@POSTGRESQL
async def test_what_is_ordered_by_comes_no_larger_than_what_is_answered(place: Place) -> None:
    place.execute(
        "CREATE TABLE notes (id integer PRIMARY KEY, body text, size integer);"
        "INSERT INTO notes SELECT n, repeat(chr(96 + n::integer), size), size"
        " FROM unnest(array[10, 16383, 16384, 16385, 90000]) WITH ORDINALITY AS given (size, n)"
    )
    place.execute("CREATE VIEW huge AS SELECT n AS id, repeat('x', 30000000) AS body FROM generate_series(1, 2) AS n")
    async with served(place.url, "stdio") as scene:
        peer: Peer = await scene.join(LEGACY)
        for columns in (["id"], ["id", "body"]):
            found: list[int] = []
            arguments: dict[str, Any] = {}
            while True:
                answer = await peer.call(
                    "query_notes", {"columns": columns, "order_by": ["body"], "limit": 2} | arguments
                )
                found += [row["id"] for row in answer["rows"]]
                if answer["next_cursor"] is None:
                    break
                arguments = {"cursor": answer["next_cursor"]}
            assert found == [1, 2, 3, 4, 5]
        process = server_process()
        before = peak(process)
        answer = await peer.call("query_huge", {"columns": ["id"], "order_by": ["body", "id"], "limit": 1})
        assert answer["rows"] == [{"id": 1}]
        assert answer["next_cursor"] is None
        assert answer["hint"]
        answer = await peer.call("query_huge", {"aggregate": ["count"], "group_by": ["body"], "order_by": ["body"]})
        assert answer["cut_columns"] == ["body"]
        assert grown(process, before) < 32


@PLACES
async def test_an_operation_keeps_each_row_once_where_a_large_one_is_among_them(place: Place) -> None:
    made(place)
    numbers = {"postgresql": "SELECT generate_series(1, 700) AS x"}.get(
        place.product, "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 700) SELECT x FROM n"
    )
    place.execute(f"INSERT INTO notes (id, body) SELECT x, 'small' FROM ({numbers}) AS n")
    place.execute(f"UPDATE notes SET body = {text(place, 'y', 2_100_000)} WHERE id = 650")
    async with inside(place.url) as program:
        id_ = await start(program.peer, "query_notes", {"limit": 1_000, "columns": ["id", "body"]})
        answer = await ended(program.peer, id_)
        assert answer["status"] == "succeeded"
        rows = list((result := answer["result"])["rows"])
        while result["next_cursor"] is not None:
            result = (await ended(program.peer, id_, cursor=result["next_cursor"]))["result"]
            rows += result["rows"]
        assert [row["id"] for row in rows] == list(range(1, 701))
