"""Every wait of a call has a limit of its own, which the error names; a caller may set less time than the server."""

import asyncio
from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import inside
from tests.test_running import PLACES, TOM, answers, begin, busy, count, idle, locked
from tests.waiting import until

#: It takes a fraction of that; the machine may be busy.
STOP_LIMIT_S = 5


@PLACES
async def test_a_call_is_stopped_in_the_database_at_the_time_that_its_caller_has_set(place: Place) -> None:
    begin(place)
    endless = {"query_slow": {}, "insert_slow_rows": {"rows": [{"id": 1}]}}
    batch = {"calls": [{"tool": "query_slow", "arguments": {}}]}
    calls: list[tuple[str, dict[str, Any]]] = [
        *endless.items(),
        ("query_rows", {"table": "slow"}),
        ("run_batch", {**batch, "mode": "transaction"}),
    ]
    async with inside(place.url, pool__size=1) as program:
        for tool, arguments in calls:
            async with asyncio.timeout(STOP_LIMIT_S):
                error = await program.peer.error(tool, {**arguments, "timeout_s": 0.3})
            assert (error["code"], error["retryable"]) == ("timeout", True), error
            assert error["message"].endswith("took longer than 0.3 s (timeout_s) and was stopped"), error
            await until(lambda: not busy(place))
        await answers(program.peer)
        await idle(program, place)
        assert count(place, "slow_rows") == 0


@PLACES
async def test_a_batch_call_by_call_ends_at_its_time_whichever_call_it_is_at(place: Place) -> None:
    begin(place)
    calls = [{"tool": "query_slow", "arguments": {}}, {"tool": "query_cats", "arguments": {}}]
    async with inside(place.url, pool__size=1) as program:
        async with asyncio.timeout(STOP_LIMIT_S):
            answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent", "timeout_s": 0.3})
        first, second = (each["error"] for each in answer["results"])
        assert (first["code"], second["code"]) == ("timeout", "timeout")
        assert "(what was left of its batch)" in first["message"]
        await until(lambda: not busy(place))
        # A call of a batch may have less time of its own.
        calls[0]["arguments"] = {"timeout_s": 0.1}
        answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
        assert "0.1 s (timeout_s)" in answer["results"][0]["error"]["message"]
        assert answer["results"][1]["result"]["rows"] == []


@PLACES
async def test_sql_of_the_callers_own_is_stopped_at_the_time_that_its_caller_has_set(place: Place) -> None:
    begin(place)
    async with inside(place.url, access__sql="read") as program:
        calls = [("execute_sql", {"sql": "SELECT * FROM slow"})]
        if place.product == "postgresql":
            calls.append(("explain_query", {"sql": "SELECT * FROM slow", "analyze": True}))  # type: ignore[dict-item]
        for tool, arguments in calls:
            async with asyncio.timeout(STOP_LIMIT_S):
                error = await program.peer.error(tool, {**arguments, "timeout_s": 0.3})
            assert error["code"] == "timeout"
            assert error["message"] == "the call took longer than 0.3 s (timeout_s) and was stopped"
            await until(lambda: not busy(place))
        error = await program.peer.error("explain_query", {"sql": "SELECT 1", "timeout_s": 61})
        assert "'timeout_s' is at most 60" in error["message"]


@PLACES
async def test_more_time_than_the_server_allows_is_refused_with_what_it_allows(place: Place) -> None:
    begin(place)
    async with inside(place.url, limits__call_timeout_s=20) as program:
        for given in (20.5, 1e308, 10**30):
            error = await program.peer.error("query_cats", {"timeout_s": given})
            assert error["code"] == "invalid_argument"
            assert error["message"].startswith("'timeout_s' is at most 20 here (limits.call_timeout_s), got ")
            assert "start_operation" in error["hint"]
            assert error["details"] == {"timeout_s": 20.0}
        refused: list[Any] = [0, -1, "5", True, [5], {"s": 5}]
        for given in refused:
            error = await program.peer.error("insert_cats", {"rows": [TOM], "timeout_s": given})
            assert error["code"] == "invalid_argument"
            assert error["message"].startswith("'timeout_s' takes a number of seconds above 0, got ")
            assert "20 s (limits.call_timeout_s)" in error["hint"]
        assert count(place, "cats") == 0
        assert (await program.peer.call("insert_cats", {"rows": [TOM], "timeout_s": 20}))["inserted"] == 1


@PLACES
@pytest.mark.parametrize("what", ["statement", "call"])
async def test_the_error_of_a_limit_of_time_names_its_value_and_its_key(place: Place, what: str) -> None:
    begin(place)
    limits: dict[str, Any] = {f"limits__{what}_timeout_s": 0.3}
    async with inside(place.url, access__sql="read", **limits) as program:
        for tool, arguments in (("query_slow", {}), ("execute_sql", {"sql": "SELECT * FROM slow"})):
            error = await program.peer.error(tool, arguments)
            assert error["code"] == "timeout"
            key = f"limits.{what}_timeout_s"
            assert error["message"] == f"the {what} took longer than 0.3 s ({key}) and was stopped", tool


@PLACES
async def test_the_error_of_a_lock_that_is_not_given_names_the_limit_and_its_key(place: Place) -> None:
    begin(place)
    async with inside(place.url, limits__lock_timeout_s=0.2) as program:
        await program.peer.names()
        async with locked(place, "cats"):
            error = await program.peer.error("insert_cats", {"rows": [TOM]})
        assert (error["code"], error["retryable"]) == ("lock_timeout", True)
        assert error["hint"].endswith("A statement waits 0.2 s for a lock (limits.lock_timeout_s).")
