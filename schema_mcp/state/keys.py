"""Idempotency keys in the server's own store, for databases that keep none beside their data.

A key is claimed before the call touches the database, and its answer stored after it. Between the two the server may
die, or the store be lost: then nobody knows whether the call was done, and whoever shows the key again is told so; it
is never done a second time.
"""

import json
import time
from collections import OrderedDict
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from schema_mcp.state.place import NoPlace, Place
from schema_mcp.state.store import Store, keys

#: Calls whose end is unknown that are remembered at once.
MAX_DOUBTS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """A call that is to be done once. `principal`: empty where nobody has signed in; `digest`: of the arguments.

    A key lives by principal and tool, not by session: whoever comes back after a restart shows it again.
    """

    principal: str
    tool: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Held:
    """What a key stands for already. `answer`: None where the call was begun and its end was never heard of."""

    digest: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call whose end was never heard of. `mark`: what its transaction is known by in the database. `answer`: its own
    if it was done.
    """

    mark: str
    answer: bytes


class Keys:
    """Of one database. `keep_s`: how long a key is remembered.

    Doubts are remembered by this process alone, and the latest of them.
    """

    def __init__(self, place: Place | NoPlace, identity: str, *, keep_s: float, lock_timeout_s: float) -> None:
        self.place = place
        self._store = None if isinstance(place, NoPlace) else Store(place, lock_timeout_s=lock_timeout_s)
        self._keep_s = keep_s
        self._doubts: OrderedDict[Once, Doubt] = OrderedDict()
        # Neither the role nor what is selected makes it another database.
        known = json.loads(identity)
        members = ("product", "file", "host", "port", "database")
        self._source = json.dumps({name: known[name] for name in members if name in known}, sort_keys=True)

    async def claim(self, once: Once) -> Held | None:
        """None: it is the caller's now. Raises: StoreError."""
        assert self._store is not None
        await self._store.open()
        now = time.time()
        async with self._store.writing() as connection:
            old = keys.c.created_at < now - self._keep_s
            await connection.execute(keys.delete().where(old))
            insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
            row = {"source": self._source, "principal": once.principal, "tool": once.tool, "key": once.key}
            claimed = await connection.execute(
                insert(keys)
                .values(**row, digest=once.digest, created_at=now)
                .on_conflict_do_nothing()
                .returning(sa.true())
            )
            if claimed.first() is not None:
                self._doubts.pop(once, None)  # of a call that is forgotten
                return None
            found = (await connection.execute(sa.select(keys.c.digest, keys.c.answer).where(self._is(once)))).one()
            return Held(found.digest, found.answer)

    async def keep(self, once: Once, answer: str) -> None:
        """The call was done. Raises: StoreError."""
        assert self._store is not None
        async with self._store.writing() as connection:
            await connection.execute(keys.update().where(self._is(once)).values(answer=answer))

    async def release(self, once: Once) -> None:
        """The call has left nothing behind. Raises: StoreError."""
        assert self._store is not None
        async with self._store.writing() as connection:
            await connection.execute(keys.delete().where(self._is(once)))

    def doubt(self, once: Once, doubt: Doubt) -> None:
        """Remembers it; the key stays claimed."""
        self._doubts[once] = doubt
        while len(self._doubts) > MAX_DOUBTS:
            self._doubts.popitem(last=False)

    def take_doubt(self, once: Once) -> Doubt | None:
        """The doubt about the call, which nobody else is given meanwhile; None where there is none."""
        return self._doubts.pop(once, None)

    def _is(self, once: Once) -> sa.ColumnElement[bool]:
        return sa.and_(
            keys.c.source == self._source,
            keys.c.principal == once.principal,
            keys.c.tool == once.tool,
            keys.c.key == once.key,
        )
