"""The expressions and statements that SQLite phrases in its own way, and how one is run on a connection."""

import sqlite3
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

import anyio
import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue, Related, Row, Statement
from schema_mcp.dialects.nested import NUMBERS, Nested
from schema_mcp.dialects.sqlite import functions, large
from schema_mcp.dialects.sqlite.connection import SqliteConnection
from schema_mcp.dialects.sqlite.inserts import insert_given
from schema_mcp.dialects.sqlite.relations import QUERIES
from schema_mcp.dialects.sqlite.rows import row_writer, values_of
from schema_mcp.dialects.sqlite.tagged import Undecodable

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
    """Patterns are bound as `values.pattern` makes them, lists as JSON arrays."""
    parameters = [parameter(name) for name in names]
    match operator:
        case "in":
            return column.in_(parameters)
        case "not_in":
            return column.not_in(parameters)
        case "in_list":
            return column.in_(_elements(parameters[0]))
        case "not_in_list":
            return column.not_in(_elements(parameters[0]))
        case "like" | "starts_with":
            return column.op("GLOB", is_comparison=True, return_type=sa.Boolean())(parameters[0])
        case "ilike":
            is_text: sa.ColumnElement[bool] = sa.func.typeof(column) == sa.literal_column("'text'")
            lower = sa.case((is_text, getattr(sa.func, functions.LOWER)(_data(column))), else_=column)
            return lower.like(parameters[0], escape="\\")
        case "contains":
            return sa.func.instr(column, parameters[0]) > sa.literal_column("0")
        case "matches":
            return _matches(column, parameters[0])
        case "json_contains" | "json_has_any" | "json_has_all" | "path":
            is_blob: sa.ColumnElement[bool] = sa.func.typeof(column) == sa.literal_column("'blob'")
            document = sa.case((sa.not_(is_blob), _data(column)))
            passes: sa.ColumnElement[bool] = getattr(sa.func, functions.JSON)(
                sa.literal_column(f"'{operator}'"), document, parameters[0], type_=sa.Boolean()
            )
            return passes
    raise AssertionError(f"no such operator: {operator}")


def _data(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.cast(column, sa.BLOB())


def _elements(array: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(sa.func.json_each(array).table_valued("value").c.value)


def _matches(column: sa.ColumnElement[Any], query: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """By the rows that the index finds: MATCH itself may stand in no OR (sqlite.org/fts5.html section 4.1)."""
    assert isinstance(column, sa.ColumnClause)
    assert column.table is not None
    found = column.table.alias()
    matching = found.c[column.name].op("MATCH", is_comparison=True, return_type=sa.Boolean())(query)
    rowids: sa.Select[Any] = sa.select(sa.column("rowid", _selectable=found)).where(matching)
    return sa.column("rowid", _selectable=column.table).in_(rowids)


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
    return (yield from large.bounded(connection.raw, statement, _rows(connection, statement, max_rows)))


def _rows(connection: SqliteConnection, statement: Statement, max_rows: int) -> _Batches:
    connection.file.require(connection.identity)
    raw = connection.raw
    if statement.sql == CHECK_DEFERRED:
        _refuse_deferred(raw)
        return []
    known = _identities(connection) if statement.sql == IDENTITY else None
    if known is not None and statement.values in known:
        return known[statement.values]
    if statement.related:
        return (yield from _nested_batches(raw, statement))
    write, finished = row_writer(statement.labels, statement.types)
    if statement.given is not None:
        return insert_given(connection, statement, statement.given, write, finished)
    cursor = raw.execute(statement.sql, statement.values)
    given = values_of(raw, cursor)
    if statement.sized and statement.labels:
        given = large.fetched(raw, cursor, len(statement.labels))
    if not statement.returns_rows:
        count = max(cursor.rowcount, 0)
        cursor.close()
        return [Row(b"{}", ())] * count
    rows: list[Row] = []
    raw_rows: list[tuple[Any, ...]] = []
    size_bytes = 0
    try:
        for values in islice(given, max_rows or None):
            row = write(values)
            _require_bindable(row, statement)
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
            given.close()
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


def _nested_batches(raw: sqlite3.Connection, statement: Statement) -> _Batches:
    """The same for rows with related rows inside."""
    parts: list[Statement | Related] = [statement, *statement.related]
    writers = [row_writer(part.labels, part.types) for part in parts]
    widths = [len(statement.labels) + statement.keys, *(len(part.labels) for part in statement.related)]

    def convert(part: int, raws: Sequence[Sequence[Any]]) -> list[Row]:
        write, finished = writers[part]
        columns = slice(NUMBERS, NUMBERS + widths[part])
        given = [tuple(values[columns]) for values in raws]
        return finished([write(values) for values in given], given)

    nested = Nested(statement.related, convert)
    cursor = raw.execute(statement.sql, statement.values)
    try:
        raws = values_of(raw, cursor)
        while batch := list(islice(raws, BATCH_ROWS)):
            rows = nested.add(batch)
            for row in rows:
                _require_bindable(row, statement)
            yield rows
        return nested.end()
    finally:
        with suppress(sqlite3.ProgrammingError):  # a connection that was given up has closed it
            cursor.close()
            raw.text_factory = str


def _require_bindable(row: Row, statement: Statement) -> None:
    """Raises: UnboundKey."""
    if statement.keys and any(type(key) is Undecodable for key in row.keys):
        raise UnboundKey("an order column holds text that is not UTF-8, after which no page can begin")


def _identities(connection: SqliteConnection) -> dict[tuple[DriverValue, ...], list[Row]]:
    """What the query for a relation's identity has answered on this connection since the schema last changed.

    It reads all of sqlite_schema (5 ms at 10,000 tables), the counter takes microseconds. An answer that a change came
    before, outside of a transaction, stands under the older counter and is not used again.
    """
    (version,) = connection.raw.execute(QUERIES["schema_version"].sql).fetchone()
    if connection.identities_version != version or len(connection.identities) >= MAX_IDENTITIES:
        connection.identities, connection.identities_version = {}, version
    return connection.identities
