"""What becomes of a call in one catalog: its plan is made, and run by whoever runs plans of that kind.

    session's context -> tool -> options taken off -> kind plans -> runner of the plan's type -> the answer's JSON

A new kind of plan is added with its runner (`add`) where the program is put together; nothing here knows it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from schema_mcp.caller import Caller
from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, UnknownTool
from schema_mcp.execute.cache import ResultCache
from schema_mcp.execute.executor import Executor
from schema_mcp.execute.outcome import Outcome
from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.execute.runs import Runs
from schema_mcp.execute.sql import SqlExecutor
from schema_mcp.execute.transaction import Transaction
from schema_mcp.execute.transaction_errors import told_read_only
from schema_mcp.execute.transactions import Transactions
from schema_mcp.observe.events import Observe
from schema_mcp.server.batch import Calls, run_apart, run_together
from schema_mcp.server.kept import key_of, may_be_kept
from schema_mcp.server.own_locks import Telling, told_of
from schema_mcp.server.results import INTERNAL_ERROR, internal_failure
from schema_mcp.server.service import UnknownToolError
from schema_mcp.tools.base import Action, AnswerPlan, SqlPlan, StatementPlan
from schema_mcp.tools.context import Context
from schema_mcp.tools.options import CallOptions, Report, RowSink, read_options, takes_options, within
from schema_mcp.tools.target import Target
from schema_mcp.tools.transactions import OpenTransaction
from schema_mcp.tools.view import BatchCall, BatchPlan, CatalogView

#: What tools do that write nothing; others may.
_READING = frozenset({Action.READ, Action.EXPLAIN, Action.INSPECT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call on its way. `arguments`: as they were given. `report`: told how far it is, where somebody listens."""

    name: str
    arguments: Mapping[str, Any]
    caller: Caller
    report: Report | None = None
    #: Seconds that are left of the call that this one is part of.
    left_s: float | None = None
    #: Bytes that are left of the answer that this one's is part of.
    left_bytes: int | None = None
    #: Where rows go that are more than an answer may hold; None: they are part of the answer.
    sink: RowSink | None = None
    #: What the result's `_meta` is to say; whoever runs the call puts it there.
    meta: dict[str, Any] = field(default_factory=dict)
    #: What its session had set when the call began; None: nobody has looked yet.
    context: Context | None = None

    @property
    def client(self) -> str | None:
        """Whom its calls take turns by: the session, else who signed in; None for all others together."""
        return self.caller.session or self.caller.principal


#: The JSON of an answer, and how many rows it tells of.
Answered: TypeAlias = tuple[bytes, int]
#: Runs plans of one type, made in that catalog. Raises: CallError; UnknownToolError.
Runner: TypeAlias = Callable[[Catalog, Any, Call, CallOptions], Awaitable[Answered]]


