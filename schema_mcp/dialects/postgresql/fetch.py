"""What the catalogs say of some relations, or of all: rows, in one snapshot that somebody else has opened.

First what no lock on a relation hides; then the expressions, for which PostgreSQL locks each relation for a moment.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg

from schema_mcp.dialects.postgresql.build import RelationRows, Row, has_expressions
from schema_mcp.dialects.postgresql.types import Types
from schema_mcp.dialects.queries import load
from schema_mcp.schema.select import Selection

QUERIES = load("schema_mcp.dialects.postgresql", "catalog.sql")

#: More rows than this are grouped in a thread, so that the event loop goes on answering.
GROUP_INLINE_ROWS = 10_000

_Grouped: TypeAlias = Mapping[int, Sequence[Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rows of relations by oid. Where `postponed` holds a relation's oid, its expressions are missing.

    Whoever makes tables of the rows takes them out.
    """

    relations: dict[int, RelationRows]
    types: Types
    postponed: Collection[int]


async def fetch(
    connection: asyncpg.Connection, selection: Selection, schemas: Sequence[str], only: Collection[int] | None
) -> Part:
    """Those relations of the schemas that are selected and may be served; with `only`, not more than these.

    Raises: whatever the driver raises.
    """
    relations = {
        row["oid"]: row
        for row in await connection.fetch(QUERIES["relations"].sql, schemas, only)
        if selection.takes(row["schema"], row["name"])
    }
    oids = list(relations)
    columns = await _by_relation(await connection.fetch(QUERIES["columns"].sql, oids))
    type_oids = await asyncio.to_thread(_type_oids, columns)
    types = Types(await connection.fetch(QUERIES["types"].sql, type_oids))
    keys = await _by_relation(await connection.fetch(QUERIES["keys"].sql, oids))
    foreign_keys = await _by_relation(await connection.fetch(QUERIES["foreign_keys"].sql, oids))
    indexes = await _by_relation(await connection.fetch(QUERIES["indexes"].sql, oids))
    with_expressions = await asyncio.to_thread(_with_expressions, relations, columns, indexes)
    expressions, postponed = await _expressions(connection, with_expressions)

    def together() -> dict[int, RelationRows]:
        return {
            oid: RelationRows(
                relation=row,
                columns=columns.get(oid, ()),
                keys=keys.get(oid, ()),
                foreign_keys=foreign_keys.get(oid, ()),
                indexes=indexes.get(oid, ()),
                expressions=expressions.get(oid, ()),
            )
            for oid, row in relations.items()
        }

    return Part(relations=await asyncio.to_thread(together), types=types, postponed=postponed)


async def _by_relation(rows: Sequence[Row]) -> _Grouped:
    return _grouped(rows) if len(rows) <= GROUP_INLINE_ROWS else await asyncio.to_thread(_grouped, rows)


def _grouped(rows: Iterable[Row]) -> _Grouped:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["relation"]].append(row)
    return dict(grouped)


def _type_oids(columns: _Grouped) -> list[int]:
    return list({row["type"] for rows in columns.values() for row in rows})


def _with_expressions(relations: Mapping[int, Row], columns: _Grouped, indexes: _Grouped) -> list[int]:
    return [oid for oid, row in relations.items() if has_expressions(row, columns.get(oid, ()), indexes.get(oid, ()))]


async def _expressions(
    connection: asyncpg.Connection, oids: Collection[int]
) -> tuple[Mapping[int, Sequence[Row]], Collection[int]]:
    """The rows by relation, and the relations that were left out because somebody has locked them."""
    sql = QUERIES["expressions"].sql
    await connection.execute(QUERIES["savepoint"].sql)
    try:
        return await _by_relation(await connection.fetch(sql, oids)), ()
    except asyncpg.LockNotAvailableError:
        await connection.execute(QUERIES["rollback_to_savepoint"].sql)
        locked = {row["oid"] for row in await connection.fetch(QUERIES["locked"].sql)}
        rows = await connection.fetch(sql, [oid for oid in oids if oid not in locked])
        return await _by_relation(rows), locked.intersection(oids)
