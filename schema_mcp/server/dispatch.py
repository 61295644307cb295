"""What becomes of a call in one catalog: its plan is made, and run by whoever runs plans of that kind.

    name -> tool -> options taken off -> kind plans -> runner of the plan's type -> the answer's JSON

A new kind of plan is added with its runner (`add`) where the program is put together; nothing here knows it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from schema_mcp.caller import Caller
from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import CallError, ErrorCode, UnknownTool
from schema_mcp.execute.executor import Executor
from schema_mcp.execute.runs import Runs
from schema_mcp.execute.sql import SqlExecutor
from schema_mcp.server.batch import run_apart, run_together
from schema_mcp.server.service import UnknownToolError
from schema_mcp.tools.base import AnswerPlan, SqlPlan, StatementPlan
from schema_mcp.tools.options import PLAIN, CallOptions, Report, RowSink, read_options, takes_options
from schema_mcp.tools.target import Target
from schema_mcp.tools.view import BatchCall, BatchPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call on its way. `arguments`: as they were given. `report`: told how far it is, where somebody listens."""

    name: str
    arguments: Mapping[str, Any]
    caller: Caller
    report: Report | None = None
    #: Where rows go that are more than an answer may hold; None: they are part of the answer.
    sink: RowSink | None = None


#: The JSON of an answer, and how many rows it tells of.
Answered: TypeAlias = tuple[bytes, int]
#: Runs plans of one type, made in that catalog. Raises: CallError; UnknownToolError.
Runner: TypeAlias = Callable[[Catalog, Any, Call, CallOptions], Awaitable[Answered]]


class Dispatch:
    """Runs calls. `again` makes a call from its very beginning, as if it came by itself."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        sql: Mapping[str, SqlExecutor],
        again: Callable[[Call], Awaitable[Answered]],
    ) -> None:
        #: By source. Others take their place when limits change; a running call keeps its own.
        self.executors = executors
        self._sql = sql
        self._again = again
        self._runners: dict[type, Runner] = {}
        self.add(StatementPlan, self._run_if_possible)
        self.add(BatchPlan, self._batch)
        self.add(SqlPlan, self._run_sql)

    def add(self, plan: type, runner: Runner) -> None:
        """Plans of that type, of tools of the server itself, are run so."""
        self._runners[plan] = runner

    async def run(self, catalog: Catalog, call: Call) -> Answered:
        """The answer. Raises: CallError; UnknownToolError; asyncio.CancelledError once nothing of it runs any more."""
        plan, options, target = self.planned(catalog, call)
        if target is not None:
            result = await self.runs(plan.source).run(plan, target.table, catalog.generation, options)
            return plan.answer(result), result.affected
        if isinstance(plan, AnswerPlan):
            return plan.json, 0
        return await self._runners[type(plan)](catalog, plan, call, options)

    def planned(self, catalog: Catalog, call: Call) -> tuple[Any, CallOptions, Target | None]:
        """The plan, how to run it, and of a table's tool the table. Raises: CallError; UnknownToolError."""
        if (server_tool := catalog.server_tools.get(call.name)) is not None:
            options, arguments = PLAIN, call.arguments
            if takes_options(server_tool.action):
                options, arguments = read_options(arguments, call.report)
            plan = server_tool.plan(catalog, arguments, call.caller)
            if call.sink is not None and isinstance(plan, SqlPlan):
                limit = call.sink.max_rows if arguments.get("limit") is None else plan.limit
                return replace(plan, limit=limit), replace(options, sink=call.sink), None
            return plan, options, None
        try:
            tool, target, arguments = catalog.find(call.name, call.arguments)
        except UnknownTool:
            raise UnknownToolError(call.name) from None
        options, arguments = read_options(arguments, call.report)
        if call.sink is not None:
            options, target = replace(options, sink=call.sink), _widened(target, call.sink.max_rows)
        return tool.plan(catalog, target, arguments, call.caller), options, target

    def runs(self, source: str) -> Runs:
        """What runs the plans of a call on that source."""
        return self.executors[source]

    async def _run_sql(self, catalog: Catalog, plan: SqlPlan, call: Call, options: CallOptions) -> Answered:
        shown = await self._sql[plan.source].run(plan, catalog.generation, options)
        return plan.answer(shown), len(shown.rows)

    async def _batch(self, catalog: Catalog, plan: BatchPlan, call: Call, options: CallOptions) -> Answered:
        def planned(one: BatchCall) -> StatementPlan:
            return one.tool.plan(catalog, one.target, one.arguments, call.caller)

        if plan.together:
            return await run_together(plan, planned, self.runs, catalog.generation, options), 0

        async def called(name: str, arguments: Mapping[str, Any]) -> bytes:
            try:
                return (await self._again(Call(name=name, arguments=arguments, caller=call.caller)))[0]
            except UnknownToolError:
                raise UnknownTool(name) from None

        limits = next(iter(self.executors.values())).limits
        return await run_apart(plan, planned, called, self.runs, limits, options), 0

    async def _run_if_possible(
        self, catalog: Catalog, plan: StatementPlan, call: Call, options: CallOptions
    ) -> Answered:
        """The plan's answer; where it fails or takes too long, the answer that it has for that."""
        table = catalog.targets[plan.table].table
        try:
            async with asyncio.timeout(plan.timeout_s) as limit:
                return plan.answer(await self.runs(plan.source).run(plan, table, catalog.generation, options)), 0
        except CallError as error:
            if plan.otherwise is None or error.code is ErrorCode.STALE_SCHEMA:
                raise
            return plan.otherwise(error.message), 0
        except TimeoutError:
            if plan.otherwise is None or not limit.expired():
                raise
            return plan.otherwise(f"it takes longer than {plan.timeout_s:g} s"), 0


def _widened(target: Target, max_rows: int) -> Target:
    """The same table, of which so many rows may be asked for, and are where the call does not say."""
    return replace(target, limits=replace(target.limits, default_limit=max_rows, max_rows=max_rows))
