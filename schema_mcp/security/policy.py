"""Who may do what: the one object that tools' visibility, their annotations, the gate at call time and the engine's
read-only mode all derive from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from schema_mcp.config.rules import AccessRule
from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.schema.hide import privileges_left, without
from schema_mcp.schema.mask import with_masks
from schema_mcp.schema.model import Column, Privilege, Table, TableName
from schema_mcp.schema.patterns import ColumnPatterns, TablePattern, compiled


class AccessMode(StrEnum):
    """What may be done, in rising order: with everything (`access.mode`, never NONE), with a table, with a column."""

    NONE = "none"
    READ = "read"
    INSERT = "insert"
    WRITE = "write"


_MODES = tuple(AccessMode)
#: Tables whose rules are remembered.
_MAX_KNOWN = 50_000
#: What a rule about a column leaves of the role's rights on it.
_RIGHTS: Mapping[AccessMode, frozenset[str]] = {
    AccessMode.READ: frozenset({"select"}),
    AccessMode.INSERT: frozenset({"select", "insert"}),
}


class SqlMode(StrEnum):
    """What a caller's own SQL may do (`access.sql`)."""

    OFF = "off"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Immutable; made from the configuration. `masks`: the patterns of masked columns, by source.

    `served` makes of a table what callers may see of it; `permits` and `check` say what they may do with that. Rules
    only ever restrict: by `mode` and by what the role may do, all that match count, and the most restrictive wins.
    """

    mode: AccessMode
    sql: SqlMode = SqlMode.OFF
    rules: tuple[AccessRule, ...] = ()
    masks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    #: Of tables that were asked for: their modes, and the rules of their columns.
    _known: dict[TableName, tuple[AccessMode, tuple[AccessRule, ...]]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    @property
    def engine_read_only(self) -> bool:
        """Sessions are opened read-only, so that the database refuses every write."""
        return self.mode is AccessMode.READ

    def mode_of(self, table: TableName) -> AccessMode:
        """What may be done with the table at most."""
        return self._rules_of(table)[0] if self.rules else self.mode

    def mode_of_column(self, table: TableName, column: str) -> AccessMode:
        """What may be done with the column by its own rules; the table's mode is another matter."""
        matching = (
            AccessMode(rule.mode) for rule in self._rules_of(table)[1] if compiled((rule.column or "",)).match(column)
        )
        return min(matching, key=_MODES.index, default=AccessMode.WRITE)

    def serves(self, table: TableName) -> bool:
        """Whether anybody may know of a table of that name."""
        return self.mode_of(table) is not AccessMode.NONE

    def hides(self, table: TableName, column: str) -> bool:
        """Whether nobody may know of that column, be it for its table's sake."""
        return not self.serves(table) or self.mode_of_column(table, column) is AccessMode.NONE

    def masks_column(self, table: TableName, column: str) -> bool:
        """Whether nobody may see the column's values."""
        return ColumnPatterns(self.masks.get(table.source, ())).match(table, column)

    def served(self, table: Table) -> Table | None:
        """The table as callers see it, without hidden columns and with masked ones marked; None: not at all.

        The same object where nothing restricts it.
        """
        if self.rules:
            if not self.serves(table.name):
                return None
            if any(rule.column is not None or rule.mode == AccessMode.NONE for rule in self.rules):
                table = self._closed(without(table, self.hides))
            if any(rule.column is None and rule.mode == AccessMode.NONE for rule in self.rules):
                # What the database says of a statement may name a table that is not served.
                table = replace(table, hides_columns=True)
        if self.masks.get(table.name.source):
            table = with_masks(table, self.masks_column)
        return table if table.privileges else None

    def permits(self, action: str, table: Table | None) -> bool:
        """Whether a tool with that action is offered and may run. `table` None: asked for the kind as such."""
        mode = self.mode if table is None else self.mode_of(table.name)
        match action:
            case "insert":
                return mode in (AccessMode.INSERT, AccessMode.WRITE)
            case "batch" | "transaction" | "commit":
                return True  # each call in it is asked for
            case "update" | "delete":
                return mode is AccessMode.WRITE
            case "sql" | "explain":
                return self.sql is not SqlMode.OFF
        return action in ("read", "inspect") and mode is not AccessMode.NONE

    def check(self, action: str, table: Table) -> None:
        """The gate at call time. Raises: CallError (`not_allowed`)."""
        if self.permits(action, table):
            return
        mode = self.mode_of(table.name)
        reason = f'It runs with access.mode = "{self.mode}"'
        if mode is not self.mode:
            reason = f"A rule of it (access.rules) leaves this table in mode '{mode}'"
        raise CallError(
            ErrorCode.NOT_ALLOWED,
            f"this server does not allow '{action}' on table '{table.name.name}'",
            f"{reason}; whoever runs it can change that.",
        )

    @property
    def sql_writes(self) -> bool:
        """Sessions for a caller's own SQL are opened for writing too."""
        return self.sql is SqlMode.WRITE and self.mode is AccessMode.WRITE

    def hints(self, action: str) -> tuple[bool, bool, bool]:
        """(read-only, destructive, idempotent) of MCP's tool annotations for an action."""
        if action == "sql" and self.sql_writes:
            return False, True, False
        return {
            "batch": (self.mode is AccessMode.READ, self.mode is AccessMode.WRITE, self.mode is AccessMode.READ),
            "transaction": (self.mode is AccessMode.READ, False, self.mode is AccessMode.READ),
            "commit": (self.mode is AccessMode.READ, self.mode is AccessMode.WRITE, self.mode is AccessMode.READ),
            # With on_conflict "update", which mode `write` alone takes, rows that stand are changed.
            "insert": (False, self.mode is AccessMode.WRITE, False),
            "update": (False, True, True),
            "delete": (False, True, True),
        }.get(action, (True, False, True))

    def _rules_of(self, table: TableName) -> tuple[AccessMode, tuple[AccessRule, ...]]:
        known = self._known.get(table)
        if known is None:
            matching = [rule for rule in self.rules if TablePattern(rule.table).match(table)]
            modes = (AccessMode(rule.mode) for rule in matching if rule.column is None)
            known = (
                min((self.mode, *modes), key=_MODES.index),
                tuple(rule for rule in matching if rule.column is not None),
            )
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[table] = known
        return known

    def _closed(self, table: Table) -> Table:
        """Without the rights that rules take from columns; where one of these must be given, it takes no rows."""
        columns = tuple(self._closed_column(table.name, column) for column in table.columns)
        if columns == table.columns:
            return table
        if any(
            column.insertable and not after.insertable and column.must_have_value
            for column, after in zip(table.columns, columns, strict=True)
        ):
            columns = tuple(replace(column, privileges=column.privileges - {Privilege.INSERT}) for column in columns)
        return replace(table, columns=columns, privileges=privileges_left(table, columns))

    def _closed_column(self, table: TableName, column: Column) -> Column:
        rights = _RIGHTS.get(self.mode_of_column(table, column.name))
        if rights is None or column.privileges <= rights:
            return column
        return replace(column, privileges=frozenset(right for right in column.privileges if right in rights))
