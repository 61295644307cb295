"""`schema_changes`: what changed in the schema, and when; also while no server was running."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument, StaleSchema
from schema_mcp.state.records import Change, HistoryAnswer, HistoryPage, HistoryQuery
from schema_mcp.tools.arguments import read_limit, read_source, read_text, refuse_unknown, source_property
from schema_mcp.tools.base import Action, HistoryPlan, JsonSchema
from schema_mcp.tools.naming import display_name
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.times import EXAMPLE, iso, read_time
from schema_mcp.tools.view import CatalogView

#: (schema, name) of the tables that are asked for; None for all.
Tables: TypeAlias = frozenset[tuple[str, str]] | None


class SchemaChangesTool:
    """The tool. Stateless."""

    name = "schema_changes"
    action = Action.INSPECT
    title = "Schema changes"
    description = "Which tables were added, removed or changed, how and when; newest first."

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """All optional."""
        return {
            "type": "object",
            "properties": {
                "since": {"type": "string", "description": f"Only later than this ISO 8601 time, as {EXAMPLE}."},
                "table": {"type": "string", "description": "Only of this table, also one that is gone."},
                **source_property(limits.sources),
                "limit": {"type": "integer", "description": f"1 to {limits.max_rows}, default {limits.default_limit}."},
            },
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> HistoryPlan:
        """The store is asked. Raises: InvalidArgument."""
        sources = view.limits.sources
        refuse_unknown(arguments, ("since", "table", "limit", *source_property(sources)))
        since = arguments.get("since")
        after = None if since is None else read_time(since, "since")
        table = read_text(arguments, "table")
        source = read_source(arguments, sources)
        limit = read_limit(arguments, "limit", view.limits.default_limit, view.limits.max_rows)
        unknown: InvalidArgument | None = None
        asked: Mapping[str, Tables] = dict.fromkeys(sources if source is None else (source,))
        if table is not None:
            asked, unknown = _find(view, tuple(asked), table)

        def answer(found: Mapping[str, HistoryAnswer]) -> bytes:
            nothing = all(one.status.kept and not one.page.changes for one in found.values())
            if unknown is not None and nothing and view.targets:
                raise unknown
            return _answer(found, limit, several=view.limits.several)

        queries = {
            one: HistoryQuery(since=after, tables=names, limit=limit, told=view.told) for one, names in asked.items()
        }
        return HistoryPlan(queries=queries, answer=answer)


def entry(change: Change, *, several: bool) -> dict[str, Any]:
    """A change as clients and the command line see it. `several`: more than one source is configured."""
    told: dict[str, Any] = {
        "at": iso(change.at),
        "table": display_name(change.table, change.default_schema, several=several),
        "kind": change.kind,
        "changes": change.sentences,
    }
    if change.since is not None:
        told["seen_at_start"] = f"happened between {iso(change.since)} and {iso(change.at)}"
    return told


def newest(pages: Iterable[HistoryPage], limit: int) -> tuple[Sequence[Change], bool]:
    """The `limit` newest changes of them all, newest first, and whether there are more."""
    pages = tuple(pages)
    if len(pages) == 1:
        return pages[0].changes, pages[0].truncated
    changes = sorted((change for page in pages for change in page.changes), key=lambda change: -change.at)
    return changes[:limit], len(changes) > limit or any(page.truncated for page in pages)


def _find(view: CatalogView, sources: Sequence[str], given: str) -> tuple[Mapping[str, Tables], InvalidArgument | None]:
    """By source, which tables `given` may mean, whether they are there or not; and the error if there is none now."""
    head, dot, rest = given.partition(".")
    several, unknown = view.limits.several, None
    if several and dot and head in sources:
        sources, given = (head,), rest
    try:
        name = view.resolve(f"{sources[0]}.{given}" if several and len(sources) == 1 else given).table.name
        return {name.source: frozenset({(name.schema, name.name)})}, None
    except StaleSchema:
        pass
    except InvalidArgument as error:
        unknown = None if error.code is ErrorCode.AMBIGUOUS_TABLE else error
    schemas = view.schemas
    defaults = {source: {schemas[source].default_schema} if source in schemas else set() for source in sources}
    return {source: table_names(defaults[source], given) for source in sources}, unknown


def _answer(found: Mapping[str, HistoryAnswer], limit: int, *, several: bool) -> bytes:
    changes, truncated = newest((one.page for one in found.values()), limit)
    histories = [({"source": source} if several else {}) | _history(one) for source, one in found.items()]
    return orjson.dumps(
        {
            "changes": [entry(change, several=several) for change in changes],
            "truncated": truncated,
            "history": histories if several else histories[0],
        }
    )


def _history(found: HistoryAnswer) -> dict[str, Any]:
    history: dict[str, Any] = {"kept": found.status.kept}
    if found.page.kept_since is not None:
        history["since"] = iso(found.page.kept_since)
    if not found.status.kept:
        history |= {"reason": found.status.reason, "hint": found.status.hint}
    return history


def table_names(defaults: Collection[str], given: str) -> frozenset[tuple[str, str]]:
    """Every (schema, name) that may be called `given`, whether it is there or not. `defaults`: default schemas."""
    candidates = [(default, part) for default in defaults for part in (given, _unquoted(given))]
    for index, character in enumerate(given):
        if character == ".":
            candidates.append((_unquoted(given[:index]), _unquoted(given[index + 1 :])))
    return frozenset(candidates)


def _unquoted(part: str) -> str:
    if len(part) > 1 and part[0] == part[-1] == '"':
        return part[1:-1].replace('""', '"')
    return part
