"""A batch call by call as an operation or a task: every call in it runs, and no defect hides what was committed."""

from typing import Any

import pytest
from mcp import Client

from schema_mcp.errors import ErrorCode
from schema_mcp.observe.events import InternalFailure
from schema_mcp.tools.base import StatusPlan
from tests.conftest import Place
from tests.peers import MODERN, inside
from tests.test_operations import NOTES, ended, start
from tests.test_tasks import Peer as TaskPeer
from tests.test_tasks import Tasks

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)

#: Tools of the server itself that run no statement of the caller's.
OWN: dict[str, Any] = {
    "refresh_schema": {},
    "server_status": {},
    "schema_changes": {},
    "list_tables": {},
    "get_context": {},
    "wait_for_change": {"timeout_s": 0.1},
    "start_operation": {"tool": "query_notes"},
    "check_operation": {"operation_id": "of nobody"},
    "begin_transaction": {"read_only": True},
}
SETTINGS: dict[str, Any] = {"tools__groups": ["wait_for_change", "set_context"]}


def insert(id_: int) -> dict[str, Any]:
    return {"tool": "insert_notes", "arguments": {"rows": [{"id": id_}]}}


def with_own(first: int) -> dict[str, Any]:
    own = [{"tool": name, "arguments": arguments} for name, arguments in OWN.items()]
    return {"mode": "independent", "calls": [insert(first), *own, insert(first + 1)]}


def codes(answer: dict[str, Any]) -> dict[str, str | None]:
    """By tool, the code of its call's error or None."""
    return {each["tool"]: each["error"]["code"] if "error" in each else None for each in answer["results"]}


@PLACES
async def test_each_tool_of_the_server_runs_in_it_as_in_a_batch_of_a_call(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, era=MODERN, **SETTINGS) as program:
        called = await program.peer.call("run_batch", with_own(10))
        assert (called["outcome"], codes(called)["insert_notes"]) == ("committed", None)
        told = await ended(program.peer, await start(program.peer, "run_batch", with_own(20)))
        assert told["status"] == "succeeded", told
        assert codes(told["result"]) == codes(called)
        async with Client(program.server, mode=MODERN, cache=None, extensions=[Tasks()]) as client:
            result = await TaskPeer(client).call("run_batch", with_own(30))
            assert codes(result.structured_content) == codes(called)
        rows = await program.peer.rows("query_notes")
        assert sorted(row["id"] for row in rows if row["id"] > 5) == [10, 11, 20, 21, 30, 31]


@PLACES
async def test_a_defect_is_the_error_of_its_call_and_hides_no_other(place: Place) -> None:
    for sql in NOTES:
        place.execute(sql)

    async def broken(*_: Any) -> Any:
        raise KeyError

    calls = [insert(10), {"tool": "server_status", "arguments": {}}, insert(11)]
    async with inside(place.url) as program:
        program.app.service.dispatch.add(StatusPlan, broken)
        called = await program.peer.call("run_batch", {"mode": "independent", "calls": calls})
        assert codes(called) == {"insert_notes": None, "server_status": ErrorCode.INTERNAL_ERROR}
        assert called["outcome"] == "unknown"
        (seen,) = (event for event in program.observed if isinstance(event, InternalFailure))
        assert "KeyError" in seen.traceback
        assert "KeyError" not in str(called)
        rows = await program.peer.rows("query_notes")
        assert sorted(row["id"] for row in rows if row["id"] > 5) == [10, 11]
