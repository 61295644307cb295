"""What the store holds, as values. Times are seconds since 1970."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from schema_mcp.schema.model import Schema, TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A schema and when it was read.

    Two readings of one `era` are ordered by `order` where both have one: the greater saw what the other saw, and more.
    Else the clock orders them: `taken_at` is before the reading began.
    """

    schema: Schema
    era: str
    order: tuple[int, ...]
    taken_at: float


class ChangeKind(StrEnum):
    """What became of a table."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One table's change. `at`: when it was seen.

    `since`: it was seen at the start of a server, and happened between then and `at`.
    """

    at: float
    since: float | None
    table: TableName
    default_schema: str
    kind: ChangeKind
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Names that a table had: `columns` that are gone; `rights` that tools were made of if it is gone itself."""

    table: TableName
    columns: frozenset[str]
    rights: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an earlier process left. `schema`: None where there is none that this program can read.

    `confirmed_at`: when that schema was last found true.
    """

    schema: Schema | None = None
    gone: tuple[Gone, ...] = ()
    default_schema: str = ""
    confirmed_at: float | None = None


def _all(change: Change) -> Change | None:
    return change


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """Which changes: newest first, at most `limit`. `since`: seen later than that. `tables`: of one of these.

    `told`: what of a change may be told; None: nothing, as if it had never been.
    """

    since: float | None = None
    tables: frozenset[tuple[str, str]] | None = None
    limit: int = 100
    told: Callable[[Change], Change | None] = _all


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """`truncated`: older ones that fit stand behind these. `kept_since`: when the first reading was recorded."""

    changes: tuple[Change, ...] = ()
    truncated: bool = False
    kept_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStatus:
    """Whether changes are recorded; where; if not, why, and what to do. `waiting`: readings not recorded yet."""

    kept: bool
    where: str | None = None
    reason: str | None = None
    hint: str | None = None
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryAnswer:
    """What a question about the history gets."""

    status: HistoryStatus
    page: HistoryPage = field(default_factory=HistoryPage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the keeper asks of the program around it. None of them blocks for long."""

    #: Takes what an earlier process left.
    give: Callable[[Loaded], Awaitable[None]]
    #: Whether the watched database has answered, so that its first reading is on its way.
    reached: Callable[[], bool]
    #: Takes the key that all servers of the store sign cursors with.
    share_secret: Callable[[bytes], None]
    #: When the watcher last found the served schema to be true; None before its first reading.
    confirmed_at: Callable[[], float | None]
    #: Asks the watcher for a reading now.
    refresh: Callable[[], None]
