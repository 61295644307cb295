"""SQLite's errors in our words: by result code (sqlite.org/rescode.html), by text where a code says too little."""

import re
import sqlite3
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from schema_mcp.dialects.sqlite.commit import CommittedElsewhere
from schema_mcp.dialects.sqlite.connection import DatabaseFileError
from schema_mcp.dialects.sqlite.large import MAX_VALUE_BYTES, ValueTooLarge
from schema_mcp.dialects.sqlite.statements import UnboundKey
from schema_mcp.errors import (
    CallError,
    ErrorCode,
    LimitReached,
    OutcomeUnknown,
    StaleSchema,
    StatementRefused,
    Unavailable,
)
from schema_mcp.schema.model import Table

#: The result code proper; the bits above it make it an extended one.
_PRIMARY = 0xFF
#: A value of the wrong type for a STRICT table; Python has no name for it.
_CONSTRAINT_DATATYPE = 3091
_STALE = re.compile(r"no such (?:table|column|view): |has no column named ")
#: What is said when a function of `aggregates` raises.
_NOT_A_NUMBER = ("user-defined aggregate's 'step' method raised error", "user-defined function raised exception")
_CLOSED = ("no active connection", "Connection closed", "Cannot operate on a closed database.")
_TOO_LARGE = ("Python int too large", "INT_MAX")
_RETRY = "Try the same call again."
#: A CHECK may list thousands of words.
_MAX_CHARACTERS = 500


def translate(error: BaseException, table: Table | None) -> CallError | None:
    """See `Dialect.translate`. `table`: the one that the statement was about."""
    if isinstance(error, sa.exc.StatementError) and error.orig is not None:
        error = error.orig
    text = str(error)
    hides = table is not None and (table.hides_columns or table.masks_columns)
    if isinstance(error, OverflowError) and any(words in text for words in _TOO_LARGE):
        return _invalid_value("A value is larger than SQLite can hold.")
    if isinstance(error, ValueError | sqlite3.Error) and text in _CLOSED:
        return _unavailable("The connection to the database was closed.", _RETRY)
    if not isinstance(error, sqlite3.Error):
        return None
    if isinstance(error, DatabaseFileError):
        return _unavailable(f"{text}.", "Check the path. A file that is put there is opened at the next call.")
    if isinstance(error, CommittedElsewhere):
        return OutcomeUnknown(
            f"{text} while this was being committed, which went into the file of before",
            "What is served now may be without it: query it before you do it again.",
        )
    if isinstance(error, ValueTooLarge):
        return LimitReached(
            ErrorCode.INVALID_VALUE,
            f"A value is larger than a statement may look at here: {MAX_VALUE_BYTES} bytes.",
            "Choose 'columns' without it, and leave it out of filters, order, groups and includes.",
        )
    if isinstance(error, UnboundKey):
        return StatementRefused(ErrorCode.DATABASE_ERROR, f"{text}.", "Order by another column.")
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    if code & _PRIMARY == sqlite3.SQLITE_CONSTRAINT:
        return _constraint(code, text, table)
    if text in _NOT_A_NUMBER:
        return StatementRefused(
            ErrorCode.INVALID_VALUE,
            "A sum or a mean met a value that is no number; SQLite lets any column hold text.",
            'Text is greater than any number; a filter leaves it out: "op": "lte", "value": "9000000000000000000".',
        )
    if text == "integer overflow":
        return StatementRefused(
            ErrorCode.INVALID_VALUE,
            "A sum or a result is beyond 9223372036854775807, where SQLite's integers end.",
            "Narrow the filters, or sum by groups.",
        )
    if hides and code & _PRIMARY == sqlite3.SQLITE_ERROR:
        text = (
            "no such column: one that is not served"
            if _STALE.search(text)
            else "in words that may tell what is not served"
        )
    if code & _PRIMARY == sqlite3.SQLITE_ERROR and _STALE.search(text):
        return StaleSchema(f"The database has changed: {text}.", "Look at the table again with describe_table.")
    make = _BY_CODE.get(code) or _BY_CODE.get(code & _PRIMARY)
    if make is not None:
        return make()
    if "Error binding parameter" in text:
        return _invalid_value(f"SQLite cannot store a value: {text}.")
    return StatementRefused(ErrorCode.DATABASE_ERROR, f"SQLite refused the statement: {text}.")


