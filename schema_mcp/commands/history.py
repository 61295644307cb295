"""`schema-mcp history`: what changed in a database's schema, out of the store alone; the database is not asked."""

import time

import orjson

from schema_mcp.app import SOURCE, place, select
from schema_mcp.config.database import parse_database
from schema_mcp.config.model import Settings
from schema_mcp.errors import CallError, SchemaMcpError, UsageError
from schema_mcp.state.history import History
from schema_mcp.state.place import NoPlace, identify
from schema_mcp.state.records import Change, HistoryPage, HistoryQuery
from schema_mcp.state.store import REVISIONS, Store, StoreError
from schema_mcp.tools.kinds.schema_changes import entry, table_names
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
    page = await _page(settings, after, table, limit)
    if as_json:
        text = orjson.dumps([entry(change) for change in page.changes], option=orjson.OPT_INDENT_2).decode()
    else:
        text = "\n".join(line for change in page.changes for line in _lines(change))
    kept = f"the history of this database begins at {iso(page.kept_since)}" if page.kept_since is not None else ""
    notes = [kept if not page.changes else "", "older changes are there: --limit" if page.truncated else ""]
    return text, "\n".join(note for note in notes if note)


async def _page(settings: Settings, since: float | None, table: str | None, limit: int) -> HistoryPage:
    url = parse_database(settings.database.url)
    where = place(settings, url)
    if isinstance(where, NoPlace):
        raise SchemaMcpError(f"there is no history: {where.reason}. {where.hint}")
    store = Store(where, lock_timeout_s=settings.state.lock_timeout_s)
    identity = identify(SOURCE, url, select(settings), settings.watch.reader)
    kept = History(store, identity, SOURCE, started_at=time.time(), max_changes=settings.state.max_changes)
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
        names = None if table is None else table_names({default}, table)
        page = await kept.changes(HistoryQuery(since=since, tables=names, limit=limit))
    except StoreError as error:
        raise SchemaMcpError(f"the history in {where.shown} cannot be read: {error.reason}. {error.hint}") from error
    if page.kept_since is None:
        raise nothing
    return page


def _lines(change: Change) -> list[str]:
    told = entry(change)
    lines = [f"{told['at']}  {change.kind:<7}  {told['table']}"]
    if "seen_at_start" in told:
        lines.append(f"    {told['seen_at_start']}")
    return lines + [f"    {sentence}" for sentence in change.sentences]
