"""The tasks extension of revision 2026-07-28: long calls of clients that declare it become tasks, nobody else's do."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from pydantic import ConfigDict, Field

from tests.conftest import Place
from tests.peers import LEGACY, LIMIT_S, MODERN, environment, http_server, inside
from tests.test_operations import NOTES
from tests.test_running import SLOW, busy
from tests.waiting import until, until_it_holds

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
EXTENSION = "io.modelcontextprotocol/tasks"


class CreateTaskResult(types.Result):
    """As ext-tasks, specification/2026-07-28/tasks.md has it."""

    result_type: Literal["task"] = Field("task", alias="resultType")
    task_id: str = Field(alias="taskId")
    status: str
    status_message: str | None = Field(None, alias="statusMessage")
    created_at: str = Field(alias="createdAt")
    last_updated_at: str = Field(alias="lastUpdatedAt")
    ttl_ms: int | None = Field(alias="ttlMs")
    poll_interval_ms: int | None = Field(None, alias="pollIntervalMs")


class TaskResult(types.Result):
    """What `tasks/get` gives, as it came."""

    model_config = ConfigDict(extra="allow")


class TaskRequest(types.Request[dict[str, Any], str]):
    """Any of the three methods."""

    name_param: ClassVar[str | None] = "taskId"


class Tasks(ClientExtension):
    """A client's side of the extension, without polling: the tests ask."""

    identifier = EXTENSION

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def never(result: CreateTaskResult, context: ClaimContext) -> types.CallToolResult:
            raise AssertionError("the tests ask by themselves")

        return [ResultClaim(result_type="task", model=CreateTaskResult, resolve=never)]


class Peer:
    """A client that declares the extension, or does not."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, arguments: Any = None) -> Any:
        """The result, be it a task."""
        return await self.client.session.call_tool(tool, arguments or {}, allow_claimed=True)

    async def ask(self, method: str, task_id: str, **more: Any) -> dict[str, Any]:
        """What `tasks/get` and the others answer."""
        request = TaskRequest(method=method, params={"taskId": task_id, **more})
        result = await self.client.session.send_request(request, TaskResult)
        return result.model_dump(by_alias=True, exclude_none=True)

    async def ended(self, task_id: str) -> dict[str, Any]:
        """The task once it is no more `working`."""
        task: dict[str, Any] = {}

        async def has_ended() -> bool:
            task.update(await self.ask("tasks/get", task_id))
            return bool(task["status"] != "working")

        await until_it_holds(has_ended)
        return task


@asynccontextmanager
async def joined(target: Any, *, declares: bool = True, era: str = MODERN) -> AsyncIterator[Peer]:
    async with Client(target, mode=era, cache=None, extensions=[Tasks()] if declares else []) as client:
        yield Peer(client)


def answer(result: dict[str, Any]) -> dict[str, Any]:
    """The object that a task's `CallToolResult` holds, in both its forms."""
    told: dict[str, Any] = json.loads(result["content"][0]["text"])
    assert result["structuredContent"] == told
    return told


@PLACES
async def test_a_long_call_becomes_a_task_whose_end_is_its_result(place: Place) -> None:
    pause = {
        "postgresql": "CREATE VIEW later AS SELECT 7 AS n FROM pg_sleep(0.6)",
        "sqlite": "CREATE VIEW later AS WITH RECURSIVE s (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s LIMIT 1500000) "
        "SELECT 7 AS n FROM (SELECT count(*) AS c FROM s) WHERE c > 0",
    }
    place.execute(pause[place.product])
    async with inside(place.url, operations__task_after_s=0.05) as program, joined(program.server) as peer:
        task = await peer.call("query_later")
        assert isinstance(task, CreateTaskResult)
        assert (task.status, task.ttl_ms, task.poll_interval_ms) == ("working", None, 1_000)
        ended = await peer.ended(task.task_id)
        assert (ended["resultType"], ended["status"], ended["taskId"]) == ("complete", "completed", task.task_id)
        assert ended["ttlMs"] > 86_400_000
        assert answer(ended["result"])["rows"] == [{"n": 7}]
        # It is an operation like any other.
        told = await program.peer.call("check_operation", {"operation_id": task.task_id})
        assert told["result"]["rows"] == [{"n": 7}]


