"""`wait_for_change`: answers when the schema or a table's rows have changed, or when the time is over."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_source, read_text, refuse_unknown, source_property
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import CatalogView
from schema_mcp.tools.waiting import RowMark, RowsSeen, SchemaSeen, ToldBy, WaitPlan, read_token, token

#: Seconds that a call waits which does not say how long.
DEFAULT_S = 25.0

_GO_ON = "It cannot be told what changed since then. Look at what you need, and go on with the new 'since'."
_FILE = (
    "SQLite tells that its file was written to, not which table, nor by whom (execute_sql of this server is not known "
    "apart): look whether it was this one."
)


class WaitForChangeTool:
    """The tool. Stateless."""

    name = "wait_for_change"
    action = Action.INSPECT
    title = "Wait for a change"
    description = (
        "Answers when rows of 'table' have changed, without 'table' when the schema has, or when the time is over. "
        "'since' of one answer given to the next call misses nothing in between."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Nothing is required."""
        return {
            "type": "object",
            "properties": {
                "table": {"type": "string", "description": "As list_tables shows it."},
                **source_property(limits.sources),
                "timeout_s": {"type": "number", "description": f"Default {DEFAULT_S:g}."},
                "since": {"type": "string"},
            },
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> WaitPlan:
        """What is waited for. Raises: InvalidArgument, StaleSchema, CallError (`permission_denied`)."""
        refuse_unknown(arguments, ("table", "timeout_s", "since", *source_property(view.limits.sources)))
        source = read_source(arguments, view.limits.sources)
        timeout_s, since = _read_timeout(arguments.get("timeout_s")), read_text(arguments, "since")
        if arguments.get("table") is None:
            return WaitPlan(
                source=source,
                table=None,
                timeout_s=timeout_s,
                since=read_token(since, None),
                answer=partial(_schema_answer),
            )
        target = view.resolve(arguments["table"])
        _check(view, target, source)
        name = target.table.name
        return WaitPlan(
            source=name.source,
            table=name,
            timeout_s=timeout_s,
            since=read_token(since, name),
            answer=partial(_rows_answer, target, view.generation),
        )


def _check(view: CatalogView, target: Target, source: str | None) -> None:
    """Whether it can be told of the table, and may be."""
    if source not in (None, target.table.name.source):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"table '{target.display}' is of source '{target.table.name.source}', not of '{source}'",
            "Leave 'source' out where 'table' is given.",
        )
    if "query" not in view.allowed(target):
        raise CallError(
            ErrorCode.PERMISSION_DENIED,
            f"rows of {target.table.kind} '{target.display}' may not be read, and so not be waited for",
            "describe_table tells what may be done with it.",
        )
    if target.table.kind not in target.dialect.counters.kinds:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"the database counts no changes of {target.table.kind} '{target.display}'",
            "Wait for the tables that its rows come from.",
        )


def _read_timeout(given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'timeout_s' takes a number of seconds above 0, got {shown(given)}",
            f"Leave it out to wait for {DEFAULT_S:g} s.",
        )
    return given


def _schema_answer(seen: RowsSeen | SchemaSeen, waited_s: float) -> bytes:
    assert isinstance(seen, SchemaSeen)
    known = seen.added is not None
    told: dict[str, Any] = {"changed": not known or bool(seen.added or seen.removed or seen.changed)}
    if not known:
        told["hint"] = _GO_ON
    elif told["changed"]:
        told |= {"added": seen.added, "removed": seen.removed, "changed_tables": seen.changed}
    told |= {"since": token(seen.now, None), "waited_s": round(waited_s, 1)}
    return orjson.dumps({**told, "schema_version": seen.now.generation})


def _rows_answer(target: Target, generation: int, seen: RowsSeen | SchemaSeen, waited_s: float) -> bytes:
    assert isinstance(seen, RowsSeen)
    told: dict[str, Any] = {"table": target.display, "changed": seen.changed}
    if seen.told_by is not None:
        told["told_by"] = seen.told_by
    if seen.changed and seen.since is None:
        told["hint"] = _GO_ON
    # What a trigger tells, or this server alone knows of, the counts do not have yet.
    elif seen.changed and seen.told_by is ToldBy.COUNTERS:
        assert seen.since is not None
        if target.dialect.counters.of_tables:
            told |= _counted(seen.since, seen.now)
        elif not seen.own:
            told["hint"] = _FILE
    if seen.own:
        told["by_this_server"] = True
    told |= {"since": token(seen.now, target.table.name), "waited_s": round(waited_s, 1)}
    return orjson.dumps({**told, "schema_version": generation})


def _counted(since: RowMark, now: RowMark) -> dict[str, Any]:
    """What was counted in between; after a reset of the database's statistics less than there was."""
    words = ("inserted", "updated", "deleted")
    rows = {word: max(0, now.counts.get(word, 0) - since.counts.get(word, 0)) for word in words}
    rewritten = {"rewritten": True} if now.counts.get("files") != since.counts.get("files") else {}
    return {"rows": rows, **rewritten}
