"""A PostgreSQL database to strike: seen by the program through a proxy, and by us past it.

Every insert takes some milliseconds, and so does every commit, so that faults strike inside of both.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from tests.faults.oracle import Found, Remains
from tests.faults.places import MIGRATIONS, TABLES
from tests.faults.program import POOL_SIZE, Program
from tests.postgres import PostgresServer
from tests.proxy import Proxy

#: The table that a check locks to see that each connection of the pool can be had.
GATE = "gate"
ROLE = "writer"

_POSTGRESQL = """
    CREATE TABLE singles (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, call text NOT NULL, note text);
    CREATE TABLE many (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, call text NOT NULL, part integer);
    CREATE TABLE lefts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, call text NOT NULL);
    CREATE TABLE rights (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, call text NOT NULL);
    CREATE TABLE graves (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, call text NOT NULL);
    CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL DEFAULT 0, call text);
    CREATE TABLE gate (id integer PRIMARY KEY);
    CREATE TABLE big (id integer PRIMARY KEY, filler text);
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer;
    CREATE TABLE steps (call text);
    CREATE TABLE deleted (call text);
    INSERT INTO counters (name) SELECT 'counter' || n FROM generate_series(0, 39) n;
    INSERT INTO big SELECT n, repeat('x', 900) FROM generate_series(1, 20000) n;
    CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        'BEGIN INSERT INTO public.steps VALUES (NEW.call); RETURN NULL; END';
    CREATE FUNCTION note_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        'BEGIN INSERT INTO public.deleted VALUES (OLD.call); RETURN NULL; END';
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(random() * 0.008); RETURN NULL; END';
    CREATE TRIGGER note AFTER UPDATE ON counters FOR EACH ROW WHEN (NEW.call <> '') EXECUTE FUNCTION note_step();
    CREATE TRIGGER note AFTER DELETE ON graves FOR EACH ROW EXECUTE FUNCTION note_deleted();
"""
_DAWDLING = """
    CREATE TRIGGER dawdle AFTER INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION dawdle();
    CREATE CONSTRAINT TRIGGER dawdle_at_commit AFTER INSERT OR UPDATE OR DELETE ON {table}
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


class PostgresPlace:
    """A database on a server of our own, to which the program connects through a proxy, and we do not."""

    product = "postgresql"

    def __init__(self, name: str, server: PostgresServer, database: str, proxy: Proxy, state: Path | None) -> None:
        self.name = name
        self.server = server
        self.database = database
        self.proxy = proxy
        self.url = proxy.url
        #: Keys beside the data, or in the server's own store.
        self.variables = {} if state is None else {"SCHEMA_MCP_STATE__URL": str(state)}
        self._connection: asyncpg.Connection | None = None

    @staticmethod
    def prepare(server: PostgresServer, *, keeps_keys: bool) -> tuple[str, str]:
        """The name of a new database with the tables, and its URL for the program's role."""
        database = f"faults_{uuid.uuid4().hex}"
        server.create_database(database)
        if server.execute(f"SELECT count(*) FROM pg_roles WHERE rolname = '{ROLE}'") == "0":
            server.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'word'")
        # The servers of the tests lose what they have just committed when they are killed: not these.
        server.execute(f"ALTER DATABASE {database} SET synchronous_commit = on")
        server.execute(_POSTGRESQL, database)
        for table in ("singles", "many", "lefts", "counters", "graves"):
            server.execute(_DAWDLING.format(table=table), database)
        if keeps_keys:
            script = (MIGRATIONS / "postgresql/idempotency.sql").read_text().replace(':"writer"', ROLE)
            server.execute(script, database)
        return database, server.url(database, ROLE, "word")

    async def connection(self) -> asyncpg.Connection:
        """Our own, as superuser, past the proxy; opened again when it was lost."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self.server.url(self.database), timeout=10)
        return self._connection

    async def apart(self) -> asyncpg.Connection:
        """Another one, for locks to hold; whoever asks closes it."""
        return await asyncpg.connect(self.server.url(self.database), timeout=10)

    async def clear(self) -> None:
        """Nothing of an earlier round is in the tables."""
        connection = await self.connection()
        await connection.execute(f"TRUNCATE graves, {', '.join(TABLES)}")
        await connection.execute("UPDATE counters SET value = 0, call = ''")

    async def found(self) -> Found:
        """How many rows of each call the tables have."""
        connection = await self.connection()
        found = {}
        for table in TABLES:
            rows = await connection.fetch(f"SELECT call, count(*) FROM {table} GROUP BY call")
            found[table] = Counter({str(row[0]): int(row[1]) for row in rows})
        return found

    async def remains(self, program: Program) -> Remains:
        """What of the program is there now, its open files and threads included."""
        connection = await self.connection()
        ours = "application_name = 'schema-mcp' AND datname = current_database()"
        open_ = await connection.fetch(
            f"SELECT pid, state, left(query, 80) FROM pg_stat_activity WHERE {ours} AND state <> 'idle'"
        )
        locks = await connection.fetchval(
            f"SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE {ours} AND state = 'idle' "
            "AND locktype <> 'virtualxid'"
        )
        return Remains(
            transactions=len(open_),
            locks=int(locks),
            files=program.files() - (connections := await self.backends()),
            threads=program.threads(),
            connections=connections,
            words=tuple(f"[{row[1]}: {row[2]}]" for row in open_),
        )

    async def backends(self) -> int:
        """How many connections of the program's the server has."""
        connection = await self.connection()
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'schema-mcp' "
                "AND datname = current_database()"
            )
        )

    async def held_connections(self, program: Program) -> int:
        """How many connections of the pool no call can have: so many calls less wait at a lock at one moment."""
        wires = [program.wire(number) for number in range(POOL_SIZE)]
        asked = []
        try:
            async with self.locked():
                asked = [asyncio.create_task(wire.call("query_rows", {"table": GATE})) for wire in wires]
                most = 0
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        while most < POOL_SIZE:
                            waiting = await (await self.connection()).fetchval(
                                f"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{GATE}'::regclass"
                            )
                            most = max(most, int(waiting))
                            await asyncio.sleep(0.005)
            return POOL_SIZE - most
        finally:
            await asyncio.gather(*asked, return_exceptions=True)
            for wire in wires:
                wire.close()

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Nobody else can read or write the table `gate`."""
        lock = await self.apart()
        try:
            await lock.execute(f"BEGIN; LOCK TABLE {GATE} IN ACCESS EXCLUSIVE MODE")
            yield
        finally:
            lock.terminate()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
