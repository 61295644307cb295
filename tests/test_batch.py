"""`run_batch`: several calls in one transaction or each by itself, told in the order asked."""

import json
import re
from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import inside
from tests.postgres import PostgresServer
from tests.reading import Live

SCHEMA = """
CREATE TABLE authors (id integer primary key, name text NOT NULL UNIQUE);
CREATE TABLE books (
    id integer primary key, author_id integer NOT NULL REFERENCES authors (id), pages integer CHECK (pages > 0)
);
INSERT INTO authors VALUES (1, 'Ada')
"""


@pytest.fixture
def library(place: Place) -> Place:
    for statement in SCHEMA.split(";"):
        place.execute(statement)
    return place


def insert(table: str, *rows: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"tool": f"insert_{table}", "arguments": {"rows": list(rows), **options}}


def query(table: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": f"query_{table}", "arguments": arguments}


async def test_a_transaction_runs_its_calls_in_order_and_each_sees_what_those_before_did(library: Place) -> None:
    async with inside(library.url) as program:
        calls = [
            insert("authors", {"id": 2, "name": "Bob"}),
            insert("books", {"id": 1, "author_id": 2}, {"id": 2, "author_id": 1}),
            query("books", columns=["id"], where={"author_id": 2}),
            {"tool": "insert_rows", "arguments": {"table": "books", "rows": [{"id": 3, "author_id": 2}]}},
            query("books", columns=["id"], where={"author_id": 2}),
        ]
        answer = await program.peer.call("run_batch", {"calls": calls})
        assert answer["outcome"] == "committed"
        assert [result["tool"] for result in answer["results"]] == [call["tool"] for call in calls]
        results = [result["result"] for result in answer["results"]]
        assert [result.get("inserted") for result in results] == [1, 2, None, 1, None]
        assert [result["rows"] for result in results[1:]] == [
            [{"id": 1}, {"id": 2}],
            [{"id": 1}],
            [{"id": 3}],
            [{"id": 1}, {"id": 3}],
        ]
        assert await program.peer.rows("query_books", {"columns": ["id"]}) == [{"id": 1}, {"id": 2}, {"id": 3}]


async def test_a_call_that_fails_undoes_the_transaction_and_is_named(library: Place) -> None:
    async with inside(library.url) as program:
        calls = [
            insert("authors", {"id": 2, "name": "Bob"}),
            insert("books", {"id": 1, "author_id": 9}),
            query("books"),
        ]
        answer = await program.peer.call("run_batch", {"calls": calls})
        error = answer["error"]
        assert (error["code"], error["details"]["call"], error["details"]["tool"]) == (
            "foreign_key_violation",
            1,
            "insert_books",
        )
        assert error["message"].startswith("calls[1] (insert_books): ")
        assert answer["outcome"] == "rolled_back"
        assert [result["tool"] for result in answer["results"]] == ["insert_authors", "insert_books", "query_books"]
        assert [result["error"]["code"] for result in answer["results"]] == [
            "rolled_back",
            "foreign_key_violation",
            "rolled_back",
        ]
        assert await program.peer.rows("query_authors", {"columns": ["id"]}) == [{"id": 1}]


async def test_neighbouring_inserts_go_in_together_and_are_answered_apart(library: Place) -> None:
    async with inside(library.url) as program:
        calls = [insert("authors", *({"id": n, "name": f"n{n}"} for n in some)) for some in ([2], [3, 4], [5])]
        for mode, shift in (("transaction", 0), ("independent", 10)):
            for call in calls:
                for row in call["arguments"]["rows"]:
                    row["id"] += shift
                    row["name"] += mode
            answer = await program.peer.call("run_batch", {"calls": calls, "mode": mode})
            assert [result["result"]["inserted"] for result in answer["results"]] == [1, 2, 1]
            assert [[row["id"] - shift for row in result["result"]["rows"]] for result in answer["results"]] == [
                [2],
                [3, 4],
                [5],
            ]


BAD: list[dict[str, Any]] = [{"id": 4, "name": "Ada"}, {"id": 4, "name": None}, {"id": "x", "name": "y"}, {"id": 4}]


async def test_of_inserts_that_go_in_together_the_one_that_fails_is_named(library: Place) -> None:
    async with inside(library.url) as program:
        for bad in BAD:
            calls = [insert("authors", {"id": n, "name": f"n{n}"}) for n in (2, 3)]
            calls += [insert("authors", bad), insert("authors", {"id": 5, "name": "n5"})]
            (alone,) = (await program.peer.call("run_batch", {"calls": calls[2:3], "mode": "independent"}))["results"]
            answer = await program.peer.call("run_batch", {"calls": calls})
            assert answer["error"]["details"]["call"] == 2, answer
            assert answer["error"]["code"] == alone["error"]["code"]
            assert [result["error"]["code"] for result in answer["results"]][2] == alone["error"]["code"]
            assert len(await program.peer.rows("query_authors")) == 1


async def test_calls_by_themselves_are_kept_whatever_becomes_of_the_others(library: Place) -> None:
    async with inside(library.url) as program:
        calls = [
            insert("authors", {"id": 2, "name": "Bob"}),
            insert("authors", {"id": 2, "name": "Cid"}),
            insert("authors", {"id": 3, "name": "Cid"}),
            query("authors", columns=["name"], where={"idd": 3}),
            {"tool": "query_poems"},
            query("authors", columns=["name"]),
        ]
        answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
        codes = [result["error"]["code"] if "error" in result else None for result in answer["results"]]
        assert codes == [None, "unique_violation", None, "unknown_column", "unknown_tool", None]
        assert answer["results"][5]["result"]["rows"] == [{"name": "Ada"}, {"name": "Bob"}, {"name": "Cid"}]
        assert answer["outcome"] == "committed"
        failed = await program.peer.call("run_batch", {"calls": calls[1:2], "mode": "independent"})
        assert failed["outcome"] == "rolled_back"


async def test_the_answers_are_those_of_the_calls_by_themselves(library: Place) -> None:
    async with inside(library.url) as program:
        calls = [query("authors"), query("authors"), query("books", limit=1), query("authors", order_by=["name desc"])]
        single = [await program.peer.call(call["tool"], call["arguments"]) for call in calls]
        for mode in ("transaction", "independent"):
            answer = await program.peer.call("run_batch", {"calls": calls, "mode": mode})
            assert [result["result"] for result in answer["results"]] == single


async def test_a_table_made_a_moment_ago_is_found_by_a_batch(library: Place) -> None:
    async with inside(library.url, watch__poll_interval_s=60) as program:
        for mode in ("transaction", "independent"):
            library.execute(f"CREATE TABLE poems_{mode} (id integer primary key)")
            answer = await program.peer.call("run_batch", {"calls": [query(f"poems_{mode}")], "mode": mode})
            assert answer["results"][0]["result"]["rows"] == []


async def test_in_read_mode_a_batch_reads(library: Place) -> None:
    async with inside(library.url, access__mode="read") as program:
        (tool,) = [tool for tool in (await program.peer.client.list_tools()).tools if tool.name == "run_batch"]
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        answer = await program.peer.call("run_batch", {"calls": [query("authors")]})
        assert answer["results"][0]["result"]["row_count"] == 1
        error = await program.peer.error("run_batch", {"calls": [insert("authors", {"id": 2, "name": "Bob"})]})
        assert error["code"] in ("unknown_tool", "not_allowed")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "missing_argument", "'calls' takes at least one call"),
    ({"calls": []}, "missing_argument", "'calls' takes at least one call"),
    ({"calls": {}}, "invalid_argument", "'calls' takes an array, got an object"),
    ({"calls": [1]}, "invalid_argument", "'calls[0]' takes an object, got 1"),
    ({"calls": [{}]}, "invalid_argument", "'calls[0].tool' takes a tool's name, got null"),
    ({"calls": [{"tool": "query_authors", "args": {}}]}, "unknown_argument", "unknown member 'args' in 'calls[0]'"),
    (
        {"calls": [{"tool": "query_authors", "arguments": []}]},
        "invalid_argument",
        "'calls[0].arguments' takes an object, got an array",
    ),
    (
        {"calls": [query("authors")], "mode": "both"},
        "invalid_argument",
        "'mode' takes one of transaction, independent",
    ),
    (
        {"calls": [query("authors")], "modes": 1},
        "unknown_argument",
        "unknown argument 'modes'. Did you mean 'mode'?",
    ),
    ({"calls": [query("authors")] * 1001}, "invalid_argument", "'calls' takes at most 1000 calls, got 1001"),
    (
        {"calls": [query("authors"), {"tool": "run_batch", "arguments": {"calls": []}}]},
        "unknown_tool",
        "calls[1] (run_batch): there is no tool 'run_batch' of a table",
    ),
    (
        {"calls": [query("authors"), query("authors", limit=-1)]},
        "invalid_argument",
        "calls[1] (query_authors): 'limit' takes an integer from 1 to 10000, got -1",
    ),
    ({"calls": [{"tool": "\ud800"}]}, "unknown_tool", "calls[0]"),
]


