"""The accelerator: hears PostgreSQL's notifications of DDL, and each time asks the watcher for a look.

Optional in every way. It listens only where the opt-in trigger of `migrations/targets/postgresql/ddl_notify.sql` is
installed; where it is not, where LISTEN is refused (a standby) or does not arrive (a pooler), the poll alone is right.
After each reconnect it asks for a look, because what was told in between is lost.

It does not know what changed: a notification carries no facts, and none are believed.
"""

import asyncio
from collections.abc import Callable

from schema_mcp.dialects.base import Connection
from schema_mcp.execute.engines import Database
from schema_mcp.observe.events import ListeningChanged, Observe

CHANNEL = "schema_mcp"

#: How long until it is looked again whether the trigger is there, and the shortest and longest wait to reconnect.
ABSENT_WAIT_S = 300.0
RECONNECT_WAIT_S = 0.5
MAX_RECONNECT_WAIT_S = 30.0

#: The trigger is there and will fire.
_INSTALLED = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = 'schema_mcp_ddl' AND evtenabled <> 'D')"
)


class Listener:
    """Listens on one database until it is cancelled. `notice` is called on the event loop and must not block."""

    def __init__(self, database: Database, notice: Callable[[], None], observe: Observe) -> None:
        self._database = database
        self._notice = notice
        self._observe = observe
        #: Notifications arrive now.
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Connects, listens, and connects again, with growing waits while that fails."""
        wait_s = RECONNECT_WAIT_S
        while True:
            try:
                async with self._database.single() as connection:
                    if not await connection.fetchval(_INSTALLED):
                        wait_s = ABSENT_WAIT_S
                    else:
                        wait_s = RECONNECT_WAIT_S
                        await self._listen(connection)
            except Exception:  # noqa: BLE001 - the boundary of the task: whatever fails, the poll goes on
                wait_s = min(2 * wait_s, MAX_RECONNECT_WAIT_S)
            finally:
                self._tell(listening=False)
            await asyncio.sleep(wait_s)

    async def _listen(self, connection: Connection) -> None:
        """Returns when the connection has ended."""
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(CHANNEL, lambda *_: self._notice())
        self._tell(listening=True)
        self._notice()
        await ended.wait()

    def _tell(self, *, listening: bool) -> None:
        if listening == self.listening.is_set():
            return
        if listening:
            self.listening.set()
        else:
            self.listening.clear()
        self._observe(ListeningChanged(source=self._database.name, listening=listening))
