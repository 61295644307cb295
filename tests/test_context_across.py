"""A session's context where it meets batches, operations, transactions and kept answers."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import begun, held
from tests.conftest import Place, made_once
from tests.peers import LEGACY, Inside, inside, join
from tests.test_running import busy, locked
from tests.waiting import until

pytest_plugins = "tests.standing"

TABLES = (
    "CREATE TABLE across_jobs (id integer PRIMARY KEY, tenant_id integer NOT NULL, title text)",
    "CREATE TABLE across_bills (id integer PRIMARY KEY, tenant_id integer, total integer)",
    "INSERT INTO across_bills VALUES (1, 7, 10), (2, 8, 20)",
)
SETTINGS: dict[str, Any] = {
    "tools__groups": ["set_context"],
    "database__include": ["across_*"],
    "access__mode": "write",
    "watch__poll_interval_s": 60.0,
}
TENANT = {"filters": {"tenant_id": 7}}
WHOLE = [(1, 7, "a"), (2, 7, "b"), (3, 8, "c"), (4, 8, "d")]
LIMIT_S = 10


@pytest.fixture(scope="module")
@made_once
def made(shared: Place) -> Place:
    for statement in TABLES:
        shared.execute(statement)
    return shared


@pytest.fixture
def jobs(made: Place) -> Place:
    made.execute("DELETE FROM across_jobs")
    made.execute("INSERT INTO across_jobs VALUES (1, 7, 'a'), (2, 7, 'b'), (3, 8, 'c'), (4, 8, 'd')")
    return made


def stored(place: Place) -> list[int]:
    found = place.execute("SELECT id FROM across_jobs ORDER BY id")
    return [int(line) for line in found.split()] if isinstance(found, str) else [int(row[0]) for row in found]


async def over(program: Inside) -> None:
    """No operation runs."""
    operations = program.app.operations
    async with asyncio.timeout(LIMIT_S):
        for operation in operations.running:
            await operation.ended.wait()


EACH_BY_ITSELF = {
    "mode": "independent",
    "calls": [
        {"tool": "update_across_jobs", "arguments": {"all_rows": True, "set": {"title": "x"}}},
        {"tool": "delete_across_jobs", "arguments": {"all_rows": True}},
    ],
}


async def test_a_batch_keeps_the_filters_that_it_began_with_to_its_end(jobs: Place) -> None:
    async with inside(jobs.url, **SETTINGS) as program:
        await program.peer.call("set_context", TENANT)
        async with locked(jobs, "across_jobs"):
            running = asyncio.create_task(program.peer.call("run_batch", EACH_BY_ITSELF))
            asked = program.app.database if jobs.product == "sqlite" else None
            await until(lambda: asked.in_use if asked is not None else busy(jobs, "%across_jobs%"))
            await program.peer.call("clear_context")
        told = await running
        assert [one["result"].get("deleted") for one in told["results"]] == [None, 2]
        assert stored(jobs) == [3, 4]


async def test_an_operation_keeps_the_filters_of_its_session_after_the_session(jobs: Place) -> None:
    async with inside(jobs.url, **SETTINGS) as program:
        async with locked(jobs, "across_jobs"):
            async with AsyncExitStack() as stack:
                other = await join(stack, program.server, LEGACY)
                await other.call("set_context", TENANT)
                asked = {"tool": "run_batch", "arguments": EACH_BY_ITSELF}
                assert (await other.call("start_operation", asked))["status"] == "running"
            assert len(program.app.service.contexts) == 0
        await over(program)
        assert stored(jobs) == [3, 4]


async def test_the_rows_of_an_operation_are_those_of_the_filters_and_sql_is_refused_in_it_too(jobs: Place) -> None:
    async with inside(jobs.url, **SETTINGS) as program:
        await program.peer.call("set_context", TENANT)
        begun_ = await program.peer.call("start_operation", {"tool": "query_across_jobs", "format": "csv"})
        assert begun_["progress"]["total"] is None  # the table's size is not that of what the filters leave
        await program.peer.call("set_context", {"filters": {"tenant_id": 8}})
        told = await program.peer.call("check_operation", {"operation_id": begun_["operation_id"], "wait_s": 10})
        assert told["result"]["csv"] == "id,tenant_id,title\r\n1,7,a\r\n2,7,b\r\n"
    settings = {name: value for name, value in SETTINGS.items() if name != "database__include"}
    async with inside(jobs.url, **settings, access__sql="write") as program:
        await program.peer.call("set_context", TENANT)
        sql = {"tool": "execute_sql", "arguments": {"sql": "SELECT 1"}}
        assert (await program.peer.error("start_operation", sql))["code"] == "not_allowed"


async def test_a_kept_answer_is_none_for_another_context(jobs: Place) -> None:
    async with inside(jobs.url, **SETTINGS, cache__ttl_s=600.0) as program:

        async def ids() -> tuple[list[int], bool]:
            result = await program.peer.client.call_tool("query_across_jobs", {"columns": ["id"]})
            assert result.structured_content is not None
            found = [row["id"] for row in result.structured_content["rows"]]
            return found, bool((result.meta or {}).get("cached"))

        assert [await ids(), await ids()] == [([1, 2, 3, 4], False), ([1, 2, 3, 4], True)]
        await program.peer.call("set_context", TENANT)
        assert [await ids(), await ids()] == [([1, 2], False), ([1, 2], True)]
        await program.peer.call("set_context", {"filters": {"tenant_id": 8}})
        assert await ids() == ([3, 4], False)
        await program.peer.call("set_context", {"filters": None, "limit": 1})
        assert await ids() == ([1], False)
        await program.peer.call("clear_context")
        assert await ids() == ([1, 2, 3, 4], True)


async def test_a_key_used_for_one_tenant_does_not_answer_for_another(jobs: Place, tmp_path: Path) -> None:
    async with inside(jobs.url, **SETTINGS, state__url=str(tmp_path / "state.sqlite")) as program:
        given = {"rows": [{"id": 9}], "idempotency_key": "once"}
        await program.peer.call("set_context", TENANT)
        for _ in range(2):
            assert (await program.peer.call("insert_across_jobs", given))["inserted"] == 1
        await program.peer.call("set_context", {"filters": {"tenant_id": 8}})
        assert (await program.peer.error("insert_across_jobs", given))["code"] == "idempotency_conflict"


async def test_calls_run_in_the_current_transaction_unless_they_say_no_and_its_end_ends_it(jobs: Place) -> None:
    async with inside(jobs.url, **SETTINGS) as program:
        peer = program.peer
        id_ = await begun(peer)
        await peer.call("set_context", {**TENANT, "transaction_id": id_})
        assert (await peer.call("delete_across_jobs", {"all_rows": True}))["deleted"] == 2
        assert stored(jobs) == [1, 2, 3, 4]
        independent = {"mode": "independent", "calls": [{"tool": "query_across_jobs"}]}
        within = await peer.call("run_batch", independent)
        assert (within["results"][0]["result"]["rows"], within["outcome"]) == ([], "in_transaction")
        outside = await peer.call("run_batch", {**independent, "transaction_id": None})
        assert (len(outside["results"][0]["result"]["rows"]), outside["outcome"]) == (2, "committed")
        named = {"mode": "independent", "calls": [{"tool": "query_across_jobs", "arguments": {"transaction_id": id_}}]}
        refused = await peer.call("run_batch", {**named, "transaction_id": None})
        assert refused["results"][0]["error"]["hint"] == "Name the transaction once, beside 'calls'."
        told = await peer.error("start_operation", {"tool": "query_across_jobs"})
        assert "transaction_id: null" in told["hint"]
        alone = {"tool": "query_across_jobs", "arguments": {"transaction_id": None}}
        assert (await peer.call("start_operation", alone))["status"] == "running"
        await over(program)
        await peer.call("commit_transaction")
        assert await peer.call("get_context") == {**(await peer.call("set_context", TENANT))}
        assert stored(jobs) == [3, 4]


async def test_calls_are_refused_and_not_run_outside_a_current_transaction_that_has_ended_unasked(jobs: Place) -> None:
    async with inside(jobs.url, **SETTINGS, transactions__idle_timeout_s=0.1) as program:
        peer = program.peer
        await peer.call("set_context", {"transaction_id": await begun(peer)})
        await until(lambda: held(program) == 0)
        told = await peer.error("delete_across_jobs", {"all_rows": True})
        assert told["code"] == "unknown_transaction"
        assert "set_context with transaction_id: null" in told["hint"]
        assert stored(jobs) == [1, 2, 3, 4]
        assert (await peer.error("commit_transaction"))["code"] == "unknown_transaction"  # now it is known
        assert (await peer.call("get_context"))["context"] == {}


async def test_a_table_whose_column_is_masked_is_refused_under_a_filter_on_it_and_not_read_whole(jobs: Place) -> None:
    async with inside(jobs.url, **SETTINGS, database__mask_columns=["across_bills.tenant_id"]) as program:
        told = await program.peer.call("set_context", TENANT)
        assert told["narrowed_tables"] == {"tenant_id": 1}
        for tool in ("query_across_bills", "delete_across_bills"):
            error = await program.peer.error(tool, {"limit": 1} if tool.startswith("q") else {"all_rows": True})
            assert (error["code"], "is masked" in error["message"]) == ("not_allowed", True)
        assert len(await program.peer.rows("query_across_jobs")) == 2
