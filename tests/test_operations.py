"""Operations: work that goes on after the call that started it, and whose end and result can be asked for."""

import asyncio
import csv
import io
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning

from schema_mcp.caller import Caller
from schema_mcp.execute import operations as operations_module
from schema_mcp.state.operations import OperationRecord, OperationStatus
from schema_mcp.tools.operations import time_left
from tests.conftest import Place
from tests.peers import LEGACY, MODERN, Peer, inside
from tests.test_running import SLOW, busy
from tests.waiting import until

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)

MANY = {
    "postgresql": "CREATE TABLE many AS SELECT n::int AS id, 'row ' || n AS name FROM generate_series(1, {n}) n",
    "sqlite": "CREATE TABLE many AS WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {n}) "
    "SELECT n AS id, 'row ' || n AS name FROM s",
}
NOTES = (
    "CREATE TABLE notes (id integer PRIMARY KEY, text text, price numeric, seen boolean)",
    "INSERT INTO notes VALUES (1, 'plain', 12345678901234567890.125, NULL), (2, '', NULL, NULL), "
    "(3, 'a \"b\", c\nd', 0.10, NULL), (4, NULL, 1, NULL), (5, 'null', 2, NULL)",
)


async def start(peer: Peer, tool: str, arguments: Any = None, **more: Any) -> str:
    """The id of an operation that must start."""
    answer = await peer.call("start_operation", {"tool": tool, "arguments": arguments or {}, **more})
    assert answer.get("status") == "running", answer
    id_: str = answer["operation_id"]
    return id_


async def ended(peer: Peer, id_: str, **more: Any) -> dict[str, Any]:
    """How the operation stands once it has ended."""
    answer = await peer.call("check_operation", {"operation_id": id_, "wait_s": 30, **more})
    assert answer["status"] != "running", answer
    return answer


def text_of(result: types.CallToolResult) -> dict[str, Any]:
    """The object that the answer's text holds."""
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    told: dict[str, Any] = json.loads(content.text)
    return told


def files(state: Path) -> list[Path]:
    """What is left of results beside the store's file."""
    return sorted(path for path in (state.parent / "operations").glob("*/op_*"))


@PLACES
async def test_the_pages_of_200_000_rows_are_the_table(place: Place) -> None:
    place.execute(MANY[place.product].format(n=200_000))
    large: dict[str, Any] = {
        "results__max_rows": 100_000,
        "results__max_bytes": 10_000_000,
        "results__structured": True,
    }
    async with inside(place.url, **large) as program:
        id_ = await start(program.peer, "query_many", {"order_by": ["id"]}, format="csv")
        text, cursor, pages = "", None, 0
        while pages == 0 or cursor is not None:
            more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
            result = (await ended(program.peer, id_, limit=60_000, **more))["result"]
            text, cursor, pages = text + result["csv"], result["next_cursor"], pages + 1
        assert (result["all_rows"], result["truncated"], pages) == (200_000, False, 4)
        assert text == "id,name\r\n" + "".join(f"{n},row {n}\r\n" for n in range(1, 200_001))


@PLACES
async def test_values_are_those_of_a_call_in_both_formats(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url) as program:
        called = await program.peer.call("query_notes")
        told = (await ended(program.peer, await start(program.peer, "query_notes")))["result"]
        assert told["rows"] == called["rows"]
        assert {name: told[name] for name in ("table", "truncated", "schema_version")} == {
            name: called[name] for name in ("table", "truncated", "schema_version")
        }
        asked = {"columns": ["id", "text", "price"]}
        id_ = await start(program.peer, "query_notes", asked, format="csv")
        written = (await ended(program.peer, id_))["result"]["csv"]
        expected = [
            [str(row[name]) if row[name] is not None else "" for name in asked["columns"]] for row in called["rows"]
        ]
        assert list(csv.reader(io.StringIO(written, newline=""))) == [asked["columns"], *expected]
        # Null is nothing and an empty text is quoted, as PostgreSQL writes it.
        assert '2,"",\r\n' in written
        assert "\r\n4,," in written


