"""What a session has set once for all of its calls: where they go, how many rows, which rows. Pure.

    set_context's arguments -> `context_reading` checks them against the catalog -> Context
    a call                  -> `ContextView`, `with_defaults`                    -> planned as if it had said so itself

It knows no session; whose context it is, and until when, is the server's to keep.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.tools.base import Action
from schema_mcp.tools.options import OPTION_PROPERTIES, takes_options

#: The group that turns the tools on, and their names.
GROUP = "set_context"
CONTEXT_TOOLS = ("set_context", "get_context", "clear_context")
#: The option that the current transaction stands for, where calls can be made in one.
TRANSACTION = "transaction_id"

_MEMBERS = ("source", "schema", "limit", "filters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """None, or no filters: not set. `filters`: JSON values by column name, none of them null."""

    source: str | None = None
    schema: str | None = None
    limit: int | None = None
    filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    transaction_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """What is set."""
        members = {
            "source": self.source,
            "schema": self.schema,
            "limit": self.limit,
            "filters": dict(self.filters) or None,
            TRANSACTION: self.transaction_id,
        }
        return {name: value for name, value in members.items() if value is not None}


#: Nothing is set.
EMPTY = Context()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPlan:
    """The session's context is asked for; `change` makes the next of the one before, None leaves it as it is.

    `ended`, given to `answer`: one was set and ended because nobody used it. `change` raises: CallError.
    """

    change: Callable[[Context], Context] | None
    answer: Callable[[Context, bool], bytes]


def members() -> tuple[str, ...]:
    """What a context can be made of in this server."""
    return (*_MEMBERS, TRANSACTION) if TRANSACTION in OPTION_PROPERTIES else _MEMBERS


def with_defaults(
    context: Context, action: Action, properties: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The arguments, and what the context says of those that are not among them. `properties`: those the tool takes."""
    given: dict[str, Any] = {}
    elsewhere = "source" in arguments and arguments["source"] != context.source
    if "source" in properties and context.source is not None and not {"source", "table", "tool"} & arguments.keys():
        given["source"] = context.source
    if "schema" in properties and context.schema is not None and not ("schema" in arguments or elsewhere):
        given["schema"] = context.schema
    takes_one = TRANSACTION in properties or (takes_options(action) and TRANSACTION in OPTION_PROPERTIES)
    if takes_one and context.transaction_id is not None and TRANSACTION not in arguments:
        given[TRANSACTION] = context.transaction_id
    return {**arguments, **given} if given else arguments


def refuse_sql(context: Context, action: Action) -> None:
    """Raises: CallError (`not_allowed`) for SQL of the caller's own while there are standing filters."""
    if context.filters and action in (Action.SQL, Action.EXPLAIN):
        raise CallError(
            ErrorCode.NOT_ALLOWED,
            "this session has standing filters, and they cannot be put into SQL of your own: "
            f"{', '.join(name[:100] for name in context.filters)}",
            "Use the tools of the tables, or end the filters: set_context with filters: null.",
        )
