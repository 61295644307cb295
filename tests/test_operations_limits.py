"""What an operation tells at its limits, by their names in the settings, and of a result without a row."""

from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import inside
from tests.test_operations import NOTES, ended, start
from tests.test_running import SLOW

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
SLOW_SQL = {
    "postgresql": "SELECT pg_sleep(60)",
    "sqlite": "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT count(*) FROM s",
}


@PLACES
async def test_one_that_takes_too_long_is_told_of_the_limit_of_operations(place: Place) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("query_slow", {}),
        ("execute_sql", {"sql": SLOW_SQL[place.product]}),
        ("run_batch", {"calls": [{"tool": "query_slow", "arguments": {}}]}),
    ]
    async with inside(place.url, access__sql="read", operations__max_s=1) as program:
        for tool, arguments in calls:
            told = await ended(program.peer, await start(program.peer, tool, arguments))
            assert told["error"]["code"] == "timeout"
            assert "1 s (operations.max_s) and was stopped" in told["error"]["message"]
        told = await ended(program.peer, await start(program.peer, "query_slow", {"timeout_s": 0.5}))
        assert "0.5 s (timeout_s)" in told["error"]["message"]


@PLACES
async def test_more_time_than_an_operation_may_take_is_refused_by_its_name(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    long = {"timeout_s": 100}
    async with inside(place.url, operations__max_s=90, limits__call_timeout_s=60) as program:
        error = await program.peer.error("start_operation", {"tool": "query_notes", "arguments": long})
        assert error == {
            "code": "invalid_argument",
            "message": "'timeout_s' is at most 90 here (operations.max_s), got 100",
            "hint": "Give at most 90, or ask for less.",
            "retryable": False,
            "details": {"timeout_s": 90},
        }
        error = await program.peer.error("query_notes", long)
        assert error["message"] == "'timeout_s' is at most 60 here (limits.call_timeout_s), got 100"
        assert error["hint"] == "Give at most 60, or ask for less; start_operation is for work that takes longer."


@PLACES
async def test_the_csv_of_no_rows_has_the_names_of_the_columns(place: Place) -> None:
    for sql in (*NOTES, "CREATE TABLE marks (id integer PRIMARY KEY, note_id integer REFERENCES notes (id))"):
        place.execute(sql)
    nothing = {"id": 99}
    calls: list[tuple[str, dict[str, Any], str]] = [
        ("query_notes", {"where": nothing}, "id,text,price,seen"),
        ("query_notes", {"where": nothing, "columns": ["price", "id"]}, "price,id"),
        ("query_marks", {"include": ["notes"]}, "id,note_id,notes"),
        (
            "query_notes",
            {"where": nothing, "group_by": ["text"], "aggregate": ["count", "sum(id) as s"]},
            "text,count,s",
        ),
        ("execute_sql", {"sql": 'SELECT id, text AS "a,b" FROM notes WHERE id = 99'}, 'id,"a,b"'),
    ]
    async with inside(place.url, access__sql="read") as program:
        for tool, arguments, header in calls:
            told = await ended(program.peer, await start(program.peer, tool, arguments, format="csv"))
            assert told["result"]["csv"] == header + "\r\n", told
            assert (told["result"]["row_count"], "csv_columns" in told["result"]) == (0, False)