async def test_a_batch_that_cannot_be_made_is_refused_by_name(library: Place) -> None:
    async with inside(library.url) as program:
        for arguments, code, message in REFUSED:
            error = await program.peer.error("run_batch", arguments)
            assert error["code"] == code, error
            assert error["message"].startswith(message), error


async def test_the_answers_of_a_batch_are_bounded_together(library: Place) -> None:
    async with inside(library.url, results__max_bytes=1000) as program:
        rows = [{"id": n, "name": "x" * 100 + str(n)} for n in range(10, 20)]
        await program.peer.call("insert_authors", {"rows": rows})
        for mode in ("transaction", "independent"):
            calls = [query("authors", limit=limit) for limit in range(5, 11)]
            answer = await program.peer.call("run_batch", {"calls": calls, "mode": mode})
            size = sum(len(str(result["result"])) for result in answer["results"] if "result" in result)
            assert size < 3000


SQL = "SELECT id, name FROM authors WHERE id >= 10"


@pytest.mark.parametrize("sql", ["read", "write"])
async def test_whatever_reads_in_a_batch_is_bounded(library: Place, sql: str) -> None:
    settings: dict[str, Any] = {"access__mode": "write", "access__sql": sql, "results__max_bytes": 5000}
    async with inside(library.url, **settings) as program:
        rows = [{"id": n, "name": "x" * 400 + str(n)} for n in range(10, 20)]
        await program.peer.call("insert_authors", {"rows": rows})
        reading = {
            "execute_sql": {"sql": SQL},
            "query_authors": {},
            "query_rows": {"table": "authors"},
            "describe_table": {"table": "authors"},
            "list_tables": {},
            "explain_query": {"tool": "query_authors", "arguments": {}},
        }
        for tool, arguments in reading.items():
            calls = [{"tool": tool, "arguments": arguments}] * 60
            answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
            done = [result["result"] for result in answer["results"] if "result" in result]
            size = sum(len(json.dumps(result)) for result in done)
            if (tool, sql) == ("execute_sql", "write"):  # it may write, and so each runs and has its 1,000 bytes
                assert (len(done), size < 80_000) == (60, True)
                continue
            refused = [result["error"] for result in answer["results"] if "error" in result]
            assert (len(done) + len(refused), len(refused) > 0) == (60, True), tool
            assert {error["code"] for error in refused} == {"too_many_rows"}, tool
            assert size < 5000 + 2000, tool


