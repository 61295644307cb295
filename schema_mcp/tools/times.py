"""Times in arguments and answers: ISO 8601, in UTC. Pure."""

from datetime import UTC, datetime
from typing import Any

from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.values import shown

EXAMPLE = "2026-05-01T09:30:00Z"


def iso(at: float) -> str:
    """Seconds since 1970 as text that `read_time` reads back exactly, to the microsecond."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def read_time(given: Any, name: str) -> float:
    """Seconds since 1970; without a zone it is UTC, without a time of day midnight. Raises: InvalidArgument."""
    try:
        if not isinstance(given, str):
            raise ValueError("no text")
        time = datetime.fromisoformat(given.strip())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'{name}' takes an ISO 8601 time, got {shown(given)}",
            f"Send a date or a time such as {EXAMPLE}.",
        ) from None
