"""Operations, wired: what runs their calls on one database, and where they and their results are kept."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from schema_mcp.app_settings import (
    operation_execution_limits,
    operation_limits,
    operation_session_limits,
    operation_sql_session_limits,
)
from schema_mcp.config.model import Settings
from schema_mcp.dialects.base import SessionLimits
from schema_mcp.execute.engines import Database
from schema_mcp.execute.executor import Executor
from schema_mcp.execute.kept import Kept
from schema_mcp.execute.operations import Operations
from schema_mcp.execute.spool import ResultFolder
from schema_mcp.execute.sql import SqlExecutor
from schema_mcp.execute.writes import Writes
from schema_mcp.observe.events import Observe
from schema_mcp.state.keys import Keys
from schema_mcp.state.operations import OperationStore
from schema_mcp.state.place import NoPlace, Place

#: In the folder of the store's file, or in that for temporary files.
FOLDER = "operations"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRunners:
    """What runs the calls of operations on one database."""

    executor: Executor
    sql: SqlExecutor

    def resettling(self, settings: Settings) -> Callable[[], None]:
        """As `AppSource.resettling`. Raises: ConfigurationError."""
        reopen = self.executor.database.reopening(operation_session_limits(settings))
        reopen_sql = self.sql.database.reopening(operation_sql_session_limits(settings))

        limits = operation_execution_limits(settings)

        def resettle() -> None:
            reopen()
            reopen_sql()
            self.executor.limits = self.sql.limits = limits

        return resettle

    async def close(self) -> None:
        """Closes the connections."""
        await self.executor.database.close()
        await self.sql.database.close()


def long_runners(
    settings: Settings,
    name: str,
    url: sa.URL,
    beside: Database,
    notice: Callable[[], None],
    keys: Keys,
    observe: Observe,
    writes: Writes,
) -> LongRunners:
    """For the database at `url`, which `beside` connects to as well. Connections are opened when they are needed."""
    limits = operation_execution_limits(settings)

    def database(session: SessionLimits, size: int) -> Database:
        return Database(
            name,
            url,
            beside.dialect,
            session,
            size=size,
            acquire_timeout_s=settings.pool.acquire_timeout_s,
            beside=beside,
        )

    of_tables = database(operation_session_limits(settings), settings.operations.max_running)
    of_sql = database(operation_sql_session_limits(settings), 1)
    return LongRunners(
        executor=Executor(of_tables, limits, notice, keys, observe, writes),
        sql=SqlExecutor(of_sql, limits, notice, writes),
    )


def operations(settings: Settings, places: Iterable[Place | NoPlace]) -> Operations:
    """Those of this program. `places`: the stores of its sources; the first that there is keeps them."""
    place = next((place for place in places if isinstance(place, Place)), None)
    store = None
    if place is not None:
        store = OperationStore(place, lock_timeout_s=settings.state.lock_timeout_s)
    if place is not None and place.file is not None:
        base = place.file.parent / FOLDER
    else:
        # Without a store nobody asks for them after this process, and what a dead one has left is removed by the next.
        kind = FOLDER if place is None else "kept"
        base = Path(tempfile.gettempdir()) / f"schema-mcp-{os.getuid()}" / kind
    return Operations(operation_limits(settings), Kept(ResultFolder(base, uuid4().hex), store))
