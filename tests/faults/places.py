"""The databases that faults strike: what every product's has, with tables for every kind of write.

Each table has a column `call`, the id of the call that wrote the row. Triggers note each step of a counter and each row
that is deleted, so that these writes leave a row too.
"""

import random
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from tests.faults.oracle import Found, Remains
from tests.faults.program import Program

#: What is cleared before each round, and looked at after it.
TABLES = ("singles", "many", "lefts", "rights", "steps", "deleted")
MIGRATIONS = Path(__file__).parent.parent.parent / "migrations/targets"


class Place(Protocol):
    """A database. `url`: as the program connects; `variables`: of its environment, where the place differs in them."""

    name: str
    product: str
    url: str
    variables: dict[str, str]

    async def clear(self) -> None:
        """Nothing of an earlier round is in the tables."""
        ...

    async def found(self) -> Found:
        """How many rows of each call the tables have."""
        ...

    async def remains(self, program: Program) -> Remains:
        """What of the program is there now, its open files and threads included."""
        ...

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Nobody else can write the table `gate`."""
        ...

    async def close(self) -> None: ...


def seeded(seed: int, *words: object) -> random.Random:
    """Chances that are the same for the same seed and words."""
    return random.Random(" ".join(map(str, (seed, *words))))
