"""Which limit it was that a database has held a statement to: dialects know that one was, not what it is called.

Pure.
"""

from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.execute.steps import StepFailed

#: PostgreSQL's code for a statement that it has stopped at the session's limit.
_STOPPED = "57014"


def with_limit(error: CallError, limits: ExecutionLimits) -> CallError:
    """The same error, with the limit, its value and its key in the message or the hint, where it is about one."""
    cause = error.error if isinstance(error, StepFailed) else error
    if cause.code is ErrorCode.TIMEOUT and cause.sqlstate == _STOPPED:
        cause.message = (
            f"the statement took longer than {limits.statement_timeout_s:g} s ({limits.statement_limit}) "
            "and was stopped"
        )
    elif cause.code is ErrorCode.LOCK_TIMEOUT and "limits.lock_timeout_s" not in cause.hint:
        cause.hint = (
            f"{cause.hint} A statement waits {limits.lock_timeout_s:g} s for a lock (limits.lock_timeout_s).".lstrip()
        )
    return error
