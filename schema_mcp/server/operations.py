"""Operations run: what starts, checks and stops them, as tools and as tasks of MCP's extension.

    start_operation -> planned, so that a call that cannot be made fails at once -> begun, kept -> its id
    a call of a client that takes tasks -> begun -> ended soon: its answer | still running: kept, a task

It knows which calls may be started and what their answers look like; the protocol's words are in `tasks.py`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, UnknownTool
from schema_mcp.execute.cut import cut
from schema_mcp.execute.operations import Operation, Operations
from schema_mcp.observe.events import CallFinished, Observe
from schema_mcp.server.dispatch import Answered, Call, Dispatch
from schema_mcp.server.results import INTERNAL_ERROR, internal_failure
from schema_mcp.server.service import TaskState, ToolAnswer, UnknownToolError
from schema_mcp.server.tool_service import CatalogToolService
from schema_mcp.state.operations import OperationRecord, OperationStatus
from schema_mcp.tools.base import Action, StatementPlan
from schema_mcp.tools.cursor import CursorSecret, query_digest
from schema_mcp.tools.operations import (
    STARTED,
    CancelPlan,
    CheckPlan,
    OperationView,
    ResultFormat,
    StartPlan,
    page_cursor,
    rows_member,
)
from schema_mcp.tools.options import CallOptions, Report

#: Tools whose rows may be more than an answer holds.
_WITH_ROWS = frozenset({Action.READ, Action.SQL})
#: Member of a kept answer: the names of the columns, where its rows do not tell them.
_NAMES = "csv_columns"
#: Members of a query's answer that are told of the page instead.
_OF_A_PAGE = frozenset({_NAMES, "rows", "row_count", "next_cursor", "hint", "cut_columns", "truncated"})


class OperationCalls:
    """Runs the plans of the three tools, and calls as tasks. `long`: runs operations' calls, under their limits.

    `rules` tells by what it is decided now what may be read: a result that was read by others is not shown.
    """

    def __init__(
        self,
        operations: Operations,
        service: CatalogToolService,
        long: Dispatch,
        observe: Observe,
        *,
        max_bytes: int,
        task_after_s: float,
        rules: Callable[[], str],
    ) -> None:
        self._rules = rules
        self._operations = operations
        self._service = service
        self._long = long
        self._observe = observe
        self._max_bytes = max_bytes
        self._task_after_s = task_after_s
        for plan, runner in ((StartPlan, self._start), (CheckPlan, self._check), (CancelPlan, self._cancel)):
            service.dispatch.add(plan, runner)

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, report: Report | None = None
    ) -> ToolAnswer | TaskState:
        """The call's answer, or once it takes long the task that it has become. Raises: as `ToolService.call`.

        Where no further operation may begin, it is a call like any other.
        """
        call = Call(name=name, arguments=arguments, caller=caller)
        try:
            operation = None
            call = self._service.contexts.pinned(call)
            if not _in_a_transaction(call) and await self._service.tried(call, self._may_be_started):
                digest = self._digest(call)
                operation = await self._operations.begin(caller, name, digest, ResultFormat.JSON, rows=False)
        except (CallError, UnknownToolError):
            operation = None  # what is wrong with it the call itself tells
        if operation is None:
            return await self._service.call(name, arguments, caller, report)
        return await self._as_task(operation, call)

    async def task(self, id_: str, caller: Caller) -> TaskState:
        """How the operation stands. Raises: CallError (`unknown_operation`)."""
        return await self._task(await self._operations.find(id_, caller))

    async def cancel_task(self, id_: str, caller: Caller) -> None:
        """Has it stopped. Raises: CallError (`unknown_operation`); Unavailable (`busy`)."""
        await self._stopped(id_, caller)

    def status(self, caller: Caller) -> Mapping[str, Any]:
        """What runs, and the caller's own: of its principal, else of its session."""
        running = self._operations.running
        own = [operation for operation in running if operation.told and _is_of(operation.caller, caller)]
        views = [self._operations.view(operation).members() for operation in own]
        return {"running": len(running), "max_running": self._operations.limits.max_running, "yours": views}

    async def _start(self, catalog: Catalog, plan: StartPlan, call: Call, options: CallOptions) -> Answered:
        inner = Call(name=plan.tool, arguments=plan.arguments, caller=call.caller, context=call.context)
        try:
            action, total, names = await self._service.tried(inner, self._planned)
        except UnknownToolError:
            raise UnknownTool(plan.tool) from None
        operation = await self._operations.begin(
            call.caller, plan.tool, self._digest(inner), plan.format, rows=action in _WITH_ROWS, total=total
        )
        await self._operations.tell(operation)
        told = self._operations.view(operation).members()
        self._run(operation, inner, names if plan.format is ResultFormat.CSV else ())
        return orjson.dumps(told), 0

    async def _planned(self, catalog: Catalog, call: Call) -> tuple[Action, int | None, tuple[str, ...]]:
        """What the tool does, roughly how many rows it gives, and their keys. Raises: CallError; UnknownToolError."""
        action = self._action(catalog, call.name)
        if action is not None and action not in STARTED:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'{call.name[:64]}' cannot be started: it answers at once",
                "Call it by itself. What runs statements can be started: query_<table>, insert_<table>, run_batch, ...",
            )
        sized = replace(call, sink=_Sized(self._operations.limits.max_rows)) if action in _WITH_ROWS else call
        plan, options, target = self._long.planned(catalog, sized)
        if options.transaction_id is not None:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                "an operation runs in no open transaction, and this session has a current one (set_context)",
                "Say transaction_id: null among its 'arguments', and it is committed by itself; or make the call by "
                "itself, in the transaction.",
            )
        assert action is not None  # or there would be no plan
        total = None
        if (
            target is not None
            and isinstance(plan, StatementPlan)
            and not target.standing
            and call.arguments.keys() <= {"table", "columns", "limit"}
        ):
            estimate = catalog.row_estimate(target)
            total = None if estimate is None else min(estimate, plan.limit or estimate)
        return action, total, plan.keys if isinstance(plan, StatementPlan) else ()

    async def _may_be_started(self, catalog: Catalog, call: Call) -> bool:
        action = self._action(catalog, call.name)
        if action is None:
            raise UnknownToolError(call.name)
        return action in STARTED

    def _action(self, catalog: Catalog, name: str) -> Action | None:
        if name in catalog.server_tools:
            return catalog.server_tools[name].action
        if name in catalog.generic_tools:
            return catalog.generic_tools[name].action
        return catalog.table_tools[name][0].action if name in catalog.table_tools else None

    def _run(self, operation: Operation, call: Call, names: tuple[str, ...] = ()) -> None:
        async def work(report: Report) -> bytes:
            started, rows, code = time.perf_counter(), 0, None
            try:
                inner = replace(call, report=report, sink=operation.spool)
                answer, rows = await self._service.tried(inner, self._long.run)
                return answer[:-1] + b',"%b":' % _NAMES.encode() + orjson.dumps(names) + b"}" if names else answer
            except CallError as error:
                code = str(error.code)
                raise
            except UnknownToolError:
                code = "unknown_tool"
                raise UnknownTool(call.name) from None
            except asyncio.CancelledError:
                code = str(ErrorCode.CANCELLED)
                raise
            except Exception as defect:  # noqa: BLE001 - the task's boundary
                code = str(ErrorCode.INTERNAL_ERROR)
                self._observe(internal_failure(f"operation {call.name[:64]!a}", defect))
                raise INTERNAL_ERROR from None
            finally:
                duration_ms = (time.perf_counter() - started) * 1000
                self._observe(CallFinished(tool=call.name[:64], duration_ms=duration_ms, rows=rows, code=code))

        self._operations.run(operation, work)

    async def _check(self, catalog: Catalog, plan: CheckPlan, call: Call, options: CallOptions) -> Answered:
        found = await self._operations.find(plan.id, call.caller)
        page = plan.page()
        if isinstance(found, Operation) and plan.wait_s:
            await _wait(found, plan.wait_s)
        return await self._told(found, page)

    async def _cancel(self, catalog: Catalog, plan: CancelPlan, call: Call, options: CallOptions) -> Answered:
        found = await self._stopped(plan.id, call.caller)
        return orjson.dumps(self._operations.view(found).members()), 0

    async def _stopped(self, id_: str, caller: Caller) -> Operation | OperationRecord:
        found = await self._operations.find(id_, caller)
        if not isinstance(found, Operation):
            return await self._operations.cancel_elsewhere(found)
        await self._operations.cancel(found)
        return found

    async def _told(self, found: Operation | OperationRecord, page: CheckPlan) -> Answered:
        view = self._operations.view(found)
        told = orjson.dumps(view.members())
        if view.record.status is not OperationStatus.SUCCEEDED:
            return told, 0
        try:
            result, rows = await self._result(found, view, page)
        except OSError:
            raise CallError(
                ErrorCode.UNKNOWN_OPERATION,
                "the operation succeeded, and its result is no longer here",
                "What may be read has changed since, or a server of another machine has kept it, or it was removed. "
                "Start it again if it only reads.",
            ) from None
        return told[:-1] + b',"result":' + result + b"}", rows

    async def _result(self, found: Operation | OperationRecord, view: OperationView, page: CheckPlan) -> Answered:
        """The answer of the call, or a page of the rows with what the answer says of all.

        Raises: OSError where it is not there as it was written, or was read when other rules held.
        """
        record, kept = view.record, self._operations.kept
        if not record.digest.endswith(self._ruled()):
            raise FileNotFoundError
        answer = found.answer if isinstance(found, Operation) and found.answer is not None else None
        if answer is None:
            answer = await kept.read_answer(record)
        if record.rows is None:
            return answer, 0
        read = await kept.read_rows(record, page.offset, page.limit, self._max_bytes)
        if read.last and page.row + len(read.rows) < record.rows:
            raise FileNotFoundError
        rows, cut_columns = list(read.rows), tuple[str, ...]()
        if len(rows) == 1 and len(rows[0]) > self._max_bytes:
            rows[0], cut_columns = cut(rows[0], self._max_bytes)
        said = orjson.loads(answer)
        cut_columns = tuple(dict.fromkeys((*said.get("cut_columns", ()), *cut_columns)))
        names = said.get(_NAMES) or [column["name"] for column in said.get("columns", ())]
        members = {name: value for name, value in said.items() if name not in _OF_A_PAGE}
        next_row = page.row + len(rows)
        cursor = page_cursor(page.secret, record.id, next_row, read.offset) if next_row < record.rows else None
        members |= {
            "format": record.format,
            "row_count": len(rows),
            "all_rows": record.rows,
            "truncated": said.get("truncated", False),
            "next_cursor": cursor,
        }
        if said.get("truncated"):
            members["hint"] = "More rows match: 'limit', operations.max_rows or max_result_bytes ended the result here."
        if cut_columns:
            members["cut_columns"] = cut_columns
        shown = rows_member(ResultFormat(record.format), rows, header=page.row == 0, names=names)
        return b"{" + shown + b"," + orjson.dumps(members)[1:], len(rows)

    async def _as_task(self, operation: Operation, call: Call) -> ToolAnswer | TaskState:
        self._run(operation, call)
        try:
            await _wait(operation, self._task_after_s)
        except BaseException:
            await self._operations.cancel(operation)
            await self._operations.forget(operation)
            raise
        if not operation.ended.is_set():
            await self._operations.tell(operation)
            return await self._task(operation)
        state = await self._task(operation)
        await self._operations.forget(operation)
        return state.answer if state.answer is not None else state

    async def _task(self, found: Operation | OperationRecord) -> TaskState:
        view = self._operations.view(found)
        record = view.record
        answer = None
        if record.status is OperationStatus.SUCCEEDED:
            first = CheckPlan(id=record.id, limit=1_000, wait_s=0, secret=self._secret)
            try:
                answer = ToolAnswer((await self._result(found, view, first))[0], is_error=False)
            except OSError:
                answer = None
        elif record.status is OperationStatus.FAILED:
            answer = ToolAnswer((record.error or "{}").encode(), is_error=True)
        ended_at = record.ended_at
        return TaskState(
            id=record.id,
            status=record.status,
            message=record.message,
            created_at=record.started_at,
            updated_at=time.time() if ended_at is None else ended_at,
            ttl_ms=None if ended_at is None else round((ended_at - record.started_at + view.keep_s) * 1000),
            answer=answer,
        )

    def _digest(self, call: Call) -> str:
        """Of the call, and behind it of the rules that its result is read by."""
        return query_digest(call.name, sorted(call.arguments.items(), key=lambda pair: str(pair[0]))) + self._ruled()

    def _ruled(self) -> str:
        return "." + query_digest(self._rules())

    @property
    def _secret(self) -> CursorSecret:
        return self._service.catalog.cursor_secret


class _Sized:
    """Stands for a sink where a call is only planned."""

    room = 0

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows

    def begin(self) -> None:
        """Nothing is run."""

    def write(self, rows: object) -> None:
        """Nothing is run."""


async def _wait(operation: Operation, limit_s: float) -> None:
    """Returns at its end, or after that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await operation.ended.wait()


def _in_a_transaction(call: Call) -> bool:
    current = None if call.context is None else call.context.transaction_id
    return call.arguments.get("transaction_id", current) is not None


def _is_of(owner: Caller, caller: Caller) -> bool:
    if caller.principal is not None or owner.principal is not None:
        return owner.principal == caller.principal
    return caller.session is not None and owner.session == caller.session
