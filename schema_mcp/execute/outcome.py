"""What became of a transaction whose answer to COMMIT was lost: the database is asked on another connection, as soon as
one can be had, until it knows or the time is over.

A transaction is known by its *mark*, which must be taken before COMMIT, and which is empty where nothing was written.
Whoever commits says what follows from the outcome; nothing is tried again here.
"""

import asyncio
from contextlib import aclosing
from enum import StrEnum

from tenacity import AsyncRetrying, retry_if_result, wait_random_exponential

from schema_mcp.dialects.base import Connection, Dialect, DriverValue, Statement
from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.execute.engines import Database

#: How long one question may take, its connection included.
ASK_TIMEOUT_S = 5.0
#: Between two questions, in seconds: at random up to the first, then up to twice as much each time, up to the last.
FIRST_WAIT_S, MAX_WAIT_S = 0.05, 0.5
#: The same where COMMIT may well be at work, and nobody is in a hurry.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 4.0


class Outcome(StrEnum):
    """How a transaction has ended."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    #: The same, because its COMMIT was stopped here.
    STOPPED = "stopped"
    #: Not yet: COMMIT is at work, and could not be stopped in time.
    RUNNING = "running"
    UNKNOWN = "unknown"


async def take_mark(connection: Connection, dialect: Dialect) -> str:
    """What the transaction that is open on the connection is known by; empty where it has written nothing so far, or
    where no answer can be lost. One round trip.

    Raises: whatever the driver raises.
    """
    if not dialect.outcomes:
        return ""
    ((mark,),) = await _rows(connection, dialect, "mark")
    return "" if mark is None else str(mark)


async def resolve(database: Database, mark: str, timeout_s: float, *, stops: bool = False) -> Outcome:
    """How the transaction with that mark has ended; UNKNOWN where nobody can say so within `timeout_s`.

    The connection on which COMMIT was sent must have been given up before: it may be ended in the database. `stops`: a
    COMMIT that is at work is stopped, and only then is an outcome STOPPED or RUNNING.
    """
    if not mark:
        return Outcome.UNKNOWN
    running = False

    async def ask() -> Outcome | None:
        nonlocal running
        outcome = await _ask(database, mark, ends=True, stops=stops)
        if outcome is Outcome.RUNNING:
            running = True
            return None
        return Outcome.STOPPED if running and outcome is Outcome.ROLLED_BACK else outcome

    asking = AsyncRetrying(
        wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S),
        retry=retry_if_result(lambda outcome: outcome is None),
    )
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            found: Outcome = await asking(ask)
            return found
    except TimeoutError:
        return Outcome.RUNNING if running else Outcome.UNKNOWN


async def heard(database: Database, mark: str, patience_s: float) -> Outcome:
    """The same while COMMIT is on its way or at work, however long that takes; UNKNOWN where nobody can say so.

    After `patience_s` a session that has not seen its COMMIT is ended. Of one database a few ask at a time: where many
    wait for one disk, their questions must not take the connections that there are.
    """
    ends_at = asyncio.get_running_loop().time() + patience_s

    async def ask() -> Outcome | None:
        async with database.asking:
            return await _ask(database, mark, ends=asyncio.get_running_loop().time() >= ends_at)

    asking = AsyncRetrying(
        wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=MAX_PAUSE_S),
        retry=retry_if_result(lambda outcome: outcome is None),
    )
    found: Outcome = await asking(ask)
    return found


async def _ask(database: Database, mark: str, *, ends: bool, stops: bool = False) -> Outcome | None:
    """None: it is worth asking again. `ends`: a session that waits for its COMMIT is ended; `stops`: one that is at
    work with it is cancelled, and the outcome is RUNNING."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S), database.single() as connection:
            return await _outcome(connection, database.dialect, mark, ends=ends, stops=stops)
    except Exception as error:
        refused = error if isinstance(error, CallError) else database.dialect.translate(error, None)
        if refused is None:
            raise
        return None if refused.code is ErrorCode.DATABASE_UNAVAILABLE else Outcome.UNKNOWN


async def _outcome(connection: Connection, dialect: Dialect, mark: str, *, ends: bool, stops: bool) -> Outcome | None:
    ((said,),) = await _rows(connection, dialect, "outcome", mark)
    match said:
        case "committed":
            return Outcome.COMMITTED
        case "aborted":
            return Outcome.ROLLED_BACK
        case "recovered" if await _rows(connection, dialect, "proof", mark):
            return Outcome.COMMITTED
        case "in progress":
            if stops and await _rows(connection, dialect, "stopped", mark):
                return Outcome.RUNNING
            if ends:
                await _rows(connection, dialect, "abandoned", mark)
            return None
    return Outcome.UNKNOWN


async def _rows(connection: Connection, dialect: Dialect, query: str, *values: str) -> list[tuple[DriverValue, ...]]:
    statement = Statement(dialect.outcomes[query].sql, values)
    async with aclosing(dialect.fetch(connection, statement, 1)) as batches:
        return [row.keys async for batch in batches for row in batch]