@PLACES
async def test_a_call_that_cannot_be_made_fails_at_once_as_it_would_by_itself(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url) as program:
        wrong = {"columns": ["txt"]}
        told = await program.peer.error("start_operation", {"tool": "query_notes", "arguments": wrong})
        assert told == await program.peer.error("query_notes", wrong)
        for given, code in (
            ({"tool": "query_nots"}, "unknown_tool"),
            ({"tool": "list_tables"}, "invalid_argument"),
            ({"tool": "start_operation", "arguments": {"tool": "query_notes"}}, "invalid_argument"),
            ({"tool": "query_notes", "format": "xml"}, "invalid_argument"),
            ({"tool": "query_notes", "arguments": {"transaction_id": "x"}}, "invalid_argument"),
            ({}, "missing_argument"),
        ):
            assert (await program.peer.error("start_operation", given))["code"] == code
        assert (await program.peer.call("server_status"))["operations"] == {
            "running": 0,
            "max_running": 8,
            "yours": [],
        }


@PLACES
async def test_a_write_is_committed_and_a_refused_one_is_told_as_in_a_call(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url) as program:
        row = {"rows": [{"id": 9, "text": "new"}]}
        told = await ended(program.peer, await start(program.peer, "insert_notes", row))
        assert told["result"] == {
            "table": "notes",
            "inserted": 1,
            "rows": [{"id": 9}],
            "dry_run": False,
            "outcome": "committed",
        }
        told = await ended(program.peer, await start(program.peer, "insert_notes", row))
        assert (told["status"], told["error"]) == ("failed", await program.peer.error("insert_notes", row))
        batch = {"calls": [{"tool": "insert_notes", "arguments": row}]}
        told = await ended(program.peer, await start(program.peer, "run_batch", batch))
        assert (told["status"], told["error"]["code"], told["outcome"]) == ("failed", "unique_violation", "rolled_back")
        assert len(await program.peer.rows("query_notes")) == 6


@PLACES
async def test_cancelling_stops_the_database_within_a_second(place: Place) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    async with inside(place.url) as program:
        for tool, arguments in (("query_slow", {}), ("insert_slow_rows", {"rows": [{"id": 1}]})):
            id_ = await start(program.peer, tool, arguments)
            if place.product == "postgresql" or tool.startswith("insert"):
                await until(lambda: busy(place))
            (own,) = (await program.peer.call("server_status"))["operations"]["yours"]
            assert (own["operation_id"], own["status"]) == (id_, "running")
            began = monotonic()
            assert (await program.peer.call("cancel_operation", {"operation_id": id_}))["status"] == "cancelled"
            await until(lambda: not busy(place))
            assert monotonic() - began < 2  # a quarter of a second when the machine is not busy
            assert (await ended(program.peer, id_))["status"] == "cancelled"
        assert await program.peer.rows("query_slow_rows") == []


@PLACES
async def test_the_limit_of_operations_bounds_a_statement_and_not_that_of_calls(place: Place) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    short: dict[str, Any] = {"limits__statement_timeout_s": 0.2, "limits__call_timeout_s": 0.3}
    async with inside(place.url, operations__max_s=1.5, **short) as program:
        assert (await program.peer.error("query_slow"))["code"] == "timeout"
        told = await ended(program.peer, await start(program.peer, "query_slow"))
        assert (told["status"], told["error"]["code"]) == ("failed", "timeout")
        assert told["duration_s"] >= 1.4


@SQLITE
async def test_more_than_may_run_at_once_is_busy_and_starts_nothing(place: Place) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    async with inside(place.url, operations__per_caller=1, operations__max_running=2) as program:
        await start(program.peer, "query_slow")
        told = await program.peer.error("start_operation", {"tool": "query_slow"})
        assert (told["code"], told["retryable"]) == ("busy", True)
        assert "operations.per_caller" in told["message"]
        service, other = program.app.service, Caller(principal="ada")
        asked = {"tool": "query_slow"}
        assert not (await service.call("start_operation", asked, other)).is_error
        answer = await service.call("start_operation", asked, Caller(principal="bob"))
        assert b"operations.max_running" in answer.json
        assert (await program.peer.call("server_status"))["operations"]["running"] == 2


