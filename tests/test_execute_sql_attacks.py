"""Statements that try to get out: of the read-only transaction, of the time limit, of the file, into other calls.

On PostgreSQL the role owns everything in the schema, so that nothing but the engine's own read-only mode protects it.
"""

import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from schema_mcp.dialects.postgresql import sql as postgresql_sql
from tests.conftest import Place, sqlite_place
from tests.peers import inside
from tests.waiting import until_it_holds

pytest_plugins = "tests.standing"

POSTGRESQL = pytest.mark.parametrize("shared_postgresql", ["18"], indirect=True)

#: What the role owns. The functions do what a caller would like to.
ARENA = """
    CREATE SCHEMA {role} AUTHORIZATION {role};
    SET ROLE {role};
    SET search_path = {role};
    CREATE TABLE vault (id integer PRIMARY KEY, word text);
    INSERT INTO vault VALUES (1, 'one'), (2, 'two');
    CREATE SEQUENCE counter;
    CREATE VIEW settings AS SELECT current_setting('statement_timeout') AS statement_timeout,
        current_setting('default_transaction_read_only') AS read_only, current_setting('search_path') AS search_path,
        current_setting('TimeZone') AS zone, current_user::text AS who;
    CREATE FUNCTION writes() RETURNS integer LANGUAGE sql AS 'DELETE FROM {role}.vault RETURNING 1';
    CREATE FUNCTION frees_and_writes() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('transaction_read_only', 'off', false);
        DELETE FROM {role}.vault; RETURN 1; END $$;
    CREATE FUNCTION sets_and_writes() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
        SET TRANSACTION READ WRITE;
        DELETE FROM {role}.vault; RETURN 1; END $$;
    CREATE FUNCTION ends() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN COMMIT; RETURN 1; END $$;
    CREATE PROCEDURE commits(INOUT n integer) LANGUAGE plpgsql AS $$ BEGIN COMMIT; DELETE FROM {role}.vault; END $$;
    CREATE PROCEDURE frees(INOUT n integer) LANGUAGE plpgsql AS $$ BEGIN
        SET TRANSACTION READ WRITE; DELETE FROM {role}.vault; END $$;
"""

