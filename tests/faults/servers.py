"""Faults of the PostgreSQL server: killed, restarted, its connections ended or all taken."""

import asyncio
from contextlib import suppress

import asyncpg

from tests.faults.base import Fault, Field
from tests.faults.postgres_place import ROLE

#: How long a server that was killed stays away.
AWAY_S = 0.5


async def kill(on: Field) -> None:
    """Postmaster and backends at once."""
    await on.crowd()
    on.struck()
    await asyncio.to_thread(on.place.server.kill)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(on.place.server.start_again)
    on.back()


async def restart_fast(on: Field) -> None:
    await on.crowd()
    on.struck()
    await asyncio.to_thread(on.place.server.restart)
    on.back()


async def restart_immediately(on: Field) -> None:
    await on.crowd()
    on.struck()
    await asyncio.to_thread(on.place.server.stop, "immediate")
    await asyncio.to_thread(on.place.server.start_again)
    on.back()


async def terminate_all(on: Field) -> None:
    """Three times; what the program opens meanwhile is ended the next time."""
    connection = await on.place.connection()
    for _ in range(3):
        await on.crowd()
        on.struck()
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'schema-mcp' AND datname = current_database()"
        )
    on.back()


async def take_all_connections(on: Field) -> None:
    """For a second: as many as the role may have, after those of the program were ended."""
    connection = await on.place.connection()
    taken: list[asyncpg.Connection] = []
    url = on.place.server.url(on.place.database, ROLE, "word")

    async def take() -> None:
        with suppress(asyncpg.PostgresError, OSError):
            while True:
                taken.append(await asyncpg.connect(url, timeout=5))

    await connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 20")
    try:
        await on.crowd()
        on.struck()
        await connection.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}' "
            "AND datname = current_database()"
        )
        await take()
        await asyncio.sleep(1.0)
        await take()
    finally:
        for each in taken:
            each.terminate()
        await connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")
    on.back()


SERVERS = (
    Fault(
        name="kill -9 of PostgreSQL",
        what=f"the postmaster and all backends are killed; the server is started again after {AWAY_S:g} s and recovers",
        product="postgresql",
        strike=kill,
        least=20,
    ),
    Fault(
        name="fast restart of PostgreSQL",
        what="pg_ctl restart -m fast: connections are ended, the server is shut down and started",
        product="postgresql",
        strike=restart_fast,
    ),
    Fault(
        name="immediate restart of PostgreSQL",
        what="pg_ctl restart -m immediate: the server ends as if it crashed, and recovers",
        product="postgresql",
        strike=restart_immediately,
    ),
    Fault(
        name="pg_terminate_backend on all",
        what="an administrator ends every connection of the program, three times",
        product="postgresql",
        strike=terminate_all,
    ),
    Fault(
        name="no connection left",
        what="the connections are ended and others take all that the role may have, for 1 s",
        product="postgresql",
        strike=take_all_connections,
    ),
)
