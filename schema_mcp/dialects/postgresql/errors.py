"""asyncpg's errors in our words, by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).

PostgreSQL's messages may be in any language, so nothing is decided by their words where a code or a field tells.
DETAIL may hold the whole row ("Failing row contains ..."); it is passed on only where it is about a key whose columns
the caller may read. Of a table with hidden columns nothing is passed on that might name one: neither the name of a
constraint that the caller does not see, nor what a trigger says; of one with masked columns nothing that might repeat a
value. An address, a password or a URL is never in a message.
"""

import os
import re
from collections.abc import Iterator, Sequence

import asyncpg

from schema_mcp.dialects.postgresql.degraded import READ_ONLY_HINT, is_unavailable, of_a_statement, unavailable
from schema_mcp.dialects.postgresql.suspects import names_of_lookups, suspects
from schema_mcp.errors import (
    CallError,
    ErrorCode,
    LimitReached,
    StaleSchema,
    StatementRefused,
    StillReferenced,
    Unavailable,
)
from schema_mcp.schema.model import Check, ForeignKey, Key, Table

#: Whatever asyncpg raises of its own accord, or lets through from the network.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

#: PostgreSQL repeats a value that it refuses, however long; a CHECK may list thousands of words.
_MAX_CHARACTERS = 500

_STALE = frozenset({"42P01", "42703", "42704", "42804", "3F000"})
#: "cannot accept a value of type pg_node_tree": types that the server alone makes values of.
_NO_INPUT = "0A000"
_TIMEOUTS = {"25P03": "the transaction was idle for too long", "25P04": "the transaction took too long"}

_VIOLATIONS = {
    "23505": ErrorCode.UNIQUE_VIOLATION,
    "23503": ErrorCode.FOREIGN_KEY_VIOLATION,
    "23514": ErrorCode.CHECK_VIOLATION,
    "23502": ErrorCode.NOT_NULL_VIOLATION,
}

_REFUSED_HINTS = {
    "21000": "Two of the rows have the same key; give each key once.",
    "428C9": "The database makes this column's value itself; leave the column out.",
    "42P10": "Give in conflict_columns the columns of a primary or unique key; describe_table lists them.",
    "55000": "A materialized view has no rows before its first REFRESH MATERIALIZED VIEW, a view may take no such "
    "statement, a deferrable key finds no row for on_conflict; describe_table says what may be done.",
    "25P02": "An earlier statement of this transaction failed; roll it back and begin again.",
    "P0001": "A trigger or function of the database refused; its message says why.",
}


def translate(error: BaseException, table: Table | None) -> CallError | None:
    """See `Dialect.translate`. What SQLAlchemy has wrapped is unwrapped first."""
    for cause in _causes(error):
        if isinstance(cause, asyncpg.PostgresError):
            return _postgres(cause, table)
        if isinstance(cause, asyncpg.DataError):
            hint = "Give a value of the column's type."
            return StatementRefused(ErrorCode.INVALID_VALUE, f"a value cannot be sent: {reason(cause)}", hint)
        if isinstance(cause, asyncpg.OutdatedSchemaCacheError) or (
            isinstance(cause, asyncpg.InterfaceError) and "prepared statement is closed" in str(cause)
        ):
            return _stale(table, None)
        if is_unavailable(cause):
            return unavailable(reason(cause), retryable=not isinstance(cause, asyncpg.ClientConfigurationError))
    return None


def reason(error: BaseException) -> str:
    """The error in a few words, for a message: of the network's errors not the address, of bad settings not the URL."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return "the connection settings cannot be used"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else "it cannot be reached"
    return _shortened(str(error.args[0]) if error.args else type(error).__name__)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what SQLAlchemy's exceptions carry as their origin."""
    current: BaseException | None = error
    while current is not None:
        yield current
        wrapped = type(current).__module__.startswith("sqlalchemy.")
        current = (getattr(current, "orig", None) or current.__cause__) if wrapped else None


