"""`server_status`: how the server stands: its databases, whether it hears of changes, its history, what it lists."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.state.records import HistoryStatus
from schema_mcp.tools.arguments import refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema, ServerStatus, SourceStatus, StatusPlan
from schema_mcp.tools.json_schema import quoted
from schema_mcp.tools.kinds.end_transaction import told_operations
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.times import iso
from schema_mcp.tools.transactions import TransactionsStatus
from schema_mcp.tools.view import CatalogView

#: Most relations that are named as left out, and the longest name, in characters.
MAX_LEFT_OUT, MAX_NAME = 20, 100


class ServerStatusTool:
    """The tool. Stateless."""

    name = "server_status"
    action = Action.INSPECT
    title = "Server status"
    description = "Whether the database answers, how old the schema is, how it is watched, and the history."

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """No arguments."""
        return {"type": "object", "properties": {}, "additionalProperties": False}

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> StatusPlan:
        """The server answers. Raises: InvalidArgument."""
        refuse_unknown(arguments, ())
        return StatusPlan(answer=partial(_answer, view))


def state(source: SourceStatus) -> dict[str, Any]:
    """Whether the source answers; if not, why."""
    if source.error is not None:
        return {"state": "unreachable", "reason": source.error}
    return {"state": "confirmed" if source.confirmed else "not confirmed"}


def unreachable_since(source: SourceStatus) -> dict[str, str]:
    """Since when it does not answer, where it does not."""
    return {} if source.failing_since is None else {"since": iso(source.failing_since)}


def _answer(view: CatalogView, status: ServerStatus) -> bytes:
    surface = {"listed_tools": status.listed_tools, "listed_bytes": status.listed_bytes}
    if len(status.sources) == 1:
        (source,) = status.sources
        members = {"sources": [_source(source)], "history": _history(source.history)}
    else:
        members = {"sources": [_one_of_several(source) for source in status.sources]}
    transactions = _transactions(view, status.transactions)
    return orjson.dumps(
        {"schema_version": status.generation, **members, "transactions": transactions, "surface": surface}
    )


def _transactions(view: CatalogView, status: TransactionsStatus) -> dict[str, Any]:
    own = [
        {
            "transaction_id": one.id,
            "source": one.source,
            "description": one.description,
            "isolation": str(one.isolation),
            "read_only": one.read_only,
            "age_s": round(one.age_s, 1),
            "idle_s": round(one.idle_s, 1),
            "expires_at": iso(one.ends_at),
            "operations": told_operations(view, one.operations),
        }
        for one in status.own
    ]
    return {"open": status.open, "size": status.size, "own": own}


def _one_of_several(source: SourceStatus) -> dict[str, Any]:
    return {**_source(source), **unreachable_since(source), "history": _history(source.history)}


def _source(source: SourceStatus) -> dict[str, Any]:
    told: dict[str, Any] = {"source": source.source, "product": source.product, **state(source)}
    told |= {"confirmed": source.confirmed, "tables": source.tables}
    if source.left_out:
        told["left_out"] = [quoted(name, MAX_NAME) for name in source.left_out[:MAX_LEFT_OUT]]
        told["hint"] = (
            "The database itself cannot describe what is left out: what it refers to, or its module, is gone."
        )
    if source.warnings:
        told["warnings"] = list(source.warnings)
    if source.confirmed_at is not None:
        told["schema_true_at"] = iso(source.confirmed_at)
        told["schema_age_s"] = round(max(0.0, time.time() - source.confirmed_at), 1)
    told["watch"] = {"mode": "trigger" if source.listening else "poll", "interval_s": source.interval_s}
    told["pool"] = {"size": source.pool_size, "in_use": source.pool_in_use}
    return told


def _history(history: HistoryStatus) -> dict[str, Any]:
    members = {
        "kept": history.kept,
        "where": history.where,
        "reason": history.reason,
        "hint": history.hint,
        "waiting": history.waiting,
    }
    return {name: value for name, value in members.items() if value is not None}
