"""A caller's own statement on SQLite: one statement, on a connection of its own that may do no more than is asked.

Reading, the file is opened read-only (`mode=ro`), and while the statement is prepared an authorizer (sqlite.org
c3ref/set_authorizer.html) lets through what reads, and nothing else: no ATTACH, no VACUUM INTO another file, no PRAGMA
that sets anything, no extension. Writing, the file is opened read-write, in one transaction that the statement can
neither end nor leave. What is endless is interrupted by whoever waits; values are bounded in size, because a function
that works on one value cannot be.

Values leave as `rows` has them for columns without a type: what is neither text nor a number is tagged by its class.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import orjson

from schema_mcp.dialects.base import Connection, DriverValue, Row
from schema_mcp.dialects.sql import ONLY_READS, OpenSql, SqlColumn, SqlStatement, unique_names
from schema_mcp.dialects.sqlite import errors
from schema_mcp.dialects.sqlite.commit import commit
from schema_mcp.dialects.sqlite.connection import SqliteConnection
from schema_mcp.dialects.sqlite.large import MAX_VALUE_BYTES
from schema_mcp.dialects.sqlite.rows import row_writer
from schema_mcp.dialects.sqlite.tagged import TAGS, Undecodable, decode, untagged
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, LimitReached, StatementRefused
from schema_mcp.schema.types import SqlType, TypeKind

#: SQLite takes the most that it was built for (sqlite.org/c3ref/limit.html).
_NO_LIMIT_BYTES = 2**31 - 1
#: A batch ends after so much JSON.
BATCH_BYTES = 1_000_000

_UNTYPED = SqlType(kind=TypeKind.OTHER, native="", enforced=False)
_CLASSES = {int: "integer", float: "real", str: "text", Undecodable: "text", bytes: "blob"}

_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
#: Ending the transaction, and reaching other files: nobody may.
_NEVER = {
    sqlite3.SQLITE_ATTACH: "ATTACH and VACUUM",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_TRANSACTION: "BEGIN, COMMIT and ROLLBACK",
    sqlite3.SQLITE_SAVEPOINT: "SAVEPOINT",
}
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
#: What only tells of the database, with an argument or without.
_TELLING_PRAGMAS = frozenset(
    {
        *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"),
        *("foreign_key_list", "foreign_key_check", "integrity_check", "quick_check"),
    }
)
#: What tells without an argument, and sets with one.
_BARE_PRAGMAS = frozenset(
    {
        *("schema_version", "user_version", "application_id", "encoding", "page_count", "page_size", "freelist_count"),
        "data_version",  # full-text search asks for it
        *("compile_options", "collation_list", "function_list", "module_list", "pragma_list"),
        *("foreign_keys", "journal_mode"),
    }
)


_ALONE = "A statement runs alone, in a transaction of its own, and reaches this database only."


class NotAuthorized(sqlite3.DatabaseError):
    """The authorizer refused; the message says what."""


class SqliteSql:
    """See the module."""

    placeholders = "?, ?, ... or ?1, ?2, ..."
    frees = ""

    async def open(self, connection: Connection, statement: SqlStatement) -> "OpenSqliteSql":
        """See `SqlAccess`."""
        if "\0" in statement.sql or not _is_unicode(statement.sql):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                "'sql' holds the character NUL or half a surrogate pair",
                "Leave it out, or bind the value as a parameter.",
            )
        values = [_bound(place, value) for place, value in enumerate(statement.parameters, start=1)]
        opened = OpenSqliteSql(connection, statement, values)
        await connection.run(opened.begin)
        return opened

    async def commit(self, connection: Connection, opened: OpenSql) -> None:
        """See `SqlAccess`."""
        assert isinstance(opened, OpenSqliteSql)
        await connection.run(opened.commit)

    async def stop(self, connection: Connection) -> None:
        """Whoever cancelled the statement has interrupted it."""
        await connection.run(_roll_back)

    async def leave(self, connection: Connection, opened: OpenSql | None) -> None:
        """See `SqlAccess`."""
        await connection.run(_leave, opened)

    def lingers(self, connection: Connection) -> bool:
        """One function that works on one large value (instr) cannot be interrupted."""
        return bool(connection.lingers())

    def explaining(self, *, analyze: bool) -> str:
        """SQLite has no measured plans."""
        if analyze:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                "SQLite cannot measure a plan",
                "Leave 'analyze' out: the plan is told without.",
            )
        return "EXPLAIN QUERY PLAN "

    def plan_text(self, rows: Sequence[bytes]) -> str:
        """A line a step, below the one that it is part of (sqlite.org/eqp.html)."""
        depths = {0: -1}
        lines = []
        for row in map(orjson.loads, rows):
            depths[row["id"]] = depth = depths.get(row["parent"], -1) + 1
            lines.append("  " * depth + str(row["detail"]))
        return "\n".join(lines)

    def translate(self, error: BaseException, statement: SqlStatement) -> CallError | None:
        """What is wrong with the statement itself is the caller's to put right."""
        text = str(error)
        if isinstance(error, NotAuthorized):
            return StatementRefused(ErrorCode.NOT_ALLOWED, text, _ALONE if statement.writes else ONLY_READS)
        if isinstance(error, sqlite3.Error | sqlite3.Warning) and "one statement at a time" in text:
            return InvalidArgument(
                ErrorCode.INVALID_ARGUMENT, "'sql' holds more than one statement", "Send one statement a call."
            )
        if isinstance(error, sqlite3.ProgrammingError) and "bindings supplied" in text:
            return InvalidArgument(ErrorCode.INVALID_ARGUMENT, text, "Give 'parameters' a value for each placeholder.")
        if isinstance(error, UnicodeDecodeError):
            return StatementRefused(
                ErrorCode.DATABASE_ERROR,
                "a name in the database is not UTF-8",
                "Name the columns one by one, each AS a name.",
            )
        code: int = getattr(error, "sqlite_errorcode", None) or 0
        if isinstance(error, MemoryError) or code == sqlite3.SQLITE_TOOBIG:
            return LimitReached(
                ErrorCode.INVALID_VALUE,
                f"a value is larger than a statement may read or make here: {MAX_VALUE_BYTES} bytes",
                "Take a part of it: substr(column, 1, 1000).",
            )
        if isinstance(error, sqlite3.OperationalError) and code == sqlite3.SQLITE_ERROR:
            hint = "list_tables and describe_table tell the names; then send the statement again."
            return InvalidArgument(ErrorCode.INVALID_ARGUMENT, f"SQLite refused the statement: {text}.", hint)
        return errors.translate(error, None)


