"""What tools need of a catalog: the tables of one generation, by any name a caller may use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schema_mcp.caller import Caller
from schema_mcp.errors import CallError
from schema_mcp.schema.model import Schema, TableName
from schema_mcp.state.records import Change
from schema_mcp.tools.base import Action, JsonSchema, StatementPlan
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.relationships import Relationship
from schema_mcp.tools.target import Target, ToolLimits


class CatalogView(Protocol):
    """The tables that may be used, in the order they are listed."""

    @property
    def generation(self) -> int:
        """Which catalog this is; grows by one with each."""
        ...

    @property
    def targets(self) -> Mapping[TableName, Target]:
        """Every table that may be used."""
        ...

    @property
    def schemas(self) -> Mapping[str, Schema]:
        """What the tables were read from, by source."""
        ...

    @property
    def unconfirmed(self) -> frozenset[str]:
        """Sources whose schema was loaded from the store and not yet read from the database."""
        ...

    @property
    def limits(self) -> ToolLimits:
        """What tools check and advertise."""
        ...

    @property
    def cursor_secret(self) -> CursorSecret:
        """What cursors are signed with."""
        ...

    @property
    def sql_writes(self) -> bool:
        """Statements of a caller's own may write."""
        ...

    def resolve(self, given: Any) -> Target:
        """The table that `given` names: as `list_tables` shows it, qualified, or by its slug.

        Raises: InvalidArgument (`unknown_table`), StaleSchema for one that is gone.
        """
        ...

    def find(self, name: str, arguments: Mapping[str, Any]) -> "tuple[TableTool, Target, Mapping[str, Any]]":
        """The tool of that name, of one table or its twin, with the table and the arguments without `table`.

        Raises: CallError (`unknown_tool`, `unknown_table`, `permission_denied`, `not_allowed`, ...).
        """
        ...

    def told(self, change: Change) -> Change | None:
        """A change of the history, without what nobody may know of; None if nothing is left of it."""
        ...

    def row_estimate(self, target: Target) -> int | None:
        """Rows of this table, roughly, as the database last counted them; None where it never did."""
        ...

    def relationships(self, target: Target) -> Mapping[str, Relationship]:
        """The related tables whose rows may be queried, by the name that `include` takes."""
        ...

    def permits(self, action: Action, target: Target) -> bool:
        """Whether the policy lets a call do that to this table."""
        ...

    def allowed(self, target: Target) -> Sequence[str]:
        """The kinds of tools that serve this table: `query`, `insert`."""
        ...


class TableTool(Protocol):
    """A kind with one tool a table, and a twin that takes `table` and is always there."""

    name: str
    #: Of the twin, for people; the name of a table's own tool says it all.
    generic_title: str
    action: Action

    def serves(self, target: Target) -> bool:
        """Whether the relation and the role's rights on it allow the tool."""
        ...

    def describe(self, target: Target) -> str:
        """For the model: what the tool does to this relation."""
        ...

    def describe_generic(self) -> str:
        """For the model: what the twin does."""
        ...

    def input_schema(self, target: Target) -> JsonSchema:
        """Typed by the relation's columns."""
        ...

    def generic_schema(self, limits: ToolLimits) -> JsonSchema:
        """The twin's, without `table`."""
        ...

    def plan(self, view: CatalogView, target: Target, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
        """What the call becomes. `view`: the catalog that `target` is of. Raises: CallError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCall:
    """One call of a batch: a tool of a table, and arguments without `table`."""

    index: int
    name: str
    tool: TableTool
    target: Target
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Calls in the order asked, or why one cannot be made; `names` of their tools and `arguments` as they were given.

    `together`: in one transaction, and then every call can be made; else each by itself.
    """

    names: tuple[str, ...]
    arguments: tuple[Mapping[str, Any], ...]
    calls: tuple[BatchCall | CallError, ...]
    together: bool


class ServerTool(Protocol):
    """A tool of the server itself: always there, the same whatever the tables."""

    name: str
    action: Action
    title: str
    description: str

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Independent of the tables."""
        ...

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> object:
        """What the call becomes: an `AnswerPlan`, or a plan of a type that has a runner. Raises: CallError."""
        ...