@SQLITE
async def test_an_operation_of_somebody_else_is_told_as_one_that_never_was(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url) as program:
        service, ada = program.app.service, Caller(principal="ada")
        told = json.loads((await service.call("start_operation", {"tool": "query_notes"}, ada)).json)
        own = {"operation_id": told["operation_id"]}
        for tool in ("check_operation", "cancel_operation"):
            never = await service.call(tool, {"operation_id": "op_never"}, ada)
            assert json.loads(never.json)["error"]["code"] == "unknown_operation"
            for caller in (Caller(principal="bob"), Caller(session="s"), Caller()):
                assert (await service.call(tool, own, caller)).json == never.json
        assert not (await service.call("check_operation", own, ada)).is_error
        first = json.loads((await service.call("check_operation", {**own, "wait_s": 10, "limit": 1}, ada)).json)
        page = {"cursor": first["result"]["next_cursor"]}
        for of in ({"operation_id": "op_never"}, own):
            assert (await service.call("check_operation", {**of, **page}, Caller(principal="bob"))).json == never.json


@SQLITE
async def test_a_cursor_of_another_operation_is_refused(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url) as program:
        one, other = [await start(program.peer, "query_notes") for _ in range(2)]
        cursor = (await ended(program.peer, one, limit=2))["result"]["next_cursor"]
        told = await program.peer.error("check_operation", {"operation_id": other, "cursor": cursor})
        assert told["code"] == "invalid_cursor"


@PLACES
async def test_a_result_that_is_more_than_operations_may_give_says_so(place: Place) -> None:
    place.execute(MANY[place.product].format(n=3_000))
    async with inside(place.url, operations__max_rows=2_000) as program:
        asked = {"limit": 1_500, "order_by": ["id"]}
        for arguments, rows in (({}, 2_000), (asked, 1_500)):
            told = (await ended(program.peer, await start(program.peer, "query_many", arguments), limit=1))["result"]
            assert (told["all_rows"], told["truncated"], "hint" in told) == (rows, True, True)
    async with inside(place.url, operations__max_result_bytes=10_000) as program:
        told = (await ended(program.peer, await start(program.peer, "query_many"), limit=1))["result"]
        assert told["truncated"]
        assert 100 < told["all_rows"] < 600


@SQLITE
async def test_results_that_fill_their_room_leave_none_for_others(place: Place, tmp_path: Path) -> None:
    place.execute(MANY["sqlite"].format(n=3_000))
    # A store of its own: without one, servers of one user keep results side by side, and fill the room together.
    state = tmp_path / "state.sqlite"
    async with inside(place.url, state__url=str(state), operations__max_kept_bytes=10_000) as program:
        told = (await ended(program.peer, await start(program.peer, "query_many"), limit=1))["result"]
        assert told["truncated"]
        assert 100 < told["all_rows"] < 600
        error = await program.peer.error("start_operation", {"tool": "query_many"})
        assert error["code"] == "busy"
        assert "operations.max_kept_bytes" in error["message"]


@PLACES
async def test_rows_of_a_callers_own_sql_are_kept_in_the_same_way(place: Place) -> None:
    place.execute(MANY[place.product].format(n=12_000))
    async with inside(place.url, access__sql="read") as program:
        asked = {"sql": "SELECT id, name FROM many ORDER BY id"}
        id_ = await start(program.peer, "execute_sql", asked)
        first = (await ended(program.peer, id_, limit=10_000))["result"]
        assert [column["name"] for column in first["columns"]] == ["id", "name"]
        last = (await ended(program.peer, id_, limit=10_000, cursor=first["next_cursor"]))["result"]
        assert [row["id"] for row in first["rows"] + last["rows"]] == list(range(1, 12_001))
        assert (last["all_rows"], last["truncated"], last["next_cursor"]) == (12_000, False, None)


@SQLITE
async def test_what_is_over_is_forgotten_with_its_files(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations_module, "BEAT_S", 0.05)
    for sql in NOTES:
        place.execute(sql)
    state = tmp_path / "kept" / "state.sqlite"
    async with inside(place.url, state__url=str(state), operations__keep_s=1) as program:
        id_ = await start(program.peer, "query_notes")
        assert (await ended(program.peer, id_))["kept"] is True
        assert [path.stat().st_mode & 0o777 for path in files(state)] == [0o600, 0o600]
        await until(lambda: not files(state))
        assert (await program.peer.error("check_operation", {"operation_id": id_}))["code"] == "unknown_operation"


