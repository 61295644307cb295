"""What the schema was, when: the states that a storm of DDL went through, in the order of their commits.

Each transaction notes the state after it while it holds a lock that all of them take before COMMIT, so that the order
of the entries is that of the commits. When exactly a commit took place nobody outside the database knows: between
`started`, before COMMIT was sent, and `ended`, after it was acknowledged. All times are of `time.monotonic()`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Table:
    """A table at one instant, as far as tools show it. Columns as "name type", with the type of JSON.

    `origin`: the table's own mark, which its rows carry; it keeps it under every name. The one of a list is unknown.
    """

    origin: str
    readable: tuple[str, ...]
    insertable: tuple[str, ...]

    @property
    def shown(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What a list of tools can tell of it."""
        return self.readable, self.insertable


#: What a list of tools shows: of each table that has a tool, by name.
Shown = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
State = Mapping[str, Table]


def shown(state: State) -> Shown:
    """What a list of tools has to show in this state."""
    return {name: table.shown for name, table in state.items() if table.readable or table.insertable}


@dataclass(slots=True)
class Entry:
    """The state after one commit."""

    state: State
    shown: Shown
    started: float
    ended: float = math.inf


class Journal:
    """The entries; the first is the state before the storm."""

    def __init__(self, state: State, now: float) -> None:
        self.entries = [Entry(state, shown(state), now, now)]

    def add(self, changes: Mapping[str, Table | None], now: float) -> Entry:
        """The entry of a transaction that is about to commit these changes; None: no longer there."""
        state = {**self.entries[-1].state, **changes}
        kept = MappingProxyType({name: table for name, table in state.items() if table is not None})
        self.entries.append(Entry(kept, shown(kept), now))
        return self.entries[-1]

    def between(self, begin: float, end: float) -> Iterator[int]:
        """The numbers of the states that may have been the present one at some instant between."""
        for number, entry in enumerate(self.entries):
            if entry.started > end:
                return
            following = self.entries[number + 1].ended if number + 1 < len(self.entries) else math.inf
            if following >= begin:
                yield number
