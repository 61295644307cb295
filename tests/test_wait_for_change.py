"""`wait_for_change`: it answers when the schema or rows have changed, misses nothing in between, and can be ended."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.conftest import Place, sqlite_place
from tests.peers import Inside, inside, inside_several
from tests.waiting import until

GROUP: dict[str, Any] = {"tools__groups": ["wait_for_change"]}


@pytest.fixture
def wards(place: Place) -> Place:
    place.execute("CREATE TABLE wards (id integer PRIMARY KEY, name text)")
    place.execute("CREATE TABLE beds (id integer PRIMARY KEY)")
    return place


def written(place: Place, sql: str) -> None:
    """Committed, and counted by PostgreSQL now and not within seconds."""
    place.execute(sql)
    if place.product == "postgresql":
        place.execute("SELECT pg_stat_force_next_flush()")


async def begun(program: Inside, **arguments: Any) -> "asyncio.Task[dict[str, Any]]":
    """A wait for rows that has seen how things stand."""
    rows = program.app.sources["database"].rows
    task = asyncio.create_task(program.peer.call("wait_for_change", arguments))
    await until(lambda: bool(rows.waiting) and all(wait.now is not None for wait in rows.waiting))
    return task


async def test_a_wait_ends_when_rows_of_the_table_change(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        waiting = await begun(program, table="wards")
        written(wards, "INSERT INTO wards VALUES (1, 'a'), (2, 'b')")
        answer = await waiting
        assert (answer["table"], answer["changed"]) == ("wards", True)
        if wards.product == "postgresql":
            assert answer["rows"] == {"inserted": 2, "updated": 0, "deleted": 0}
        else:
            assert answer["hint"].startswith("SQLite tells that its file was written to, not which table")


async def test_nothing_is_missed_between_two_waits_and_a_wait_without_a_change_says_so(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        first = await program.peer.call("wait_for_change", {"table": "wards", "timeout_s": 0.5})
        assert first["changed"] is False
        assert first["waited_s"] >= 0.4
        written(wards, "INSERT INTO wards VALUES (1, 'a')")
        second = await program.peer.call("wait_for_change", {"table": "wards", "since": first["since"]})
        assert second["changed"] is True
        third = await program.peer.call(
            "wait_for_change", {"table": "wards", "since": second["since"], "timeout_s": 0.5}
        )
        assert third["changed"] is False
        if wards.product == "postgresql":
            wards.execute("TRUNCATE wards")
            emptied = await program.peer.call("wait_for_change", {"table": "wards", "since": third["since"]})
            assert (emptied["changed"], emptied["rewritten"]) == (True, True)


async def test_a_wait_that_is_shorter_than_connecting_is_answered_all_the_same(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        first = await program.peer.call("wait_for_change", {"table": "wards", "timeout_s": 0.000_001})
        assert (first.get("error"), first["changed"]) == (None, False)
        written(wards, "INSERT INTO wards VALUES (1, 'a')")
        again = {"table": "wards", "timeout_s": 0.000_001, "since": first["since"]}
        assert (await program.peer.call("wait_for_change", again))["changed"] is True


async def test_a_database_that_is_away_is_told_when_the_time_of_the_wait_is_over(tmp_path: Path) -> None:
    file = tmp_path / "wards.sqlite"
    sqlite_place(file).execute("CREATE TABLE wards (id integer PRIMARY KEY)")
    async with inside(str(file), **GROUP) as program:
        await program.peer.names()
        file.rename(tmp_path / "away.sqlite")
        error = await program.peer.error("wait_for_change", {"table": "wards", "timeout_s": 0.1})
        assert (error["code"], error["retryable"]) == ("database_unavailable", True)


async def test_writes_through_the_server_are_told_at_once(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        waiting = await begun(program, table="wards")
        await program.peer.call("insert_wards", {"rows": [{"id": 5, "name": "e"}]})
        answer = await waiting
        assert (answer["changed"], answer["by_this_server"]) == (True, True)


async def test_what_the_server_wrote_between_two_waits_is_told_at_once(wards: Place) -> None:
    async with inside(wards.url, access__mode="write", **GROUP) as program:
        call, asked = program.peer.call, {"table": "wards", "timeout_s": 0.01}
        since = (await call("wait_for_change", asked))["since"]
        # A session of PostgreSQL's that has just handed its counts in does not do it again within a second.
        for number in range(3):
            await call("insert_wards", {"rows": [{"id": number}]})
            answer = await call("wait_for_change", {**asked, "since": since})
            assert (answer["changed"], answer["by_this_server"]) == (True, True)
            since = answer["since"]
        await call("delete_wards", {"where": {"id": 9}})
        await call("insert_beds", {"rows": [{"id": 1}]})
        again = await call("wait_for_change", {**asked, "since": since})
        assert "by_this_server" not in again
    async with inside(wards.url, access__mode="write", **GROUP) as program:
        # Another process has not written what this one did.
        await program.peer.call("insert_wards", {"rows": [{"id": 9}]})
        later = await program.peer.call("wait_for_change", {**asked, "since": since})
        assert "by_this_server" not in later


async def test_a_write_that_met_no_row_is_told_to_nobody(wards: Place) -> None:
    async with inside(wards.url, access__mode="write", **GROUP) as program:
        call, none = program.peer.call, {"where": {"id": 9}}
        waiting = await begun(program, table="wards", timeout_s=2)
        assert (await call("delete_wards", none))["deleted"] == 0
        calls = [{"tool": tool, "arguments": none} for tool in ("delete_wards", "delete_beds")]
        await call("run_batch", {"calls": calls})
        id_ = (await call("begin_transaction"))["transaction_id"]
        await call("update_wards", {**none, "set": {"name": "n"}, "transaction_id": id_})
        assert (await call("commit_transaction", {"transaction_id": id_}))["outcome"] == "committed"
        answer = await waiting
        assert (answer["changed"], "by_this_server" in answer) == (False, False)
        waiting = await begun(program, table="wards")
        await call("run_batch", {"calls": [*calls, {"tool": "insert_wards", "arguments": {"rows": [{"id": 1}]}}]})
        assert (await waiting)["by_this_server"] is True


async def test_what_a_statement_of_its_callers_own_wrote_is_told_as_the_writes_of_others_are(wards: Place) -> None:
    async with inside(wards.url, access__mode="write", access__sql="write", **GROUP) as program:
        waiting = await begun(program, table="wards")
        await program.peer.call("execute_sql", {"sql": "INSERT INTO wards VALUES (1, 'a')"})
        answer = await waiting
        assert (answer["changed"], answer["told_by"], "by_this_server" in answer) == (True, "counters", False)
        if wards.product == "postgresql":
            assert answer["rows"] == {"inserted": 1, "updated": 0, "deleted": 0}
            assert answer["waited_s"] < 5  # its connection is closed, and what it did is counted then
        else:
            assert "nor by whom (execute_sql of this server is not known apart)" in answer["hint"]


async def test_all_who_wait_for_a_source_share_one_connection_and_none_of_the_pool(wards: Place) -> None:
    async with inside(wards.url, **GROUP, pool__size=1) as program:
        rows = program.app.sources["database"].rows
        waits = [asyncio.create_task(program.peer.call("wait_for_change", {"table": "wards"})) for _ in range(100)]
        await until(lambda: len(rows.waiting) == 100)
        refused = await program.peer.error("wait_for_change", {"table": "beds"})
        assert (refused["code"], refused["retryable"]) == ("busy", True)
        await until(lambda: program.app.database.in_use == 0)
        assert await program.peer.rows("query_wards") == []
        await program.peer.call("insert_wards", {"rows": [{"id": 1}]})
        assert {(await wait)["changed"] for wait in waits} == {True}
        assert rows.waiting == set()


async def test_a_change_of_the_schema_ends_a_wait_and_says_what_changed(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        await program.peer.names()
        waiting = asyncio.create_task(program.peer.call("wait_for_change"))
        await until(lambda: bool(program.app.changes.waiting))
        wards.execute("CREATE TABLE nurses (id integer PRIMARY KEY)")
        answer = await waiting
        assert {key: answer[key] for key in ("changed", "added", "removed", "changed_tables")} == {
            "changed": True,
            "added": ["nurses"],
            "removed": [],
            "changed_tables": [],
        }
        wards.execute("ALTER TABLE wards ADD COLUMN floor integer")
        await program.peer.call("refresh_schema")
        wards.execute("DROP TABLE beds")
        await program.peer.call("refresh_schema")
        later = await program.peer.call("wait_for_change", {"since": answer["since"]})
        assert (later["added"], later["removed"], later["changed_tables"]) == ([], ["beds"], ["wards"])
        nothing = await program.peer.call("wait_for_change", {"since": later["since"], "timeout_s": 0.2})
        assert nothing["changed"] is False


async def test_what_is_hidden_cannot_be_waited_for_and_does_not_end_a_wait(wards: Place) -> None:
    async with inside(wards.url, **GROUP, access__rules=["beds: none"]) as program:
        assert (await program.peer.error("wait_for_change", {"table": "beds"}))["code"] == "unknown_table"
        first = await program.peer.call("wait_for_change", {"timeout_s": 0.1})
        wards.execute("ALTER TABLE beds ADD COLUMN floor integer")
        await program.peer.call("refresh_schema")
        second = await program.peer.call("wait_for_change", {"since": first["since"], "timeout_s": 0.1})
        assert second["changed"] is False


async def test_a_wait_that_is_cancelled_is_over_at_once(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        waiting = await begun(program, table="wards")
        waiting.cancel()
        rows = program.app.sources["database"].rows
        await until(lambda: not rows.waiting)


async def test_a_server_that_stops_answers_who_waits(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        waiting = await begun(program, table="wards")
        with anyio.fail_after(5):
            await program.server.finish(anyio.lowlevel.checkpoint)
            answer = await waiting
        assert answer["error"]["code"] == "cancelled"


async def test_a_table_that_is_dropped_ends_the_wait_for_it(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        waiting = await begun(program, table="beds")
        wards.execute("DROP TABLE beds")
        answer = await waiting
        if wards.product == "postgresql":
            assert answer["error"]["code"] == "stale_schema"
        else:
            assert answer["changed"] is True


#: What a double cannot hold.
LONG = "an integer of more than 60 digits"
#: Arguments, and the message that they are refused by.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"timeout_s": 61}, "'timeout_s' is 61, and a call may take 60 s (limits.call_timeout_s)"),
    ({"timeout_s": 10**400}, f"'timeout_s' is {LONG}, and a call may take 60 s (limits.call_timeout_s)"),
    ({"timeout_s": 0}, "'timeout_s' takes a number of seconds above 0, got 0"),
    ({"since": "nonsense"}, "'since' is no token of an earlier answer"),
    ({"since": "é"}, "'since' is no token of an earlier answer"),
    ({"table": "wards", "since": "WyIiLCJhIiwxXQ"}, "'since' is of a wait for something else"),
]


async def test_what_cannot_be_waited_for_is_refused(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        for arguments, message in REFUSED:
            error = await program.peer.error("wait_for_change", arguments)
            assert (error["code"], error["message"]) == ("invalid_argument", message)


async def test_a_token_of_another_process_ends_a_wait_at_once_and_says_that_it_is_not_known_what_changed(
    wards: Place,
) -> None:
    async with inside(wards.url, **GROUP) as program:
        old = await program.peer.call("wait_for_change", {"timeout_s": 0.1})
        rows = await program.peer.call("wait_for_change", {"table": "wards", "timeout_s": 0.5})
    async with inside(wards.url, **GROUP) as program:
        answer = await program.peer.call("wait_for_change", {"since": old["since"]})
        assert (answer["changed"], "added" in answer) == (True, False)
        again = await program.peer.call("wait_for_change", {"table": "wards", "since": rows["since"], "timeout_s": 0.5})
        # PostgreSQL counts for all who ask; a number of SQLite's is of one connection.
        assert again["changed"] is (wards.product == "sqlite")


async def test_with_several_sources_a_wait_may_be_for_one_of_them(wards: Place) -> None:
    async with inside_several(one=wards.url, two="sample", **GROUP) as program:
        await program.peer.names()
        begin = await program.peer.call("wait_for_change", {"source": "two", "timeout_s": 0.1})
        wards.execute("CREATE TABLE nurses (id integer PRIMARY KEY)")
        await program.peer.call("refresh_schema")
        other = await program.peer.call("wait_for_change", {"source": "two", "since": begin["since"], "timeout_s": 0.1})
        assert other["changed"] is False
        own = await program.peer.call("wait_for_change", {"source": "one", "since": begin["since"]})
        assert own["added"] == ["one.nurses"]
        wrong = await program.peer.error("wait_for_change", {"source": "two", "table": "one.wards"})
        assert wrong["message"] == "table 'one.wards' is of source 'one', not of 'two'"
