"""Plans that begin and end transactions, and which of the open ones a call runs in."""

from collections.abc import Callable, Sequence

from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import CallError
from schema_mcp.execute.transactions import Transactions
from schema_mcp.server.dispatch import Answered, Call, Dispatch
from schema_mcp.server.own_locks import told_of
from schema_mcp.tools.options import CallOptions
from schema_mcp.tools.transactions import BeginPlan, EndPlan, OpenTransaction


class TransactionCalls:
    """Runs such plans. `told`: a session has been told that its transaction of that id has ended."""

    def __init__(self, transactions: Transactions, dispatch: Dispatch, told: Callable[[str | None, str], None]) -> None:
        self._transactions = transactions
        self._told = told
        self._dispatch = dispatch
        dispatch.add(BeginPlan, self._begin)
        dispatch.add(EndPlan, self._end)

    async def _begin(self, catalog: Catalog, plan: BeginPlan, call: Call, options: CallOptions) -> Answered:
        executor = self._dispatch.executors[plan.source]
        read_only = plan.read_only or catalog.policy.engine_read_only

        def own() -> Sequence[OpenTransaction]:
            return self._transactions.writing(call.caller, plan.source, apart_from=None)

        with told_of(own, executor.limits.lock_timeout_s):
            opened = await self._transactions.begin(
                plan, call.caller, executor.limits, executor.on_stale, executor.writes, read_only=read_only
            )
        return plan.answer(opened), 0

    async def _end(self, catalog: Catalog, plan: EndPlan, call: Call, options: CallOptions) -> Answered:
        transaction = None
        try:
            transaction = self._transactions.find(plan.id, call.caller)
            ended = await (transaction.commit() if plan.commit else transaction.roll_back())
        except CallError:
            if transaction is None or transaction.over:
                self._told(call.caller.session, plan.id)
            raise
        self._told(call.caller.session, plan.id)
        return plan.answer(ended), 0
