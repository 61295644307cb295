"""The contexts of sessions (`set_context`): kept while the session lives and uses them, put around each of its calls.

One that ends because nobody used it leaves a mark: the session's next call is refused, not run without the filters
that it may count on. Mutable, used from the event loop only.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from schema_mcp.catalog.build import Catalog
from schema_mcp.errors import CallError, ErrorCode, LimitReached
from schema_mcp.server.dispatch import Answered, Call, Dispatch
from schema_mcp.server.service import UnknownToolError
from schema_mcp.tools.base import Action
from schema_mcp.tools.context import (
    CONTEXT_TOOLS,
    EMPTY,
    Context,
    ContextPlan,
    refuse_sql,
    with_defaults,
)
from schema_mcp.tools.context_view import ContextView
from schema_mcp.tools.options import CallOptions
from schema_mcp.tools.view import CatalogView

#: Sessions that may have one at a time.
MAX_CONTEXTS = 1_000

#: Tools that no context concerns.
_APART = frozenset({*CONTEXT_TOOLS, "server_status"})


@dataclass(slots=True)
class _Kept:
    """`context` None: it has ended, and the session is yet to be told. `used_at`: on the clock."""

    context: Context | None
    used_at: float


class Contexts:
    """By session. `idle_s`: seconds without a call after which a context ends; may change while it runs."""

    def __init__(self, idle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.idle_s = idle_s
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add_to(self, dispatch: Dispatch) -> None:
        """Has such plans run here, and each call planned in its session's context."""
        dispatch.add(ContextPlan, self._run)
        dispatch.in_context = self.around

    def around(self, catalog: Catalog, call: Call) -> tuple[CatalogView, Call]:
        """What the call sees of the catalog, and the call with what the context says of it.

        Raises: CallError: `context_ended`, `not_allowed` for SQL under standing filters.
        """
        call = self.pinned(call)
        context = call.context
        if context is None or context == EMPTY:
            return catalog, call
        tool = catalog.server_tools.get(call.name)
        if tool is None:
            action, properties = Action.READ, {}
        else:
            action, properties = tool.action, tool.input_schema(catalog.limits)["properties"]
        refuse_sql(context, action)
        arguments = with_defaults(context, action, properties, call.arguments)
        return ContextView(of=catalog, context=context), replace(call, arguments=arguments)

    def pinned(self, call: Call) -> Call:
        """The call with what its session has set now. That holds for all of it, whatever becomes of the session.

        Raises: CallError (`context_ended`).
        """
        if call.context is not None or call.name in _APART:
            return call
        kept = self._find(call.caller.session)
        if kept is None:
            return replace(call, context=EMPTY)
        if kept.context is None:
            raise CallError(
                ErrorCode.CONTEXT_ENDED,
                f"the context of this session ended: it was not used for {self.idle_s:g} s",
                "Set it again with set_context, or call clear_context to go on without; nothing was run.",
            )
        return replace(call, context=kept.context)

    def transaction_ended(self, session: str | None, id_: str) -> None:
        """The session has been told of the end of that transaction: it is no longer its current one."""
        kept = None if session is None else self._kept.get(session)
        if session is None or kept is None or kept.context is None or kept.context.transaction_id != id_:
            return
        kept.context = replace(kept.context, transaction_id=None)
        if kept.context == EMPTY:
            del self._kept[session]

    def forget(self, session: str) -> None:
        """The session has ended."""
        self._kept.pop(session, None)

    async def _run(self, catalog: Catalog, plan: ContextPlan, call: Call, options: CallOptions) -> Answered:
        """Raises: CallError; UnknownToolError."""
        session = call.caller.session
        if session is None:
            raise UnknownToolError(call.name)  # it is not offered where nothing is kept between two requests
        kept = self._find(session)
        context = EMPTY if kept is None or kept.context is None else kept.context
        ended = kept is not None and kept.context is None
        if plan.change is not None:
            context = plan.change(context)
            self._put(session, context)
        return plan.answer(context, ended), 0

    def _put(self, session: str, context: Context) -> None:
        if context == EMPTY:
            self._kept.pop(session, None)
            return
        others = [each for each in list(self._kept) if each != session and self._live(each)]
        if len(others) >= MAX_CONTEXTS:
            raise LimitReached(
                ErrorCode.BUSY,
                f"{MAX_CONTEXTS} sessions have a context, and more are not kept",
                "Say it in the arguments of each call, or try again later.",
                retryable=True,
            )
        self._kept[session] = _Kept(context, self._clock())

    def _live(self, session: str) -> bool:
        kept = self._kept[session]
        return kept.context is not None and self._clock() - kept.used_at <= self.idle_s

    def _find(self, session: str | None) -> _Kept | None:
        """What the session has, which is used by this."""
        if session is None or session not in self._kept:
            return None
        kept = self._kept[session]
        if not self._live(session):
            kept.context = None
        kept.used_at = self._clock()
        return kept