def _postgres(error: asyncpg.PostgresError, table: Table | None) -> CallError:
    state, said = str(error.sqlstate or ""), reason(error)
    message = said
    if table is not None and _may_tell(error, state, table):
        message = f"table {table.name.name!r} refused the statement ({_in_words(error)})"
    elif names := names_of_lookups(table, state, said):
        return _of_columns(names, message, "Give the name of something that is there.", state)
    stale = isinstance(error, asyncpg.InvalidCachedStatementError) or state in _STALE
    if (stale or _is_cache_lookup(state, said)) and table is not None:
        return _stale(table, state or None, message)
    if _is_violation(state):
        return _violation(error, message, state, table)
    if state.startswith("22") or state == _NO_INPUT:
        return _invalid_value(error, message, state, table)
    match state:
        case "42501" if not is_unavailable(error):
            hint = "The role may not do this, or row-level security forbids this row; list_tables says what is allowed."
            return _refused(ErrorCode.PERMISSION_DENIED, message, hint, state)
        case "25006":
            return _refused(ErrorCode.READ_ONLY, message, READ_ONLY_HINT, state)
        case "42883":
            hint = "Use an operator that the column's type has: eq, ne and is_null work for most."
            return _refused(ErrorCode.INVALID_OPERATOR, message, hint, state)
        case "57014" if "user request" in said:
            hint = "Call again if it is still wanted."
            return LimitReached(ErrorCode.CANCELLED, "the statement was cancelled", hint, sqlstate=state)
        case "57014":
            hint = "Ask for less: a filter on an indexed column, a smaller limit, no count."
            return LimitReached(ErrorCode.TIMEOUT, "the statement took too long and was stopped", hint, sqlstate=state)
        case "25P03" | "25P04":
            hint = "It was rolled back; begin again and end it sooner."
            return LimitReached(ErrorCode.TIMEOUT, _TIMEOUTS[state], hint, sqlstate=state)
        case "55P03":
            what = f"table {table.name.name!r}" if table else "the table"
            return LimitReached(
                ErrorCode.LOCK_TIMEOUT,
                f"another session holds a lock on {what} or on a row of it",
                "Try again in a few seconds.",
                retryable=True,
                sqlstate=state,
                details={"retry_after_s": 1.0},
            )
        case "40001" | "40P01" | "55006":
            return Unavailable(ErrorCode.BUSY, message, "Another session was in the way. Try again.", sqlstate=state)
    if is_unavailable(error):
        return unavailable(message, state)
    if (exhausted := of_a_statement(message, state)) is not None:
        return exhausted
    hint = _REFUSED_HINTS.get(state, "The database refused the statement; its message says why.")
    return _refused(ErrorCode.DATABASE_ERROR, message, hint, state)


def _is_violation(state: str) -> bool:
    return state.startswith("23") or state == "44000"


def _may_tell(error: asyncpg.PostgresError, state: str, table: Table) -> bool:
    """Whether the message may name what is hidden of the table, or repeat a value that is masked.

    Those about values name no column, and those about constraints no value, unless a function raises them.
    """
    raised = _is_raised(error)
    if table.masks_columns and (raised or not _is_violation(state)):
        return True
    about_itself = state == "42501" and reason(error).replace('"', "").endswith(f" {table.name.name}")
    return table.hides_columns and (raised or not (state.startswith("22") or about_itself or _is_violation(state)))


def _is_raised(error: asyncpg.PostgresError) -> bool:
    """By a function of the database, which may give an error any words and fields."""
    return bool(error.server_source_function == "exec_stmt_raise")


def _in_words(error: asyncpg.PostgresError) -> str:
    """The class of the error: `invalid text representation`."""
    return re.sub("(?<!^)(?=[A-Z])", " ", type(error).__name__.removesuffix("Error")).lower()


def _is_hidden(error: asyncpg.PostgresError, table: Table) -> bool:
    """Whether a violation is, or may be, about a constraint or a column that is not in the table as it is served."""
    if _is_raised(error):
        return True
    keys: tuple[Key | ForeignKey | Check, ...] = (*_keys(table), *table.foreign_keys, *table.checks)
    if error.constraint_name:
        return error.constraint_name not in {key.name for key in keys}
    return error.column_name is None or table.column(str(error.column_name)) is None


def _keys(table: Table) -> tuple[Key, ...]:
    return (*((table.primary_key,) if table.primary_key else ()), *table.uniques, *table.masked_keys)


def _refused(code: ErrorCode, message: str, hint: str, state: str) -> StatementRefused:
    return StatementRefused(code, message, hint, sqlstate=state)


def _invalid_value(error: asyncpg.PostgresError, message: str, state: str, table: Table | None) -> CallError:
    hint = "Give a value that the column's type can hold."
    names = suspects(table, state, reason(error), str(error.detail or "")) if table is not None else ()
    if names:
        return _of_columns(names, message, hint, state)
    code = ErrorCode.DATABASE_ERROR if state == _NO_INPUT else ErrorCode.INVALID_VALUE
    return _refused(code, message, hint, state)


def _of_columns(names: Sequence[str], message: str, hint: str, state: str) -> CallError:
    shown = ", ".join(f"'{name}'" for name in names)
    where = f"column {shown}" if len(names) == 1 else f"one of the columns {shown}"
    return StatementRefused(
        ErrorCode.INVALID_VALUE, f"{where}: {message}", hint, sqlstate=state, details={"columns": list(names)}
    )


