"""A caller's own statement is stopped in time, whatever it does, and what cannot be reached is told."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import LEGACY, MODERN, Inside, inside
from tests.waiting import until, until_it_holds

pytest_plugins = "tests.standing"

POSTGRESQL = pytest.mark.parametrize("shared_postgresql", ["18"], indirect=True)
ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"

#: Statements that last, among them such as lift the database's own limit first.
SLOW: Mapping[str, Sequence[str]] = {
    "postgresql": (
        "SELECT pg_sleep(60)",
        "SELECT set_config('statement_timeout', '0', false), pg_sleep(60)",
        "SELECT set_config('statement_timeout', '0', false), pg_sleep(0.3) FROM generate_series(1, 200)",
        f"{ENDLESS} SELECT count(*) FROM n",
    ),
    "sqlite": (
        f"{ENDLESS} SELECT count(*) FROM n",
        f"{ENDLESS} SELECT count(*) FROM n ORDER BY x",
        f"SELECT count(*) FROM ({ENDLESS} SELECT x FROM n) a, pragma_function_list b",
    ),
}
PLACES = pytest.mark.parametrize("shared", ["18", "sqlite"], indirect=True)


def backends(place: Place) -> int:
    """Connections of the program that run a statement of a caller's own."""
    if place.product == "sqlite":
        return 0
    answer = place.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'schema-mcp' AND state <> 'idle' "
        "AND datname = current_database() AND (query LIKE '%pg_sleep%' OR query LIKE '%FROM n%')"
    )
    return int(answer)


@PLACES
async def test_a_statement_that_lasts_is_stopped_whatever_it_does_to_the_limit(shared: Place) -> None:
    async with inside(shared.url, access__sql="read", limits__statement_timeout_s=0.5) as program:
        for sql in SLOW[shared.product]:
            began = time.monotonic()
            error = await program.peer.error("execute_sql", {"sql": sql, "limit": 10_000})
            assert (error["code"], time.monotonic() - began < 5) == ("timeout", True), (sql, error)
            await until(lambda: backends(shared) == 0, 5)


@PLACES
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_statement_that_its_client_cancels_is_stopped(shared: Place, era: str) -> None:
    async with inside(shared.url, era=era, access__sql="read") as program:
        call = asyncio.create_task(program.peer.call("execute_sql", {"sql": SLOW[shared.product][0]}))
        await _running(program, shared)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: backends(shared) == 0, 5)
        async with asyncio.timeout(5):
            assert await program.peer.rows("execute_sql", {"sql": "SELECT 1 AS one"}) == [{"one": 1}]


async def test_what_cannot_be_interrupted_is_given_up_and_counted(
    shared_sqlite: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schema_mcp.dialects.sqlite.connection.STOP_LIMIT_S", 0.05)
    monkeypatch.setattr("schema_mcp.execute.sql.MAX_AT_ONCE", 1)
    sql = "SELECT instr(zeroblob(260000), CAST(zeroblob(130000) || x'01' AS blob))"
    async with inside(shared_sqlite.url, access__sql="read", limits__statement_timeout_s=0.1) as program:
        error = await program.peer.error("execute_sql", {"sql": sql})
        assert error["code"] == "timeout"
        error = await program.peer.error("execute_sql", {"sql": "SELECT 1"})
        assert error["code"] == "busy"

        async def answered() -> bool:
            return "rows" in await program.peer.call("execute_sql", {"sql": "SELECT 1"})

        await until_it_holds(answered)


async def _running(program: Inside, place: Place) -> None:
    if place.product == "postgresql":
        await until(lambda: backends(place) > 0)
    else:
        await until(lambda: program.app.sql.running > 0)


@POSTGRESQL
async def test_a_database_that_does_not_answer_is_told(
    shared_postgresql: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inside(shared_postgresql.url, access__sql="read") as program:
        monkeypatch.setattr("schema_mcp.dialects.postgresql.dialect.CONNECT_TIMEOUT_S", 1e-9)
        error = await program.peer.error("execute_sql", {"sql": "SELECT 1"})
        assert (error["code"], error["retryable"]) == ("database_unavailable", True)


@PLACES
async def test_a_call_that_lasts_is_given_up(shared: Place) -> None:
    limits: dict[str, Any] = {"limits__statement_timeout_s": 60, "limits__call_timeout_s": 0.5}
    async with inside(shared.url, access__sql="read", **limits) as program:
        error = await program.peer.error("execute_sql", {"sql": SLOW[shared.product][0]})
        assert (error["code"], error["message"]) == (
            "timeout",
            "the call took longer than 0.5 s (limits.call_timeout_s) and was stopped",
        )
        await until(lambda: backends(shared) == 0, 5)


async def test_a_lost_connection_is_told(own_database: str, own_server: Any) -> None:
    async with inside(own_database, access__sql="write", access__mode="write") as program:
        call = asyncio.create_task(program.peer.call("execute_sql", {"sql": "SELECT pg_sleep(60)"}))
        kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
        await until(lambda: own_server.execute(kill) == "1")
        error = (await call)["error"]
        assert (error["code"], error["retryable"]) == ("database_unavailable", True)
        own_server.stop("immediate")
        error = await program.peer.error("execute_sql", {"sql": "SELECT 1"})
        assert error["code"] == "database_unavailable"
