"""Jams of locks: a table that somebody holds, and a change of a table that waits for an idle transaction."""

import asyncio

from tests.faults.base import Fault, Field
from tests.faults.program import LOCK_TIMEOUT_S

#: Longer than the program waits for a lock.
HELD_S = LOCK_TIMEOUT_S + 0.5


async def hold_tables(on: Field) -> None:
    """The tables of most writers."""
    lock = await on.place.apart()
    try:
        await on.crowd()
        await lock.execute("BEGIN; LOCK TABLE singles, many, lefts IN ACCESS EXCLUSIVE MODE")
        await on.crowd()
        on.struck()
        await asyncio.sleep(HELD_S)
    finally:
        lock.terminate()
    on.back()


async def idle_and_alter(on: Field) -> None:
    """Everybody waits behind an ALTER TABLE that waits for a transaction in which nothing happens."""
    idle, altering = await on.place.apart(), await on.place.apart()
    try:
        await idle.execute("BEGIN; SELECT count(*) FROM singles; SELECT count(*) FROM many")
        alter = asyncio.create_task(
            altering.execute(
                "ALTER TABLE singles ALTER COLUMN note TYPE text; ALTER TABLE many ALTER COLUMN part SET NOT NULL; "
                "ALTER TABLE many ALTER COLUMN part DROP NOT NULL"
            )
        )
        await on.crowd()
        on.struck()
        await asyncio.sleep(HELD_S)
        await idle.execute("COMMIT")
        await alter
    finally:
        idle.terminate()
        altering.terminate()
    on.back()


LOCKS = (
    Fault(
        name="tables locked",
        what=f"somebody holds ACCESS EXCLUSIVE on three tables for {HELD_S:g} s, longer than a call waits for a lock",
        product="postgresql",
        strike=hold_tables,
    ),
    Fault(
        name="idle transaction and a waiting ALTER",
        what=f"an ALTER TABLE waits {HELD_S:g} s for an idle transaction, and everybody behind it",
        product="postgresql",
        strike=idle_and_alter,
        codes=frozenset({"stale_schema"}),
    ),
)
