"""Transactions over several calls as values: what is asked of them, and what they tell of themselves. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from schema_mcp.dialects.transactions import Isolation
from schema_mcp.schema.model import TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What calls of one kind of tool have done with one table. `table`: None for statements of a caller's own. `rows`:
    those written; what was only read counts none.
    """

    tool: str
    table: TableName | None
    calls: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTransaction:
    """A transaction as it stands. `id`: what its owner names it by. `ends_at`: when it ends at the latest, in seconds
    since 1970.
    """

    id: str
    source: str
    isolation: Isolation
    read_only: bool
    description: str
    idle_timeout_s: float
    max_age_s: float
    ends_at: float
    age_s: float = 0.0
    idle_s: float = 0.0
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTransaction:
    """What became of a transaction, and what was done in it until then."""

    id: str
    committed: bool
    operations: tuple[Operation, ...]
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionsStatus:
    """`own`: the open ones of whoever asks. `open`: how many there are in all, of at most `size`."""

    own: tuple[OpenTransaction, ...] = ()
    open: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginPlan:
    """A transaction is to be opened; `answer` gets it. `isolation`: None: what is usual for the database."""

    source: str
    isolation: Isolation | None
    read_only: bool
    description: str
    answer: Callable[[OpenTransaction], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndPlan:
    """The open transaction of that id is to be committed, or rolled back."""

    id: str
    commit: bool
    answer: Callable[[EndedTransaction], bytes]
