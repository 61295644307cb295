"""What the database lets the server's role do beyond what a server of callers should: asked once, told once.

It does not know what follows from it; a role with such rights is served like any other.
"""

import asyncio
from contextlib import aclosing, suppress

from schema_mcp.dialects.base import Statement
from schema_mcp.execute.engines import Database
from schema_mcp.observe.events import Observe, RoleExceeds

#: How long the question may take, connecting included.
ASK_TIMEOUT_S = 10.0


class RoleCheck:
    """`reached` is set by whoever finds that the database answers; before, nothing is asked."""

    def __init__(self, database: Database, observe: Observe) -> None:
        self._database = database
        self._observe = observe
        self.reached = asyncio.Event()
        #: Set when there is nothing more to ask.
        self.asked = asyncio.Event()
        #: For `server_status`.
        self.warnings: tuple[str, ...] = ()

    async def run(self) -> None:
        """Asks once the database is reached; where it does not answer, again when it is next."""
        while (rights := await self._rights()) is None:
            self.reached.clear()
        if rights:
            found = RoleExceeds(source=self._database.name, rights=rights)
            self.warnings = (found.message,)
            self._observe(found)
        self.asked.set()

    async def _rights(self) -> tuple[str, ...] | None:
        if not self._database.dialect.excess:
            return ()
        await self.reached.wait()
        question = Statement(self._database.dialect.excess, ())
        with suppress(Exception):  # the watcher tells of a database that does not answer
            async with (
                asyncio.timeout(ASK_TIMEOUT_S),
                self._database.connection() as connection,
                aclosing(self._database.dialect.fetch(connection, question, 0)) as batches,
            ):
                return tuple([str(row.keys[0]) async for batch in batches for row in batch])
        return None
