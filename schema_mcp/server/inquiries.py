"""Plans that ask the server itself: the watcher, the histories, how it stands."""

import asyncio
from collections.abc import Callable, Mapping

from schema_mcp.caller import Caller
from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.server.dispatch import Answered, Call, Dispatch
from schema_mcp.state.keeper import Keeper
from schema_mcp.tools.base import HistoryPlan, RefreshPlan, ServerStatus, StatusPlan
from schema_mcp.tools.options import CallOptions
from schema_mcp.watch.watcher import Watcher

#: How long `refresh_schema` waits for a reading.
REFRESH_TIMEOUT_S = 60.0


class Inquiries:
    """Runs such plans."""

    def __init__(
        self, watcher: Watcher, keepers: Mapping[str, Keeper], status: Callable[[Caller], ServerStatus]
    ) -> None:
        self._watcher = watcher
        self._keepers = keepers
        self._status = status

    def add_to(self, dispatch: Dispatch) -> None:
        """Has these plans run here."""
        dispatch.add(RefreshPlan, self._refresh)
        dispatch.add(HistoryPlan, self._histories)
        dispatch.add(StatusPlan, self._tell_status)

    async def _tell_status(self, catalog: Catalog, plan: StatusPlan, call: Call, options: CallOptions) -> Answered:
        return plan.answer(self._status(call.caller)), 0

    async def _histories(self, catalog: Catalog, plan: HistoryPlan, call: Call, options: CallOptions) -> Answered:
        asked = plan.queries
        answers = await asyncio.gather(*[self._keepers[source].changes(query) for source, query in asked.items()])
        return plan.answer(dict(zip(asked, answers, strict=True))), 0

    async def _refresh(self, catalog: Catalog, plan: RefreshPlan, call: Call, options: CallOptions) -> Answered:
        """Raises: CallError (`timeout`) where no source was read in time; else the late ones are among the errors."""
        try:
            return plan.answer(await self._watcher.refresh(plan.source, limit_s=REFRESH_TIMEOUT_S)), 0
        except TimeoutError:
            raise CallError(
                ErrorCode.TIMEOUT,
                f"reading the schema takes longer than {REFRESH_TIMEOUT_S:g} s",
                "It goes on; call again later. The last schema that could be read stays in use.",
                retryable=True,
            ) from None
