"""`execute_sql` and `explain_query`: a caller's own statement, its exact answer, and errors that teach."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from tests.conftest import Place, made_once
from tests.peers import Inside, inside
from tests.waiting import until

pytest_plugins = "tests.standing"

#: Where the version of PostgreSQL makes no difference.
PLACES = pytest.mark.parametrize("shared", ["18", "sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("shared_postgresql", ["18"], indirect=True)

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"


@pytest.fixture(scope="module")
@made_once
def wares(shared: Place) -> Place:
    shared.execute("CREATE TABLE sql_wares (id integer PRIMARY KEY, name text NOT NULL)")
    shared.execute("INSERT INTO sql_wares VALUES (1, 'cup'), (2, 'pan'), (3, 'pot')")
    return shared


@asynccontextmanager
async def turned_on(place: Place, sql: str = "read", **settings: Any) -> AsyncIterator[Inside]:
    async with inside(place.url, access__sql=sql, **settings) as program:
        yield program


def placeholder(place: Place, number: int) -> str:
    return f"?{number}" if place.product == "sqlite" else f"${number}"


# Off, and on


@PLACES
async def test_the_tools_do_not_exist_unless_they_are_turned_on(wares: Place) -> None:
    async with inside(wares.url) as program:
        assert {"execute_sql", "explain_query"}.isdisjoint(await program.peer.names())
        for tool in ("execute_sql", "explain_query"):
            with pytest.raises(MCPError) as refused:
                await program.peer.client.call_tool(tool, {"sql": "SELECT 1"})
            assert refused.value.error.code == -32602


@PLACES
async def test_annotations_say_whether_statements_may_write(wares: Place) -> None:
    async def hints(**settings: Any) -> dict[str, tuple[bool | None, ...]]:
        async with inside(wares.url, **settings) as program:
            tools = (await program.peer.client.list_tools()).tools
            return {
                tool.name: (tool.annotations.read_only_hint, tool.annotations.destructive_hint)
                for tool in tools
                if tool.annotations and tool.name in ("execute_sql", "explain_query")
            }

    reads, writes = (True, None), (False, True)
    assert await hints(access__sql="read") == {"execute_sql": reads, "explain_query": reads}
    assert await hints(access__sql="read", access__mode="read") == {"execute_sql": reads, "explain_query": reads}
    assert await hints(access__sql="write", access__mode="write") == {"execute_sql": writes, "explain_query": reads}


# Answers


async def test_an_answer_holds_rows_columns_and_whether_there_are_more(wares: Place) -> None:
    text, integer = ("text", "integer")
    async with turned_on(wares) as program:
        answer = await program.peer.call(
            "execute_sql", {"sql": "SELECT id, name FROM sql_wares ORDER BY id", "limit": 2}
        )
        assert answer == {
            "columns": [{"name": "id", "type": integer}, {"name": "name", "type": text}],
            "rows": [{"id": 1, "name": "cup"}, {"id": 2, "name": "pan"}],
            "row_count": 2,
            "truncated": True,
            "schema_version": answer["schema_version"],
        }
        whole = {"sql": "SELECT id FROM sql_wares", "limit": 3}
        assert (await program.peer.call("execute_sql", whole))["truncated"] is False
        none = await program.peer.call("execute_sql", {"sql": "SELECT id FROM sql_wares WHERE id > 9"})
        assert (none["rows"], none["row_count"], [column["name"] for column in none["columns"]]) == ([], 0, ["id"])


async def test_columns_of_one_name_get_names_of_their_own(wares: Place) -> None:
    async with turned_on(wares) as program:
        rows = await program.peer.rows("execute_sql", {"sql": "SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a"})
        assert rows == [{"a": 1, "a_3": 2, "a_2": 3, "a_4": 4}]


async def test_values_are_bound_and_never_become_sql(wares: Place) -> None:
    async with turned_on(wares) as program:
        sql = f"SELECT name FROM sql_wares WHERE name = {placeholder(wares, 1)} OR id = {placeholder(wares, 2)}"
        arguments = {"sql": sql, "parameters": ["' OR 1=1 --", 2]}
        assert await program.peer.rows("execute_sql", arguments) == [{"name": "pan"}]
        nothing = {"sql": sql, "parameters": [None, None]}
        assert await program.peer.rows("execute_sql", nothing) == []


async def test_a_large_answer_is_cut_by_rows_and_bytes_while_it_arrives(wares: Place) -> None:
    endless = f"{ENDLESS} SELECT x FROM n"
    async with turned_on(wares, results__max_bytes=2000, limits__statement_timeout_s=15) as program:
        answer = await program.peer.call("execute_sql", {"sql": endless, "limit": 100})
        assert (answer["row_count"], answer["rows"][-1], answer["truncated"]) == (100, {"x": 100}, True)
        capped = await program.peer.call("execute_sql", {"sql": endless, "limit": 10_000})
        assert (capped["truncated"], 1800 < len(json.dumps(capped["rows"])) < 3000) == (True, True)
        wide = "SELECT '" + "x" * 5000 + "' AS a, 1 AS b"
        shortened = await program.peer.call("execute_sql", {"sql": wide})
        assert (shortened["cut_columns"], shortened["rows"][0]["b"]) == (["a"], 1)


# Errors


async def test_what_is_wrong_with_a_statement_is_told(wares: Place) -> None:
    sqlite = wares.product == "sqlite"
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({}, "missing_argument", "'sql' takes one SQL statement"),
        ({"sql": " "}, "missing_argument", "'sql' takes one SQL statement"),
        ({"sql": 5}, "invalid_argument", "'sql' takes a string, got 5"),
        ({"sql": "SELECT 1", "limit": 0}, "invalid_argument", "'limit' takes an integer from 1 to 10000, got 0"),
        ({"sql": "SELECT 1", "extra": 1}, "unknown_argument", "unknown argument 'extra'."),
        ({"sql": "SELECT 1", "source": "x"}, "unknown_argument", "unknown argument 'source'."),
        ({"sql": "SELECT 1", "parameters": [0] * 1001}, "invalid_argument", "'parameters' holds 1001 values"),
        (
            {"sql": "SELECT 1;" * 20_000},
            "invalid_argument",
            "'sql' has 180000 characters, and at most 100000 are taken",
        ),
        ({"sql": "SELECT 1; SELECT 2"}, "invalid_argument", "'sql' holds more than one statement"),
        ({"sql": "SELECT '\0'"}, "invalid_argument", "'sql'"),
        ({"sql": "SELECT '\ud800'"}, "invalid_argument", "'sql'"),
        (
            {"sql": "SELEC 1"},
            "invalid_argument",
            'SQLite refused the statement: near "SELEC"' if sqlite else "syntax error",
        ),
        (
            {"sql": "SELECT nam FROM sql_wares"},
            "invalid_argument",
            "SQLite refused the statement: no such column: nam"
            if sqlite
            else 'column "nam" does not exist at character 8',
        ),
        (
            {"sql": "SELECT * FROM sql_waers"},
            "invalid_argument",
            "SQLite refused the statement: no such table" if sqlite else 'relation "sql_waers" does not exist at char',
        ),
        ({"sql": "SELECT " + "(" * 20_000 + "1" + ")" * 20_000}, "database_error", ""),
        (
            {"sql": f"SELECT {placeholder(wares, 1)}"},
            "invalid_argument",
            "Incorrect number" if sqlite else "the statement",
        ),
        ({"sql": "-- nothing"}, "not_allowed", ""),
    ]
    async with turned_on(wares) as program:
        for arguments, code, message in cases:
            error = await program.peer.error("execute_sql", arguments)
            assert (error["code"] in (code, "invalid_argument"), error["message"][: len(message)]) == (True, message), (
                error
            )
            assert error["hint"]
        assert await program.peer.rows("execute_sql", {"sql": "SELECT 1 AS one"}) == [{"one": 1}]


@POSTGRESQL
async def test_an_error_of_postgresql_says_where_and_what_instead(shared_postgresql: Place) -> None:
    shared_postgresql.execute("CREATE TABLE sql_cups (handle text)")
    async with turned_on(shared_postgresql) as program:
        error = await program.peer.error("execute_sql", {"sql": "SELECT handl FROM sql_cups"})
        assert error == {
            "code": "invalid_argument",
            "message": "column \"handl\" does not exist at character 8: 'handl FROM sql_cups'",
            "hint": 'Perhaps you meant to reference the column "sql_cups.handle". '
            "list_tables and describe_table tell the names; then send the statement again.",
            "retryable": False,
            "sqlstate": "42703",
            "details": {"position": 8},
        }
        explained = await program.peer.error("explain_query", {"sql": "SELECT handl FROM sql_cups"})
        assert explained["details"] == {"position": 8}
        division = await program.peer.error("execute_sql", {"sql": "SELECT 1/0"})
        assert (division["code"], division["message"], division["sqlstate"]) == (
            "invalid_value",
            "division by zero",
            "22012",
        )


# Plans


@PLACES
async def test_the_plan_of_a_statement_and_of_a_tools_call_is_told(wares: Place) -> None:
    key = "PRIMARY KEY" if wares.product == "sqlite" else "sql_wares"
    async with turned_on(wares) as program:
        own = await program.peer.call(
            "explain_query", {"sql": f"SELECT * FROM sql_wares WHERE id = {placeholder(wares, 1)}", "parameters": [1]}
        )
        assert (set(own), own["analyzed"], own["truncated"]) == (
            {"plan", "truncated", "analyzed", "schema_version"},
            False,
            False,
        )
        assert key in own["plan"]
        for tool, arguments in (
            ("query_sql_wares", {"where": {"id": 1}, "columns": ["name"]}),
            ("query_rows", {"table": "sql_wares", "where": {"id": 1}, "columns": ["name"]}),
        ):
            told = await program.peer.call("explain_query", {"tool": tool, "arguments": arguments})
            assert key in told["plan"]
            assert "sql_wares" in told["sql"]
        refused: list[tuple[dict[str, Any], str]] = [
            ({"tool": "insert_sql_wares"}, "'insert_sql_wares' is no tool that reads a table"),
            ({"tool": "query_none"}, "'query_none' is no tool that reads a table"),
            ({"tool": "query_sql_wares", "sql": "SELECT 1"}, "'sql' and 'tool' do not go together"),
            ({"tool": "query_sql_wares", "arguments": {"where": {"nam": 1}}}, "table 'sql_wares' has no column 'nam'."),
            ({}, "'sql' takes one SQL statement"),
        ]
        for given, message in refused:
            error = await program.peer.error("explain_query", given)
            assert error["message"][: len(message)] == message


@POSTGRESQL
async def test_a_plan_is_measured_read_only_and_told_of_writes_without_writing(shared_postgresql: Place) -> None:
    shared_postgresql.execute("CREATE TABLE sql_measured (id integer PRIMARY KEY)")
    for settings in ({"sql": "read"}, {"sql": "write", "access__mode": "write"}):
        async with turned_on(shared_postgresql, **settings) as program:
            measured = await program.peer.call("explain_query", {"sql": "SELECT 1", "analyze": True})
            assert (measured["analyzed"], "actual time" in measured["plan"]) == (True, True)
            insert = "INSERT INTO sql_measured VALUES (1)"
            assert "Insert on sql_measured" in (await program.peer.call("explain_query", {"sql": insert}))["plan"]
            error = await program.peer.error("explain_query", {"sql": insert, "analyze": True})
            assert (error["code"], error["sqlstate"]) == ("read_only", "25006")
            error = await program.peer.error("explain_query", {"sql": "ANALYZE SELECT 1"})
            assert error["sqlstate"] == "42601"
    assert shared_postgresql.execute("SELECT count(*) FROM sql_measured") == "0"


async def test_sqlite_has_no_measured_plans(shared_sqlite: Place) -> None:
    async with turned_on(shared_sqlite) as program:
        error = await program.peer.error("explain_query", {"sql": "SELECT 1", "analyze": True})
        assert (error["code"], error["message"]) == ("invalid_argument", "SQLite cannot measure a plan")


# Writing


async def test_statements_write_where_that_is_allowed_all_or_nothing(wares: Place) -> None:
    async with turned_on(wares, "write", access__mode="write") as program:
        call = program.peer.call
        answer = await call("execute_sql", {"sql": "CREATE TABLE sql_pans (id integer PRIMARY KEY CHECK (id < 10))"})
        version = answer["schema_version"]
        assert answer == {"affected": None, "outcome": "committed", "schema_version": version}
        answer = await call("execute_sql", {"sql": "INSERT INTO sql_pans VALUES (1), (2), (3)"})
        assert (answer["affected"], answer["outcome"]) == (3, "committed")
        answer = await call("execute_sql", {"sql": "INSERT INTO sql_pans VALUES (4) RETURNING id"})
        assert (answer["rows"], answer["outcome"]) == ([{"id": 4}], "committed")
        error = await program.peer.error("execute_sql", {"sql": "INSERT INTO sql_pans VALUES (5), (10)"})
        assert error["code"] == "check_violation"
        # The new table is a tool at once.
        assert await program.peer.rows("query_sql_pans", {"order_by": ["id desc"], "limit": 1}) == [{"id": 4}]
        answer = await call("execute_sql", {"sql": "DROP TABLE sql_pans"})
        assert answer["outcome"] == "committed"


@PLACES
async def test_more_rows_written_than_are_shown_are_all_written(wares: Place) -> None:
    async with turned_on(wares, "write", access__mode="write") as program:
        await program.peer.call("execute_sql", {"sql": "CREATE TABLE sql_many (id integer)"})
        sql = f"INSERT INTO sql_many {ENDLESS} SELECT x FROM n WHERE x <= 50 LIMIT 50 RETURNING id"
        answer = await program.peer.call("execute_sql", {"sql": sql, "limit": 2})
        assert (answer["rows"], answer["truncated"], answer["outcome"]) == ([{"id": 1}, {"id": 2}], True, "committed")
        assert await program.peer.rows("execute_sql", {"sql": "SELECT count(*) AS n FROM sql_many"}) == [{"n": 50}]
        await program.peer.call("execute_sql", {"sql": "DROP TABLE sql_many"})


@PLACES
async def test_only_so_many_run_at_once_and_the_others_are_told(wares: Place) -> None:
    async with turned_on(wares, pool__acquire_timeout_s=0.2) as program:
        endless = {"sql": f"{ENDLESS} SELECT count(*) FROM n"}
        running = [asyncio.create_task(program.peer.client.call_tool("execute_sql", endless)) for _ in range(4)]
        await until(lambda: program.app.sql.running == 4)
        error = await program.peer.error("execute_sql", {"sql": "SELECT 1 AS one"})
        assert (error["code"], error["retryable"]) == ("busy", True)
        # The tables' own tools have connections of their own.
        assert len(await program.peer.rows("query_sql_wares")) == 3
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
