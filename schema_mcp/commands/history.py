"""`schema-mcp history`: what changed in the schema of databases, out of the store alone; no database is asked."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from schema_mcp.app_source import place, select, url_of
from schema_mcp.config.model import Settings, SourceSettings
from schema_mcp.errors import CallError, SchemaMcpError, UsageError
from schema_mcp.state.history import History
from schema_mcp.state.place import NoPlace, identify
from schema_mcp.state.records import HistoryPage, HistoryQuery
from schema_mcp.state.store import REVISIONS, Store, StoreError
from schema_mcp.tools.kinds.schema_changes import entry, newest, table_names
from schema_mcp.tools.times import iso, read_time


async def history(
    settings: Settings, *, since: str | None, table: str | None, limit: int, as_json: bool
) -> tuple[str, str]:
    """The changes, newest first, for stdout, and a note for stderr.

    Raises: ConfigurationError, UsageError; SchemaMcpError where there is no history, with the reason.
    """
    if limit < 1:
        raise UsageError(f"--limit takes a number from 1 on, got {limit}")
    try:
        after = None if since is None else read_time(since, "--since")
    except CallError as error:
        raise UsageError(f"{error.message}. {error.hint}") from error
    several = len(settings.served) > 1
    pages: dict[str, HistoryPage] = {}
    notes: list[str] = []
    for source in settings.served:
        try:
            pages[source.name] = await _page(settings, source, after, table, limit)
        except SchemaMcpError as error:
            if not several:
                raise
            notes.append(f"{source.name}: {error}")
    if not pages:
        raise SchemaMcpError("\n".join(notes))
    changes, truncated = newest(pages.values(), limit)
    told = [entry(change, several=several) for change in changes]
    text = orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() if as_json else "\n".join(_lines(told))
    for name, page in pages.items():
        if not page.changes and page.kept_since is not None:
            whose = f"'{name}'" if several else "this database"
            notes.append(f"the history of {whose} begins at {iso(page.kept_since)}")
    if truncated:
        notes.append("older changes are there: --limit")
    return text, "\n".join(notes)


async def _page(
    settings: Settings, source: SourceSettings, since: float | None, table: str | None, limit: int
) -> HistoryPage:
    url = url_of(source)
    where = place(settings, source, url)
    if isinstance(where, NoPlace):
        raise SchemaMcpError(f"there is no history: {where.reason}. {where.hint}")
    store = Store(where, lock_timeout_s=settings.state.lock_timeout_s)
    identity = identify(source.name, url, select(source), settings.watch.reader)
    kept = History(store, identity, source.name, started_at=time.time(), max_changes=settings.state.max_changes)
    nothing = SchemaMcpError(
        f"nothing is kept of this database in {where.shown}: the history begins when it is served. It is kept by "
        "host, port, database, role and selection: name them as the server does."
    )
    if where.file is not None and not where.file.exists():
        raise nothing
    try:
        if await store.revision() != REVISIONS[-1]:
            raise nothing
        default = (await kept.load(schema=False)).default_schema
        names = None if table is None else table_names({default}, table.removeprefix(f"{source.name}."))
        page = await kept.changes(HistoryQuery(since=since, tables=names, limit=limit))
    except StoreError as error:
        raise SchemaMcpError(f"the history in {where.shown} cannot be read: {error.reason}. {error.hint}") from error
    if page.kept_since is None:
        raise nothing
    return page


def _lines(told: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for change in told:
        yield f"{change['at']}  {change['kind']:<7}  {change['table']}"
        if "seen_at_start" in change:
            yield f"    {change['seen_at_start']}"
        yield from (f"    {sentence}" for sentence in change["changes"])