async def test_what_writes_is_not_refused_for_the_size_of_the_answers(library: Place) -> None:
    async with inside(library.url, access__mode="write", access__sql="write", results__max_bytes=1000) as program:
        name = {"where": {"id": 1}, "returning": ["id", "name"]}
        calls = [{"tool": "update_authors", "arguments": {**name, "set": {"name": f"{n}" * 900}}} for n in range(1, 9)]
        calls += [{"tool": "execute_sql", "arguments": {"sql": "UPDATE books SET pages = 1"}}]
        calls += [{"tool": "insert_authors", "arguments": {"rows": [{"id": 2, "name": "Bob"}]}}]
        answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
        assert ["result" in result for result in answer["results"]] == [True] * 10
        assert await program.peer.rows("query_authors", {"columns": ["id"]}) == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("mode", ["transaction", "independent"])
async def test_a_batch_holds_no_batch_and_begins_and_ends_no_transaction(library: Place, mode: str) -> None:
    inner: dict[str, dict[str, Any]] = {
        "run_batch": {"calls": [query("authors")], "mode": "independent"},
        "begin_transaction": {},
        "commit_transaction": {"transaction_id": "x"},
        "rollback_transaction": {"transaction_id": "x"},
    }
    async with inside(library.url) as program:
        for tool, arguments in inner.items():
            calls = [{"tool": tool, "arguments": arguments}]
            answer = await program.peer.call("run_batch", {"calls": calls, "mode": mode})
            (result,) = answer["results"] if mode == "independent" else [answer]
            code = "not_allowed" if mode == "independent" else "unknown_tool"
            assert (result["error"]["code"], f"'{tool}'" in result["error"]["message"]) == (code, True), answer
        assert (await program.peer.call("server_status"))["transactions"]["open"] == 0


async def test_neighbouring_inserts_are_one_statement_and_equal_queries_one_too(live: Live) -> None:
    if not isinstance(live.server, PostgresServer):
        return  # the log of a server that others started is not ours to read
    live.execute(SCHEMA)
    async with inside(live.url) as program:
        calls = [insert("authors", {"id": n, "name": f"n{n}"}) for n in range(2, 12)] + [query("authors")] * 3
        begin = live.server.log_bytes()
        answer = await program.peer.call("run_batch", {"calls": calls})
        log = live.server.log_text(begin)
        assert [result["result"].get("row_count") for result in answer["results"]] == [None] * 10 + [11] * 3
        assert len(re.findall(r"execute \S+: INSERT INTO", log)) == 1
        assert log.count("FROM public.authors") == 1