def _unavailable(message: str, hint: str, *, retryable: bool = True) -> CallError:
    return Unavailable(ErrorCode.DATABASE_UNAVAILABLE, message, hint, retryable=retryable)


def _invalid_value(message: str) -> CallError:
    return StatementRefused(ErrorCode.INVALID_VALUE, message, "See the column's type with describe_table.")


_BY_CODE: Mapping[int, Callable[[], CallError]] = {
    sqlite3.SQLITE_BUSY: lambda: Unavailable(
        ErrorCode.LOCK_TIMEOUT, "Another connection holds the database locked.", f"{_RETRY} Nothing was written."
    ),
    sqlite3.SQLITE_BUSY_SNAPSHOT: lambda: Unavailable(
        ErrorCode.BUSY, "Another connection wrote after this transaction had begun to read.", "Begin it again."
    ),
    sqlite3.SQLITE_LOCKED: lambda: Unavailable(ErrorCode.BUSY, "The table is in use by another statement.", _RETRY),
    sqlite3.SQLITE_PROTOCOL: lambda: Unavailable(ErrorCode.BUSY, "The database's lock could not be had.", _RETRY),
    sqlite3.SQLITE_READONLY: lambda: StatementRefused(
        ErrorCode.READ_ONLY,
        "The database can only be read.",
        "The file, its folder or the server is read-only. In WAL mode even readers need a folder that can be written.",
    ),
    sqlite3.SQLITE_READONLY_DBMOVED: lambda: _unavailable(
        "The database file was moved or deleted while it was open.", "Wait until the server has opened it again."
    ),
    **dict.fromkeys(
        (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_READONLY_CANTINIT),
        lambda: _unavailable(
            "The database was left unfinished by its last writer, and a reader cannot put it right.",
            "Open it once with the right to write, for example with the sqlite3 program.",
            retryable=False,
        ),
    ),
    sqlite3.SQLITE_CANTOPEN: lambda: _unavailable(
        "The database file cannot be opened.", "Check that it exists and that its folder can be written."
    ),
    sqlite3.SQLITE_NOTADB: lambda: _unavailable(
        "The file is not a SQLite database, or it is encrypted.",
        "Check the path that the server was given.",
        retryable=False,
    ),
    sqlite3.SQLITE_CORRUPT: lambda: _unavailable(
        "The database file is damaged.", "Run PRAGMA integrity_check on it, or restore a copy.", retryable=False
    ),
    sqlite3.SQLITE_IOERR: lambda: _unavailable(
        "The database file could not be read or written.", "Check the disk and the rights to the file."
    ),
    sqlite3.SQLITE_FULL: lambda: StatementRefused(
        ErrorCode.DATABASE_FULL, "The disk or the database is full; nothing was written.", "Make room and try again."
    ),
    sqlite3.SQLITE_NOMEM: lambda: Unavailable(
        ErrorCode.BUSY, "There was not enough memory for the statement.", "Nothing was written. Ask for less at once."
    ),
    sqlite3.SQLITE_INTERRUPT: lambda: LimitReached(
        ErrorCode.CANCELLED, "The statement was stopped.", "Nothing of it was written."
    ),
    sqlite3.SQLITE_AUTH: lambda: StatementRefused(ErrorCode.PERMISSION_DENIED, "The server does not allow this."),
    sqlite3.SQLITE_SCHEMA: lambda: StaleSchema("The database has changed meanwhile.", _RETRY),
    sqlite3.SQLITE_MISMATCH: lambda: _invalid_value("The row's key takes an integer, and something else was given."),
    sqlite3.SQLITE_TOOBIG: lambda: _invalid_value("A value is larger than SQLite can hold."),
}