def _is_cache_lookup(state: str, message: str) -> bool:
    """Internal errors, never translated: an object was dropped while the statement was planned."""
    return state == "XX000" and ("cache lookup failed" in message or "could not open relation" in message)


def _stale(table: Table | None, state: str | None, message: str = "") -> StaleSchema:
    what = f"table {table.name.name!r}" if table else "the table"
    because = f": {message}" if message else ""
    return StaleSchema(
        f"{what} has changed since its tool was made{because}",
        "The tools are being renewed; look with describe_table at the columns as they are now and call again.",
        sqlstate=state,
    )


def _violation(error: asyncpg.PostgresError, said: str, state: str, table: Table | None) -> StatementRefused:
    where = str(error.table_name or (table.name.name if table else "?"))
    name, column = error.constraint_name, error.column_name
    place = (str(error.schema_name), where, str(name))
    other = table is not None and place[:2] != (table.name.schema, table.name.name)
    if state == "23503" and table is not None and other and _is_referred_to(error, where):
        # Of all names in the message the caller may know no more than the table's own.
        return StillReferenced(
            f"a foreign key of another table would be broken by what is written to table {table.name.name!r}",
            "Rows that others refer to cannot go before them; describe_table tells which tables refer to it.",
            by=place,
            sqlstate=state,
        )
    if table is not None and (
        (table.masks_columns and _is_raised(error)) or (table.hides_columns and _is_hidden(error, table))
    ):
        message = f"table {table.name.name!r} has a constraint that the row does not keep"
        hint = "It is about something that is not served; whoever runs this server can tell more."
        return StatementRefused(_VIOLATIONS.get(state, ErrorCode.CONSTRAINT_VIOLATION), message, hint, sqlstate=state)
    columns, key = _key(error, table)
    details: dict[str, object] = {"table": where}
    if name:
        details["constraint"] = name
    if columns:
        details["columns"] = list(columns)
    match state:
        case "23505":
            code = ErrorCode.UNIQUE_VIOLATION
            message = f"table {where!r} has a row with that key already ({name}): {key}"
            hint = "Give other values, or use on_conflict to skip or update the row that is there."
        case "23503":
            code = ErrorCode.FOREIGN_KEY_VIOLATION
            message = f"{said}: {key}"
            hint = "Refer to a row that is there, or insert it first; a row that others refer to cannot go before them."
        case "23514" | "44000":
            code = ErrorCode.CHECK_VIOLATION
            message = said
            hint = "Give values for which the check holds."
            for check in table.checks if table else ():
                if check.name == name:
                    expression = _shortened(check.expression)
                    message = f"{message}: {expression}"
                    details["expression"] = expression
        case "23502":
            code = ErrorCode.NOT_NULL_VIOLATION
            message = f"column {column!r} of table {where!r} may not be null" if column else said
            hint = "Give the column a value."
            if column:
                details["columns"] = [column]
        case _:
            code, message = ErrorCode.CONSTRAINT_VIOLATION, said
            hint = "Give values for which the constraint holds."
    return StatementRefused(code, message, hint, sqlstate=state, details=details)


def _is_referred_to(error: asyncpg.PostgresError, referring: str) -> bool:
    """Whether the rows are those that others refer to, and not those that refer, though in a table of another name: a
    partition, or what is beneath a view. In any language DETAIL ends with the table on the other side."""
    end = str(error.detail or "").rpartition(")")[2]
    return re.search(rf"(?<!\w){re.escape(referring)}(?!\w)", end) is not None


def _key(error: asyncpg.PostgresError, table: Table | None) -> tuple[tuple[str, ...], str]:
    """The columns of the key that the error is about, and what to say of it.

    DETAIL, in any language, has `(a, b)=(1, 2)`; it is said only if the caller may read those columns.
    """
    columns: tuple[str, ...] = ()
    if table is not None:
        keys: tuple[Key | ForeignKey, ...] = (*_keys(table), *table.foreign_keys)
        columns = next((key.columns for key in keys if key.name == error.constraint_name), ())
    detail = str(error.detail or "")
    if found := re.search(r"\((.+?)\)=\(", detail):
        columns = columns or tuple(found[1].split(", "))
        columns_shown = (column for column in (table.columns if table else ()) if column.readable and not column.masked)
        readable = {column.name for column in columns_shown}
        if readable.issuperset(columns):
            return columns, _shortened(detail)
    return columns, f"key ({', '.join(columns)})" if columns else "another key"
