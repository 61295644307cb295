"""Operations as callers see them: what their three tools ask for, and the JSON of how one stands. Pure.

It knows neither who runs them nor where results are kept.
"""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

import orjson

from schema_mcp.dialects.documents import members
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument
from schema_mcp.state.operations import OperationRecord, OperationStatus
from schema_mcp.tools.base import Action
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.times import iso

#: What may be started: whatever runs statements of the caller's.
STARTED = frozenset({Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE, Action.BATCH, Action.SQL})
#: The longest that one question waits for the end.
MAX_WAIT_S = 30.0


class ResultFormat(StrEnum):
    """How rows of a result are told."""

    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlan:
    """A call of that tool is to be started; its rows told in that format."""

    tool: str
    arguments: Mapping[str, Any]
    format: ResultFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPlan:
    """How the operation stands. Of its rows `limit`, from that many and that byte of the file on. `wait_s`: for its end
    at most. `cursor`: as it was given; read once it is known whose the operation is, so that no cursor tells of it."""

    id: str
    limit: int
    wait_s: float
    secret: CursorSecret
    cursor: str | None = None
    row: int = 0
    offset: int = 0

    def page(self) -> "CheckPlan":
        """The same from where its cursor says. Raises: InvalidArgument (`invalid_cursor`)."""
        if self.cursor is None:
            return self
        row, offset = read_page_cursor(self.secret, self.id, self.cursor)
        return replace(self, row=row, offset=offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPlan:
    """The operation is to be stopped."""

    id: str


OperationPlan: TypeAlias = StartPlan | CheckPlan | CancelPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationView:
    """An operation as its caller sees it. `kept`: also over a restart. `keep_s`: how long after its end.

    `left_s`: what the pace so far leaves; None where nothing tells how much there is.
    """

    record: OperationRecord
    stage: str
    kept: bool
    keep_s: float
    left_s: float | None = None

    def members(self) -> dict[str, Any]:
        """The JSON object without a result."""
        record = self.record
        ended_at = record.ended_at if record.ended_at is not None else time.time()
        told: dict[str, Any] = {
            "operation_id": record.id,
            "tool": record.tool,
            "status": str(record.status),
            "stage": self.stage,
            "message": record.message,
            "progress": {"done": record.done, "total": record.total},
            "started_at": iso(record.started_at),
            "duration_s": round(max(0.0, ended_at - record.started_at), 3),
        }
        if record.status is OperationStatus.RUNNING:
            told["time_left_s"] = None if self.left_s is None else round(self.left_s, 1)
        else:
            told["ended_at"] = iso(ended_at)
            told["kept_until"] = iso(ended_at + self.keep_s)
        told["kept"] = self.kept
        if record.error is not None:
            told |= json.loads(record.error)
        return told


def time_left(record: OperationRecord, now: float) -> float | None:
    """Seconds that are left at the pace so far; None where nothing tells how much there is."""
    if record.status is not OperationStatus.RUNNING or not record.total or not record.done:
        return None
    return max(0.0, (now - record.started_at) * (record.total - record.done) / record.done)


def unknown_operation() -> CallError:
    """The error for an id that stands for nothing, or for nothing of this caller's: the same words, to the byte."""
    return CallError(
        ErrorCode.UNKNOWN_OPERATION,
        "there is no operation of that id",
        "Ids come from start_operation and are forgotten some time after the end (operations.keep_s); start it again.",
    )


def page_cursor(secret: CursorSecret, id_: str, row: int, offset: int) -> str:
    """Where the next page of the rows begins."""
    place = f"{row}.{offset}"
    return f"{place}.{secret.mac(_signed(id_, place)).hex()}"


def read_page_cursor(secret: CursorSecret, id_: str, cursor: str) -> tuple[int, int]:
    """Rows before the page, and the byte that it begins at. Raises: InvalidArgument (`invalid_cursor`)."""
    place, _, mac = cursor.rpartition(".")
    try:
        if secret.made(bytes.fromhex(mac), _signed(id_, place)):
            row, offset = place.split(".")
            return int(row), int(offset)
    except ValueError:
        pass
    raise InvalidArgument(
        ErrorCode.INVALID_CURSOR,
        "'cursor' is not one of this operation's",
        "Leave 'cursor' out to begin at the first page of its rows.",
    )


def _signed(id_: str, place: str) -> bytes:
    return f"operation {id_} {place}".encode()


def rows_member(format_: ResultFormat, rows: Sequence[bytes], *, header: bool, names: Sequence[str]) -> bytes:
    """The member of the answer that holds these rows, JSON objects. `header`: they are the first ones.

    `names`: of the columns, where there is no row to tell them.
    """
    if format_ is ResultFormat.JSON:
        return b'"rows":[' + b",".join(rows) + b"]"
    return b'"csv":' + orjson.dumps(as_csv(rows, header=header, names=names))


def as_csv(rows: Sequence[bytes], *, header: bool, names: Sequence[str] = ()) -> str:
    """The rows as CSV (RFC 4180), with the names of the columns first if asked for.

    As PostgreSQL writes it: null is nothing, an empty text is `""`. Numbers keep their digits, JSON stays JSON.
    """
    written = io.StringIO()
    if header and not rows and names:
        csv.writer(written, lineterminator="\r\n").writerow(names)
    for index, row in enumerate(rows):
        values = members(row.decode())
        if header and index == 0:
            csv.writer(written, lineterminator="\r\n").writerow(values)
        written.write(",".join(_cell(value) for value in values.values()) + "\r\n")
    return written.getvalue()


def _cell(value: str) -> str:
    if value == "null":
        return ""
    text: str = json.loads(value) if value.startswith('"') else value
    if text and not any(character in text for character in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'
