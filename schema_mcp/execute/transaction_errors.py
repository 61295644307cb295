"""What callers are told of a transaction that was open over several calls: what it does not take, and how it ended.

Pure."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from schema_mcp.dialects.sql import ONLY_READS
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, OutcomeUnknown, StaleSchema, StatementRefused
from schema_mcp.execute.outcome import Outcome
from schema_mcp.execute.perform import Replaced
from schema_mcp.execute.rows import commit_too_long, still_committing, too_long
from schema_mcp.execute.steps import Step, StepFailed
from schema_mcp.tools.base import StatementPlan

#: Why it is over, for its owner.
COMMITTED = "it was committed"
ROLLED_BACK = "it was rolled back"
ELSEWHERE = "it was committed into a file that is not served any more"
IN_DOUBT = "its commit was sent, and the answer was lost: it may have been done"

_BY_STATEMENT = "a statement of its own has ended it "

_READ_ONLY = "the transaction is read-only"
_WRITABLE = "Begin another without read_only, where the server's access.mode lets it write."
_AGAIN = "Begin another with begin_transaction, and repeat in it all that is still wanted."
#: SQLSTATEs of a conflict with another transaction, after which only a transaction begun anew can succeed:
#: serialization_failure, and deadlock_detected, since what was done before the call keeps the locks that the other
#: waits for.
_CONFLICTS = frozenset({"40001", "40P01"})
#: As in `attempts`: the schema changed under a prepared statement, which may well fit the new schema.
_CACHED_PLAN = ("0A000", None)


def refuse(steps: Sequence[Step], *, alone: bool, read_only: bool) -> None:
    """Raises: CallError for a plan that no transaction takes, or none that is read-only; StepFailed with it where it is
    not alone."""
    for step in steps:
        try:
            _refuse(step.plan, read_only=read_only)
        except CallError as error:
            raise error if alone else StepFailed(step, error) from error


def _refuse(plan: StatementPlan, *, read_only: bool) -> None:
    if plan.once is not None:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            "'idempotency_key' does not go with 'transaction_id': what a call did in a transaction may be undone after "
            "it was answered",
            "Leave the key out; the answer of commit_transaction tells whether all of it was done.",
        )
    if plan.writes and read_only:
        raise StatementRefused(ErrorCode.READ_ONLY, _READ_ONLY, _WRITABLE)


@contextmanager
def told_read_only(*, writes: bool) -> Iterator[None]:
    """What a dialect refuses because the caller's statement may only read is the transaction's doing where it `writes`
    elsewhere."""
    try:
        yield
    except CallError as error:
        if writes and error.hint == ONLY_READS:
            error.code, error.hint = ErrorCode.READ_ONLY, _WRITABLE
            error.message = f"{_READ_ONLY}: {error.message}"
        raise


def ended(reason: str) -> InvalidArgument:
    """It is over."""
    return InvalidArgument(
        ErrorCode.UNKNOWN_TRANSACTION,
        f"this transaction has ended: {reason}",
        "Begin another with begin_transaction.",
    )


def ended_by(how: str) -> StatementRefused:
    """A statement of the caller's own has ended it. `how`: the database's word for that."""
    return StatementRefused(
        ErrorCode.NOT_ALLOWED,
        f"the statement has ended the transaction that it ran in {became(how)}",
        "Its transaction_id holds no longer. End one with commit_transaction or rollback_transaction.",
    )


def by_statement(how: str) -> str:
    """Why it is over, where a statement of the caller's own has ended it."""
    return f"{_BY_STATEMENT}{became(how)}"


def outcome_of(over: str) -> Outcome:
    """What became of what was done in a transaction that is over, of which it is said why."""
    if over in (COMMITTED, by_statement("COMMIT")):
        return Outcome.COMMITTED
    in_the_dark = over.startswith(_BY_STATEMENT) and over != by_statement("ROLLBACK")
    return Outcome.UNKNOWN if over == IN_DOUBT or in_the_dark else Outcome.ROLLED_BACK


def became(how: str) -> str:
    """What it was ended by, and what that has made of what was done in it."""
    known = {"COMMIT": "everything done in it is committed", "ROLLBACK": "everything done in it is undone"}
    return f"({how}): {known.get(how, 'look at the tables for what became of it')}"


def with_the_transaction(error: CallError) -> CallError:
    """The same error, saying that the transaction has ended by it."""
    for each in (error, error.error) if isinstance(error, StepFailed) else (error,):
        what = each.message.rstrip(".")
        each.message = f"{what}; with it the transaction has ended, and everything in it was rolled back"
        each.hint = _AGAIN
        each.retryable = False
    return error


def not_committed(code: ErrorCode) -> StatementRefused:
    """COMMIT was sent, and nothing of it was done."""
    return StatementRefused(
        code, "the transaction could not be committed, and the database has rolled back everything in it", _AGAIN
    )


def in_time(error: BaseException, limit_s: float) -> BaseException:
    """The error of a COMMIT that was stopped; where its time was over, in words."""
    return too_long("call", limit_s, retryable=False) if isinstance(error, TimeoutError) else error


def waited_for(error: BaseException) -> BaseException:
    """The same error of a COMMIT that has ended its transaction, with what may have been in its way."""
    if isinstance(error, CallError) and error.code in (ErrorCode.LOCK_TIMEOUT, ErrorCode.TIMEOUT):
        error.hint = (
            "What was in the way may be a transaction of your own that is open, also one that only reads "
            f"(server_status tells them): end it with commit_transaction or rollback_transaction. {_AGAIN}"
        )
    return error


def uncommitted(outcome: Outcome, limit_s: float) -> CallError | None:
    """What to tell of a COMMIT whose answer was late or lost; None where it has done what it was sent for. `limit_s`:
    of its call."""
    match outcome:
        case Outcome.COMMITTED:
            return None
        case Outcome.ROLLED_BACK:
            return not_committed(ErrorCode.DATABASE_UNAVAILABLE)
        case Outcome.STOPPED:
            return with_the_transaction(commit_too_long(limit_s, "limits.call_timeout_s", retryable=False))
        case Outcome.RUNNING:
            return still_committing("the transaction")
        case Outcome.UNKNOWN:
            return lost_in_commit()


def lost_in_commit() -> OutcomeUnknown:
    """Nobody can say what became of it."""
    return OutcomeUnknown(
        "the connection was lost while the transaction was being committed: either all of it was done or nothing",
        "Query what it has written before you do it again: it may be there.",
    )


def is_conflict(error: CallError | None) -> bool:
    """Whether another transaction was in the way of this one as a whole."""
    cause = error.error if isinstance(error, StepFailed) else error
    return cause is not None and cause.sqlstate in _CONFLICTS


def may_fit_now(error: BaseException) -> bool:
    """Whether the same statements may well fit the new schema."""
    cause = error.error if isinstance(error, StepFailed) else error
    return isinstance(cause, StaleSchema) and not isinstance(cause, Replaced) and cause.sqlstate in _CACHED_PLAN
