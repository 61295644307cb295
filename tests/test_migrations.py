"""The opt-in SQL of migrations/targets does what its comments say."""

import uuid
from pathlib import Path

from tests.peers import inside
from tests.postgres import Server

ROLES = Path(__file__).parent.parent / "migrations" / "targets" / "postgresql" / "roles.sql"


async def test_the_role_reads_present_and_future_tables_and_writes_nothing(server: Server, database: str) -> None:
    name = database.rpartition("/")[2]
    role = f"reader_{uuid.uuid4().hex[:8]}"
    server.execute("CREATE TABLE cats (id integer PRIMARY KEY); INSERT INTO cats VALUES (1)", name)
    try:
        server.execute(f"\\set reader {role}\n\\set schema public\n{ROLES.read_text()}", name)
        server.execute("CREATE TABLE dogs (id integer PRIMARY KEY)", name)
        server.execute(f"ALTER ROLE {role} PASSWORD 'a good one'")
        async with inside(server.url(name, role, "a good one")) as program:
            assert await program.peer.table_tools() == ["query_cats", "query_dogs"]
            assert await program.peer.rows("query_cats") == [{"id": 1}]
            server.execute(f"GRANT INSERT ON dogs TO {role}", name)
            await program.peer.hears()
            assert await program.peer.table_tools() == ["insert_dogs", "query_cats", "query_dogs"]
    finally:
        server.execute(f"DROP OWNED BY {role}; DROP ROLE {role}", name)
