"""SQLite, through aiosqlite: the parts of this package as one `Dialect`."""

import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import aiosqlite as sqlalchemy_aiosqlite
from sqlalchemy.engine.interfaces import Dialect as SqlalchemyDialect

from schema_mcp.dialects.base import (
    Aggregates,
    Conflict,
    Connection,
    DriverValue,
    Gate,
    Reading,
    Row,
    SessionLimits,
    Statement,
    Value,
    translate_row,
)
from schema_mcp.dialects.counters import Counters
from schema_mcp.dialects.queries import Query, load
from schema_mcp.dialects.sql import SqlAccess
from schema_mcp.dialects.sqlite import errors, inserts, large, reader, statements, values
from schema_mcp.dialects.sqlite.aggregates import SqliteAggregates
from schema_mcp.dialects.sqlite.connection import DatabaseFile, SqliteConnection
from schema_mcp.dialects.sqlite.counters import SqliteCounters
from schema_mcp.dialects.sqlite.sql import SqliteSql
from schema_mcp.dialects.sqlite.tagged import TAGS
from schema_mcp.dialects.sqlite.transactions import SqliteTransactions
from schema_mcp.dialects.transactions import TransactionAccess
from schema_mcp.errors import CallError, CatalogReadError, ConfigurationError
from schema_mcp.schema.model import Column, Table
from schema_mcp.schema.select import Selection
from schema_mcp.schema.types import SqlType, TypeKind

#: pragma_table_list (sqlite.org/releaselog/3_37_0.html) tells shadow tables from tables.
MIN_VERSION = (3, 37, 0)


class SqliteDialect:
    """Connections are `SqliteConnection`, as the options for the engine make them."""

    name = "sqlite"
    remote = False
    gate_interval_s: float | None = 0.1
    #: Whoever runs a statement cancels it, which interrupts it.
    has_statement_timeout = False
    nulls_first = True
    binds_lists = False
    #: With more rows a statement gets no faster, and a text for each number of rows would have to be kept.
    insert_sizes: tuple[int, ...] = (500, 100, 10, 1)
    #: sqlite.org/limits.html section 9; a build may allow more.
    max_parameters = 32_766
    tags: tuple[str, ...] = TAGS
    counts_changes_of_views = False
    check_deferred = statements.CHECK_DEFERRED
    begin_read = "BEGIN"
    #: Not deferred: a transaction that has read cannot always be let to write (SQLITE_BUSY_SNAPSHOT).
    begin_write = "BEGIN IMMEDIATE"
    read_only_setting = ""
    explain = ""
    aggregates: Aggregates = SqliteAggregates()
    identity = statements.IDENTITY
    #: COMMIT is a function call in this process: it cannot have been done without returning so.
    outcomes: Mapping[str, Query] = MappingProxyType({})
    idempotency = load("schema_mcp.dialects.sqlite", "idempotency.sql")
    excess = ""
    #: Rows are not measured before they leave: SQLite stops at what is large, see `large`.
    unbounded: frozenset[TypeKind] = frozenset()
    sql: SqlAccess = SqliteSql()
    transactions: TransactionAccess = SqliteTransactions()
    counters: Counters = SqliteCounters()

    def __init__(self) -> None:
        self.sqlalchemy: SqlalchemyDialect = sqlalchemy_aiosqlite.dialect()

    def engine_options(self, url: sa.URL, limits: SessionLimits) -> tuple[sa.URL, Mapping[str, Any]]:
        """The path stands in the URL as it is, relative to the working directory; parameters are refused.

        Raises: ConfigurationError.
        """
        mistakes = []
        if not url.database or url.database == ":memory:":
            mistakes.append("database.url: SQLite needs the path of a file, sqlite:///path")
        if url.query:
            mistakes.append(f"database.url: a SQLite URL takes no parameters, got {', '.join(sorted(url.query))}")
        if sqlite3.sqlite_version_info < MIN_VERSION:
            mistakes.append(f"database.url: SQLite {sqlite3.sqlite_version} is too old, 3.37 or later is needed")
        if mistakes:
            raise ConfigurationError(mistakes)
        path = Path(url.database or "").absolute()
        file = DatabaseFile(path=path, read_only=limits.read_only, lock_timeout_s=limits.lock_timeout_s)
        return sa.URL.create("sqlite+aiosqlite", database=str(path)), {"async_creator": partial(SqliteConnection, file)}

    async def gate(self, connection: Connection) -> Gate:
        """Which file it is, by device and inode, and its schema_version.

        Raises: CatalogReadError if the file is gone or cannot be read.
        """
        try:
            return await _ours(connection).run(reader.gate, _ours(connection).file)
        except (sqlite3.Error, ValueError) as exc:
            raise _read_error("cannot tell whether the schema has changed", exc) from exc

    async def read(
        self, connection: Connection, source: str, selection: Selection, previous: Reading | None
    ) -> Reading:
        """See `reader`; nothing is postponed, because readers here wait for no table."""
        ours = _ours(connection)
        try:
            return await ours.run(reader.read, ours.file, ours.identity, source, selection, previous)
        except (sqlite3.Error, ValueError) as exc:
            raise _read_error(f"cannot read the schema of source '{source}'", exc) from exc

    def encode(self, type_: SqlType, value: Value, operator: str = "eq") -> DriverValue:
        """The storage class that the column gives it, if SQLite holds it exactly."""
        return values.encode(type_, value, operator)

    def parameter(self, type_: SqlType, name: str) -> sa.ColumnElement[Any]:
        """A bare placeholder."""
        return statements.parameter(name)

    def condition(
        self, operator: str, column: sa.ColumnElement[Any], type_: SqlType, names: Sequence[str]
    ) -> sa.ColumnElement[bool]:
        """LIKE with regard to case as GLOB; documents and the case of letters by functions of ours (`functions`)."""
        return statements.condition(operator, column, names)

    def insert(
        self, target: sa.TableClause, columns: Sequence[Column], rows: int, conflict: Conflict | None
    ) -> tuple[sa.Insert, Sequence[sa.ColumnElement[Any]]]:
        """As many rows as `VALUES` lists."""
        return inserts.insert(target, columns, rows, conflict)

    def row(
        self, columns: Sequence[tuple[str, sa.ColumnElement[Any], SqlType]], keys: Sequence[sa.ColumnElement[Any]]
    ) -> Sequence[sa.ColumnElement[Any]]:
        """The columns as they are: `fetch` makes the JSON."""
        return [*(large.placed(column).label(label) for label, column, _ in columns), *keys]

    def fetch(self, connection: Connection, statement: Statement, max_rows: int) -> AsyncGenerator[list[Row], None]:
        """See `statements.fetch`."""
        return statements.fetch(_ours(connection), statement, max_rows)

    def translate(self, error: BaseException, table: Table | None) -> CallError | None:
        """By SQLite's result code."""
        return translate_row(error, lambda cause: errors.translate(cause, table))


def _ours(connection: Connection) -> SqliteConnection:
    if not isinstance(connection, SqliteConnection):
        raise TypeError(f"{type(connection).__name__} was not opened by the options that SqliteDialect gives")
    return connection


def _read_error(what: str, error: Exception) -> CatalogReadError:
    known = errors.translate(error, None)
    reason = known.message.rstrip(".") if known is not None else str(error)
    return CatalogReadError(f"{what}: {reason}", unavailable=known is not None and known.retryable)
