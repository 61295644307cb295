"""Everything that may be logged or counted, as one union. Listeners (the log first) decide what becomes of it.

No observation carries a row value, a bound value or a secret.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStarted:
    """The server is ready to answer."""

    transport: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStopped:
    """Everything is closed."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRead:
    """A schema was read; `changed` tells whether anything differs from the last."""

    source: str
    tables: int
    changed: bool
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReadFailed:
    """The last good catalog stays. `retry_in_s`: when the next try is due at the latest."""

    source: str
    message: str
    failures: int
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPostponed:
    """Somebody holds a lock on these tables; their expressions are read later."""

    source: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationsLeftOut:
    """The database cannot describe these relations, so there are no tools for them."""

    source: str
    relations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleExceeds:
    """The role of the connection has rights that a server of callers should not have."""

    source: str
    rights: tuple[str, ...]

    @property
    def message(self) -> str:
        """For people, and for `server_status`."""
        return (
            f"the database role has {', '.join(self.rights)}: what callers do is bounded by this server alone, not "
            "by the database; serve with a role that has only the rights on tables that callers need"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningChanged:
    """The database's notifications of DDL arrive from now on, or do so no longer; the poll goes on either way."""

    source: str
    listening: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryKept:
    """Changes of the schema are recorded from now on."""

    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryUnavailable:
    """The store of the history cannot be used; everything else goes on. `hint`: what to do."""

    where: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReplaced:
    """A new generation of tools is current."""

    generation: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    listed_tools: int
    listed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsReread:
    """The configuration was read again: keys that have taken effect, and keys that do so at the next start."""

    changed: tuple[str, ...]
    later: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsRefused:
    """The configuration was read again and cannot be used: a line for each mistake. The last good one stays."""

    mistakes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCosts:
    """What a model pays for the list of tools, as it is (`surface`) and as it might be: surface, tools, bytes."""

    surface: str
    listed_tools: int
    listed_bytes: int
    others: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListChangedSent:
    """`notifications/tools/list_changed` went out, to sessions of the handshake era and to the listen bus."""

    sessions: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetried:
    """Try number `attempt` of a call has failed, leaving nothing behind; the next one begins in `wait_ms`."""

    source: str
    attempt: int
    code: str
    sqlstate: str | None
    wait_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """A tool call ended; `code` is its error code, None when it succeeded."""

    tool: str
    duration_ms: float
    rows: int
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalFailure:
    """A defect of ours: the exception's class and traceback, without its text (which may hold values)."""

    where: str
    traceback: str


Observation: TypeAlias = (
    ServerStarted
    | ServerStopped
    | CatalogRead
    | CatalogReadFailed
    | ReadingPostponed
    | RelationsLeftOut
    | RoleExceeds
    | ListeningChanged
    | HistoryKept
    | HistoryUnavailable
    | CatalogReplaced
    | SettingsReread
    | SettingsRefused
    | ListCosts
    | ListChangedSent
    | CallRetried
    | CallFinished
    | InternalFailure
)

#: What the rest of the program is given to tell of what happens.
Observe: TypeAlias = Callable[[Observation], None]
