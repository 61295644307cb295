"""What a product must be able to do so that a transaction can stay open over several calls: `TransactionAccess`.

A call within it stands behind a mark (a savepoint), to which everything that the call did can be undone. It knows
neither who may use a transaction nor for how long.
"""

from enum import StrEnum
from typing import Any, Protocol, TypeAlias

#: As in `dialects.base`, which imports this module.
_Connection: TypeAlias = Any


class Isolation(StrEnum):
    """What a transaction sees of others, in rising order, by SQL's names."""

    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"


class TransactionEnded(Exception):
    """A caller's own statement has ended the transaction that it ran in. `how`: the database's word for it (COMMIT)."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class TransactionAccess(Protocol):
    """One product's way. Stateless and shared. Everything raises what the driver raises."""

    #: What a transaction isolates that asks for nothing.
    isolation: Isolation

    def isolates(self, asked: Isolation) -> Isolation:
        """What it isolates in truth: that, or more."""
        ...

    async def begin(self, connection: _Connection, isolation: Isolation, *, read_only: bool, max_age_s: float) -> None:
        """Opens it. Where the database can, it ends it by itself after `max_age_s`, should nobody else."""
        ...

    async def mark(self, connection: _Connection, *, first: bool, limits_s: tuple[float, float] | None = None) -> None:
        """What comes after can be undone. Not so any longer what came before, behind the mark of then; `first`: there
        was none. `limits_s`: of a statement and of a wait for a lock, which hold from here on whatever a statement of
        the caller's own has set."""
        ...

    async def undo(self, connection: _Connection) -> None:
        """Everything since the mark is as if it had not been, also what the database had failed at."""
        ...

    async def commit(self, connection: _Connection) -> bool:
        """Whether it was committed; False: the database has rolled it back instead."""
        ...

    def outcome(self, connection: _Connection) -> bool | None:
        """Whether the last COMMIT on it was done, which was cut short or has failed; None: nobody here can tell."""
        ...

    async def roll_back(self, connection: _Connection) -> None:
        """Ends it."""
        ...

    def is_open(self, connection: _Connection) -> bool:
        """Whether it goes on, as far as is known here: the connection stands, and nothing has ended it."""
        ...
