"""The expressions and statements that SQLite phrases in its own way, and how one is run on a connection."""

import sqlite3
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

import anyio
import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue, Row, Statement
from schema_mcp.dialects.sqlite.connection import SqliteConnection
from schema_mcp.dialects.sqlite.relations import QUERIES
from schema_mcp.dialects.sqlite.rows import row_writer
from schema_mcp.dialects.sqlite.tagged import Undecodable, decode
from schema_mcp.schema.model import Column

#: A batch ends after so many rows or so much JSON; a single row may be larger.
BATCH_ROWS = 500
BATCH_BYTES = 1_000_000
#: So many relations, of which each has its definition here, are known to a connection.
MAX_IDENTITIES = 1000

IDENTITY = QUERIES["identity"].sql
CHECK_DEFERRED = QUERIES["check_deferred"].sql

#: Full batches are yielded, the last one, which may be empty, is returned.
_Batches: TypeAlias = Generator[list[Row], None, list[Row]]


class UnboundKey(sqlite3.DataError):
    """A page would have to go on after a text that is not UTF-8, which cannot be bound."""


def parameter(name: str) -> sa.ColumnElement[Any]:
    """A bound value: its storage class is all the type that SQLite knows."""
    return sa.bindparam(name, type_=sa.types.NullType())


def condition(operator: str, column: sa.ColumnElement[Any], names: Sequence[str]) -> sa.ColumnElement[bool]:
    """Patterns are bound as `values.pattern` makes them. `ilike` folds ASCII letters only (lang_expr.html)."""
    parameters = [parameter(name) for name in names]
    match operator:
        case "in":
            return column.in_(parameters)
        case "not_in":
            return column.not_in(parameters)
        case "like" | "starts_with":
            return column.op("GLOB", is_comparison=True, return_type=sa.Boolean())(parameters[0])
        case "ilike":
            return column.like(parameters[0], escape="\\")
        case "contains":
            return sa.func.instr(column, parameters[0]) > sa.literal_column("0")
    raise AssertionError(f"no such operator: {operator}")


def insert(target: sa.TableClause, columns: Sequence[Column]) -> sa.Insert:
    """One row; without columns `DEFAULT VALUES`."""
    return sa.insert(target).values({column.name: parameter(f"c{n}") for n, column in enumerate(columns)})


async def fetch(connection: SqliteConnection, statement: Statement, max_rows: int) -> AsyncGenerator[list[Row], None]:
    """Runs in the connection's thread, a batch a hop; a result of one batch is one hop in all.

    `max_rows` 0: all that come back.
    """
    batches = _batches(connection, statement, max_rows)
    done = False
    try:
        while not done:
            rows, done = await connection.run(_advance, batches)
            if rows:
                yield rows
    finally:
        if not done:
            with anyio.CancelScope(shield=True), suppress(ValueError):  # a connection that was given up
                await connection.run(_close, batches)


def _advance(_: sqlite3.Connection, batches: _Batches) -> tuple[list[Row], bool]:
    try:
        return next(batches), False
    except StopIteration as end:
        return end.value, True


def _close(_: sqlite3.Connection, batches: _Batches) -> None:
    batches.close()


def _batches(connection: SqliteConnection, statement: Statement, max_rows: int) -> _Batches:
    """Runs in the connection's thread, its end included."""
    connection.file.require(connection.identity)
    raw = connection.raw
    if statement.sql == CHECK_DEFERRED:
        _refuse_deferred(raw)
        return []
    known = _identities(connection) if statement.sql == IDENTITY else None
    if known is not None and statement.values in known:
        return known[statement.values]
    write, finished = row_writer(statement.labels, statement.types)
    cursor = raw.execute(statement.sql, statement.values)
    if not statement.returns_rows:
        # SQLite counts nothing that a view's trigger writes, and an INSERT writes one row.
        count = 1 if statement.sql.startswith("INSERT") else cursor.rowcount
        cursor.close()
        return [Row(b"{}", ())] * count
    rows: list[Row] = []
    raw_rows: list[tuple[Any, ...]] = []
    size_bytes = 0
    try:
        for values in islice(_values(raw, cursor), max_rows or None):
            row = write(values)
            if statement.keys and any(type(key) is Undecodable for key in row.keys):
                raise UnboundKey("an order column holds text that is not UTF-8, after which no page can begin")
            rows.append(row)
            raw_rows.append(values)
            size_bytes += len(row.json)
            if len(rows) == BATCH_ROWS or size_bytes >= BATCH_BYTES:
                yield finished(rows, raw_rows)
                rows, raw_rows, size_bytes = [], [], 0
        rows = finished(rows, raw_rows)
        if known is not None:
            known[statement.values] = rows
        return rows
    finally:
        with suppress(sqlite3.ProgrammingError):  # a connection that was given up has closed it
            cursor.close()
            raw.text_factory = str


def _refuse_deferred(raw: sqlite3.Connection) -> None:
    """Raises: sqlite3.IntegrityError, as COMMIT would, if the open transaction has left rows that refer to none, by
    foreign keys that are put off to its end. Rolls back.

    SQLite counts them and does not tell, so the keys are looked through, where any table has one that is put off. What
    was wrong before is no fault of the transaction. Where a key itself is wrong, SQLite cannot look.
    """
    if raw.execute(QUERIES["has_deferred"].sql).fetchone() is None:
        return
    try:
        (after,) = raw.execute(CHECK_DEFERRED).fetchone()
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return
    raw.execute("ROLLBACK")
    (before,) = raw.execute(CHECK_DEFERRED).fetchone() if after else (0,)
    raw.execute("BEGIN")
    if after > before:
        error = sqlite3.IntegrityError("FOREIGN KEY constraint failed")
        error.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
        raise error


def _identities(connection: SqliteConnection) -> dict[tuple[DriverValue, ...], list[Row]]:
    """What the query for a relation's identity has answered on this connection since the schema last changed.

    It reads all of sqlite_schema (5 ms at 10,000 tables), the counter takes microseconds. An answer that a change came
    before, outside of a transaction, stands under the older counter and is not used again.
    """
    (version,) = connection.raw.execute(QUERIES["schema_version"].sql).fetchone()
    if connection.identities_version != version or len(connection.identities) >= MAX_IDENTITIES:
        connection.identities, connection.identities_version = {}, version
    return connection.identities


def _values(raw: sqlite3.Connection, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    """The rows of the cursor. The usual conversion of text fails at what is not UTF-8; from there on `decode` does it.

    The cursor stands still at a row that it could not convert, so nothing is run twice and no row is lost.
    """
    while True:
        try:
            yield from cursor
            return
        except sqlite3.OperationalError as exc:
            if raw.text_factory is decode or not str(exc).startswith("Could not decode"):
                raise
            raw.text_factory = decode