#: Statement, and the codes of its answer; "" where it may succeed, as long as it changes nothing.
ATTACKS: Sequence[tuple[str, str]] = (
    # It ends the transaction, or makes it another one.
    *((sql, "not_allowed") for sql in ("COMMIT", "ROLLBACK", "END", "ABORT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN")),
    *(
        (sql, "not_allowed")
        for sql in ("BEGIN", "START TRANSACTION READ WRITE", "SAVEPOINT a", "PREPARE TRANSACTION 'a'")
    ),
    *((sql, "not_allowed") for sql in ("SET TRANSACTION READ WRITE", "SET transaction_read_only = off")),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "not_allowed"),
    ("SET default_transaction_read_only = off", "not_allowed"),
    ("SELECT set_config('transaction_read_only', 'off', false)", "database_error"),
    ("SELECT set_config('transaction_read_only', 'off', true), writes()", "database_error"),
    ("COMMIT; DELETE FROM vault", "invalid_argument"),
    ("SELECT 1; DELETE FROM vault", "invalid_argument"),
    ("SELECT ends()", "database_error"),
    ("CALL commits(1)", "database_error"),
    ("CALL frees(1)", "database_error"),
    ("SELECT frees_and_writes()", "database_error"),
    ("SELECT sets_and_writes()", "database_error"),
    # It writes.
    *(
        (sql, "not_allowed")
        for sql in ("DELETE FROM vault", "TRUNCATE vault", "DROP TABLE vault", "CREATE TABLE x (a int)")
    ),
    *((sql, "not_allowed") for sql in ("CREATE TEMP TABLE x AS SELECT 1", "SELECT 1 AS a INTO x", "VACUUM", "ANALYZE")),
    ("UPDATE vault SET word = 'x' RETURNING id", "read_only"),
    ("DELETE FROM vault RETURNING id", "read_only"),
    ("INSERT INTO vault VALUES (3) RETURNING id", "read_only"),
    ("WITH gone AS (DELETE FROM vault RETURNING id) SELECT id FROM gone", "read_only"),
    ("SELECT id FROM vault FOR UPDATE", "read_only"),
    ("EXPLAIN ANALYZE DELETE FROM vault", "read_only"),
    # PostgreSQL runs this one in a read-only transaction; it goes by the rollback.
    ("EXPLAIN (ANALYZE) CREATE TABLE x AS SELECT 1", ""),
    ("SELECT writes()", "read_only"),
    ("SELECT nextval('counter')", "read_only"),
    ("SELECT setval('counter', 100)", "read_only"),
    ("SELECT query_to_xml('DELETE FROM vault RETURNING id', false, false, '')", "database_error"),
    ("DO $$ BEGIN DELETE FROM vault; END $$", "not_allowed"),
    ("REFRESH MATERIALIZED VIEW x", "not_allowed"),
    ("GRANT ALL ON vault TO PUBLIC", "not_allowed"),
    ("SECURITY LABEL ON TABLE vault IS 'x'", "not_allowed"),
    # It stays in the session, for those who come after.
    *((sql, "not_allowed") for sql in ("SET statement_timeout = 0", "SET search_path = pg_temp", "SET ROLE NONE")),
    *(
        (sql, "not_allowed")
        for sql in ("RESET ALL", "DISCARD ALL", "PREPARE p AS SELECT 1", "DEALLOCATE ALL", "LISTEN a")
    ),
    *((sql, "not_allowed") for sql in ("NOTIFY a", "UNLISTEN *", "LOCK TABLE vault", "DECLARE c CURSOR FOR SELECT 1")),
    ("SELECT set_config('statement_timeout', '0', false), set_config('search_path', 'pg_temp', false)", ""),
    (
        "SELECT set_config('TimeZone', 'Asia/Tokyo', false), set_config('default_transaction_read_only', 'off', false)",
        "",
    ),
    ("SELECT pg_advisory_lock(4711)", ""),
    ("SELECT pg_notify('heard', 'x')", ""),
    # It reaches the machine, or other databases.
    *(
        (sql, "not_allowed")
        for sql in ("LOAD 'auto_explain'", "COPY vault TO '/tmp/x'", "COPY vault FROM PROGRAM 'id'")
    ),
    ("COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'", "not_allowed"),
    ("SELECT pg_read_file('PG_VERSION')", "permission_denied"),
    ("SELECT pg_ls_dir('.')", "permission_denied"),
    ("SELECT lo_import('/etc/passwd')", "permission_denied"),
    ("SELECT pg_reload_conf()", "permission_denied"),
    ("SELECT lo_creat(-1)", "read_only|"),  # before PostgreSQL 16 it goes by the rollback
    ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'", "permission_denied"),
    ("SELECT dblink_exec('', 'DELETE FROM vault')", "invalid_argument"),
    ("ALTER SYSTEM SET work_mem = '1GB'", "not_allowed"),
    ("CREATE EXTENSION dblink", "not_allowed"),
)

#: The same on SQLite, where the code is one for all that the authorizer refuses.
SQLITE_ATTACKS: Sequence[tuple[str, str]] = (
    *(
        (sql, "not_allowed")
        for sql in ("COMMIT", "ROLLBACK", "BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT a", "RELEASE a", "END")
    ),
    *((sql, "not_allowed") for sql in ("DELETE FROM vault", "DROP TABLE vault", "CREATE TABLE x (a)", "ANALYZE")),
    *(
        (sql, "not_allowed")
        for sql in ("CREATE TEMP TABLE x (a)", "CREATE TEMP VIEW x AS SELECT 1", "REINDEX", "VACUUM")
    ),
    *((sql, "not_allowed") for sql in ("UPDATE vault SET word = 'x' RETURNING id", "EXPLAIN DELETE FROM vault")),
    *(
        (sql, "not_allowed")
        for sql in ("PRAGMA user_version = 5", "PRAGMA writable_schema = ON", "PRAGMA query_only = OFF")
    ),
    *(
        (sql, "not_allowed")
        for sql in ("PRAGMA journal_mode = DELETE", "PRAGMA database_list", "PRAGMA temp_store = 1")
    ),
    *((sql, "not_allowed") for sql in ("ATTACH ':memory:' AS x", "ATTACH '{other}' AS x", "DETACH main")),
    *((sql, "not_allowed") for sql in ("VACUUM INTO '{other}'", "SELECT * FROM pragma_database_list")),
    *((sql, "not_allowed") for sql in ("SELECT load_extension('x')", "SELECT fts3_tokenizer('simple')")),
    ("DELETE FROM vault; SELECT 1", "not_allowed"),
    ("SELECT 1; DELETE FROM vault", "invalid_argument"),
    ("UPDATE sqlite_master SET sql = ''", "invalid_argument"),
    ("SELECT writefile('{other}', 'x')", "invalid_argument"),
    ("SELECT readfile('/etc/passwd')", "invalid_argument"),
    ("SELECT zeroblob(100000000)", "invalid_value"),
    ("SELECT printf('%.*c', 100000000, 'x')", ""),
    ("PRAGMA user_version", ""),
    ("SELECT * FROM pragma_table_info('vault')", ""),
)