@PLACES
async def test_cancelling_a_task_stops_its_statement(place: Place) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    async with inside(place.url, operations__task_after_s=0.05) as program, joined(program.server) as peer:
        task = await peer.call("insert_slow_rows", {"rows": [{"id": 1}]})
        await until(lambda: busy(place))
        assert (await peer.ask("tasks/update", task.task_id, inputResponses={}))["resultType"] == "complete"
        assert "status" not in await peer.ask("tasks/cancel", task.task_id)
        assert (await peer.ended(task.task_id))["status"] == "cancelled"
        await until(lambda: not busy(place))


@SQLITE
async def test_a_short_call_and_a_tool_that_runs_no_statement_answer_as_ever(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url) as program, joined(program.server) as peer:
        for tool, arguments in (
            ("query_notes", {"columns": ["id"]}),
            ("query_notes", {"columns": ["nothing"]}),
            ("list_tables", {}),
        ):
            result = await peer.call(tool, arguments)
            assert isinstance(result, types.CallToolResult)
            assert result.structured_content == await program.peer.call(tool, arguments)
        with pytest.raises(MCPError, match="Unknown tool"):
            await peer.call("query_nothing")
        assert program.app.operations.running == []


@SQLITE
async def test_a_failed_call_is_a_completed_task_with_its_error(place: Place) -> None:
    for sql in SLOW["sqlite"]:
        place.execute(sql)
    short: dict[str, Any] = {"operations__task_after_s": 0.05, "operations__max_s": 0.3}
    async with inside(place.url, **short) as program, joined(program.server) as peer:
        task = await peer.call("query_slow")
        ended = await peer.ended(task.task_id)
        assert (ended["status"], ended["result"]["isError"]) == ("completed", True)
        assert answer(ended["result"])["error"]["code"] == "timeout"


@SQLITE
async def test_after_the_server_stopped_a_task_is_failed(place: Place, tmp_path: Path) -> None:
    for sql in SLOW["sqlite"]:
        place.execute(sql)
    kept: dict[str, Any] = {"operations__task_after_s": 0.05, "state__url": str(tmp_path / "state.sqlite")}
    async with inside(place.url, **kept) as program, joined(program.server) as peer:
        task = await peer.call("query_slow")
    async with inside(place.url, **kept) as program, joined(program.server) as peer:
        ended = await peer.ended(task.task_id)
        assert (ended["status"], ended["error"]["code"]) == ("failed", -32603)


@SQLITE
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_client_that_did_not_declare_it_gets_no_task_and_may_ask_for_none(place: Place, era: str) -> None:
    for sql in SLOW["sqlite"]:
        place.execute(sql)
    short: dict[str, Any] = {"operations__task_after_s": 0, "limits__call_timeout_s": 0.3}
    async with inside(place.url, **short) as program, joined(program.server, declares=False, era=era) as peer:
        result = await peer.call("query_slow")
        assert result.structured_content["error"]["code"] == "timeout"
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            with pytest.raises(MCPError) as refused:
                await peer.ask(method, "op_1")
            assert refused.value.code == -32021
            assert refused.value.data == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


@SQLITE
async def test_it_is_told_of_over_http_and_an_unknown_id_is_refused(place: Place) -> None:
    for sql in SLOW["sqlite"]:
        place.execute(sql)
    variables = environment({"operations__task_after_s": 0.05})
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
        url = await stack.enter_async_context(http_server(place.url, variables))
        peer = await stack.enter_async_context(joined(url))
        assert (peer.client.server_capabilities.extensions or {})[EXTENSION] == {}
        task = await peer.call("query_slow")
        assert (await peer.ask("tasks/get", task.task_id))["status"] == "working"
        await peer.ask("tasks/cancel", task.task_id)
        assert (await peer.ended(task.task_id))["status"] == "cancelled"
        with pytest.raises(MCPError) as refused:
            await peer.ask("tasks/get", "op_never")
        assert refused.value.code == -32602


@SQLITE
async def test_a_client_that_leaves_before_the_call_is_a_task_leaves_nothing_behind(place: Place) -> None:
    for sql in SLOW["sqlite"]:
        place.execute(sql)
    async with inside(place.url) as program, joined(program.server) as peer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await peer.call("insert_slow_rows", {"rows": [{"id": 1}]})
        await until(lambda: not busy(place) and not program.app.operations.running)
