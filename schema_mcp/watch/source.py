"""One watched database: its connection, what was read of it last, and what became of the last look.

It decides how long to wait after a failure; it does not know when to look, nor how a reading is accepted.
"""

import random
import time
import traceback
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from schema_mcp.dialects.base import Connection, Gate, Reading
from schema_mcp.errors import CallError, CatalogReadError, ErrorCode
from schema_mcp.execute.engines import Database
from schema_mcp.observe.events import CatalogReadFailed, InternalFailure, Observe
from schema_mcp.schema.model import Schema
from schema_mcp.watch.pace import Pace

#: Longest wait between two tries: for what passes by itself (the database is away, the schema never stands still), and
#: for what somebody has to put right.
FIRST_SHORT_WAIT_S = 0.1
MAX_SHORT_WAIT_S = 1.0
MAX_LONG_WAIT_S = 30.0


@dataclass(slots=True)
class Source:
    """What the watcher remembers of one database. `schema` is served, and `reading` is its source."""

    database: Database
    connection: Connection | None = None
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    schema: Schema | None = None
    reading: Reading | None = None
    #: When the served schema was last found true, in seconds since 1970.
    confirmed_at: float | None = None
    failures: int = 0
    #: When the first of the looks failed that have failed in a row, in seconds since 1970.
    failing_since: float | None = None
    try_again_at: float = 0.0
    error: str | None = None
    #: The last look failed because the schema did not stand still.
    unsettled: bool = False
    pace: Pace = field(default_factory=Pace)
    #: When everything is to be read again, if the gate has moved since the last time.
    full_refresh_at: float = 0.0
    full_gate: Gate | None = None

    async def open(self) -> Connection:
        """The connection, made where there is none. Raises: whatever the driver raises."""
        if self.connection is None:
            self.connection = await self.resources.enter_async_context(self.database.single())
        return self.connection

    async def close(self) -> None:
        """Gives the connection up; `open` makes another."""
        self.connection = None
        resources, self.resources = self.resources, AsyncExitStack()
        with suppress(Exception):  # it is lost anyway
            await resources.aclose()

    def succeeded(self) -> None:
        """The last look found a schema, or that nothing has changed."""
        self.failures, self.failing_since, self.try_again_at, self.error = 0, None, 0.0, None

    def failed(self, error: Exception, poll_interval_s: float, observe: Observe) -> None:
        """The last look found this instead of a schema: told if it is news, and the next look waits."""
        self.failures += 1
        self.failing_since = self.failing_since or time.time()
        message, passes = _explain(self.database, error)
        first, longest = poll_interval_s, max(MAX_LONG_WAIT_S, poll_interval_s)
        if passes:
            first, longest = min(poll_interval_s, FIRST_SHORT_WAIT_S), MAX_SHORT_WAIT_S
        self.unsettled = isinstance(error, Unsettled)
        if self.unsettled:
            longest = first  # nothing is wrong: whoever changes the schema will pause, and that moment is to be caught
        wait_s = min(first * 2.0 ** min(self.failures - 1, 20), longest)
        wait_s *= random.uniform(0.8, 1.0)
        self.try_again_at = time.monotonic() + wait_s
        if message is None:
            message = f"the schema of '{self.database.name}' cannot be served: {type(error).__name__}, see the log"
            if message != self.error:
                frames = "".join(traceback.format_tb(error.__traceback__))
                observe(InternalFailure(where="the watcher", traceback=f"{type(error).__name__}\n{frames}"))
        if message != self.error:
            observe(
                CatalogReadFailed(source=self.database.name, message=message, failures=self.failures, retry_in_s=wait_s)
            )
        self.error = message


class Unsettled(CatalogReadError):
    """Somebody goes on changing the schema."""

    def __init__(self, name: str, readings: int) -> None:
        super().__init__(f"the schema of '{name}' changed during each of {readings} readings")


class TooLong(CatalogReadError):
    """A look was given up."""

    def __init__(self, name: str, limit_s: float) -> None:
        super().__init__(f"reading the schema of '{name}' took longer than {limit_s:g} s")


def _explain(database: Database, error: Exception) -> tuple[str | None, bool]:
    """A message without secrets, None for a defect of ours; and whether the trouble passes by itself."""
    if isinstance(error, CatalogReadError):
        return str(error), error.unavailable or isinstance(error, Unsettled)
    translated = error if isinstance(error, CallError) else database.dialect.translate(error, None)
    if translated is None:
        return None, False
    return (
        f"{translated.message.rstrip('.')}. {translated.hint}".strip(),
        translated.code is ErrorCode.DATABASE_UNAVAILABLE,
    )