@SQLITE
async def test_its_session_is_told_of_the_end_unless_it_wants_to_hear_less(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(params: Any) -> None:
        heard.put_nowait(params)

    async with inside(place.url) as program, AsyncExitStack() as stack:
        client = Client(program.server, mode=LEGACY, cache=None, logging_callback=hear)
        await stack.enter_async_context(client)
        await client.list_tools()
        first = text_of(await client.call_tool("start_operation", {"tool": "query_notes"}))
        async with asyncio.timeout(20):
            told = await heard.get()
        assert (told.level, told.logger) == ("info", "operations")
        assert told.data["operation_id"] == first["operation_id"]
        assert told.data["status"] == "succeeded"
        with pytest.warns(MCPDeprecationWarning):  # in a revision that has no sessions either
            await client.set_logging_level("error")
        second = text_of(await client.call_tool("start_operation", {"tool": "query_notes"}))
        await ended(program.peer, second["operation_id"])
        await client.list_tools()
        assert heard.empty()


async def test_in_the_stateless_era_it_is_asked_for_by_its_id() -> None:
    async with inside("sample", era=MODERN) as program:
        told = await ended(program.peer, await start(program.peer, "query_orders"), limit=3)
        assert [row["id"] for row in told["result"]["rows"]] == [1, 2, 3]
        assert told["result"]["all_rows"] == told["progress"]["done"] == 520


def test_the_time_left_is_told_by_the_pace_so_far() -> None:
    record = OperationRecord(
        id="op_1", principal="", tool="t", digest="", format="json", instance="", started_at=100.0, seen_at=100.0
    )

    def left(**members: Any) -> float | None:
        return time_left(replace(record, **members), 110.0)

    assert left() is left(done=5) is left(total=5) is None
    assert left(done=250, total=1_000) == 30.0
    assert left(done=250, total=1_000, status=OperationStatus.SUCCEEDED) is None


@pytest.mark.parametrize("place", ["18"], indirect=True)
async def test_progress_and_the_time_left_are_told_while_rows_come(place: Place) -> None:
    place.execute("CREATE TABLE many (id integer PRIMARY KEY, name text)")
    place.execute("INSERT INTO many SELECT n, 'row ' || n FROM generate_series(1, 20000) n; ANALYZE many")
    place.execute(
        "CREATE FUNCTION slowly(integer) RETURNS integer LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(0.002); SELECT $1'"
    )
    place.execute("CREATE VIEW slowly_many AS SELECT slowly(id) AS id FROM many")
    async with inside(place.url) as program:
        id_ = await start(program.peer, "query_slowly_many")
        while (told := await program.peer.call("check_operation", {"operation_id": id_}))["progress"]["done"] < 500:
            assert told["status"] == "running"
        assert (told["stage"], told["progress"]["done"] % 500) == ("fetching rows", 0)
        assert told["message"] == f"{told['progress']['done']} rows so far"
        assert (await program.peer.call("cancel_operation", {"operation_id": id_}))["status"] == "cancelled"
        told = await program.peer.call("start_operation", {"tool": "query_many"})
        assert told["progress"]["total"] == 20_000


@pytest.mark.parametrize("place", ["18"], indirect=True)
async def test_a_server_that_reads_reads_in_operations_too_also_after_settings_changed(place: Place) -> None:
    place.execute("CREATE TABLE notes (id integer PRIMARY KEY)")
    place.execute(
        "CREATE FUNCTION writes() RETURNS integer LANGUAGE sql VOLATILE AS 'INSERT INTO notes VALUES (1) RETURNING id'"
    )
    place.execute("CREATE VIEW writing AS SELECT writes() AS id")
    async with inside(place.url, access__mode="read") as program:
        told = await ended(program.peer, await start(program.peer, "query_writing"))
        assert (told["status"], told["error"]["code"]) == ("failed", "read_only")
        told = await program.peer.error("start_operation", {"tool": "insert_notes", "arguments": {"rows": [{"id": 1}]}})
        assert told["code"] == "unknown_tool"
    async with inside(place.url) as program:
        settings = program.app.reload.settings
        await ended(program.peer, await start(program.peer, "query_notes"))
        await program.app.reload.apply(replace(settings, access=replace(settings.access, mode="read")))
        told = await ended(program.peer, await start(program.peer, "query_writing", {"limit": 1}))
        assert (told["status"], told["error"]["code"]) == ("failed", "read_only")
