"""Rows going in on SQLite: many a statement; and where it refuses them, which of them it was.

A statement with RETURNING costs 15 us beside its rows, so that rows go in by hundreds.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from schema_mcp.dialects.base import UPDATED, Conflict, GivenRows, Row, RowRefused, Statement
from schema_mcp.dialects.sqlite.connection import UPDATING, SqliteConnection
from schema_mcp.dialects.sqlite.rows import values_of
from schema_mcp.schema.model import Column

#: Result codes of errors that are about one of the rows; triggers raise the first.
_ABOUT_A_ROW = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})
_PRIMARY = 0xFF


def insert(
    target: sa.TableClause, columns: Sequence[Column], rows: int, conflict: Conflict | None
) -> tuple[sa.Insert, Sequence[sa.ColumnElement[Any]]]:
    """`INSERT ... VALUES (?, ?), (?, ?)`; without columns one row, by `DEFAULT VALUES`."""
    statement = sqlite_insert(target)
    if not columns:
        return statement.values({}), ()
    row = f"({', '.join('?' * len(columns))})"
    values = sa.text(f"VALUES {', '.join([row] * rows)}").columns(*(sa.column(column.name) for column in columns))
    statement = statement.from_select([column.name for column in columns], values)
    if conflict is None:
        return statement, ()
    if not conflict.updates:
        return statement.on_conflict_do_nothing(index_elements=conflict.key), ()
    statement = statement.on_conflict_do_update(
        index_elements=conflict.key,
        set_={name: statement.excluded[name] for name in conflict.updates},
        where=getattr(sa.func, UPDATING)() == sa.literal_column("1"),
    )
    return statement, ()


def insert_given(
    connection: SqliteConnection,
    statement: Statement,
    given: GivenRows,
    write: Callable[[tuple[Any, ...]], Row],
    finished: Callable[[list[Row], list[tuple[Any, ...]]], list[Row]],
) -> list[Row]:
    """What the statement answers with, in the order of the rows; as many empty rows as it was given where it does not
    `returns_rows`, because SQLite counts nothing that a view's trigger writes.

    Runs in the connection's thread. Raises: RowRefused; sqlite3.Error for what is not about a row.
    """
    raw = connection.raw
    before = connection.updates
    try:
        found = list(values_of(raw, raw.execute(statement.sql, statement.values)))
    except sqlite3.Error as error:
        if (error.sqlite_errorcode or 0) & _PRIMARY not in _ABOUT_A_ROW:
            raise
        row = _first_refused(raw, statement, given)
        if row is None:
            raise
        raise RowRefused(given.first + row) from error
    finally:
        raw.text_factory = str
    if not statement.returns_rows:
        return [Row(b"{}", ())] * given.count
    rows = finished([write(values) for values in found], found)
    if not given.tells_updates:
        return rows
    updated = connection.updates - before
    # How many they are is told exactly, which ones they are is not asked.
    return [Row(row.json, UPDATED if place < updated else ()) for place, row in enumerate(rows)]


def _first_refused(raw: sqlite3.Connection, statement: Statement, given: GivenRows) -> int | None:
    """The first row that is refused when each goes in by itself; None where the error has ended the transaction.

    A row may refer to one that comes later in the statement, so that those are tried again that a foreign key refuses.
    """
    if given.count == 1:
        return 0
    if not raw.in_transaction:
        return None
    width = len(statement.values) // given.count
    rows = [statement.values[start : start + width] for start in range(0, len(statement.values), width)]
    raw.execute("SAVEPOINT schema_mcp_rows")
    try:
        waiting = list(range(given.count))
        while True:
            referring = []
            for row in waiting:
                try:
                    raw.execute(given.single, rows[row]).fetchall()
                except sqlite3.Error as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
                        return row
                    referring.append(row)
            if not referring or len(referring) == len(waiting):
                return referring[0] if referring else None
            waiting = referring
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK TO schema_mcp_rows")
            raw.execute("RELEASE schema_mcp_rows")
