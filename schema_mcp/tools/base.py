"""The values that tools are made of: what a kind of tool advertises, and what a call of it becomes.

A kind is one module in `kinds/`. It turns checked arguments into a `Plan` (pure, no I/O) and the plan's result into the
JSON object of the answer. It knows no pool, no session and no protocol.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import orjson

from schema_mcp.dialects.base import DriverValue, Statement
from schema_mcp.dialects.sql import SqlColumn
from schema_mcp.errors import CallError, StatementRefused
from schema_mcp.schema.model import TableName
from schema_mcp.state.keys import Once
from schema_mcp.state.records import HistoryAnswer, HistoryQuery, HistoryStatus
from schema_mcp.tools.transactions import TransactionsStatus

#: A JSON Schema object, hand-built and flat (DESIGN section 4). Treated as read-only once made.
JsonSchema: TypeAlias = Mapping[str, Any]


class Action(StrEnum):
    """What a tool does to the database: the policy decides by it."""

    READ = "read"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    #: Runs a statement of the caller's own.
    SQL = "sql"
    #: Tells the plan of a statement; runs it at most to be rolled back.
    EXPLAIN = "explain"
    #: Whatever the calls in it do.
    BATCH = "batch"
    #: Opens a transaction, or undoes it: nothing of that lasts.
    TRANSACTION = "transaction"
    #: Makes what calls did in a transaction last.
    COMMIT = "commit"
    #: Starts what the call in it does.
    START = "start"
    #: Stops work, and touches no row.
    CANCEL = "cancel"
    #: Touches no row: describing, refreshing.
    INSPECT = "inspect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The hints of MCP 2025-03-26 `ToolAnnotations`; derived from the policy."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool = False

    def as_dict(self) -> dict[str, bool]:
        """Those that say something: of a tool that only reads the next two mean nothing, and a tool of which it is not
        said otherwise is not idempotent (MCP 2025-11-25, schema, ToolAnnotations). A model pays for each.
        """
        writing = {"destructiveHint": self.destructive} | ({"idempotentHint": True} if self.idempotent else {})
        return {
            "readOnlyHint": self.read_only,
            **({} if self.read_only else writing),
            "openWorldHint": self.open_world,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """One tool as clients see it. `table` is None for tools that reach every table. `title`: empty where the name says
    it.
    """

    name: str
    kind: str
    action: Action
    table: TableName | None
    title: str
    description: str
    input_schema: JsonSchema
    annotations: Annotations
    output_schema: JsonSchema | None = None

    def as_dict(self) -> dict[str, Any]:
        """The MCP `Tool` object, members in a fixed order."""
        tool: dict[str, Any] = {
            "name": self.name,
            **({"title": self.title} if self.title else {}),
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": self.annotations.as_dict(),
        }
        if self.output_schema is not None:
            tool["outputSchema"] = self.output_schema
        return tool

    def as_json(self) -> bytes:
        """`as_dict` as JSON: what decides whether the list has changed, and what a list costs."""
        return orjson.dumps(self.as_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a statement plan gave. `rows`: JSON objects; `keys`: the order keys of the last row, if it asked for any.

    `affected`: rows written; where `rolled_back`, rows that would have been. `updated`: those of an insert's that stood
    there before. `truncated`: more rows stand behind these. `cut_columns`: columns of the only row whose values were
    shortened to fit the byte cap. `total`: what the plan's `total` answered; None where it was not asked. `replayed`:
    the answer that an earlier call with the same idempotency key was given; then nothing was run.
    """

    rows: tuple[bytes, ...]
    truncated: bool
    keys: tuple[DriverValue, ...]
    affected: int
    generation: int
    updated: int = 0
    cut_columns: tuple[str, ...] = ()
    rolled_back: bool = False
    total: DriverValue = None
    replayed: bytes = b""
    #: It was run in a transaction that goes on after it.
    in_transaction: bool = False

    @property
    def outcome(self) -> str:
        """What became of what was written."""
        return "rolled_back" if self.rolled_back else "in_transaction" if self.in_transaction else "committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementPlan:
    """Statements of one source, run in order, all or nothing.

    `limit`: rows to answer with (one more is asked for, so that `truncated` is exact); None for all that come back.
    `answer` makes the JSON object of the answer from the result.
    `identity`: the `Table.identity` that the plan holds for and no other; empty: whichever table has the name. A write,
    and a reading that `continues` a page, is held to it; another reading only if its answer can be continued.
    """

    source: str
    table: TableName
    statements: tuple[Statement, ...]
    writes: bool
    limit: int | None
    answer: Callable[[Result], bytes]
    #: Seconds after which the plan is given up, where they are fewer than those of a call.
    timeout_s: float | None = None
    #: The answer without a result, given the reason; None: the failure is the answer.
    otherwise: Callable[[str], bytes] | None = None
    identity: str = ""
    continues: bool = False
    #: Asks after the statements, for one value, how many rows there are. Not asked where a first page is all of them,
    #: nor where the rows are `counted`: bring the number along as their last key.
    total: Statement | None = None
    counted: bool = False
    #: The keys of its rows, in their order; empty where that is of no interest.
    keys: tuple[str, ...] = ()
    #: Rows of the table, roughly, where a page is of all of them and the database has counted them.
    row_estimate: int | None = None
    #: Writes are done, answered and rolled back.
    dry_run: bool = False
    #: It has an idempotency key.
    once: Once | None = None
    #: More rows written than this: all is rolled back (`too_many_rows`).
    max_affected: int | None = None
    #: Asked first: how many rows match (its one key), so that too many are not written to be rolled back.
    matching: Statement | None = None
    #: What it does to the table, for messages.
    action: Action = Action.READ
    #: What the tool has to add to the database's refusal.
    explain: Callable[[StatementRefused], CallError] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlResult:
    """What a statement of the caller's own gave. `columns`: None where the statement has none.

    `affected`: rows written, where the database says so. `plan`: the text of an explanation.
    """

    rows: tuple[bytes, ...] = ()
    columns: tuple[SqlColumn, ...] | None = None
    truncated: bool = False
    cut_columns: tuple[str, ...] = ()
    affected: int | None = None
    plan: str = ""
    generation: int
    #: As in `Result`.
    in_transaction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlPlan:
    """One statement of the caller's own. `parameters`: JSON values, in the order of the placeholders.

    `limit`: as in `StatementPlan`. `explain`: not the rows are wanted but the plan of the statement, and with `analyze`
    what it took; it is rolled back.
    """

    source: str
    sql: str
    parameters: tuple[Any, ...]
    writes: bool
    limit: int
    answer: Callable[[SqlResult], bytes]
    explain: bool = False
    analyze: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """The answer is known from the catalog alone."""

    json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshPlan:
    """The schema is to be read again now; `answer` gets what the reading found. `source`: None for all."""

    source: str | None
    answer: Callable[["RefreshOutcome"], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshOutcome:
    """What a refresh found: names of tables, and the message of a failed read per source."""

    generation: int
    tables: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPlan:
    """The histories of these sources are asked; `answer` gets what each holds, or why it holds nothing.

    `answer` raises: CallError.
    """

    queries: Mapping[str, HistoryQuery]
    answer: Callable[[Mapping[str, HistoryAnswer]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One watched database. `confirmed_at`: when the served schema was last found true, in seconds since 1970.

    `confirmed`: it was read from the database in this process, not only loaded from the store. `error`: why the last
    look failed; `failing_since`: when the first look failed of those that have since. `left_out`: relations that the
    database itself cannot describe.
    """

    source: str
    product: str
    tables: int
    confirmed: bool
    confirmed_at: float | None
    error: str | None
    failing_since: float | None
    left_out: tuple[str, ...]
    listening: bool
    interval_s: float
    pool_size: int
    pool_in_use: int
    history: HistoryStatus
    #: What is to be warned of: rights that the role has and should not.
    warnings: tuple[str, ...] = ()
    #: Calls that wait for a connection of the pool.
    pool_waiting: int = 0
    #: Seconds until it is looked at again, where it does not answer.
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsInForce:
    """What the settings of now allow; they may change while the server runs."""

    mode: str
    max_rows: int
    call_timeout_s: float
    statement_timeout_s: float
    lock_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """How the server stands."""

    generation: int
    sources: tuple[SourceStatus, ...]
    listed_tools: int
    listed_bytes: int
    version: str
    uptime_s: float
    limits: LimitsInForce
    transactions: TransactionsStatus = field(default_factory=TransactionsStatus)
    #: What runs in the background, with the caller's own.
    operations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivatePlan:
    """These tables are to have tools in the session's list; `answer` gets those that have them then."""

    tables: tuple[TableName, ...]
    replace: bool
    answer: Callable[[tuple[TableName, ...]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceCost:
    """What a list costs: tools, and bytes of JSON. `exact` False: the size is that of a sample of them, times."""

    surface: str
    tools: int
    bytes: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPlan:
    """The server is asked how it stands."""

    answer: Callable[[ServerStatus], bytes]


Plan: TypeAlias = StatementPlan | SqlPlan | AnswerPlan | RefreshPlan | HistoryPlan | StatusPlan | ActivatePlan
