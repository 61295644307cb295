"""The extension io.modelcontextprotocol/tasks of revision 2026-07-28: a call that takes long answers with a task.

Which call becomes one the service decides; a client that did not declare the extension on its request never gets one
(ext-tasks, specification/2026-07-28/tasks.md, whose words these are). No task ever asks for input.
"""

from collections.abc import Callable
from typing import Any

from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY, RequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from schema_mcp.errors import CallError, Unavailable
from schema_mcp.server.results import tool_result
from schema_mcp.server.service import TaskService, TaskState, ToolAnswer
from schema_mcp.server.sessions import Context, Sessions
from schema_mcp.state.operations import OperationStatus
from schema_mcp.tools.times import iso

EXTENSION = "io.modelcontextprotocol/tasks"
#: How often a client may well ask.
POLL_INTERVAL_MS = 1_000

_STATUSES = {
    OperationStatus.RUNNING: "working",
    OperationStatus.SUCCEEDED: "completed",
    OperationStatus.FAILED: "completed",  # the call answered, with an error: "failed" is for the protocol's own
    OperationStatus.CANCELLED: "cancelled",
    OperationStatus.INTERRUPTED: "failed",
}


class TaskParams(RequestParams):
    """Of `tasks/get`, `tasks/update` and `tasks/cancel`."""

    task_id: str = Field(alias="taskId")


def takes_tasks(context: Context) -> bool:
    """Whether this very request declares the extension, in a revision that has it."""
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = context.session.client_capabilities
    return capabilities is not None and EXTENSION in (capabilities.extensions or {})


class Tasks:
    """The three methods. `structured`: as `ToolServer` has it."""

    def __init__(self, service: TaskService, sessions: Sessions, *, structured: Callable[[], bool]) -> None:
        self._service = service
        self._sessions = sessions
        self._structured = structured

    def add_to(self, server: Server[Any]) -> None:
        """Has the server serve and advertise them."""
        server.extensions[EXTENSION] = {}
        server.add_request_handler("tasks/get", TaskParams, self._get)
        server.add_request_handler("tasks/update", TaskParams, self._update)
        server.add_request_handler("tasks/cancel", TaskParams, self._cancel)

    def created(self, state: TaskState) -> dict[str, Any]:
        """The `CreateTaskResult`."""
        return {"resultType": "task", **_members(state)}

    async def _get(self, context: Context, params: TaskParams) -> dict[str, Any]:
        state = await self._found(context, params)
        return {"resultType": "complete", **_members(state), **self._end(state)}

    async def _update(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Responses to requests that no task has made are ignored."""
        await self._found(context, params)
        return {"resultType": "complete"}

    async def _cancel(self, context: Context, params: TaskParams) -> dict[str, Any]:
        await self._found(context, params)
        try:
            await self._service.cancel_task(params.task_id, self._sessions.caller(context))
        except Unavailable as error:
            raise _unavailable(error) from None
        return {"resultType": "complete"}

    async def _found(self, context: Context, params: TaskParams) -> TaskState:
        if not takes_tasks(context):
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message=f"Missing required client capability: declare the extension {EXTENSION} on this request.",
                data={"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
            )
        try:
            return await self._service.task(params.task_id, self._sessions.caller(context))
        except Unavailable as error:
            raise _unavailable(error) from None
        except CallError:
            raise MCPError(code=INVALID_PARAMS, message="Task not found, or no longer kept.") from None

    def _end(self, state: TaskState) -> dict[str, Any]:
        if state.answer is not None:
            return {"result": {"resultType": "complete", **self._result(state.answer)}}
        if _status(state) == "failed":
            return {"error": {"code": INTERNAL_ERROR, "message": state.message}}
        return {}

    def _result(self, answer: ToolAnswer) -> dict[str, Any]:
        return tool_result(answer, structured=self._structured())


def _unavailable(error: Unavailable) -> MCPError:
    return MCPError(code=INTERNAL_ERROR, message=f"{error.message}. {error.hint}")


def _status(state: TaskState) -> str:
    lost = state.status is OperationStatus.SUCCEEDED and state.answer is None
    return "failed" if lost else _STATUSES[state.status]


def _members(state: TaskState) -> dict[str, Any]:
    members: dict[str, Any] = {"taskId": state.id, "status": _status(state)}
    if state.message:
        members["statusMessage"] = state.message
    members |= {"createdAt": iso(state.created_at), "lastUpdatedAt": iso(state.updated_at), "ttlMs": state.ttl_ms}
    if state.status is OperationStatus.RUNNING:
        members["pollIntervalMs"] = POLL_INTERVAL_MS
    return members
