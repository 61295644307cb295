"""PostgreSQL, through asyncpg: the parts of this package as one `Dialect`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg as sqlalchemy_asyncpg
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
from schema_mcp.dialects.postgresql import conditions, errors, inserts, reader, statements, values
from schema_mcp.dialects.postgresql.aggregates import PostgresqlAggregates
from schema_mcp.dialects.postgresql.connection import CancellingConnection
from schema_mcp.dialects.postgresql.counters import PostgresqlCounters
from schema_mcp.dialects.postgresql.fetch import QUERIES
from schema_mcp.dialects.postgresql.row_object import UNBOUNDED, Key, RowObject, is_unbounded
from schema_mcp.dialects.postgresql.sql import PostgresqlSql
from schema_mcp.dialects.postgresql.transactions import PostgresqlTransactions
from schema_mcp.dialects.queries import load
from schema_mcp.dialects.sql import SqlAccess
from schema_mcp.dialects.transactions import TransactionAccess
from schema_mcp.errors import CallError
from schema_mcp.schema.model import Column, Table
from schema_mcp.schema.select import Selection
from schema_mcp.schema.types import SqlType

#: How long opening a connection may take.
CONNECT_TIMEOUT_S = 5.0

#: Settings that decide how values are written as text; the same for every session, whatever the server's defaults.
_TEXT_FORMAT = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
}


#: Parameters that hosting providers put into URLs for other drivers.
_OTHERS_PARAMETERS = ("channel_binding", "pgbouncer", "connection_limit", "prepared_statement_cache_size")


class PostgresqlDialect:
    """`portable_reader`: read information_schema instead of pg_catalog (`watch.reader`)."""

    name = "postgresql"
    remote = True
    gate_interval_s: float | None = None
    has_statement_timeout = True
    nulls_first = False
    binds_lists = True
    insert_sizes: tuple[int, ...] = ()
    max_parameters = 32_767
    tags: tuple[str, ...] = ()
    counts_changes_of_views = True
    check_deferred = "SET CONSTRAINTS ALL IMMEDIATE"
    begin_read = "BEGIN READ ONLY"
    begin_write = "BEGIN"
    read_only_setting = "default_transaction_read_only"
    explain = "EXPLAIN "
    aggregates: Aggregates = PostgresqlAggregates()
    identity = QUERIES["identity"].sql
    outcomes = load("schema_mcp.dialects.postgresql", "outcome.sql")
    idempotency = load("schema_mcp.dialects.postgresql", "idempotency.sql")
    excess = QUERIES["excess"].sql
    unbounded = UNBOUNDED
    sql: SqlAccess = PostgresqlSql()
    transactions: TransactionAccess = PostgresqlTransactions()
    counters: Counters = PostgresqlCounters()

    def __init__(self, *, portable_reader: bool = False) -> None:
        self.portable_reader = portable_reader
        self.sqlalchemy: SqlalchemyDialect = sqlalchemy_asyncpg.dialect()  # type: ignore[no-untyped-call]

    def engine_options(self, url: sa.URL, limits: SessionLimits) -> tuple[sa.URL, Mapping[str, Any]]:
        """Limits and text formats travel in the start-up packet, so that they cost no round trip.

        asyncpg itself reads the URL: it knows libpq's parameters (`sslmode`, `host`, ...), SQLAlchemy does not.
        """
        settings = {
            "application_name": "schema-mcp",
            "statement_timeout": _milliseconds(limits.statement_timeout_s),
            "lock_timeout": _milliseconds(limits.lock_timeout_s),
            "idle_in_transaction_session_timeout": _milliseconds(limits.idle_in_transaction_timeout_s),
            **_TEXT_FORMAT,
        }
        if limits.read_only:  # else as the database has it for the role: whoever set it to read-only means it
            settings["default_transaction_read_only"] = "on"
        dsn = url.set(drivername="postgresql").difference_update_query(_OTHERS_PARAMETERS)

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(
                dsn.render_as_string(hide_password=False),
                server_settings=settings,
                timeout=CONNECT_TIMEOUT_S,
                connection_class=CancellingConnection,
            )

        return sa.URL.create("postgresql+asyncpg"), {"async_creator": connect}

    async def gate(self, connection: Connection) -> Gate:
        """The snapshot's text: equal twice means that no transaction was committed between (PostgreSQL 13 on)."""
        return await reader.gate(connection)

    async def read(
        self, connection: Connection, source: str, selection: Selection, previous: Reading | None
    ) -> Reading:
        """By pg_catalog, or by information_schema if the configuration says so."""
        if self.portable_reader:
            return await reader.read_portably(connection, source, selection)
        return await reader.read(connection, source, selection, previous)

    def encode(self, type_: SqlType, value: Value, operator: str = "eq") -> DriverValue:
        """Always text, or a list of texts."""
        return conditions.encode(type_, value, operator)

    def parameter(self, type_: SqlType, name: str) -> sa.ColumnElement[Any]:
        """Bound as text, cast to the base type."""
        return values.parameter(type_, name)

    def condition(
        self, operator: str, column: sa.ColumnElement[Any], type_: SqlType, names: Sequence[str]
    ) -> sa.ColumnElement[bool]:
        """By the operators of PostgreSQL that indexes serve."""
        return conditions.condition(operator, column, type_, names)

    def insert(
        self, target: sa.TableClause, columns: Sequence[Column], rows: int, conflict: Conflict | None
    ) -> tuple[sa.Insert, Sequence[sa.ColumnElement[Any]]]:
        """All rows in one statement, by `unnest`."""
        return inserts.insert(target, columns, conflict)

    def row(
        self, columns: Sequence[tuple[str, sa.ColumnElement[Any], SqlType]], keys: Sequence[sa.ColumnElement[Any]]
    ) -> Sequence[sa.ColumnElement[Any]]:
        """The JSON object as text, made by the database; order keys as text, as they come back in."""
        if not columns:
            return [sa.cast(key, sa.Text()) for key in keys]
        bounded = {id(column) for _, column, type_ in columns if not is_unbounded(type_)}
        selected = [
            Key(key) if isinstance(key, sa.ColumnClause) and id(key) not in bounded else sa.cast(key, sa.Text())
            for key in keys
        ]
        large = [key for key in selected if isinstance(key, Key)]
        return [RowObject(columns, values.exact, large), *selected]

    def fetch(self, connection: Connection, statement: Statement, max_rows: int) -> AsyncGenerator[list[Row], None]:
        """Few rows at once, many through a cursor."""
        return statements.fetch(connection, statement, max_rows)

    def translate(self, error: BaseException, table: Table | None) -> CallError | None:
        """By SQLSTATE."""
        return translate_row(error, lambda cause: errors.translate(cause, table))


def _milliseconds(seconds: float) -> str:
    return str(max(0, round(seconds * 1000)))
