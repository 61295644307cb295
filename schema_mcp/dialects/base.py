"""What a database product must be able to do for the rest of the program: the `Dialect` protocol.

One module of this room is one product. A dialect reads the schema, turns values both ways, phrases the few expressions
that products spell differently, runs one statement on a driver connection and translates the driver's errors. It knows
no tools, no JSON Schema, no pool and no retry.

`Connection` is the driver's own connection (asyncpg's or aiosqlite's), taken out of SQLAlchemy's pool: SQLAlchemy Core
phrases the statements, the driver runs them.
"""

import time
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect as SqlalchemyDialect

from schema_mcp.dialects.counters import Counters
from schema_mcp.dialects.queries import Query
from schema_mcp.dialects.sql import SqlAccess
from schema_mcp.dialects.transactions import TransactionAccess
from schema_mcp.errors import CallError, StatementRefused
from schema_mcp.schema.model import Column, Schema, Table, TableName
from schema_mcp.schema.select import Selection
from schema_mcp.schema.types import SqlType, TypeKind

Connection: TypeAlias = Any

#: What a column or an element of it is bound as: text on PostgreSQL, the storage class on SQLite.
DriverValue: TypeAlias = str | int | float | bytes | list[str | None] | None

#: A JSON value after `tools.values` has checked it against the column: exact, of one Python type a family.
#: INTEGER int, NUMERIC Decimal, FLOAT float, BOOLEAN bool, BYTES bytes, ARRAY list, JSON any JSON value, others str.
Value: TypeAlias = Any


#: Integers up to here are exact in every JSON reader (RFC 8259 section 6); larger ones leave as strings.
MAX_EXACT_INTEGER = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What every session of the server is opened with. 0 means no limit."""

    statement_timeout_s: float
    lock_timeout_s: float
    idle_in_transaction_timeout_s: float
    read_only: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """What is compared between two looks: equal gates mean that no schema change was committed between them.

    `identity`: which database the name leads to (device and inode of a file); when it differs, older connections lead
    elsewhere. `version`: of its schema, or of everything committed. `hint`: where the version says too much, this tells
    most changes of the schema from other commits; neither surely nor at once.
    Which of two gates is the later one: within an `era` the one of the greater `order`, where both have one; else the
    one that was `taken_at` a later time (seconds since 1970).
    """

    identity: str
    version: str
    hint: str | None = field(default=None, compare=False)
    era: str = field(default="", compare=False)
    order: tuple[int, ...] = field(default=(), compare=False)
    taken_at: float = field(default_factory=time.time, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A schema and the gate value that was true while it was read.

    `postponed`: tables whose expressions could not be read because somebody holds a lock on them; they stand as they
    were before (or without their expressions), and the next look has to read again even if the gate has not moved.
    `left_out`: names of selected relations that the database itself cannot describe: a view of something that is gone.
    `fresh`: ids of the relations that were read for this reading, or found gone; None: all. Of these alone it may be
    that they were changed in mid-read; that they were not is known when a later reading does not find them changed.
    `mark`: what the dialect itself needs to find, the next time, what has changed since; opaque to everybody else.
    """

    gate: Gate
    schema: Schema
    postponed: frozenset[TableName] = frozenset()
    left_out: tuple[str, ...] = field(default=(), compare=False, repr=False)
    fresh: frozenset[Hashable] | None = field(default=None, compare=False, repr=False)
    #: How many rows tables have, roughly, where the database knows: no part of the schema.
    row_estimates: Mapping[TableName, int] = field(default_factory=dict, compare=False, repr=False)
    mark: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """What an insert does where a row with the same key stands: sets the columns `updates`, or without any skips it.

    `key`: the columns of a primary or unique key.
    """

    key: tuple[str, ...]
    updates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenRows:
    """The rows that a statement inserts: `count` of a call's, from its row `first` on.

    `single`: the statement's text for one row, where the rows are not bound as lists. `tells_updates`: what comes back
    has as its only key `UPDATED` for each row that stood there before.
    """

    first: int
    count: int
    single: str = ""
    tells_updates: bool = False