def _constraint(code: int, text: str, table: Table | None) -> CallError:
    name = f"table '{table.name.name}'" if table is not None else "the table"
    what = text.partition(": ")[2]
    if table is not None and (table.hides_columns or table.masks_columns) and not _is_served(code, what, text, table):
        return StatementRefused(
            _VIOLATIONS.get(code, ErrorCode.CONSTRAINT_VIOLATION),
            f"{name} has a constraint that the row does not keep.",
            "It is about something that is not served; whoever runs this server can tell more.",
        )
    match code:
        case _ if code in _UNIQUE:
            columns = _key_of(what, table)
            of = ", ".join(f"'{column}'" for column in columns) if columns else what
            return StatementRefused(
                ErrorCode.UNIQUE_VIOLATION,
                f"{name} already has a row with the same {of}.",
                "Give another value, or use on_conflict.",
                details={"columns": list(columns)} if columns else None,
            )
        case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return StatementRefused(
                ErrorCode.FOREIGN_KEY_VIOLATION,
                f"A row of {name} refers to a row that does not exist, or is still referred to.",
                _foreign_keys(table),
            )
        case sqlite3.SQLITE_CONSTRAINT_CHECK:
            return _check(what, name, table)
        case sqlite3.SQLITE_CONSTRAINT_NOTNULL:
            column = _column_of(what, table)
            return StatementRefused(
                ErrorCode.NOT_NULL_VIOLATION,
                f"column '{column}' of {name} takes no null." if column else f"{what} takes no null.",
                "Give a value for it.",
                details={"columns": [column]} if column else None,
            )
        case _ if code == _CONSTRAINT_DATATYPE:
            return _invalid_value(f"{text}.")
        case _:
            hint = "A trigger or a rule of the table refused it; the message says why."
            return StatementRefused(ErrorCode.CONSTRAINT_VIOLATION, f"{name} refused the row: {text}.", hint)


_UNIQUE = (
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
)
_VIOLATIONS: Mapping[int, ErrorCode] = {
    **dict.fromkeys(_UNIQUE, ErrorCode.UNIQUE_VIOLATION),
    sqlite3.SQLITE_CONSTRAINT_CHECK: ErrorCode.CHECK_VIOLATION,
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: ErrorCode.NOT_NULL_VIOLATION,
}


def _is_served(code: int, what: str, text: str, table: Table) -> bool:
    """Whether the error is about columns and constraints of the table as it is served, and about no others."""
    if code in _UNIQUE:
        return bool(_key_of(what, table))
    match code:
        case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return True
        case sqlite3.SQLITE_CONSTRAINT_CHECK:
            return any(what == check.name or " ".join(what.split()) == check.expression for check in table.checks)
        case sqlite3.SQLITE_CONSTRAINT_NOTNULL:
            return _column_of(what, table) is not None
        case _ if code == _CONSTRAINT_DATATYPE:
            return any(text.endswith(f" {table.name.name}.{column.name}") for column in table.columns)
    return False


def _check(what: str, name: str, table: Table | None) -> CallError:
    """SQLite names the constraint, or shows the text of one that has no name."""
    checks = table.checks if table is not None else ()
    squeezed = " ".join(what.split())
    check = next((check for check in checks if what == check.name or squeezed == check.expression), None)
    rule = check.expression if check is not None else what
    if len(rule) > _MAX_CHARACTERS:
        rule = rule[:_MAX_CHARACTERS] + "..."
    return StatementRefused(
        ErrorCode.CHECK_VIOLATION,
        f"The row does not keep the rule of {name}: {rule}.",
        "Give values that keep it.",
        details={"constraint": check.name, "expression": rule} if check is not None else None,
    )


def _key_of(what: str, table: Table | None) -> tuple[str, ...]:
    """SQLite writes `table.column, table.column`, unquoted: it is looked up, never taken apart."""
    if table is None:
        return ()
    keys = [key.columns for key in (table.primary_key, *table.uniques, *table.masked_keys) if key is not None]
    keys += [(column.name,) for column in table.columns]
    return next((key for key in keys if what == ", ".join(f"{table.name.name}.{column}" for column in key)), ())


def _column_of(what: str, table: Table | None) -> str | None:
    if table is None:
        return None
    return next((column.name for column in table.columns if what == f"{table.name.name}.{column.name}"), None)


def _foreign_keys(table: Table | None) -> str:
    """SQLite does not tell which key it was."""
    keys = [
        f"{', '.join(key.columns)} -> {key.target.name} ({', '.join(key.target_columns)})"
        for key in (table.foreign_keys if table is not None else ())
    ]
    return f"Check these: {'; '.join(keys)}." if keys else "Insert the row that is referred to first."