@dataclass(frozen=True)
class Arena:
    place: Place
    #: By which the program connects.
    url: str
    role: str


@pytest.fixture(scope="module")
def arena(shared_postgresql: Place) -> Iterator[Arena]:
    role = f"caller_{uuid.uuid4().hex}"
    shared_postgresql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'word'")
    shared_postgresql.execute(ARENA.replace("{role}", role))
    shared_postgresql.execute(f"ALTER ROLE {role} SET search_path = {role}")
    address = urlsplit(shared_postgresql.url)
    url = address._replace(netloc=f"{role}:word@{address.netloc.rpartition('@')[2]}").geturl()
    yield Arena(shared_postgresql, url, role)
    shared_postgresql.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


STATE = """
    SELECT json_build_array(
        (SELECT json_agg(v ORDER BY id) FROM {role}.vault v),
        (SELECT json_build_array(last_value, is_called) FROM {role}.counter),
        (SELECT count(*) FROM pg_class WHERE relnamespace = '{role}'::regnamespace),
        (SELECT array_agg(relacl::text) FROM pg_class WHERE relnamespace = '{role}'::regnamespace),
        (SELECT count(*) FROM pg_largeobject_metadata),
        (SELECT count(*) FROM pg_extension),
        (SELECT count(*) FROM pg_prepared_xacts),
        (SELECT setconfig::text FROM pg_db_role_setting WHERE setrole = '{role}'::regrole)
    )::text
"""


@asynccontextmanager
async def watched(arena: Arena) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(arena.place.url)
    try:
        yield connection
    finally:
        await connection.close()


async def state(connection: asyncpg.Connection, arena: Arena) -> Any:
    return json.loads(await connection.fetchval(STATE.replace("{role}", arena.role)))


async def test_nothing_that_a_role_may_write_is_written_in_read_mode(arena: Arena) -> None:
    heard: list[str] = []
    async with watched(arena) as connection, inside(arena.url, access__sql="read") as program:
        await connection.add_listener("heard", lambda *told: heard.append(told[-1]))
        before = await state(connection, arena)
        settings = await program.peer.rows("query_settings")
        for sql, code in ATTACKS:
            answer = await program.peer.call("execute_sql", {"sql": sql})
            error = answer.get("error", {"code": "", "hint": "-"})
            assert (error["code"] in code.split("|"), bool(error["hint"])) == (True, True), (sql, answer)
            assert await state(connection, arena) == before, sql
        assert await program.peer.rows("query_settings") == settings
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        await until_it_holds(lambda: connection.fetchval(f"SELECT 0 = ({locks})"))
        assert heard == []


@POSTGRESQL
async def test_nothing_is_written_though_every_statement_were_taken(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_sql, "refuse_commands", lambda attributes: None)
    async with watched(arena) as connection, inside(arena.url, access__sql="read") as program:
        before = await state(connection, arena)
        for sql, code in ATTACKS:
            if code == "not_allowed":
                await program.peer.call("execute_sql", {"sql": sql})
                assert await state(connection, arena) == before, sql
        error = await program.peer.error("execute_sql", {"sql": "SET TRANSACTION READ WRITE"})
        assert error["message"] == "transaction read-write mode must be set before any query"
        error = await program.peer.error("execute_sql", {"sql": "COMMIT"})
        assert (error["code"], error["message"]) == (
            "not_allowed",
            "the statement ended the transaction that it ran in",
        )


