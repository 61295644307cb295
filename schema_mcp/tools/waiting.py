"""What a wait for a change begins with and ends with, and the token that joins two waits. Pure.

A token is no secret and nothing is trusted to it: one that was made up makes a wait end at once.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import orjson

from schema_mcp.dialects.counters import Counts
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import TableName

#: Longest token, in characters.
_MAX_TOKEN = 500


@dataclass(frozen=True, slots=True)
class Heard:
    """How often a trigger has told of a table since it began to tell of all its writes, which is the `epoch`."""

    epoch: str
    times: int


@dataclass(frozen=True, slots=True)
class Own:
    """How often a server, which is one `process`, has written to a table."""

    process: str
    times: int


@dataclass(frozen=True, slots=True)
class RowMark:
    """What was counted of a table. `epoch`: of the connection, where counts of two cannot be compared.

    `heard`: None where no trigger tells of all writes.
    """

    epoch: str
    counts: Counts
    own: Own
    heard: Heard | None = None


class ToldBy(StrEnum):
    """How a change of rows came to be known."""

    TRIGGER = "trigger"
    COUNTERS = "counters"


def told_by(since: RowMark, now: RowMark) -> ToldBy | None:
    """What says that rows have changed in between; None: nothing does.

    Where a trigger has told of all there was, the counts are not asked: they come late, and count what was rolled back.
    """
    if _all_heard(since, now):
        return ToldBy.TRIGGER if since.heard != now.heard else None
    return ToldBy.COUNTERS if (since.epoch, since.counts) != (now.epoch, now.counts) else None


def wrote(since: RowMark, now: RowMark) -> bool:
    """Whether this server is known to have written in between, and no trigger has told of all there was."""
    return not _all_heard(since, now) and since.own.process == now.own.process and since.own != now.own


def _all_heard(since: RowMark, now: RowMark) -> bool:
    return since.heard is not None and now.heard is not None and since.heard.epoch == now.heard.epoch


@dataclass(frozen=True, slots=True)
class SchemaMark:
    """A generation of the catalog of one `process`."""

    process: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsSeen:
    """What became of a wait. `since`: None where the caller's mark cannot be compared any more. `own`: this server has
    written to the table. `told_by`: None where nothing changed, or only this server knows of it so far."""

    changed: bool
    since: RowMark | None
    now: RowMark
    own: bool
    told_by: ToldBy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaSeen:
    """`added`, ...: tables as arguments name them; None where it is no longer known what has changed."""

    now: SchemaMark
    added: tuple[str, ...] | None = ()
    removed: tuple[str, ...] | None = ()
    changed: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPlan:
    """Waits for rows of the table to change; `table` None: for the schema of `source`, of all sources for None.

    `timeout_s` None: the default; an integer may be more than a double can hold. `answer` gets what was seen and how
    long that took, in seconds.
    """

    source: str | None
    table: TableName | None
    timeout_s: float | None
    since: RowMark | SchemaMark | None
    answer: Callable[[RowsSeen | SchemaSeen, float], bytes]


def token(mark: RowMark | SchemaMark, table: TableName | None) -> str:
    """For `since` of the next wait."""
    content: list[Any]
    if isinstance(mark, SchemaMark):
        content = [mark.process, mark.generation]
    else:
        content = [mark.epoch, mark.counts, mark.own.process, mark.own.times]
        if mark.heard is not None:
            content += [mark.heard.epoch, mark.heard.times]
    return base64.urlsafe_b64encode(orjson.dumps([_about(table), *content])).decode().rstrip("=")


def read_token(given: str | None, table: TableName | None) -> RowMark | SchemaMark | None:
    """What `token` was made of. Raises: InvalidArgument for what is none, and for that of another table."""
    if given is None:
        return None
    try:
        padded = given[:_MAX_TOKEN].encode("ascii") + b"=" * (-len(given[:_MAX_TOKEN]) % 4)
        about, first, second, *more = orjson.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError, TypeError):
        raise _refused("'since' is no token of an earlier answer") from None
    if about != _about(table):
        raise _refused("'since' is of a wait for something else")
    if table is None and isinstance(first, str) and isinstance(second, int) and not more:
        return SchemaMark(first, second)
    if table is not None and isinstance(first, str) and _are_counts(second):
        match more:
            case [str(process), int(written)]:
                return RowMark(first, second, Own(process, written))
            case [str(process), int(written), str(epoch), int(times)]:
                return RowMark(first, second, Own(process, written), Heard(epoch, times))
    raise _refused("'since' is no token of an earlier answer")


def _are_counts(given: Any) -> bool:
    return isinstance(given, Mapping) and all(isinstance(count, int) for count in given.values())


def _about(table: TableName | None) -> str:
    return "" if table is None else blake2b(repr(table).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(
        ErrorCode.INVALID_ARGUMENT, message, "Give the 'since' of the last answer for the same table, or leave it out."
    )
