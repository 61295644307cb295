"""The settings as values: frozen, checked, units in names. The defaults are here and nowhere else.

Each field's comment is what `config.toml` and the documentation say of the key.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Self

from schema_mcp.errors import UsageError

#: The one source of a configuration with a `[database]` section.
SOURCE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """`[database]`: what to serve."""

    #: postgresql://user:password@host/database, sqlite:///path, a path of a SQLite file, or "sample".
    url: str | None = None
    #: Database schemas to serve; empty: those on the role's search path.
    schemas: tuple[str, ...] = ()
    #: Serve only relations that match one of these patterns (*, ?, [..]) over table or schema.table; empty: all.
    include: tuple[str, ...] = ()
    #: Never serve relations that match one of these patterns.
    exclude: tuple[str, ...] = ()
    #: Serve these columns as if they did not exist: patterns over column, table.column or schema.table.column, whatever
    #: the case of letters.
    hide_columns: tuple[str, ...] = ()
    #: Show "***" instead of these columns' values, null or not, and let no condition, order, group or reference use
    #: them; patterns as for hide_columns. They may be given values.
    mask_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings(DatabaseSettings):
    """`[[sources]]`: one of several databases, with the keys of `[database]`, which it stands instead of."""

    #: What its tables and tools are called by: 1 to 12 of a-z and 0-9.
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """`[access]`: what may be done."""

    #: "read": sessions are read-only in the database itself; "insert": rows may also be added; "write": they may also
    #: be changed and removed.
    mode: str = "insert"
    #: Less than mode for some tables and columns: "<table>: <mode>" or "<table>(<column>): <mode>", mode none, read,
    #: insert or write; patterns (*, ?, [..]) over table, schema.table or source.schema.table, whatever the case of
    #: letters. The most restrictive of all that match counts. A table or column of mode none is as if it did not exist.
    rules: tuple[str, ...] = ()
    #: Most rows that one update or delete may touch; where it would touch more, it touches none.
    max_affected_rows: int = 1_000
    #: "off"; "read": execute_sql and explain_query run a caller's own statements, read-only in the database itself;
    #: "write": they may write (only with mode = "write"). Nothing but the role's rights bounds what they read, so it
    #: goes with no key that hides tables or columns.
    sql: str = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """`[watch]`: how the tools follow the schema."""

    #: Seconds between two looks at the schema. SQLite files are looked at every 0.1 s at the latest: it costs nothing.
    poll_interval_s: float = 2.0
    #: Seconds after which everything is read again, not only what has changed.
    full_refresh_s: float = 300.0
    #: Changes within so many seconds make one notification.
    debounce_s: float = 0.1
    #: "auto": the database's own catalog; "information_schema": the portable views, which tell less.
    reader: str = "auto"
    #: "auto": hear of changes at once where the opt-in triggers are installed (PostgreSQL); "off": poll only.
    listen: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsSettings:
    """`[tools]`: what is listed."""

    #: "auto": a tool a table while the list stays within max_listed; "tables": always; "generic": never;
    #: "progressive": in each session those of the tables that activate_tables was called for.
    surface: str = "auto"
    #: Most tools that "auto" lists before it falls back to the tools that take a table's name.
    max_listed: int = 100
    #: Tables whose tools are listed whatever the surface.
    pin: tuple[str, ...] = ()
    #: Tools that are not there unless they are named here: "activate_tables"; "set_context", with get_context and
    #: clear_context; "wait_for_change".
    groups: tuple[str, ...] = ()
    #: Tools in one page of tools/list. Many clients read only the first page.
    page_size: int = 1000
    #: Seconds without a call after which what a session has set by set_context ends.
    context_idle_s: float = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsSettings:
    """`[results]`: how much an answer holds."""

    #: Rows in an answer when the call does not say.
    default_limit: int = 100
    #: Most rows that a call may ask for.
    max_rows: int = 10_000
    #: Rows of a related table in each row, when the call does not say.
    include_rows: int = 20
    #: Most bytes of rows in an answer; further rows come with the cursor.
    max_bytes: int = 1_000_000
    #: Send answers also as structuredContent, not as text only.
    structured: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """`[pool]`: connections."""

    #: Most connections that calls use at once; the watcher has one more of its own.
    size: int = 10
    #: Most transactions that are open at once over several calls on one database: each has a connection of its own.
    transaction_size: int = 5
    #: Seconds that a call waits for a free connection before it is told `busy`.
    acquire_timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """`[limits]`: of one call."""

    #: Seconds that one statement may run.
    statement_timeout_s: float = 30.0
    #: Seconds that a whole call may take, waiting included.
    call_timeout_s: float = 60.0
    #: Seconds that a statement waits for a lock.
    lock_timeout_s: float = 2.0
    #: Most rows that one insert may carry.
    insert_rows: int = 10_000
    #: Most conditions that one call may have.
    filters: int = 100
    #: Connections of a database that the calls of one client may have at once; 0: all of the pool's.
    concurrent_calls: int = 0
    #: Most calls that wait for a connection of a database; further ones are told `busy` at once.
    queued_calls: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """`[retry]`: calls that have failed and left nothing behind."""

    #: Times that such a call is tried in all, with growing waits at random, within its own time; 1: never again.
    attempts: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionsSettings:
    """`[transactions]`: that stay open over several calls (begin_transaction)."""

    #: Seconds without a call after which one is rolled back.
    idle_timeout_s: float = 60.0
    #: Seconds after which one is rolled back, whatever is called in it.
    max_age_s: float = 600.0
    #: Most that one session, or one who signed in, has open at once.
    per_session: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """`[cache]`: answers of calls that read, given again."""

    #: Seconds for which an answer is given again to the same caller for the same call; 0: never. What others write to
    #: the database in that time is not seen.
    ttl_s: float = 0.0
    #: Most answers that are kept.
    max_entries: int = 1_000
    #: Most bytes of answers that are kept.
    max_bytes: int = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsSettings:
    """`[operations]`: work that goes on after the call that started it."""

    #: Seconds that an operation, and each of its statements, may run.
    max_s: float = 3_600.0
    #: Operations that run at once, each on a connection besides those of the pool.
    max_running: int = 8
    #: The same for one caller.
    per_caller: int = 4
    #: Most rows of one operation's result.
    max_rows: int = 1_000_000
    #: Most bytes of one operation's rows, which are written to a file.
    max_result_bytes: int = 1_000_000_000
    #: Most bytes of all files of results.
    max_kept_bytes: int = 10_000_000_000
    #: Seconds for which an operation that has ended, and its result, can be asked for.
    keep_s: float = 86_400.0
    #: Seconds after which a call becomes a task, for clients that declare io.modelcontextprotocol/tasks.
    task_after_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """`[server]`: how clients reach it."""

    #: "stdio" or "http".
    transport: str = "stdio"
    #: Address for HTTP; only loopback until there is sign-in.
    host: str = "127.0.0.1"
    #: Port for HTTP; 0 takes a free one.
    port: int = 8765
    #: Path of the MCP endpoint.
    path: str = "/mcp"
    #: Host headers accepted besides the address itself ("name:port").
    allowed_hosts: tuple[str, ...] = ()
    #: Origin headers accepted besides the address itself ("https://name:port").
    allowed_origins: tuple[str, ...] = ()
    #: Key that cursors are signed with; when it is not set it is made once and kept in the store (see [state]).
    secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """`[state]`: the server's own store: what changed in the schema, and the last schema over a restart."""

    #: "auto": a SQLite file in the user's data folder; a path, a sqlite:/// or postgresql:// URL; "off": no history.
    url: str = "auto"
    #: Most changes of one database that are kept; older ones are forgotten.
    max_changes: int = 100_000
    #: Seconds that the store is waited for while another program holds it. Serving never waits.
    lock_timeout_s: float = 10.0
    #: Seconds for which the idempotency key of a call is remembered, here or beside the data.
    idempotency_keep_s: float = 604_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`[log]`: what is written to stderr."""

    #: "debug", "info", "warning" or "error".
    level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections. Which databases are served: `served`, whether they stand in `database` or `sources`."""

    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    sources: tuple[SourceSettings, ...] = ()
    access: AccessSettings = field(default_factory=AccessSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    tools: ToolsSettings = field(default_factory=ToolsSettings)
    results: ResultsSettings = field(default_factory=ResultsSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    transactions: TransactionsSettings = field(default_factory=TransactionsSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    operations: OperationsSettings = field(default_factory=OperationsSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    state: StateSettings = field(default_factory=StateSettings)
    log: LogSettings = field(default_factory=LogSettings)

    @property
    def served(self) -> tuple[SourceSettings, ...]:
        """The databases to serve, one at least."""
        if self.sources:
            return self.sources
        members = {item.name: getattr(self.database, item.name) for item in fields(self.database)}
        return (SourceSettings(name=SOURCE, **members),)

    def only(self, source: str | None) -> Self:
        """With this source alone; `source` None: as it is, where there is one. Raises: UsageError naming them."""
        found = tuple(one for one in self.served if source in (None, one.name))
        if len(found) != 1:
            wrong = "several are configured" if source is None else f"there is no source '{source[:40]}'"
            raise UsageError(f"{wrong}: choose with --source {', '.join(one.name for one in self.served)}")
        return replace(self, sources=found if self.sources else ())


#: Keys that take one of a few words, or a list of them.
CHOICES: dict[str, tuple[str, ...]] = {
    "access.mode": ("read", "insert", "write"),
    "access.sql": ("off", "read", "write"),
    "watch.reader": ("auto", "information_schema"),
    "watch.listen": ("auto", "off"),
    "tools.surface": ("auto", "tables", "generic", "progressive"),
    "tools.groups": ("activate_tables", "set_context", "wait_for_change"),
    "server.transport": ("stdio", "http"),
    "log.level": ("debug", "info", "warning", "error"),
}

#: Lowest and highest value of numeric keys.
RANGES: dict[str, tuple[float, float]] = {
    "access.max_affected_rows": (1, 10_000_000),
    "watch.poll_interval_s": (0.05, 86_400),
    "watch.full_refresh_s": (1, 31_536_000),
    "watch.debounce_s": (0, 60),
    "tools.max_listed": (1, 100_000),
    "tools.page_size": (1, 100_000),
    "tools.context_idle_s": (1, 31_536_000),
    "results.default_limit": (1, 1_000_000),
    "results.max_rows": (1, 1_000_000),
    "results.include_rows": (1, 1_000_000),
    "results.max_bytes": (1_000, 1_000_000_000),
    "pool.size": (1, 1_000),
    "pool.transaction_size": (1, 1_000),
    "pool.acquire_timeout_s": (0.01, 3_600),
    "limits.statement_timeout_s": (0.01, 86_400),
    "limits.call_timeout_s": (0.01, 86_400),
    "limits.lock_timeout_s": (0.01, 86_400),
    "limits.insert_rows": (1, 1_000_000),
    "limits.filters": (1, 500),
    "limits.concurrent_calls": (0, 1_000),
    "limits.queued_calls": (0, 1_000_000),
    "retry.attempts": (1, 10),
    "transactions.idle_timeout_s": (0.1, 86_400),
    "transactions.max_age_s": (0.1, 86_400),
    "transactions.per_session": (1, 1_000),
    "cache.ttl_s": (0, 86_400),
    "cache.max_entries": (1, 1_000_000),
    "cache.max_bytes": (1_000, 10_000_000_000),
    "operations.max_s": (0.01, 31_536_000),
    "operations.max_running": (1, 1_000),
    "operations.per_caller": (1, 1_000),
    "operations.max_rows": (1, 1_000_000_000),
    "operations.max_result_bytes": (1_000, 1_000_000_000_000),
    "operations.max_kept_bytes": (1_000, 1_000_000_000_000_000),
    "operations.keep_s": (1, 31_536_000),
    "operations.task_after_s": (0, 86_400),
    "server.port": (0, 65_535),
    "state.max_changes": (1, 10_000_000),
    "state.lock_timeout_s": (0.01, 3_600),
    "state.idempotency_keep_s": (1, 31_536_000),
}

#: Keys whose value is never shown.
SECRETS = frozenset({"database.url", "server.secret", "state.url"})