@dataclass(frozen=True, slots=True)
class Related:
    """Rows of a related table in one statement with those that they belong to; see `nested`.

    `name`: the JSON member that holds them. `parent`: 0, the statement's own rows, or that many-th of its `related`.
    `limit`: of rows in a list, of which one more comes where there are more; None: there is at most one row, an object.
    """

    name: str
    parent: int
    limit: int | None
    labels: tuple[str, ...]
    types: tuple[SqlType, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text in the driver's own placeholder style and the values in its order.

    `labels`: names of the JSON members of a row that comes back, in order. `keys`: how many further columns follow
    that are not part of the row (order keys for the cursor). `returns_rows` False: `fetch` gives as many empty rows as
    the database says it has written; where it does not say, as the statement has sent. `related`: what each row holds
    of other tables; the rows come as `nested` takes them. `cut`: the same statement, asked so that large rows come, and
    come cut; None: as it is. `sized`: its rows may be large, and are taken a few at a time.
    """

    sql: str
    values: tuple[DriverValue, ...]
    labels: tuple[str, ...] = ()
    types: tuple[SqlType, ...] = ()
    keys: int = 0
    returns_rows: bool = True
    related: tuple[Related, ...] = ()
    given: GivenRows | None = None
    cut: "Callable[[], Statement] | None" = field(default=None, compare=False, repr=False)
    sized: bool = False


#: An option of a statement to be compiled: how many bytes a row may have before its values are cut in the database.
CUT_BYTES = "cut_bytes"


#: An order key of fewer characters never comes cut, nor one of fewer than an answer may have bytes.
LARGE_KEY_CHARACTERS = 16_384


class LargeRows(Exception):
    """Among the rows of a statement is one that is too large to come unasked: ask for those of its `cut`."""


#: The key of a row that an insert found there and has set; see `GivenRows`.
UPDATED = ("updated",)


class RowRefused(Exception):
    """The database refused one of a statement's `GivenRows`: `row`, counted from 0 in its call. The cause is why."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def translate_row(error: BaseException, translate: Callable[[BaseException], CallError | None]) -> CallError | None:
    """What `translate` makes of the driver's error, with the row of a RowRefused in the message and the details."""
    if not isinstance(error, RowRefused) or error.__cause__ is None:
        return translate(error)
    refused = translate(error.__cause__)
    if isinstance(refused, StatementRefused):
        refused.details = {"row": error.row, **(refused.details or {})}
        refused.message = f"rows[{error.row}]: {refused.message}"
    return refused


class Row(NamedTuple):
    """One row as it leaves the database: `json` is its JSON object; `keys` its order keys, bindable again."""

    json: bytes
    keys: tuple[DriverValue, ...]


class Aggregates(Protocol):
    """What a product's aggregates give: `count`, `count_distinct`, `sum`, `avg`, `min`, `max` of a column."""

    def result(self, function: str, type_: SqlType) -> SqlType | None:
        """The type of what the aggregate gives; None where it does not fit values of `type_`."""
        ...

    def expression(self, function: str, column: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
        """The aggregate of the column, one that fits."""
        ...


class Dialect(Protocol):
    """One product. Instances are stateless and shared."""

    #: `postgresql`, `sqlite`: the scheme of the URL and the name in messages.
    name: str
    #: The SQLAlchemy dialect that compiles for the driver.
    sqlalchemy: SqlalchemyDialect
    #: Connecting goes to a server, which may be away; else to a file.
    remote: bool
    #: The gate is so cheap that it is looked at this often, in seconds, however long the poll; None: as configured.
    gate_interval_s: float | None
    #: The database itself ends a statement at the session's limit.
    has_statement_timeout: bool
    #: Ascending order puts nulls first where the statement does not say.
    nulls_first: bool
    #: A list can be bound as one parameter, so that a statement's text does not grow with the number of values.
    binds_lists: bool
    #: How many rows one statement inserts where lists are not bound, the most first, and how many values it may bind.
    insert_sizes: tuple[int, ...]
    max_parameters: int
    #: How strings begin that stand for a value which JSON, or the column's type, has no other form for: such a string
    #: goes to `encode` as it is.
    tags: tuple[str, ...]
    #: The database says how many rows of a view a statement has changed or removed.
    counts_changes_of_views: bool
    #: A statement that refuses now what COMMIT would refuse: constraints that are put off to the end of a transaction.
    check_deferred: str
    #: Statements that open a transaction for reading and for writing.
    begin_read: str
    begin_write: str
    #: The setting that makes a session read-only, of whose value the database tells the driver after each statement, as
    #: a function may have changed it; empty: nothing can.
    read_only_setting: str
    #: Put before a SELECT it asks for the planner's estimate alone, in PostgreSQL's words; empty: there is none.
    explain: str
    #: What may be asked of groups of rows.
    aggregates: Aggregates
    #: A query for what the relation of that schema and name (two parameters) is now, as one text: equal texts mean the
    #: same relation with the same columns and types. `fingerprint.identity` of it is `Table.identity`. Where there are
    #: `outcomes`, a second column gives the transaction's `mark`.
    identity: str
    #: Statements that tell what became of a transaction whose answer to COMMIT was lost: `mark`, asked before it, and
    #: with the mark for their parameter `outcome`, `proof`, `abandoned`. Empty where no answer can be lost.
    outcomes: Mapping[str, Query]
    #: Statements for idempotency keys beside the data: `installed`, `claim`, `held`, `keep`, `forget`.
    idempotency: Mapping[str, Query]
    #: A query for rights of the role that a server should not have, one as text a row; empty where there are no roles.
    excess: str
    #: Kinds of types whose values may be large: rows with them are measured before they leave it, see `LargeRows`.
    unbounded: frozenset[TypeKind]
    #: How a statement of a caller's own is run.
    sql: SqlAccess
    #: How a transaction stays open over several calls.
    transactions: TransactionAccess
    #: How it tells that rows have changed.
    counters: Counters

    def engine_options(self, url: sa.URL, limits: SessionLimits) -> tuple[sa.URL, Mapping[str, Any]]:
        """The URL for `create_async_engine` and its keyword arguments (connect_args and such), limits set."""
        ...

    async def gate(self, connection: Connection) -> Gate:
        """One cheap statement (0.1 ms). Raises: CatalogReadError if the file is gone; whatever the driver raises."""
        ...

    async def read(
        self, connection: Connection, source: str, selection: Selection, previous: Reading | None
    ) -> Reading:
        """The whole schema in bulk queries, with the gate value taken before. Leaves no transaction open.

        With `previous`, only what has changed since that reading need be read; tables that did not change are the
        very objects that it holds.

        Raises: CatalogReadError, naming the source and what failed.
        """
        ...

    def encode(self, type_: SqlType, value: Value, operator: str = "eq") -> DriverValue:
        """What `value` is bound as, stored or compared by `operator`, or tested (see `condition`). `value` is not None.

        For `in_list` and `not_in_list` it is a list of what this gave for each: None if they must be bound one by one.
        For `array_has_any` and `array_has_all` likewise; for `json_has_any` and `json_has_all` a list of strings; for
        `path` the text of a test that `json_path.parse` has taken.

        Raises: ValueError, with the reason, if this product cannot hold the value exactly.
        """
        ...

    def parameter(self, type_: SqlType, name: str) -> sa.ColumnElement[Any]:
        """The bound parameter `name` as an expression of the column's base type."""
        ...

    def condition(
        self, operator: str, column: sa.ColumnElement[Any], type_: SqlType, names: Sequence[str]
    ) -> sa.ColumnElement[bool]:
        """A test that products phrase differently; which of them the columns of a type have, `tools.operators` knows.

        `in`, `not_in` (`names`: a parameter a value), `in_list`, `not_in_list` (one parameter), `like`, `ilike`,
        `starts_with`, `contains` (a piece of a text), `matches` (full text), `array_has_any`, `array_has_all`,
        `range_has` (an element), `range_contains`, `range_overlaps`, `json_contains`, `json_has_any`, `json_has_all`,
        `path`: each with one parameter.
        """
        ...

    def insert(
        self, target: sa.TableClause, columns: Sequence[Column], rows: int, conflict: Conflict | None
    ) -> tuple[sa.Insert, Sequence[sa.ColumnElement[Any]]]:
        """Inserts `rows` rows of values in the order of `columns`, row after row; none: one row of defaults.

        Where `binds_lists`, each parameter is the list of one column's values and any number of rows go in at once.
        Second, where a `conflict` updates rows: the keys that must come back for `fetch` to tell which.
        """
        ...

    def row(
        self, columns: Sequence[tuple[str, sa.ColumnElement[Any], SqlType]], keys: Sequence[sa.ColumnElement[Any]]
    ) -> Sequence[sa.ColumnElement[Any]]:
        """What to select so that `fetch` gives the JSON object of these (label, column, type) and the values of `keys`.

        The keys come last, one column each, in a form that can be bound again by `parameter`.
        """
        ...

    def fetch(self, connection: Connection, statement: Statement, max_rows: int) -> AsyncGenerator[list[Row], None]:
        """Runs the statement; its rows in batches, in order, at most `max_rows` (0: all of them, as for RETURNING).

        Cancelling the task that iterates, or closing the iterator, stops the statement in the database before either
        returns. Raises what the driver raises; of rows that are inserted RowRefused; LargeRows where one did not
        come, whatever was yielded before.
        """
        ...

    def translate(self, error: BaseException, table: Table | None) -> CallError | None:
        """The driver's error in our words, with the row of a RowRefused; None if it is not one of the driver's."""
        ...
