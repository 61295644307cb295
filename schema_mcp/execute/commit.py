"""COMMIT of a transaction that was open over several calls: sent, and where its answer is lost, found out about."""

import asyncio

from schema_mcp.dialects.base import Connection
from schema_mcp.execute.engines import Database
from schema_mcp.execute.outcome import Outcome, resolve, take_mark


class Commit:
    """One commit. `sent`: it may have reached the database. `mark`: what the transaction is known by, as far as calls
    in it have heard (see `outcome.py`).
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

        Raises: whatever the driver raises; TimeoutError.
        """
        dialect = self._database.dialect
        if not self._mark and self._writes:
            self._mark = await take_mark(self._connection, dialect)
        async with asyncio.timeout(self._left_s / 2 if self._mark else self._left_s):
            self.sent = True
            return await dialect.transactions.commit(self._connection)

    async def outcome(self) -> Outcome:
        """What became of it, once the connection was given up."""
        if self._mark:
            return await resolve(self._database, self._mark, self._left_s)
        # Where the database gives marks, one that has none has written nothing: that it is done is true either way.
        certain = not self._writes or bool(self._database.dialect.outcomes)
        return Outcome.COMMITTED if certain else Outcome.UNKNOWN

    @property
    def _left_s(self) -> float:
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())