class Dispatch:
    """Runs calls. `again` makes a call from its very beginning, as if it came by itself.

    `others`: runs plans of the types that no runner was added for here.
    """

    def __init__(
        self,
        executors: Mapping[str, Executor],
        sql: Mapping[str, SqlExecutor],
        transactions: Transactions,
        again: Callable[[Call], Awaitable[Answered]],
        observe: Observe,
        others: "Dispatch | None" = None,
    ) -> None:
        #: By source. Others take their place when limits change; a running call keeps its own.
        self.executors = executors
        self._sql = sql
        self._transactions = transactions
        self._again = again
        self._observe = observe
        self._others = others
        #: Answers of calls that read; None: none are kept.
        self.cache: ResultCache | None = None
        self._runners: dict[type, Runner] = {}
        #: Puts what the caller's session has set around a call. Raises: CallError.
        self.in_context: Callable[[Catalog, Call], tuple[CatalogView, Call]] = lambda catalog, call: (catalog, call)
        self.add(StatementPlan, self._run_if_possible)
        self.add(BatchPlan, self._batch)
        self.add(SqlPlan, self._run_sql)

    def add(self, plan: type, runner: Runner) -> None:
        """Plans of that type, of tools of the server itself, are run so."""
        self._runners[plan] = runner

    async def run(self, catalog: Catalog, call: Call) -> Answered:
        """The answer. Raises: CallError; UnknownToolError; asyncio.CancelledError once nothing of it runs any more."""
        view, call = self.in_context(catalog, call)
        plan, options, target = self._plan(view, catalog, call)
        if isinstance(plan, AnswerPlan):
            return plan.json, 0
        if target is None:
            return await self._runner(type(plan))(catalog, plan, call, options)

        async def answered() -> Answered:
            result = await self.runs(plan.source, call, options).run(plan, target.table, catalog.generation, options)
            return plan.answer(result), result.affected

        if self.cache is None or not may_be_kept(plan, options):
            return await answered()
        key = key_of(call.caller, catalog.generation, call.name, call.arguments, plan)
        if (found := self.cache.find(key)) is not None:
            kept, age_ms = found
            call.meta.update(cached=True, age_ms=age_ms)
            return kept.json, kept.rows
        keep = self.cache.reading()
        json, rows = await answered()
        keep(key, json, rows)
        return json, rows

    def _runner(self, plan: type) -> Runner:
        if plan in self._runners or self._others is None:
            return self._runners[plan]
        return self._others._runner(plan)

    def planned(self, catalog: Catalog, call: Call) -> tuple[Any, CallOptions, Target | None]:
        """The plan, how to run it, and of a table's tool the table. Raises: CallError; UnknownToolError."""
        view, call = self.in_context(catalog, call)
        return self._plan(view, catalog, call)

    def _plan(self, view: CatalogView, catalog: Catalog, call: Call) -> tuple[Any, CallOptions, Target | None]:
        arguments = call.arguments
        options = CallOptions(left_s=call.left_s, left_bytes=call.left_bytes, report=call.report, client=call.client)
        if (server_tool := catalog.server_tools.get(call.name)) is not None:
            if takes_options(server_tool.action):
                options, arguments = self._read_options(arguments, options)
            plan = server_tool.plan(view, arguments, call.caller)
            if call.sink is not None and isinstance(plan, SqlPlan):
                limit = call.sink.max_rows if arguments.get("limit") is None else plan.limit
                return replace(plan, limit=limit), replace(options, sink=call.sink), None
            return plan, options, None
        try:
            tool, target, arguments = view.find(call.name, arguments)
        except UnknownTool:
            raise UnknownToolError(call.name) from None
        options, arguments = self._read_options(arguments, options)
        if call.sink is not None:
            options, target = replace(options, sink=call.sink), _widened(target, call.sink.max_rows)
        return tool.plan(view, target, arguments, call.caller), options, target

    def runs(self, source: str, call: Call, options: CallOptions) -> Runs:
        """What runs the plans of the call on that source: the pool, or the open transaction that it names.

        Raises: CallError (`unknown_transaction`).
        """
        runs: Runs = self.executors[source]
        if options.transaction_id is not None:
            runs = self._transaction(options.transaction_id, call, source)
        return Telling(runs, self._own(call, source, options))

    def _own(self, call: Call, source: str, options: CallOptions) -> Callable[[], Sequence[OpenTransaction]]:
        return lambda: self._transactions.writing(call.caller, source, apart_from=options.transaction_id)

    def _transaction(self, id_: str, call: Call, source: str) -> Transaction:
        try:
            return self._transactions.find(id_, call.caller, source)
        except InvalidArgument as error:
            if call.context is not None and call.context.transaction_id == id_:
                error.hint += " It is this session's current one: set_context with transaction_id: null ends that."
            raise

    @property
    def _limits(self) -> ExecutionLimits:
        """The same for all sources."""
        return next(iter(self.executors.values())).limits

    def _read_options(
        self, arguments: Mapping[str, Any], options: CallOptions
    ) -> tuple[CallOptions, Mapping[str, Any]]:
        limits = self._limits
        return read_options(arguments, options, limits.call_timeout_s, limits.call_limit)

    async def _run_sql(self, catalog: Catalog, plan: SqlPlan, call: Call, options: CallOptions) -> Answered:
        sql = self._sql[plan.source]
        with told_of(self._own(call, plan.source, options), sql.limits.lock_timeout_s):
            if options.transaction_id is None:
                shown = await sql.run(plan, catalog.generation, options)
            else:
                transaction = self._transaction(options.transaction_id, call, plan.source)
                with told_read_only(writes=plan.writes and transaction.status.read_only):
                    shown = await transaction.run_sql(plan, catalog.generation, options)
        return plan.answer(shown), len(shown.rows)

    async def _batch(self, catalog: Catalog, plan: BatchPlan, call: Call, options: CallOptions) -> Answered:
        view, _ = self.in_context(catalog, call)

        def planned(one: BatchCall) -> StatementPlan:
            return one.tool.plan(view, one.target, one.arguments, call.caller)

        def runs(source: str) -> Runs:
            return self.runs(source, call, options)

        if plan.together:
            return await run_together(plan, planned, runs, catalog.generation, options), 0

        def server_action(name: str) -> Action | None:
            return catalog.server_tools[name].action if name in catalog.server_tools else None

        def became() -> Outcome | None:
            id_ = options.transaction_id
            return None if id_ is None else self._transactions.outcome(id_, call.caller)

        async def called(name: str, arguments: Mapping[str, Any], left_s: float, left_bytes: int) -> bytes:
            # Of the session's context all but its transaction: in which one a batch runs is said once, for all of it.
            context = None if call.context is None else replace(call.context, transaction_id=None)
            one = Call(
                name=name,
                arguments=within(arguments, options),
                caller=call.caller,
                left_s=left_s,
                left_bytes=left_bytes,
                context=context,
            )
            try:
                return (await self._again(one))[0]
            except UnknownToolError:
                raise UnknownTool(name) from None

        reading = _READING if catalog.sql_writes else _READING | {Action.SQL}
        calls = Calls(make=called, action=server_action, reading=reading, became=became, defect=self._defect)
        return await run_apart(plan, planned, calls, runs, self._limits, options), 0

    def _defect(self, where: str, defect: Exception) -> CallError:
        self._observe(internal_failure(where, defect))
        return INTERNAL_ERROR

    async def _run_if_possible(
        self, catalog: Catalog, plan: StatementPlan, call: Call, options: CallOptions
    ) -> Answered:
        """The plan's answer; where it fails or takes too long, the answer that it has for that."""
        table = catalog.targets[plan.table].table
        try:
            async with asyncio.timeout(plan.timeout_s) as limit:
                runs = self.runs(plan.source, call, options)
                return plan.answer(await runs.run(plan, table, catalog.generation, options)), 0
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
