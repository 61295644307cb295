"""How PostgreSQL says that it cannot, whatever the statement: away, starting, out of something. By SQLSTATE.

Whether trying again helps is told of each: what passes by itself is `retryable`, what somebody has to put right is not.
"""

from dataclasses import dataclass

import asyncpg

from schema_mcp.errors import CallError, ErrorCode, LimitReached, StatementRefused, Unavailable

_UNAVAILABLE_CLASSES = ("08", "28", "53", "57P", "3D")
#: Of those, what is about one statement, on a connection that goes on.
_OF_A_STATEMENT = frozenset({"53000", "53100", "53200", "53400"})
#: The function of PostgreSQL that lets a connection into a database.
_LETTING_IN = "CheckMyDatabase"

TRY_LATER = "Try again in a few seconds; if it lasts, check that the database runs and can be reached."
#: What to do where nothing can be written.
READ_ONLY_HINT = (
    "Nothing was written. The session is read-only, or the server is: a standby, or set so "
    "(default_transaction_read_only). If another one is taking over, try again in a few seconds. Reading goes on."
)


@dataclass(frozen=True, slots=True)
class _Away:
    """`what`: said before PostgreSQL's own words. `retry_after_s`: None: somebody has to put it right."""

    what: str
    hint: str
    retry_after_s: float | None


#: By SQLSTATE, else by its first two characters.
_AWAY = {
    "28": _Away(
        "it lets this server's role not in",
        "Check the user, the password and pg_hba.conf; whoever runs this server has to change its settings.",
        None,
    ),
    "3D": _Away("there is no such database", "Check the name of the database in this server's settings.", None),
    "42501": _Away(
        "it lets this server's role not in",
        "The role needs CONNECT on the database; whoever runs the database has to GRANT it.",
        None,
    ),
    "53300": _Away(
        "it has no free connection",
        "Try again in a moment. If it lasts: raise max_connections, or the limit of the role or the database, or lower "
        "pool.size here.",
        1.0,
    ),
    "57P01": _Away("it is shutting down, or ended the connection", TRY_LATER, 1.0),
    "57P02": _Away("it has crashed and is recovering", TRY_LATER, 1.0),
    "57P03": _Away("it is starting up, recovering or shutting down", TRY_LATER, 1.0),
    "57P04": _Away("the database was dropped", "Whoever runs this server has to serve another one.", None),
}
_OTHERWISE = _Away("", TRY_LATER, 1.0)


def is_unavailable(error: BaseException) -> bool:
    """The database did not answer, or let nobody in: it is not about the statement."""
    if isinstance(error, asyncpg.PostgresError):
        # Of that function 42501 says that the role lacks CONNECT on the database.
        if error.sqlstate == "42501" and error.server_source_function == _LETTING_IN:
            return True
        return (error.sqlstate or "").startswith(_UNAVAILABLE_CLASSES) and error.sqlstate not in _OF_A_STATEMENT
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, asyncpg.DataError) and (
            isinstance(error, asyncpg.ClientConfigurationError) or "closed" in str(error) or "closing" in str(error)
        )
    return isinstance(error, asyncpg.InternalClientError | OSError)


def unavailable(message: str, state: str | None = None, *, retryable: bool = True) -> Unavailable:
    """What is told of it. `message`: the driver's or PostgreSQL's own words."""
    away = _AWAY.get(state or "") or _AWAY.get((state or "")[:2]) or _OTHERWISE
    why = f"{away.what} ({message})" if away.what else message
    return Unavailable(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"the database is unavailable: {why}",
        away.hint,
        sqlstate=state,
        retryable=retryable and away.retry_after_s is not None,
        retry_after_s=away.retry_after_s or 0.0,
    )


def of_a_statement(message: str, state: str) -> CallError | None:
    """What the server has run out of while it ran one; None if it is something else."""
    match state:
        case "53000" | "53200":
            hint = (
                "Nothing was written. Ask for less at once, or try again later; for room for locks whoever runs the "
                "database can raise max_locks_per_transaction."
            )
            what = f"the database has run out of memory or of room for locks ({message})"
            return Unavailable(ErrorCode.BUSY, what, hint, sqlstate=state)
        case "53100":
            hint = "Nothing was written. Whoever runs the database has to make room; reading goes on."
            what = f"the database's disk is full ({message})"
            return StatementRefused(ErrorCode.DATABASE_FULL, what, hint, sqlstate=state)
        case "53400":
            hint = "Nothing was written. Ask for less: a filter on an indexed column, fewer rows to sort or to group."
            return LimitReached(
                ErrorCode.DATABASE_ERROR, f"a limit of the database's own ended it ({message})", hint, sqlstate=state
            )
        case "58030" | "XX001" | "XX002":
            hint = "Whoever runs the database has to look at its disk and its log; other tables may be well."
            what = f"the database cannot read or write its files ({message})"
            return StatementRefused(ErrorCode.DATABASE_ERROR, what, hint, sqlstate=state)
    return None