@POSTGRESQL
async def test_a_caller_that_ends_the_servers_own_connections_does_not_end_its_service(arena: Arena) -> None:
    async with inside(arena.url, access__sql="read") as program:
        assert len(await program.peer.rows("query_vault")) == 2
        sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = current_user"
        await program.peer.call("execute_sql", {"sql": f"{sql} AND pid <> pg_backend_pid()"})
        assert len(await program.peer.rows("query_vault")) == 2
        assert await program.peer.rows("execute_sql", {"sql": "SELECT 1 AS one"}) == [{"one": 1}]


@POSTGRESQL
@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("COMMIT", "ended"),
        ("ROLLBACK", "ended"),
        ("SET default_transaction_read_only = on", "alone"),
        ("SET statement_timeout = 1", "alone"),
        ("SET search_path = pg_temp", "alone"),
        ("LISTEN a", "alone"),
        ("CREATE TEMP TABLE vault AS SELECT 'temporary' AS word", "alone"),
    ],
)
async def test_a_session_that_writes_is_nobody_elses(arena: Arena, sql: str, state: str) -> None:
    async with inside(arena.url, access__sql="write", access__mode="write") as program:
        settings = await program.peer.rows("query_settings")
        answer = await program.peer.call("execute_sql", {"sql": sql})
        assert answer.get("outcome", answer.get("error", {}).get("code")) == (
            "not_allowed" if state == "ended" else "committed"
        )
        assert await program.peer.rows("query_settings") == settings
        rows = await program.peer.rows("execute_sql", {"sql": "SELECT word FROM vault ORDER BY id"})
        assert rows == [{"word": "one"}, {"word": "two"}]


def content(place: Place) -> bytes:
    return Path(place.url).read_bytes()


@pytest.mark.parametrize(("sql_mode", "mode"), [("read", "insert"), ("write", "write")])
async def test_nothing_leaves_the_file_of_sqlite(tmp_path: Path, sql_mode: str, mode: str) -> None:
    place = sqlite_place(tmp_path / "vault.sqlite")
    place.execute("CREATE TABLE vault (id integer PRIMARY KEY, word text)")
    place.execute("INSERT INTO vault VALUES (1, 'one')")
    place.execute("PRAGMA journal_mode = WAL")
    before = content(place)
    #: What a writing server takes as it is meant.
    meant = ("DELETE", "DROP", "CREATE", "ANALYZE", "REINDEX", "UPDATE vault", "EXPLAIN")
    async with inside(place.url, access__sql=sql_mode, access__mode=mode) as program:
        for sql, code in SQLITE_ATTACKS:
            if sql_mode == "write" and sql.startswith(meant):
                continue
            given = sql.replace("{other}", str(tmp_path / "other.sqlite"))
            answer = await program.peer.call("execute_sql", {"sql": given})
            error = answer.get("error", {"code": "", "hint": "-"})
            allowed = {code, "invalid_argument"} if "VACUUM" in sql and sql_mode == "write" else {code}
            assert (error["code"] in allowed, bool(error["hint"])) == (True, True), (sql, answer)
        assert await program.peer.rows("query_vault") == [{"id": 1, "word": "one"}]
    assert {name for name in os.listdir(tmp_path) if not name.endswith(("-wal", "-shm"))} == {"vault.sqlite"}
    assert content(place) == before


async def test_full_text_search_reads_though_nothing_may_be_written(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path / "texts.sqlite")
    place.execute("CREATE VIRTUAL TABLE texts USING fts5 (body)")
    place.execute("INSERT INTO texts VALUES ('a cup of tea'), ('a pan')")
    async with inside(place.url, access__sql="read") as program:
        rows = await program.peer.rows("execute_sql", {"sql": "SELECT body FROM texts WHERE texts MATCH 'tea'"})
        assert rows == [{"body": "a cup of tea"}]
        error = await program.peer.error("execute_sql", {"sql": "INSERT INTO texts (texts) VALUES ('optimize')"})
        assert error["code"] == "not_allowed"
