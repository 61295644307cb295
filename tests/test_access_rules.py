"""`access.rules`: what they leave of tables and columns, and that nothing tells of what they take away."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from schema_mcp.config.load import load
from schema_mcp.config.rules import parse_rule
from schema_mcp.errors import ConfigurationError
from schema_mcp.schema.model import TableName
from schema_mcp.security.policy import AccessMode, Policy
from tests.conftest import Place, made_once
from tests.peers import FIXED, TRANSACTIONS, Inside, inside
from tests.waiting import until

pytest_plugins = "tests.standing"

TABLES = """
    CREATE TABLE ruled_orders (
        id integer PRIMARY KEY, note text, total integer NOT NULL DEFAULT 0, boss text,
        twice text GENERATED ALWAYS AS (boss || boss) STORED
    );
    CREATE TABLE ruled_logs (id integer PRIMARY KEY, line text);
    CREATE TABLE zledger (id integer PRIMARY KEY, sum integer UNIQUE);
    CREATE TABLE ruled_entries (id integer PRIMARY KEY, book integer REFERENCES zledger (id), word text);
    CREATE TABLE ruled_strict (id integer PRIMARY KEY, seal text NOT NULL);
    INSERT INTO ruled_orders (id, note, total, boss) VALUES (1, 'a', 5, 'Eve');
    INSERT INTO zledger VALUES (1, 77)
