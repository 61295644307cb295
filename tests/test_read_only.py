"""`access.mode = "read"`: the database itself refuses every write, whatever statement a session of the server sends."""

from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from schema_mcp.dialects.base import Statement
from schema_mcp.errors import ErrorCode
from tests.conftest import Place, made_once
from tests.peers import Inside, inside

pytest_plugins = "tests.standing"

TABLES = {
    "postgresql": (
        "CREATE TABLE calm_notes (id integer PRIMARY KEY, word text)",
        "CREATE FUNCTION calm_scribble() RETURNS integer LANGUAGE sql VOLATILE AS "
        "$$ INSERT INTO calm_notes VALUES (1, 'by a view') RETURNING id $$",
        "CREATE VIEW calm_scribbling AS SELECT calm_scribble() AS id",
        "CREATE FUNCTION calm_free() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_setting('default_transaction_read_only') = 'on' THEN "
        "PERFORM set_config('default_transaction_read_only', 'off', false), set_config('calm.at', now()::text, false); "
        "ELSIF current_setting('calm.at') <> now()::text THEN "
        "INSERT INTO calm_notes VALUES (9, 'by a freed session') ON CONFLICT DO NOTHING; END IF; RETURN 1; END $$",
        "CREATE VIEW calm_freeing AS SELECT n AS id FROM generate_series(1, 3) n WHERE calm_free() = n - n + 1",
        "CREATE SEQUENCE calm_numbers",
        "CREATE VIEW calm_counting AS SELECT nextval('calm_numbers') AS id",
    ),
    "sqlite": ("CREATE TABLE calm_notes (id integer PRIMARY KEY, word text UNIQUE)",),
}
WRITES = {
    "postgresql": (
        "INSERT INTO calm_notes VALUES (2, 'x')",
        "UPDATE calm_notes SET word = 'x'",
        "DELETE FROM calm_notes",
        "TRUNCATE calm_notes",
        "CREATE TABLE calm_more (id integer)",
        "DROP TABLE calm_notes",
        "WITH gone AS (DELETE FROM calm_notes RETURNING 1) SELECT * FROM gone",
        "GRANT SELECT ON calm_notes TO PUBLIC",
    ),
    "sqlite": (
        "INSERT INTO calm_notes VALUES (2, 'x')",
        "UPDATE calm_notes SET word = 'x'",
        "DELETE FROM calm_notes",
        "CREATE TABLE calm_more (id integer)",
        "DROP TABLE calm_notes",
        "REINDEX",
    ),
}


@pytest.fixture(scope="module")
@made_once
def calm(shared: Place) -> Place:
    for statement in TABLES[shared.product]:
        shared.execute(statement)
    return shared


def reading(place: Place) -> Any:
    return inside(place.url, database__include=["calm_*"], access__mode="read")


async def refusal(program: Inside, sql: str) -> ErrorCode | None:
    """What a pooled session of the server, opened with its own options, gets for a statement."""
    database = program.app.database
    try:
        async with database.connection() as connection:
            async for _ in database.dialect.fetch(connection, Statement(sql, ()), 0):
                pass
    except Exception as error:  # noqa: BLE001 - whatever the driver raises
        translated = database.dialect.translate(error, None)
        return translated.code if translated is not None else None
    return None


async def test_the_engine_refuses_every_statement_that_writes(calm: Place) -> None:
    async with reading(calm) as program:
        for sql in WRITES[calm.product]:
            assert await refusal(program, sql) is ErrorCode.READ_ONLY, sql
        if calm.product == "sqlite":
            # The file is open for reading alone, whatever a session says of itself.
            assert await refusal(program, "PRAGMA query_only = off") is None
            assert await refusal(program, WRITES["sqlite"][0]) is ErrorCode.READ_ONLY


async def test_what_a_view_would_write_is_refused(calm: Place) -> None:
    if calm.product == "sqlite":
        pytest.skip("no function of SQLite's writes")
    async with reading(calm) as program:
        for view in ("calm_scribbling", "calm_counting"):
            error = await program.peer.error(f"query_{view}")
            assert (error["code"], error["sqlstate"]) == ("read_only", "25006")
    assert calm.execute("SELECT count(*) FROM calm_notes").strip() == "0"


async def test_a_function_that_frees_the_session_frees_nothing(calm: Place) -> None:
    if calm.product == "sqlite":
        pytest.skip("its file is open for reading alone")
    async with inside(calm.url, database__include=["calm_*"], access__mode="read", pool__size=1) as program:
        rows = [{"id": 1}]
        counted = await program.peer.call("query_calm_freeing", {"limit": 1, "count": "exact"})
        assert (counted["rows"], counted["total"]) == (rows, 3)
        for view in ("calm_freeing", "calm_scribbling"):
            error = await program.peer.error(f"query_{view}", {"limit": 1})
            assert (error["code"], error["sqlstate"]) == ("read_only", "25006")
    async with inside(calm.url, database__include=["calm_*"], access__mode="read", pool__size=1) as program:
        assert await program.peer.rows("query_calm_freeing", {"limit": 1}) == rows
        error = await program.peer.error("query_calm_freeing", {"limit": 1})
        assert (error["code"], error["sqlstate"]) == ("read_only", "25006")
    assert calm.execute("SELECT count(*) FROM calm_notes").strip() == "0"


async def test_no_tool_that_writes_is_there_and_its_twin_is_unknown(calm: Place) -> None:
    async with reading(calm) as program:
        tools = (await program.peer.client.list_tools()).tools
        assert [tool.name for tool in tools if tool.annotations is None or not tool.annotations.read_only_hint] == []
        assert not any(name.startswith(("insert_", "update_", "delete_")) for name in (tool.name for tool in tools))
        for name in ("insert_calm_notes", "insert_rows"):
            with pytest.raises(MCPError, match=f"Unknown tool: '{name}'"):
                await program.peer.client.call_tool(name, {"table": "calm_notes", "rows": [{"id": 1}]})
