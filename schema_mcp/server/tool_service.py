"""`ToolService` over the catalog: finds the tool, asks the policy, has the plan made and run, and answers.

    name -> current catalog -> policy -> kind plans -> the plan's runner (`dispatch`)

A call keeps the catalog it began with. Where it does not fit that catalog, or the catalog does not fit the database,
it is tried once more after a look at the database, if that found a newer schema: what is valid today runs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from schema_mcp.caller import Caller
from schema_mcp.catalog.build import Catalog
from schema_mcp.catalog.registry import Registry
from schema_mcp.catalog.surface import order
from schema_mcp.errors import CallError, ErrorCode, StaleSchema
from schema_mcp.execute.executor import Executor
from schema_mcp.execute.sql import SqlExecutor
from schema_mcp.execute.transactions import Transactions
from schema_mcp.observe.events import CallFinished, Observe
from schema_mcp.server.activated import Activated, ListChanged
from schema_mcp.server.contexts import Contexts
from schema_mcp.server.dispatch import Answered, Call, Dispatch
from schema_mcp.server.freshness import Freshness
from schema_mcp.server.inquiries import Inquiries
from schema_mcp.server.instructions import instructions
from schema_mcp.server.meant import source_of
from schema_mcp.server.results import error_answer
from schema_mcp.server.service import TaskService, ToolAnswer, UnknownToolError
from schema_mcp.server.transactions import TransactionCalls
from schema_mcp.state.keeper import Keeper
from schema_mcp.tools.base import ActivatePlan, ServerStatus, ToolSpec
from schema_mcp.tools.options import CallOptions, Report
from schema_mcp.watch.watcher import Watcher

Given = TypeVar("Given")


class CatalogToolService:
    """The service of one process."""

    def __init__(
        self,
        registry: Registry,
        executors: Mapping[str, Executor],
        watcher: Watcher,
        keepers: Mapping[str, Keeper],
        observe: Observe,
        *,
        sql: Mapping[str, SqlExecutor],
        transactions: Transactions,
        status: Callable[[Caller], ServerStatus],
        list_ttl_ms: int,
        context_idle_s: float,
    ) -> None:
        self._registry = registry
        self._observe = observe
        self.list_ttl_ms = list_ttl_ms
        self.instructions = instructions(tuple(executors))
        self.freshness = Freshness(registry, watcher, keepers)
        self.dispatch = Dispatch(executors, sql, transactions, self._call, observe)
        self.contexts = Contexts(context_idle_s)
        self.contexts.add_to(self.dispatch)
        TransactionCalls(transactions, self.dispatch, self.contexts.transaction_ended)
        self.dispatch.add(ActivatePlan, self._activate)
        Inquiries(watcher, keepers, status).add_to(self.dispatch)
        #: Calls as tasks, where the program is put together with them.
        self.tasks: TaskService | None = None
        self.activated = Activated()
        #: Told of each session that has ended.
        self.forgetting: list[Callable[[str], None]] = [
            self.activated.forget,
            self.contexts.forget,
            transactions.forget,
        ]
        #: Set after each change of a list that some client may have.
        self.list_changed = ListChanged()
        #: Some client has been given a list.
        self.listed = False

    @property
    def catalog(self) -> Catalog:
        """That of now."""
        return self._registry.current

    async def tools(self, caller: Caller) -> Sequence[ToolSpec]:
        """What is listed now; at the very start, after the first look at the database or what stands in for it."""
        await self.freshness.first_tables()
        self.listed = True
        catalog = self._registry.current
        own = catalog.session_specs(self.activated.of(caller.session)) if caller.session is not None else []
        if not own:
            return catalog.listed
        listed = zip(catalog.listed, catalog.listed_json, strict=True)
        return [spec for spec, _ in order([*listed, *own])]

    def forget(self, session: str) -> None:
        """See `ToolService.forget`."""
        for forget in self.forgetting:
            forget(session)

    def replaced(self, before: Catalog, after: Catalog) -> None:
        """Tells sessions of changes in what they have activated; of what all are offered others tell."""
        self.list_changed.set_for(
            session
            for session, tables in self.activated.items()
            if before.session_specs(tables) != after.session_specs(tables)
        )

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, report: Report | None = None
    ) -> ToolAnswer:
        """See `ToolService.call`."""
        started = time.perf_counter()
        rows, code = 0, None
        try:
            call = Call(name=name, arguments=arguments, caller=caller, report=report)
            json, rows = await self._call(call)
            return ToolAnswer(json, is_error=False, meta=call.meta)
        except CallError as error:
            code = str(error.code)
            return error_answer(error)
        except asyncio.CancelledError:
            code = str(ErrorCode.CANCELLED)
            raise
        except UnknownToolError:
            code = "unknown_tool"
            raise
        finally:
            duration_ms = (time.perf_counter() - started) * 1000
            self._observe(CallFinished(tool=name[:64], duration_ms=duration_ms, rows=rows, code=code))

    async def _call(self, call: Call) -> Answered:
        return await self.tried(call, self.dispatch.run)

    async def tried(self, call: Call, run: Callable[[Catalog, Call], Awaitable[Given]]) -> Given:
        """What `run` makes of the call in the catalog of now, or in the next one, if the call or the catalog is stale.

        Raises: as `run`.
        """
        call = self.contexts.pinned(call)
        name, arguments = call.name, call.arguments
        catalog = self._registry.current
        if len(catalog.schemas) < len(self.dispatch.executors) and not (name in _ALWAYS or name in catalog.table_tools):
            catalog = await self.freshness.first_catalog(name, arguments)
        try:
            return await run(catalog, call)
        except (UnknownToolError, CallError) as error:
            code = error.code if isinstance(error, CallError) else None
            if code is not None and code not in _MAY_BE_STALE and code is not ErrorCode.INVALID_CURSOR:
                raise
            source = source_of(catalog, name, arguments)
            came = await self.freshness.past_came(source)
            if code is ErrorCode.INVALID_CURSOR:
                if not came:
                    raise
                return await run(catalog, call)
            await self.freshness.look(source)
            now = self._registry.current
            if now is catalog:
                raise
            if name in catalog.table_tools and name not in now.table_tools:
                raise _gone(catalog.table_tools[name][1].display) from error
        return await run(now, call)

    async def _activate(self, catalog: Catalog, plan: ActivatePlan, call: Call, options: CallOptions) -> Answered:
        session = call.caller.session
        if session is None:
            raise UnknownToolError(call.name)  # it is not offered where nothing is kept between two requests
        before = self._registry.current.session_specs(self.activated.of(session))
        tables = self.activated.put(session, plan.tables, replace=plan.replace)
        if self._registry.current.session_specs(tables) != before:
            self.list_changed.set_for([session])
        return plan.answer(tables), 0


#: Tools that answer whether there are tables or not.
_ALWAYS = frozenset({"schema_changes", "server_status", "check_operation", "cancel_operation"})

#: Codes of calls that may be right for a schema newer than the catalog. None of them has written anything.
_MAY_BE_STALE = frozenset(
    {
        ErrorCode.STALE_SCHEMA,
        ErrorCode.UNKNOWN_TOOL,
        ErrorCode.UNKNOWN_TABLE,
        ErrorCode.UNKNOWN_SCHEMA,
        ErrorCode.AMBIGUOUS_TABLE,
        ErrorCode.UNKNOWN_COLUMN,
        ErrorCode.UNKNOWN_RELATIONSHIP,
        ErrorCode.INVALID_OPERATOR,
        ErrorCode.INVALID_VALUE,
        ErrorCode.MISSING_VALUE,
        ErrorCode.PERMISSION_DENIED,
    }
)


def _gone(table: str) -> StaleSchema:
    return StaleSchema(
        f"table '{table}' is no longer there",
        "It was dropped, renamed or is no longer permitted. list_tables tells the tables there are now.",
        details={"table": table, "columns": []},
    )
