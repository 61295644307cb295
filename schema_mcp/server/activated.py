"""Which tables each session has activated: what its list holds besides what all are offered.

Mutable, used from the event loop only. It knows neither tools nor the protocol.
"""

import asyncio
from collections.abc import Iterable

from schema_mcp.schema.model import TableName


class Activated:
    """By session. What is forgotten with the session is not remembered."""

    def __init__(self) -> None:
        self._tables: dict[str, tuple[TableName, ...]] = {}

    def of(self, session: str | None) -> tuple[TableName, ...]:
        """The session's tables, in the order they were activated in."""
        return self._tables.get(session, ()) if session is not None else ()

    def put(self, session: str, tables: Iterable[TableName], *, replace: bool) -> tuple[TableName, ...]:
        """The session's tables with these, or these alone."""
        before = () if replace else self.of(session)
        self._tables[session] = tuple(dict.fromkeys((*before, *tables)))
        return self._tables[session]

    def forget(self, session: str) -> None:
        """The session has ended."""
        self._tables.pop(session, None)

    def items(self) -> list[tuple[str, tuple[TableName, ...]]]:
        """Sessions with what they have activated."""
        return list(self._tables.items())


class ListChanged(asyncio.Event):
    """Set when somebody's list of tools has changed: everybody's, or that of some sessions."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: set[str] | None = set()

    def set(self) -> None:
        """Everybody's list has changed."""
        self._sessions = None
        super().set()

    def set_for(self, sessions: Iterable[str]) -> None:
        """The lists of these sessions have changed."""
        named = set(sessions)
        if named and self._sessions is not None:
            self._sessions |= named
        if named:
            super().set()

    def take(self) -> frozenset[str] | None:
        """Whose lists have changed since this was last asked; None: everybody's."""
        sessions, self._sessions = self._sessions, set()
        super().clear()
        return None if sessions is None else frozenset(sessions)
