"""COMMIT: sent, waited for, and where its answer is late or lost, found out about.

    sent -> answered
         -> late: asked about on another connection, again and again, while the answer is waited for
         -> lost: `Outcome`, from `outcome.py`
         -> too late: stopped in the database, and the same

Whoever commits says what follows from it; a connection on which COMMIT was late is not used again.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from schema_mcp.dialects.base import Connection
from schema_mcp.execute.engines import Database
from schema_mcp.execute.outcome import Outcome, heard, resolve, take_mark

#: An answer that has not come after so long is asked about: not each slow disk's, and long before a caller's patience.
ASK_AFTER_S = 1.0
#: After so long a COMMIT that the server has not seen is not waited for: the network has tried four times by then.
GIVE_UP_AFTER_S = 5.0
#: How long the answer may take once the outcome is known: it says why.
ANSWER_S = 0.1
#: How long an answer may take once its call is cancelled or its time over. Less than transports wait for calls to end.
GRACE_S = 0.25
#: Of the time that is left to stop a COMMIT, the part after which is told what was found, before the call's is over.
STOPPING_PART = 0.9

T = TypeVar("T")


class Late(TimeoutError):
    """The answer to COMMIT has not come, and the outcome is known without it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Overdue(TimeoutError):
    """The answer to COMMIT has not come within its time, and the outcome is not known."""


async def answered(
    database: Database, connection: Connection, mark: str, limit_s: float | None, sending: Coroutine[Any, Any, T]
) -> T:
    """What COMMIT is answered, which `sending` sends on the connection. `mark`: of its transaction; empty where nobody
    can be asked.

    Raises: Late; Overdue after `limit_s`, TimeoutError where there is no mark; with either of the first two the
    connection is closed; whatever the driver raises. Nothing of it runs on here then.
    """
    commit = asyncio.create_task(sending)
    tasks: list[asyncio.Task[Any]] = [commit]
    try:
        async with asyncio.timeout(limit_s):
            await asyncio.wait(tasks, timeout=ASK_AFTER_S if mark else None)
            if commit.done():
                return commit.result()
            asking = asyncio.create_task(heard(database, mark, GIVE_UP_AFTER_S - ASK_AFTER_S))
            tasks.append(asking)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not commit.done():
                known = asking.result() is not Outcome.UNKNOWN
                await asyncio.wait({commit}, timeout=ANSWER_S if known else None)
            if commit.done():
                return commit.result()
            raise Late(asking.result())
    except TimeoutError as error:
        if mark and not commit.done():
            connection.terminate()  # `find_out` stops it in the database by its mark: a way that may still lead there
            await asyncio.wait({commit})
            if not isinstance(error, Late):
                raise Overdue from error
        raise
    finally:
        await _ended(tasks)


async def find_out(database: Database, mark: str, left_s: float, lost: BaseException) -> Outcome:
    """What became of a COMMIT that was lost by that error. Its connection must have been given up. One that is overdue
    is stopped."""
    if isinstance(lost, Late):
        database.renew()  # the connections beside it may lead nowhere, as its own
        return lost.outcome
    if isinstance(lost, Overdue):
        return await resolve(database, mark, STOPPING_PART * left_s, stops=True)
    return await resolve(database, mark, left_s)


class Commit:
    """One commit of a transaction that was open over several calls. `sent`: it may have reached the database. `mark`:
    what the transaction is known by, as far as calls in it have heard (see `outcome.py`).
    """

    def __init__(self, database: Database, connection: Connection, mark: str, ends_at: float, *, writes: bool) -> None:
        self.sent = False
        self._database = database
        self._connection = connection
        self._mark = mark
        self._ends_at = ends_at
        self._writes = writes

    async def send(self) -> bool:
        """Whether it was committed; False: it was rolled back. Waits for half of the time that is left, where the other
        half can find out about it.

        Raises: as `answered`.
        """
        dialect = self._database.dialect
        if not self._mark and self._writes:
            async with asyncio.timeout(self._left_s / 2):
                self._mark = await take_mark(self._connection, dialect)
        limit_s = self._left_s / 2 if self._mark else self._left_s
        self.sent = True
        sending = dialect.transactions.commit(self._connection)
        return await answered(self._database, self._connection, self._mark, limit_s, sending)

    async def outcome(self, lost: BaseException) -> Outcome:
        """What became of it, once the connection was given up."""
        if self._mark:
            # Whoever was cancelled is not kept for the rest of the time.
            left_s = min(self._left_s, GRACE_S) if isinstance(lost, asyncio.CancelledError) else self._left_s
            return await find_out(self._database, self._mark, left_s, lost)
        # Where the database gives marks, one that has none has written nothing: that it is done is true either way.
        certain = not self._writes or bool(self._database.dialect.outcomes)
        return Outcome.COMMITTED if certain else Outcome.UNKNOWN

    @property
    def _left_s(self) -> float:
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Ends what runs, and is not cut short. Each is bounded once it is cancelled; no error is reported as lost."""
    for task in tasks:
        task.cancel()
    while not all(task.done() for task in tasks):
        with suppress(asyncio.CancelledError):  # the caller passes the first one on
            await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()
