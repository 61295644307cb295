"""The tree of errors: what went wrong, in words a person or a model can act on.

    SchemaMcpError
    ├── ConfigurationError          exit 2; every mistake at once, each with its key
    ├── UsageError                  exit 2; the command line asks for something that cannot be
    ├── CatalogReadError            the schema could not be read; the last good catalog stays
    └── CallError                   a tool result with `isError`
        ├── InvalidArgument         the arguments do not fit the tool (nothing was sent to the database)
        ├── StaleSchema             they fit the table as it was, not as it is
        ├── StatementRefused        the database refused: constraint, right, type (nothing was written)
        │   └── StillReferenced     rows that others refer to, of a table that the caller may not see
        ├── Unavailable             database away, pool busy: worth trying again
        ├── LimitReached            timeout, cancelled, too much
        └── OutcomeUnknown          a write was sent and its answer never came

Each `CallError` carries a `code` (a word of `ErrorCode`), a `message` that names the thing and the limit, a `hint` that
says the next step, and whether the same call may succeed later (`retryable`).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum


class ErrorCode(StrEnum):
    """The words a client can switch on; they are part of the interface."""

    INVALID_ARGUMENT = "invalid_argument"
    UNKNOWN_ARGUMENT = "unknown_argument"
    MISSING_ARGUMENT = "missing_argument"
    UNKNOWN_TOOL = "unknown_tool"
    UNKNOWN_TABLE = "unknown_table"
    AMBIGUOUS_TABLE = "ambiguous_table"
    UNKNOWN_SOURCE = "unknown_source"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNKNOWN_COLUMN = "unknown_column"
    UNKNOWN_RELATIONSHIP = "unknown_relationship"
    UNKNOWN_OPERATION = "unknown_operation"
    INVALID_VALUE = "invalid_value"
    MISSING_VALUE = "missing_value"
    INVALID_OPERATOR = "invalid_operator"
    INVALID_CURSOR = "invalid_cursor"
    UNKNOWN_TRANSACTION = "unknown_transaction"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    TOO_MANY_ROWS = "too_many_rows"
    STALE_SCHEMA = "stale_schema"
    NOT_ALLOWED = "not_allowed"
    CONTEXT_ENDED = "context_ended"
    UNIQUE_VIOLATION = "unique_violation"
    FOREIGN_KEY_VIOLATION = "foreign_key_violation"
    CHECK_VIOLATION = "check_violation"
    NOT_NULL_VIOLATION = "not_null_violation"
    CONSTRAINT_VIOLATION = "constraint_violation"
    PERMISSION_DENIED = "permission_denied"
    READ_ONLY = "read_only"
    DATABASE_ERROR = "database_error"
    DATABASE_UNAVAILABLE = "database_unavailable"
    DATABASE_FULL = "database_full"
    BUSY = "busy"
    LOCK_TIMEOUT = "lock_timeout"
    TIMEOUT = "timeout"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    OUTCOME_UNKNOWN = "outcome_unknown"
    INTERNAL_ERROR = "internal_error"


class SchemaMcpError(Exception):
    """Root of everything this program raises on purpose."""


class ConfigurationError(SchemaMcpError):
    """The configuration cannot be used. `mistakes`: one line each, beginning with the key or the file."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class UsageError(SchemaMcpError):
    """The command line asks for something that cannot be; the message says what can."""


class CatalogReadError(SchemaMcpError):
    """The schema of a source could not be read. `unavailable`: the database did not answer at all."""

    def __init__(self, message: str, *, unavailable: bool = False) -> None:
        super().__init__(message)
        self.unavailable = unavailable


class CallError(SchemaMcpError):
    """A tool call that ends as a result with `isError`."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        hint: str = "",
        *,
        retryable: bool = False,
        sqlstate: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = retryable
        self.sqlstate = sqlstate
        self.details = dict(details) if details else None
        #: Members that stand beside `error` in the answer.
        self.beside: Mapping[str, object] = {}

    def as_dict(self) -> dict[str, object]:
        """The `error` object of DESIGN section 4; optional members are left out when they say nothing."""
        error: dict[str, object] = {
            "code": str(self.code),
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        }
        if self.sqlstate is not None:
            error["sqlstate"] = self.sqlstate
        if self.details is not None:
            error["details"] = self.details
        return error


class InvalidArgument(CallError):
    """The arguments do not fit the tool. Nothing was sent to the database."""


class UnknownTool(InvalidArgument):
    """No tool of a table has that name, nor had one in this process."""

    def __init__(self, name: str) -> None:
        super().__init__(
            ErrorCode.UNKNOWN_TOOL,
            f"there is no tool '{name[:64]}' of a table",
            "list_tables tells the tables and their tools; query_rows and insert_rows reach any table by name.",
        )


class StaleSchema(CallError):
    """The call fits the table as it was; the hint and the details carry the table as it is."""

    def __init__(
        self, message: str, hint: str, *, sqlstate: str | None = None, details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(ErrorCode.STALE_SCHEMA, message, hint, sqlstate=sqlstate, details=details)


class StatementRefused(CallError):
    """The database refused the statement; nothing of it was written."""


class StillReferenced(StatementRefused):
    """A foreign key of another table would be broken. `by`: its schema, table and name, which the caller is told only
    if the table is served."""

    def __init__(self, message: str, hint: str, *, by: tuple[str, str, str], sqlstate: str) -> None:
        super().__init__(ErrorCode.FOREIGN_KEY_VIOLATION, message, hint, sqlstate=sqlstate)
        self.by = by


class Unavailable(CallError):
    """The database or a connection to it cannot be had now. Nothing was sent, or nothing of it was kept.

    `retryable` False: somebody has to put something right first. Else `retry_after_s`, in the details, is when another
    try is worth it.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        hint: str,
        *,
        sqlstate: str | None = None,
        retryable: bool = True,
        retry_after_s: float = 1.0,
    ) -> None:
        details = {"retry_after_s": round(retry_after_s, 2)} if retryable else None
        super().__init__(code, message, hint, retryable=retryable, sqlstate=sqlstate, details=details)


class LimitReached(CallError):
    """A limit of time or size ended the call; its statement was stopped and rolled back."""


class OutcomeUnknown(CallError):
    """A write was sent and the answer was lost: it may have been committed or not. `running`: it is being committed."""

    def __init__(self, message: str, hint: str, *, running: bool = False) -> None:
        super().__init__(ErrorCode.OUTCOME_UNKNOWN, message, hint, retryable=False)
        self.running = running
