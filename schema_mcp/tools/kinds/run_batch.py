"""`run_batch`: a list of calls of the tools of tables, in one transaction or each by itself."""

from collections.abc import Mapping
from typing import Any

from schema_mcp.caller import Caller
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_list, read_text, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.batch import named, read_call
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import BatchCall, BatchPlan, CatalogView

_MODES = ("transaction", "independent")


class RunBatchTool:
    """The tool. Stateless."""

    name = "run_batch"
    action = Action.BATCH
    title = "Run several calls"
    description = (
        "Run calls of the tables' tools in order: all or none in one transaction (the default), or each by itself "
        "(mode independent). Answers {results: [{tool, result or error}], outcome}."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """The arguments of a call are those of its tool."""
        call: JsonSchema = {
            "type": "object",
            "properties": {"tool": {"type": "string"}, "arguments": {"type": "object"}},
            "required": ["tool"],
            "additionalProperties": False,
        }
        return {
            "type": "object",
            "properties": {
                "calls": {"type": "array", "items": call, "description": f"1 to {limits.max_batch_calls}."},
                "mode": {"type": "string", "enum": list(_MODES)},
            },
            "required": ["calls"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> BatchPlan:
        """The calls, each with its tool and table found, or why it is none. Raises: CallError.

        A transaction is refused as a whole for one call that cannot be made, before any runs.
        """
        refuse_unknown(arguments, ("calls", "mode"))
        mode = read_text(arguments, "mode") or _MODES[0]
        if mode not in _MODES:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'mode' takes one of {', '.join(_MODES)}, got {shown(mode)}",
                "Leave it out for one transaction.",
            )
        given = read_list(arguments, "calls")
        if not given:
            raise InvalidArgument(
                ErrorCode.MISSING_ARGUMENT,
                "'calls' takes at least one call",
                'Send for example [{"tool": "query_orders", "arguments": {"limit": 5}}].',
            )
        if len(given) > view.limits.max_batch_calls:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'calls' takes at most {view.limits.max_batch_calls} calls, got {len(given)}",
                "Split them over several batches; many rows of one table go into one insert.",
            )
        names = [read_call(call, index) for index, call in enumerate(given)]
        calls: list[BatchCall | CallError] = []
        for index, (name, call_arguments) in enumerate(names):
            try:
                tool, target, rest = view.find(name, call_arguments)
                calls.append(BatchCall(index=index, name=name, tool=tool, target=target, arguments=rest))
            except CallError as error:
                calls.append(error)
        together = mode == "transaction"
        if together:
            _check_together(names, calls)
        return BatchPlan(
            names=tuple(name for name, _ in names),
            arguments=tuple(arguments for _, arguments in names),
            calls=tuple(calls),
            together=together,
        )


def _check_together(names: list[tuple[str, Mapping[str, Any]]], calls: list[BatchCall | CallError]) -> None:
    found: list[BatchCall] = []
    for index, call in enumerate(calls):
        if isinstance(call, CallError):
            raise named(call, index, names[index][0])
        found.append(call)
    sources = {call.target.table.name.source for call in found}
    if len(sources) > 1:
        other = next(call for call in found if call.target.table.name.source != found[0].target.table.name.source)
        raise named(
            InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"its table is in another database than that of calls[0], and a transaction has one "
                f"({', '.join(sorted(sources))})",
                "Make a batch for each database, or use mode 'independent'.",
            ),
            other.index,
            other.name,
        )
