"""Who may do what: the one object that tools' visibility, their annotations, the gate at call time and the engine's
read-only mode all derive from."""

from dataclasses import dataclass
from enum import StrEnum

from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.schema.model import Table


class AccessMode(StrEnum):
    """What the server as a whole may do (`access.mode`)."""

    READ = "read"
    INSERT = "insert"
    WRITE = "write"


class SqlMode(StrEnum):
    """What a caller's own SQL may do (`access.sql`)."""

    OFF = "off"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Immutable; made from the configuration once."""

    mode: AccessMode
    sql: SqlMode = SqlMode.OFF

    @property
    def engine_read_only(self) -> bool:
        """Sessions are opened read-only, so that the database refuses every write."""
        return self.mode is AccessMode.READ

    def permits(self, action: str, table: Table | None) -> bool:
        """Whether a tool with that action is offered and may run. `table` None: asked for the kind as such."""
        match action:
            case "insert":
                return self.mode in (AccessMode.INSERT, AccessMode.WRITE)
            case "batch":
                return True  # each call in it is asked for
            case "update" | "delete":
                return self.mode is AccessMode.WRITE
            case "sql" | "explain":
                return self.sql is not SqlMode.OFF
        return action in ("read", "inspect")

    def check(self, action: str, table: Table) -> None:
        """The gate at call time. Raises: CallError (`not_allowed`)."""
        if not self.permits(action, table):
            raise CallError(
                ErrorCode.NOT_ALLOWED,
                f"this server does not allow '{action}' on table '{table.name.name}'",
                f'It runs with access.mode = "{self.mode}"; whoever runs it can change that.',
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
            "insert": (False, False, False),
            "update": (False, True, True),
            "delete": (False, True, True),
        }.get(action, (True, False, True))
