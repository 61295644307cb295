"""Plans that wait for a change: each wait in its own call, so that cancelling the call ends it, and nothing else."""

import time
from collections.abc import Callable, Mapping

from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.server.dispatch import Answered, Call, Dispatch
from schema_mcp.tools.kinds.wait_for_change import DEFAULT_S
from schema_mcp.tools.options import CallOptions
from schema_mcp.tools.values import shown
from schema_mcp.tools.waiting import RowMark, SchemaMark, SchemaSeen, WaitPlan
from schema_mcp.watch.changes import Changed, SchemaChanges
from schema_mcp.watch.rows import RowWatch


class Waits:
    """Runs such plans. `most_s` tells how long a call may take now."""

    def __init__(self, schema: SchemaChanges, rows: Mapping[str, RowWatch], most_s: Callable[[], float]) -> None:
        self._schema = schema
        self._rows = rows
        self._most_s = most_s

    def add_to(self, dispatch: Dispatch) -> None:
        """Has such plans run here."""
        dispatch.add(WaitPlan, self._wait)

    async def _wait(self, catalog: Catalog, plan: WaitPlan, call: Call, options: CallOptions) -> Answered:
        """Raises: CallError."""
        most_s, began = self._most_s(), time.monotonic()
        if plan.timeout_s is not None and plan.timeout_s > most_s:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'timeout_s' is {shown(plan.timeout_s)}, and a call may take {most_s:g} s (limits.call_timeout_s)",
                "Wait for less, and go on with 'since' of the answer: nothing is missed in between.",
            )
        # Something is left for the answer, which is owed within the time of a call.
        most_s *= 0.9
        timeout_s = min(plan.timeout_s or DEFAULT_S, most_s)
        if plan.table is not None:
            since = plan.since if isinstance(plan.since, RowMark) else None
            seen = await self._rows[plan.table.source].wait(plan.table, since, timeout_s, most_s)
            return plan.answer(seen, time.monotonic() - began), 0
        mark = plan.since if isinstance(plan.since, SchemaMark) else None
        found: tuple[Changed, ...] | None = None
        if mark is None or mark.process == self._schema.process:
            generation = catalog.generation if mark is None else mark.generation
            found = await self._schema.wait(generation, plan.source, timeout_s)
        return plan.answer(self._told(found, plan.source), time.monotonic() - began), 0

    def _told(self, found: tuple[Changed, ...] | None, source: str | None) -> SchemaSeen:
        now = SchemaMark(self._schema.process, self._schema.generation)
        if found is None:
            return SchemaSeen(now=now, added=None, removed=None, changed=None)

        def names(part: str) -> tuple[str, ...]:
            pairs = [pair for one in found for pair in getattr(one, part) if source in (None, pair[0].source)]
            return tuple(dict.fromkeys(display for _, display in pairs))

        return SchemaSeen(now=now, added=names("added"), removed=names("removed"), changed=names("changed"))
