"""What a fault is, and the field that it strikes: the database, the program, and the writers at work."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.journal import Journal
from tests.faults.program import Program
from tests.waiting import until

#: Fewer writers inside a call than this, and a strike shows nothing.
LEAST_INSIDE = 10
#: How long the writers may take until so many of them are inside a call.
CROWD_LIMIT_S = 10.0


@dataclass(kw_only=True)
class Field:
    """One round. `inside`: of each strike, how many writers were inside a call at its instant."""

    place: Any
    program: Program
    journal: Journal
    chances: random.Random
    inside: list[int] = field(default_factory=list)
    #: When the database (or the program) was back; the recovery is counted from here.
    back_at: float = 0.0
    #: What a fault found itself, in words.
    noticed: list[str] = field(default_factory=list)

    def struck(self) -> None:
        """Notes a strike. Called at its instant."""
        self.inside.append(self.journal.inside)

    def back(self) -> None:
        """The database is back from now on."""
        self.back_at = time.monotonic()

    async def crowd(self) -> None:
        """Returns at a moment at which enough writers are inside a call. Raises: TimeoutError."""
        await asyncio.sleep(self.chances.uniform(0, 0.05))
        await until(lambda: self.journal.inside >= LEAST_INSIDE, CROWD_LIMIT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of trouble. `name` and `what` stand in docs/reliability.md.

    `strike` does it once or several times, ends it, and returns when the database is back. `least`: how many strikes a
    long run has in all. `ends_program`: by intent; then it is a fresh one afterwards. `codes`: errors that it explains
    besides the usual; `kinds`: of writers, all if None.
    """

    name: str
    what: str
    product: str
    strike: Callable[[Field], Awaitable[None]]
    least: int = 10
    ends_program: bool = False
    back_s: float = 2.0
    codes: frozenset[str] = frozenset()
    kinds: frozenset[str] | None = None
    #: The transports that it makes sense over.
    transports: tuple[str, ...] = ("http", "stdio")
    #: The places (by name) that it makes sense in; all of the product if None.
    places: tuple[str, ...] | None = None
    #: A tool without which it cannot be played.
    needs: str | None = None
    #: Whether it needs a program whose clock can be stepped.
    stepped: bool = False

    def is_for(self, product: str) -> bool:
        """Whether databases of that product can have it."""
        return self.product in (product, "any")