"""
NOTIFYING = {
    "postgresql": """
        CREATE FUNCTION ruled_book() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.line = 'book' THEN INSERT INTO zledger (id, sum) VALUES (9, 77); END IF; RETURN new; END $$;
        CREATE TRIGGER ruled_book BEFORE INSERT ON ruled_logs FOR EACH ROW EXECUTE FUNCTION ruled_book()
    """,
    "sqlite": """
        CREATE TRIGGER ruled_book BEFORE INSERT ON ruled_logs WHEN new.line = 'book'
            BEGIN INSERT INTO zledger (id, sum) VALUES (9, 77); END
    """,
}


@pytest.fixture(scope="module")
@made_once
def ruled(shared: Place) -> Place:
    for statement in TABLES.split(";"):
        shared.execute(statement)
    shared.execute(NOTIFYING[shared.product])
    return shared


def settings(*rules: str, **others: Any) -> dict[str, Any]:
    return {"database__include": ["ruled_*", "z*"], "access__rules": list(rules), **others}


def test_the_most_restrictive_rule_that_matches_counts_and_the_mode_is_the_ceiling() -> None:
    rules = ("*: write", "shop.*: insert", "sales.or*: read", "SALES.orders: insert", "main.hr.*: none", "a(b): none")
    policy = Policy(mode=AccessMode.INSERT, rules=tuple(map(parse_rule, rules)))
    modes: Mapping[tuple[str, str], str] = {
        ("shop", "customers"): "insert",
        ("sales", "orders"): "read",
        ("sales", "Origins"): "read",
        ("sales", "items"): "insert",
        ("hr", "people"): "none",
        ("main", "a"): "insert",
    }
    found = {key: str(policy.mode_of(TableName(source="main", schema=key[0], name=key[1]))) for key in modes}
    assert found == modes
    assert Policy(mode=AccessMode.READ, rules=policy.rules).mode_of(
        TableName(source="main", schema="shop", name="customers")
    ) is (AccessMode.READ)


def test_mistakes_in_rules_are_told_with_their_key(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[access]\nrules = ["orders: reed"]\n')
    cases = {
        "orders": "takes rules like 'orders: read' or 'users(ssn): none', got 'orders'",
        "orders.total.: ": "'orders.total.:' ends in a mode, one of none, read, insert, write, got ''",
        "users(): none": "takes rules like 'orders: read' or 'users(ssn): none', got 'users(): none'",
        "(ssn): none": "takes rules like 'orders: read' or 'users(ssn): none', got '(ssn): none'",
    }
    for rule, message in cases.items():
        with pytest.raises(ConfigurationError) as caught:
            load(file=None, environment={"SCHEMA_MCP_ACCESS__RULES": f"a: read, {rule}"}, flags={}, directory=tmp_path)
        assert caught.value.mistakes == (f"SCHEMA_MCP_ACCESS__RULES (access.rules): {message}",)
    with pytest.raises(ConfigurationError) as caught:
        load(file=None, environment={}, flags={}, directory=tmp_path)
    assert caught.value.mistakes == (
        f"{tmp_path}/config.toml: access.rules: 'orders: reed' ends in a mode, one of none, read, insert, write, "
        "got 'reed'; did you mean read?",
    )


async def test_a_table_of_mode_read_is_queried_and_takes_no_rows(ruled: Place) -> None:
    async with inside(ruled.url, **settings("ruled_orders: read")) as program:
        assert "query_ruled_orders" in await program.peer.table_tools()
        assert "insert_ruled_orders" not in await program.peer.table_tools()
        assert "insert_ruled_logs" in await program.peer.table_tools()
        described = await program.peer.call("describe_table", {"table": "ruled_orders"})
        assert described["tools"] == ["query_ruled_orders"]
        arguments = {"rows": [{"id": 7, "note": "x"}]}
        assert await program.peer.error("insert_rows", {"table": "ruled_orders", **arguments}) == {
            "code": "not_allowed",
            "message": "this server does not allow 'insert' on table 'ruled_orders'",
            "hint": "A rule of it (access.rules) leaves this table in mode 'read'; whoever runs it can change that.",
            "retryable": False,
        }
        with pytest.raises(MCPError, match="Unknown tool: 'insert_ruled_orders'"):
            await program.peer.client.call_tool("insert_ruled_orders", arguments)


async def test_a_column_of_mode_none_is_as_if_it_did_not_exist(ruled: Place) -> None:
    async with inside(ruled.url, **settings("ruled_*(BOSS): none")) as program:
        tools = [tool.model_dump() for tool in (await program.peer.client.list_tools()).tools]
        described = await program.peer.call("describe_table", {"table": "ruled_orders"})
        rows = await program.peer.rows("query_ruled_orders", {"limit": 1})
        assert rows == [{"id": 1, "note": "a", "total": 5}]
        assert "boss" not in json.dumps([tools, described])
        error = await program.peer.error("query_ruled_orders", {"columns": ["boss"]})
        assert (error["code"], error["hint"]) == ("unknown_column", "Columns: id, note, total.")
        error = await program.peer.error("insert_ruled_orders", {"rows": [{"id": 2, "bos": "x"}]})
        assert "boss" not in json.dumps(error)


async def test_a_column_of_mode_read_is_never_written(ruled: Place) -> None:
    async with inside(ruled.url, **settings("ruled_orders(total): read", "ruled_strict(seal): read")) as program:
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        row = tools["insert_ruled_orders"].input_schema["properties"]["rows"]["items"]
        assert set(row["properties"]) == {"id", "note", "boss"}
        where = tools["query_ruled_orders"].input_schema["properties"]["where"]["properties"]
        assert set(where) == {"id", "note", "total", "boss", "twice"}
        error = await program.peer.error("insert_ruled_orders", {"rows": [{"id": 2, "total": 3}]})
        assert error["message"].startswith("column 'total' of table 'ruled_orders' takes no value")
        # A column that must be given a value and may not be: no row can go in.
        assert "insert_ruled_strict" not in tools
        assert "query_ruled_strict" in tools
        error = await program.peer.error("insert_rows", {"table": "ruled_strict", "rows": [{"id": 1}]})
        assert (error["code"], error["hint"]) == ("permission_denied", "It takes: query.")


async def said(program: Inside, tool: str, arguments: Mapping[str, Any]) -> str:
    """Every word that a call gets."""
    try:
        return (await program.peer.client.call_tool(tool, dict(arguments))).model_dump_json()
    except MCPError as error:
        return error.error.model_dump_json()


async def test_a_table_of_mode_none_answers_as_one_that_never_was(ruled: Place) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("query_rows", {"table": "zledger"}),
        ("query_rows", {"table": "zledgr"}),
        ("insert_rows", {"table": "zledger", "rows": [{"id": 1}]}),
        ("describe_table", {"table": "zledger"}),
        ("schema_changes", {"table": "zledger"}),
        ("query_zledger", {}),
        ("query_zledgr", {}),
        ("insert_zledger", {"rows": [{"id": 1}]}),
    ]
    answers: list[list[str]] = []
    # Compared with a table that is not served because it was never selected.
    for how in (settings("zl?dger: none"), settings(database__exclude=["zledger"])):
        async with inside(ruled.url, **how) as program:
            answers.append([await said(program, tool, arguments) for tool, arguments in calls])
    for call, by_rule, never in zip(calls, *answers, strict=True):
        assert by_rule == never, call


async def test_nothing_tells_of_a_table_of_mode_none(ruled: Place, tmp_path: Path) -> None:
    rules = settings("*ledger: none", state__url=str(tmp_path / "state.sqlite"), watch__poll_interval_s=600)
    async with inside(ruled.url, **rules) as program:
        peer, keeper = program.peer, program.app.keeper
        told: list[Any] = [tool.model_dump() for tool in (await peer.client.list_tools()).tools]
        await until(lambda: keeper.settled.is_set() and keeper.status.kept and not keeper.status.waiting)
        ruled.execute("CREATE TABLE zhoard_ledger (id integer PRIMARY KEY)")
        ruled.execute("ALTER TABLE zledger ADD more integer")
        ruled.execute("CREATE TABLE ruled_news (id integer PRIMARY KEY, of integer REFERENCES zledger (id))")
        try:
            refreshed = await peer.call("refresh_schema")
            if ruled.product == "postgresql":  # SQLite's files are looked at more often than asked for
                assert (refreshed["added"], refreshed["changed"]) == (["ruled_news"], [])
            told += [refreshed, await peer.call("list_tables"), await peer.call("server_status")]
            told += [await peer.call("describe_table", {"table": name}) for name in ("ruled_entries", "ruled_news")]
            told.append(await peer.error("insert_ruled_entries", {"rows": [{"id": 1, "book": 99}]}))
            assert told[-1]["code"] == "foreign_key_violation", told[-1]
            told.append(await peer.error("insert_ruled_logs", {"rows": [{"id": 1, "line": "book"}]}))
            assert told[-1]["code"] == "unique_violation"
            for name in ("zledgre", "zhoard_ledgre"):
                told.append(await peer.error("query_rows", {"table": name}))
                told[-1]["message"] = told[-1]["message"].replace(name, "")
            await until(lambda: not keeper.status.waiting)
            for limit in (1, 100):
                told.append(await peer.call("schema_changes", {"limit": limit}))
                assert [(change["table"], change["kind"]) for change in told[-1]["changes"]] == [
                    ("ruled_news", "added")
                ]
                assert told[-1]["truncated"] is False
            assert "ledg" not in json.dumps(told)
        finally:
            for statement in ("DROP TABLE zhoard_ledger", "DROP TABLE ruled_news"):
                ruled.execute(statement)
            ruled.execute("ALTER TABLE zledger DROP COLUMN more")


async def test_what_is_gone_and_was_never_to_be_seen_is_never_suggested(ruled: Place, tmp_path: Path) -> None:
    """Names of the past come out of the store, where they stand for whoever runs the server."""
    store = str(tmp_path / "state.sqlite")
    ruled.execute("CREATE TABLE ruled_old_ledger (id integer PRIMARY KEY)")
    ruled.execute("CREATE TABLE ruled_old_wages (id integer PRIMARY KEY, pay integer, gone integer)")
    async with inside(ruled.url, **settings(state__url=store)) as program:
        keeper = program.app.keeper
        await until(lambda: keeper.settled.is_set() and keeper.status.kept and not keeper.status.waiting)
        ruled.execute("DROP TABLE ruled_old_ledger")
        ruled.execute("ALTER TABLE ruled_old_wages DROP COLUMN pay")
        ruled.execute("ALTER TABLE ruled_old_wages DROP COLUMN gone")
        await program.peer.call("refresh_schema")
        await until(lambda: not keeper.status.waiting)
    rules = settings("*ledger: none", "ruled_old_wages(pay): none", state__url=store)
    try:
        async with inside(ruled.url, **rules) as program:
            await until(program.app.keeper.settled.is_set)
            assert (await program.peer.error("query_rows", {"table": "ruled_old_ledger"}))["code"] == "unknown_table"
            with pytest.raises(MCPError, match="Unknown tool"):
                await program.peer.client.call_tool("query_ruled_old_ledger", {})
            for column, code in {"gone": "stale_schema", "pay": "unknown_column"}.items():
                error = await program.peer.error("query_ruled_old_wages", {"columns": [column]})
                assert error["code"] == code, column
            changes = (await program.peer.call("schema_changes"))["changes"]
            assert {(change["table"], *change["changes"]) for change in changes} == {
                ("ruled_old_wages", "column gone removed")
            }
    finally:
        ruled.execute("DROP TABLE ruled_old_wages")


async def test_the_annotations_and_the_kinds_follow_the_rules(ruled: Place) -> None:
    rules = ("z*: read", "ruled_[!l]*: read", "ruled_logs: write")
    async with inside(ruled.url, **settings(*rules)) as program:
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        assert sorted(tools) == sorted(
            [*FIXED, "query_zledger", "insert_ruled_logs"]
            + [f"query_ruled_{name}" for name in ("entries", "logs", "orders", "strict")]
        )
        for name, tool in tools.items():
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint is not (
                name.startswith(("insert_", "run_batch", "start_", "cancel_")) or name in TRANSACTIONS
            ), name
