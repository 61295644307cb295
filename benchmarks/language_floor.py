"""The floor of `language`: its calls by hand on asyncpg or sqlite3, without checks, limits or errors.

It takes the call's own line, knows by its arguments which of the statements is meant, and answers as the real server
does: the rows as text and as an object. On PostgreSQL the database makes the JSON, on SQLite orjson.

    python -m benchmarks.language_floor postgresql://... | file.sqlite
"""

import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import asyncpg
import orjson

from benchmarks.floor_server import Server, without_reset

COMMAND = (sys.executable, "-m", "benchmarks.language_floor")

_COLUMNS = "id, parent_id, code, name, {price}, quantity, weight, active, created_at, due, details, token"
_IDS = "id BETWEEN {0} AND {1} AND active = {2} ORDER BY id LIMIT 101"
_GIVEN = ("code", "name", "units", "price", "due")
_TEXT = "{{" + '"table":"{table}","rows":[{rows}],"row_count":{count},"truncated":false,"next_cursor":null' + "}}"
_INSERTED = '{{"table":"incoming","inserted":{count},"rows":[{rows}],"dry_run":false,"outcome":"committed"}}'

#: What answers a call: (the text of its rows, how many).
Answered = Callable[[dict[str, Any]], Awaitable[list[str]]]


class LanguageServer(Server):
    """The wire of the other floor, with the calls of this one."""

    def __init__(self, rows_of: Answered, ended: asyncio.Event) -> None:
        super().__init__(None, ended)
        self.rows_of = rows_of

    async def call(self, arguments: dict[str, Any]) -> bytes:
        rows = await self.rows_of(arguments)
        form = _INSERTED if "rows" in arguments else _TEXT
        text = form.format(table="items", rows=",".join(rows), count=len(rows))
        return b'{"content":[{"type":"text","text":%b}],"structuredContent":%b}' % (orjson.dumps(text), text.encode())


class Postgresql:
    """By asyncpg."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    async def rows(self, arguments: dict[str, Any]) -> list[str]:
        sql, values = self._statement(arguments)
        async with self.pool.acquire() as connection:
            return [record[0] for record in await connection.fetch(sql, *values)]

    def _statement(self, arguments: dict[str, Any]) -> tuple[str, list[Any]]:
        items = f"SELECT row_to_json(r)::text FROM (SELECT {_COLUMNS.format(price='price::text')} FROM items WHERE "
        match arguments:
            case {"where": {"id": key}}:
                return f"{items} id = $1) r", [key]
            case {"filters": [{"values": [low, high]}, {"value": active}]}:
                return f"{items} {_IDS.format('$1', '$2', '$3')}) r", [low, high, active]
            case {"include": _}:
                return (
                    "SELECT row_to_json(r)::text FROM (SELECT id, name, to_json(ARRAY(SELECT i FROM (SELECT id, name,"
                    " quantity FROM items WHERE parent_id = p.id ORDER BY id LIMIT 10) i)) AS items"
                    " FROM parents p ORDER BY id LIMIT 101) r"
                ), []
            case {"aggregate": [_, spelled]}:
                summed = "sum(units)" if "units" in spelled else "sum(price)::text"
                return (
                    f"SELECT row_to_json(r)::text FROM (SELECT region, count(*), {summed} AS sum FROM sales"
                    " GROUP BY region ORDER BY region LIMIT 101) r"
                ), []
            case {"rows": rows}:
                return (
                    "INSERT INTO incoming (code, name, units, price, due) SELECT * FROM unnest($1::text[], $2::text[],"
                    " $3::integer[], $4::text[]::numeric[], $5::text[]::date[]) RETURNING '{\"id\":' || id || '}'"
                ), [[row[name] for row in rows] for name in _GIVEN]
        return f"{items} true ORDER BY id LIMIT $1) r", [arguments["limit"]]


class Sqlite:
    """By sqlite3, in the loop's own thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    async def rows(self, arguments: dict[str, Any]) -> list[str]:
        items = f"SELECT {_COLUMNS.format(price='price')} FROM items WHERE "
        match arguments:
            case {"where": {"id": key}}:
                return self._items(f"{items} id = ?", key)
            case {"filters": [{"values": [low, high]}, {"value": active}]}:
                return self._items(f"{items} {_IDS.format('?', '?', '?')}", low, high, active)
            case {"include": _}:
                return self._with_items()
            case {"aggregate": [_, spelled]}:
                column = "units" if "units" in spelled else "price"
                groups = self.connection.execute(
                    f"SELECT region, count(*), sum({column}) FROM sales GROUP BY region ORDER BY region LIMIT 101"
                )
                return [
                    _json({"region": region, "count": count, "sum": summed if column == "units" else _decimal(summed)})
                    for region, count, summed in (tuple(group.values()) for group in groups)
                ]
            case {"rows": rows}:
                return self._insert(rows)
        return self._items(f"{items} true ORDER BY id LIMIT ?", arguments["limit"])

    def _items(self, sql: str, *values: Any) -> list[str]:
        rows = []
        for row in self.connection.execute(sql, values):
            row["price"] = _decimal(row["price"])
            row["active"] = bool(row["active"])
            row["details"] = orjson.Fragment(row["details"])
            rows.append(_json(row))
        return rows

    def _with_items(self) -> list[str]:
        parents = self.connection.execute("SELECT id, name FROM parents ORDER BY id LIMIT 101").fetchall()
        for parent in parents:
            parent["items"] = self.connection.execute(
                "SELECT id, name, quantity FROM items WHERE parent_id = ? ORDER BY id LIMIT 10", (parent["id"],)
            ).fetchall()
        return [_json(parent) for parent in parents]

    def _insert(self, rows: list[dict[str, Any]]) -> list[str]:
        values = [[row[name] for name in _GIVEN] for row in rows]
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(
            "INSERT INTO incoming (code, name, units, price, due) VALUES (?, ?, ?, ?, ?)", values
        )
        last = self.connection.execute("SELECT last_insert_rowid() AS id").fetchone()["id"]
        self.connection.execute("COMMIT")
        return [f'{{"id":{key}}}' for key in range(last - len(rows) + 1, last + 1)]


def _by_name(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip([column[0] for column in cursor.description], row, strict=True))


def _json(row: dict[str, Any]) -> str:
    return orjson.dumps(row).decode()


def _decimal(number: float) -> str:
    return str(number).removesuffix(".0")


async def main(url: str) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    if not url.startswith("postgres"):
        with closing(sqlite3.connect(url, isolation_level=None)) as connection:
            connection.row_factory = _by_name
            answers = Sqlite(connection)
            await loop.connect_read_pipe(lambda: LanguageServer(answers.rows, ended), sys.stdin.buffer)
            await ended.wait()
        return
    async with asyncpg.create_pool(url, min_size=0, max_size=10, reset=without_reset) as pool:
        await loop.connect_read_pipe(lambda: LanguageServer(Postgresql(pool).rows, ended), sys.stdin.buffer)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
