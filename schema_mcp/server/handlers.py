"""The protocol's requests, answered from a `ToolService`: what the SDK calls, over whichever transport and era.

    tools/list -> service.tools(caller) -> one page (or pages, where a size is set)
    tools/call -> service.call(...)     -> a result; a failure of any kind is a result with `isError`
    initialized, tools/list -> the connection is registered, to be told of changes

Only a broken request is a JSON-RPC error (-32602: no such tool, no such cursor). No exception reaches the SDK, which
would put its text on the wire (handshake era, code 0).
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any

import anyio
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    NotificationParams,
    PaginatedRequestParams,
    SubscriptionsListenRequestParams,
)

from schema_mcp.errors import CallError
from schema_mcp.observe.events import Observe
from schema_mcp.server import results
from schema_mcp.server.announced import Announced
from schema_mcp.server.calls import ANSWER_S, GRACE_S, WAY, Calls, Way
from schema_mcp.server.changes import Changes
from schema_mcp.server.progress import run_telling
from schema_mcp.server.service import TaskState, ToolAnswer, ToolService, UnknownToolError, version
from schema_mcp.server.sessions import Context, Sessions
from schema_mcp.server.tasks import Tasks, takes_tasks
from schema_mcp.tools.base import ToolSpec

#: Of how many tools near names are looked for: comparing takes about 5 microseconds a name.
_COMPARED_TOOLS = 1000

#: Members that the handler of the running request has made for its result, laid over what the SDK made of the rest.
_bulk: ContextVar[dict[str, Any]] = ContextVar("schema_mcp.server.bulk")


class ToolServer(Server[Any]):
    """The SDK's server over a service. `page_size`: tools a page of `tools/list`, None for one page.

    `structured`: whether results carry `structuredContent` beside the text.
    """

    def __init__(
        self, service: ToolService, *, observe: Observe, structured: bool = True, page_size: int | None = None
    ) -> None:
        # Tools may come to differ by who signed in, so nothing of it may be shared between callers.
        hint = CacheHint(ttl_ms=service.list_ttl_ms, scope="private")
        super().__init__(
            "schema-mcp",
            version=version(),
            instructions=service.instructions or None,
            cache_hints={"tools/list": hint, "server/discover": hint},
            # Without it the SDK lists all tools before each call over HTTP (python-sdk issue 3565).
            get_tool_input_schema=lambda name: None,
        )
        self.observe = observe
        self.sessions = Sessions(self._forget)
        self.announced = Announced(self.sessions, observe)
        self.announced.add_to(self)
        self.changes = Changes(self.sessions, observe)
        self.calls = Calls()
        self._service = service
        self._structured = structured
        #: May change while it serves.
        self.page_size = page_size
        self.add_request_handler("tools/list", PaginatedRequestParams, self._list_tools)
        self.add_request_handler("tools/call", CallToolRequestParams, self._call_tool)
        self.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self.changes.listen)
        self.add_notification_handler("notifications/initialized", NotificationParams, self._initialized)
        self.middleware.append(_lay_over)
        self.tasks: Tasks | None = None
        if service.tasks is not None:
            self.tasks = Tasks(service.tasks, self.sessions, structured=lambda: self._structured)
            self.tasks.add_to(self)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """As the SDK's, with `listChanged` told: its HTTP sessions ask without options and would deny it."""
        return super().create_initialization_options(
            notification_options or NotificationOptions(tools_changed=True), experimental_capabilities, extensions
        )

    async def finish(self, settled: Callable[[], Awaitable[None]]) -> None:
        """Ends what goes on before a transport closes: listen streams with their result, calls with an answer.

        `settled` returns once every request of the transport has its answer. Takes at most
        `GRACE_S + UNWIND_S + ANSWER_S`.
        """
        self.changes.close()
        with anyio.move_on_after(GRACE_S):
            await settled()
        await self.calls.stop()
        with anyio.move_on_after(ANSWER_S):
            await settled()

    async def _initialized(self, context: Context, params: NotificationParams) -> None:
        self.sessions.register(context)

    async def _list_tools(self, context: Context, params: PaginatedRequestParams) -> dict[str, Any]:
        # A client may list before its notification has been handled; none must be missed.
        self.sessions.register(context)
        try:
            tools = await self._service.tools(self.sessions.caller(context))
            page, next_cursor = _page(tools, params.cursor, self.page_size)
            _bulk.get()["tools"] = [tool.as_dict() for tool in page]
        except MCPError:
            raise
        except Exception as defect:  # noqa: BLE001 - the request's boundary
            self.observe(results.internal_failure("tools/list", defect))
            raise MCPError(code=INTERNAL_ERROR, message=results.INTERNAL_ERROR.message) from None
        frame = {"resultType": "complete", "tools": []}
        return frame if next_cursor is None else frame | {"nextCursor": next_cursor}

    async def _call_tool(self, context: Context, params: CallToolRequestParams) -> dict[str, Any]:
        try:
            answer = await self._answer(context, params)
            if isinstance(answer, TaskState):
                assert self.tasks is not None
                return self.tasks.created(answer)
            result = results.tool_result(answer, structured=self._structured)
        except MCPError:
            raise
        except Exception as defect:  # noqa: BLE001 - the request's boundary
            self.observe(results.internal_failure(f"tools/call {params.name[:64]!a}", defect))
            answer = results.error_answer(results.INTERNAL_ERROR)
            result = results.tool_result(answer, structured=self._structured)
        _bulk.get().update(result)
        frame = {"resultType": "complete", "content": [], "isError": answer.is_error}
        # Not among the bulk: the SDK adds to it.
        return frame | {"_meta": dict(answer.meta)} if answer.meta else frame

    def _forget(self, session: str) -> None:
        self.announced.forget(session)
        self._service.forget(session)

    async def _answer(self, context: Context, params: CallToolRequestParams) -> ToolAnswer | TaskState:
        caller = self.sessions.caller(context)
        tasks = self._service.tasks
        call = self._service.call if tasks is None or not takes_tasks(context) else tasks.call
        way: Way | None = None if context.request is None else context.request.scope.get(WAY)
        try:
            if context.meta is None or "progress_token" not in context.meta:
                return await self.calls.run(call(params.name, params.arguments or {}, caller), way)
            return await run_telling(
                context.session.report_progress,
                lambda report: self.calls.run(call(params.name, params.arguments or {}, caller, report), way),
            )
        except CallError as error:
            return results.error_answer(error)
        except UnknownToolError:
            names = [tool.name for tool in (await self._service.tools(caller))[:_COMPARED_TOOLS]]
            near = get_close_matches(params.name[:64], names, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "tools/list names the tools that are served."
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {params.name[:64]!a}. {hint}") from None


async def _lay_over(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Middleware: the SDK checks the request and makes the envelope; the bulk of a result passes it by.

    The SDK validates and copies each tool and each row of a result on its way out: more than the rest of the call.
    What goes past it here is made by this module alone, in the shape that the tests hold against the SDK's models.
    """
    bulk: dict[str, Any] = {}
    token = _bulk.set(bulk)
    try:
        result = await call_next(ctx)
    finally:
        _bulk.reset(token)
    if not bulk or not isinstance(result, dict):
        return result
    whole = {**result, **bulk}
    if ctx.request is not None and (way := ctx.request.scope.get(WAY)) is not None:
        way.keeps(bulk)
    bulk.clear()  # a timer of the request, such as that of its session's idle time, keeps the context of it
    return whole


def _page(tools: Sequence[ToolSpec], cursor: str | None, size: int | None) -> tuple[Sequence[ToolSpec], str | None]:
    """The page at `cursor` and the cursor of the next one. A cursor holds for the list it came from, not for another.

    Raises: MCPError -32602 for any other cursor (MCP 2025-11-25, server/utilities/pagination: the client restarts).
    """
    if size is None and cursor is None:
        return tools, None
    digest = hashlib.blake2b("\n".join(tool.name for tool in tools).encode(), digest_size=8).hexdigest()
    size = size or len(tools)
    starts = {_cursor(start, digest): start for start in range(size, len(tools), size)} if size else {}
    if cursor is not None and cursor not in starts:
        raise MCPError(code=INVALID_PARAMS, message="Invalid cursor: the list has changed; ask without a cursor.")
    start = starts[cursor] if cursor is not None else 0
    end = start + size
    return tools[start:end], _cursor(end, digest) if end < len(tools) else None


def _cursor(start: int, digest: str) -> str:
    return urlsafe_b64encode(f"{start}.{digest}".encode()).decode()
