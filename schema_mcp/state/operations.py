"""Operations in the server's own store: what was started, by whom, how it stands or ended.

It knows neither their arguments (but for a digest) nor their results, which are files of the server that ran them. A
server says now and then that its operations still run; one that no longer does so has left them interrupted.
"""

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

import sqlalchemy as sa

from schema_mcp.state.place import Place
from schema_mcp.state.store import Store, operations

#: A server of another machine that has been silent for so long is no more.
SILENT_S = 60.0


class OperationStatus(StrEnum):
    """How an operation stands. All but the first are ends."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: The server that ran it stopped or died.
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRecord:
    """One operation. Times are seconds since 1970.

    `principal`: empty where nobody has signed in. `digest`: of the arguments. `instance`: the run of a server that it
    belongs to. `done`, `total`: rows. `rows`: how many are in the file of its result, None where that is no rows.
    `error`: as JSON, the object with the member `error` and what stands beside it.
    """

    id: str
    principal: str
    tool: str
    digest: str
    format: str
    instance: str
    status: OperationStatus = OperationStatus.RUNNING
    message: str = ""
    done: int = 0
    total: int | None = None
    rows: int | None = None
    error: str | None = None
    started_at: float
    seen_at: float
    ended_at: float | None = None


#: Of an operation whose server stopped or died.
INTERRUPTED_MESSAGE = (
    "the server that ran it stopped; what was not committed was rolled back: look whether a write was done"
)


class OperationStore:
    """The table of them. Each method raises: StoreError."""

    def __init__(self, place: Place, *, lock_timeout_s: float) -> None:
        self._store = Store(place, lock_timeout_s=lock_timeout_s)

    async def open(self) -> None:
        """Makes the store if there is none."""
        await self._store.open()

    async def put(self, record: OperationRecord) -> None:
        """Stores the operation as it stands."""
        values = asdict(record)
        async with self._store.writing() as connection:
            changed = await connection.execute(
                operations.update().where(operations.c.id == record.id).values(**values).returning(sa.true())
            )
            if changed.first() is None:
                await connection.execute(operations.insert().values(**values))

    async def get(self, id_: str) -> OperationRecord | None:
        """The operation; None where there is none of that id."""
        async with self._store.reading() as connection:
            found = (await connection.execute(sa.select(operations).where(operations.c.id == id_))).one_or_none()
        if found is None:
            return None
        values = {item.name: getattr(found, item.name) for item in fields(OperationRecord)}
        return OperationRecord(**{**values, "status": OperationStatus(found.status)})

    async def beat(self, instance: str, now: float) -> None:
        """The operations of that server still run."""
        async with self._store.writing() as connection:
            await connection.execute(
                operations.update()
                .where(operations.c.instance == instance, operations.c.status == OperationStatus.RUNNING)
                .values(seen_at=now)
            )

    async def want_stop(self, id_: str, now: float) -> None:
        """The server that runs it is to stop it, if it still runs."""
        async with self._store.writing() as connection:
            await connection.execute(
                operations.update()
                .where(operations.c.id == id_, operations.c.status == OperationStatus.RUNNING)
                .values(stop_wanted_at=now)
            )

    async def to_stop(self, instance: str) -> frozenset[str]:
        """What runs on that server and is to be stopped."""
        wanted = (
            operations.c.instance == instance,
            operations.c.status == OperationStatus.RUNNING,
            operations.c.stop_wanted_at.is_not(None),
        )
        async with self._store.reading() as connection:
            return frozenset((await connection.scalars(sa.select(operations.c.id).where(*wanted))).all())

    async def interrupt(self, instances: Collection[str], now: float) -> None:
        """Those are no more, nor are servers that have long been silent: what they ran is interrupted."""
        gone = sa.or_(operations.c.instance.in_(instances), operations.c.seen_at < now - SILENT_S)
        async with self._store.writing() as connection:
            await connection.execute(
                operations.update()
                .where(operations.c.status == OperationStatus.RUNNING, gone)
                .values(status=OperationStatus.INTERRUPTED, message=INTERRUPTED_MESSAGE, ended_at=operations.c.seen_at)
            )

    async def forget(self, keep_s: float) -> None:
        """Those that ended longer ago are no more."""
        async with self._store.writing() as connection:
            await connection.execute(operations.delete().where(operations.c.ended_at < time.time() - keep_s))

    async def succeeded(self, ids: Collection[str]) -> frozenset[str]:
        """Which of these are there with a result."""
        wanted = (operations.c.id.in_(ids), operations.c.status == OperationStatus.SUCCEEDED)
        async with self._store.reading() as connection:
            found = await connection.execute(sa.select(operations.c.id).where(*wanted))
            return frozenset(row.id for row in found)
