"""A page of the history of one source, out of an open connection to the store. It knows no locks and no recording."""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from schema_mcp.schema.model import TableName
from schema_mcp.state import store as stored
from schema_mcp.state.records import Change, ChangeKind, HistoryPage, HistoryQuery

_changes = stored.changes.c


async def read_page(connection: AsyncConnection, source: str, row: Any, query: HistoryQuery) -> HistoryPage:
    """Newest first, of what may be told. `row`: the source's in the store."""
    select = sa.select(stored.changes).where(_changes.source == row.id)
    if query.since is not None:
        select = select.where(_changes.at > query.since)
    if query.tables is not None:
        names = [sa.and_(_changes.schema == schema, _changes.name == name) for schema, name in sorted(query.tables)]
        select = select.where(sa.or_(sa.false(), *names))
    select = select.order_by(_changes.id.desc()).limit(query.limit + 1)
    found: list[Change] = []
    rows = (await connection.execute(select)).all()
    while rows:
        changes = [query.told(_change(source, row.default_schema, change)) for change in rows]
        found += [change for change in changes if change is not None]
        if len(found) > query.limit or len(rows) <= query.limit:
            break
        rows = (await connection.execute(select.where(_changes.id < rows[-1].id))).all()
    return HistoryPage(changes=tuple(found[: query.limit]), truncated=len(found) > query.limit, kept_since=row.first_at)


def _change(source: str, default_schema: str, change: Any) -> Change:
    return Change(
        at=change.at,
        since=change.since,
        table=TableName(source=source, schema=change.schema, name=change.name),
        default_schema=default_schema,
        kind=ChangeKind(change.kind),
        sentences=tuple(json.loads(change.sentences)),
    )