class OpenSqliteSql:
    """A statement in the connection's thread."""

    def __init__(self, connection: SqliteConnection, statement: SqlStatement, values: Sequence[DriverValue]) -> None:
        self._connection = connection
        self._statement = statement
        self._values = values
        self._refused: str | None = None
        self._labels: list[str] | None = None
        self._classes: list[set[str]] = []
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._cursor: sqlite3.Cursor | None = None
        self.affected: int | None = None
        #: Values too large are refused.
        self.cut: Mapping[int, Sequence[str]] = {}

    @property
    def columns(self) -> tuple[SqlColumn, ...] | None:
        """The type is the storage class of the values that came, as `typeof` has it."""
        if self._labels is None:
            return None
        seen = (" or ".join(sorted(classes)) or "null" for classes in self._classes)
        return tuple(SqlColumn(label, type_) for label, type_ in zip(self._labels, seen, strict=True))

    async def fetch(self, max_rows: int) -> list[bytes]:
        """See `OpenSql`."""
        return await self._connection.run(self._fetch, max_rows)

    def begin(self, raw: sqlite3.Connection) -> None:
        """Runs in the thread: the statement up to its first row."""
        self._connection.file.require(self._connection.identity)
        raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        raw.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        raw.text_factory = decode
        if self._statement.writes and not self._statement.within:
            raw.execute("BEGIN IMMEDIATE")
        raw.set_authorizer(self._authorize)
        try:
            self._cursor = cursor = raw.execute(self._statement.text, tuple(self._values))
        except sqlite3.Error as error:
            if self._refused is None:
                raise
            raise NotAuthorized(f"{self._refused} cannot be used here") from error
        if cursor.description is None:
            if not self._statement.writes:
                raise NotAuthorized("a statement that gives no rows cannot be used here")
            self.affected = cursor.rowcount if cursor.rowcount >= 0 else None
            return
        self._labels = unique_names([column[0] for column in cursor.description])
        self._classes = [set() for _ in self._labels]
        self._write, self._finished = row_writer(self._labels, [_UNTYPED] * len(self._labels))
        self._rows = cursor

    def commit(self, raw: sqlite3.Connection) -> None:
        """Runs in the thread."""
        self.close()
        raw.set_authorizer(None)
        commit(raw, self._connection)

    def close(self) -> None:
        """Runs in the thread: the statement runs no more."""
        if self._cursor is not None:
            self._cursor.close()

    def _fetch(self, _: sqlite3.Connection, max_rows: int) -> list[bytes]:
        rows: list[Row] = []
        raw_rows: list[tuple[Any, ...]] = []
        size_bytes = 0
        for values in islice(self._rows, max_rows):
            for seen, value in zip(self._classes, values, strict=True):
                if value is not None:
                    seen.add(_CLASSES[type(value)])
            rows.append(row := self._write(values))
            raw_rows.append(values)
            size_bytes += len(row.json)
            if size_bytes >= BATCH_BYTES:
                break
        return [row.json for row in self._finished(rows, raw_rows)] if rows else []

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        """Called while SQLite prepares the statement, again where it does so after a change of the schema."""
        if action in _NEVER:
            return self._refuse(_NEVER[action])
        if action == sqlite3.SQLITE_FUNCTION:
            name = (second or "").lower()
            return self._refuse(f"the function {name}") if name in _FORBIDDEN_FUNCTIONS else sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA:
            name = (first or "").lower()
            if name in _TELLING_PRAGMAS or (name in _BARE_PRAGMAS and second is None):
                return sqlite3.SQLITE_OK
            return self._refuse(f"PRAGMA {name[:40]}")
        # To use a virtual table SQLite asks so; it lets no statement change this table, whatever is answered here.
        declares = action == sqlite3.SQLITE_UPDATE and first == "sqlite_master"
        if action in _READS or declares or self._statement.writes:
            return sqlite3.SQLITE_OK
        return self._refuse("a statement that writes")

    def _refuse(self, what: str) -> int:
        self._refused = what
        return sqlite3.SQLITE_DENY


def _leave(raw: sqlite3.Connection, opened: OpenSql | None) -> None:
    raw.set_authorizer(None)
    if isinstance(opened, OpenSqliteSql):
        opened.close()
    raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _NO_LIMIT_BYTES)
    raw.text_factory = str


def _roll_back(raw: sqlite3.Connection) -> None:
    raw.set_authorizer(None)
    if raw.in_transaction:
        with suppress(sqlite3.OperationalError):  # SQLite has done so by itself
            raw.execute("ROLLBACK")


def _bound(place: int, value: Any) -> DriverValue:
    try:
        if isinstance(value, str):
            if value.startswith(TAGS):
                return untagged(value)
            if not _is_unicode(value):
                raise ValueError("half a surrogate pair is no Unicode text")
            return value
        if value is None or isinstance(value, int | float):
            return value
        raise ValueError("a string, a number, true, false or null is expected")
    except ValueError as refused:
        raise InvalidArgument(
            ErrorCode.INVALID_VALUE, f"parameter {place}: {refused}", "Send a document as a string that holds it."
        ) from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
