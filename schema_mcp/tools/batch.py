"""A list of tool calls as runs: neighbours that can be one statement are planned as one. Pure.

Only neighbours are put together, so that the order of effects is the order asked: inserts into the same table that
differ in their rows alone become one insert, and equal queries are asked once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schema_mcp.errors import CallError, ErrorCode, InvalidArgument
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Action, Result, StatementPlan
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import BatchCall

#: Arguments of an insert that can be put together with its neighbour.
_MERGED = frozenset({"rows", "returning"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Calls that are one plan. `counts`: of an insert, the rows of each call; empty where all get the same answer."""

    calls: tuple[BatchCall, ...]
    plan: StatementPlan
    counts: tuple[int, ...] = ()

    @property
    def table(self) -> Table:
        """What the plan is for."""
        return self.calls[0].target.table

    def answers(self, result: Result) -> list[bytes]:
        """The JSON of each call's answer, in order."""
        if not self.counts:
            return [self.plan.answer(result)] * len(self.calls)
        made = []
        start = 0
        for count in self.counts:
            rows = result.rows[start : start + count]
            cut = result.truncated and len(rows) < count
            made.append(self.plan.answer(replace(result, rows=rows, affected=count, truncated=cut)))
            start += count
        return made


def runs(calls: Sequence[BatchCall], plan: Callable[[BatchCall], StatementPlan]) -> list[Run]:
    """The calls in order, neighbours put together. Raises: CallError, whose details name the `call`."""
    made: list[Run] = []
    for group in _groups(calls):
        made += _planned(group, plan)
    return made


def alone(run: Run, plan: Callable[[BatchCall], StatementPlan]) -> list[Run]:
    """The run's calls one by one: to find which of them fails. Raises: CallError, as `runs`."""
    return [Run(calls=(call,), plan=_plan(call, plan)) for call in run.calls]


def named(error: CallError, index: int, tool: str) -> CallError:
    """The error of one call of a batch, told as the batch's: its message and its details name the call."""
    return CallError(
        error.code,
        f"calls[{index}] ({tool[:64]}): {error.message}",
        error.hint,
        retryable=error.retryable,
        sqlstate=error.sqlstate,
        details={**(error.details or {}), "call": index, "tool": tool[:64]},
    )


def _groups(calls: Sequence[BatchCall]) -> list[list[BatchCall]]:
    groups: list[list[BatchCall]] = []
    rows = 0
    for call in calls:
        size = _size(call)
        limit = call.target.limits.max_insert_rows
        if groups and _alike(groups[-1][0], call) and rows + size <= limit:
            groups[-1].append(call)
            rows += size
        else:
            groups.append([call])
            rows = size
    return groups


def _size(call: BatchCall) -> int:
    given = call.arguments.get("rows")
    return len(given) if call.tool.action is Action.INSERT and isinstance(given, list) else 0


def _alike(one: BatchCall, other: BatchCall) -> bool:
    if one.tool is not other.tool or one.target is not other.target:
        return False
    if one.tool.action is Action.READ:
        return one.arguments == other.arguments
    return one.tool.action is Action.INSERT and _options(one) is not None and _options(one) == _options(other)


def _options(call: BatchCall) -> tuple[Any] | None:
    """What else the insert says than its rows; None where it cannot be put together with another."""
    rows = call.arguments.get("rows")
    if call.arguments.keys() - _MERGED or not isinstance(rows, list) or not rows:
        return None
    return (call.arguments.get("returning"),)


def _planned(group: Sequence[BatchCall], plan: Callable[[BatchCall], StatementPlan]) -> list[Run]:
    first = group[0]
    if len(group) == 1 or first.tool.action is Action.READ:
        return [Run(calls=tuple(group), plan=_plan(first, plan))]
    together = replace(
        first, arguments=dict(first.arguments) | {"rows": [row for call in group for row in call.arguments["rows"]]}
    )
    try:
        made = plan(together)
    except CallError:
        # Some row does not fit: planned one by one, the call that it is in is known.
        return [Run(calls=(call,), plan=_plan(call, plan)) for call in group]
    return [Run(calls=tuple(group), plan=made, counts=tuple(_size(call) for call in group))]


def _plan(call: BatchCall, plan: Callable[[BatchCall], StatementPlan]) -> StatementPlan:
    try:
        return plan(call)
    except CallError as error:
        raise named(error, call.index, call.name) from error


def read_call(given: Any, index: int) -> tuple[str, Mapping[str, Any]]:
    """Tool and arguments of one entry of `calls`. Raises: InvalidArgument."""
    example = 'Send for example {"tool": "query_orders", "arguments": {"limit": 5}}.'
    if not isinstance(given, dict):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT, f"'calls[{index}]' takes an object, got {shown(given)}", example
        )
    if unknown := sorted(given.keys() - {"tool", "arguments"}, key=str):
        raise InvalidArgument(
            ErrorCode.UNKNOWN_ARGUMENT, f"unknown member '{str(unknown[0])[:100]}' in 'calls[{index}]'", example
        )
    tool, arguments = given.get("tool"), given.get("arguments")
    if not isinstance(tool, str):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT, f"'calls[{index}].tool' takes a tool's name, got {shown(tool)}", example
        )
    if not isinstance(arguments, dict | None):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT, f"'calls[{index}].arguments' takes an object, got {shown(arguments)}", example
        )
    return tool, arguments or {}
