"""Updating and deleting through what is no plain table: views, rules, triggers, partitions, virtual tables."""

from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"

POSTGRESQL = """
    CREATE SCHEMA written;
    SET search_path = written;
    CREATE TABLE base (id integer PRIMARY KEY, a text, b integer GENERATED ALWAYS AS IDENTITY);
    CREATE VIEW simple AS SELECT id, a, upper(a) AS loud FROM base WHERE id < 100;
    CREATE VIEW counted AS SELECT count(*) AS n FROM base;
    CREATE VIEW caught AS SELECT id, a FROM base LIMIT 100;
    CREATE FUNCTION catch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF tg_op = 'DELETE' THEN DELETE FROM written.base WHERE id = old.id; RETURN old; END IF;
        UPDATE written.base SET a = new.a || '!' WHERE id = old.id; new.a := new.a || '!'; RETURN new;
    END $$;
    CREATE TRIGGER catch INSTEAD OF UPDATE OR DELETE ON caught FOR EACH ROW EXECUTE FUNCTION catch();
    CREATE VIEW ruled AS SELECT id, a FROM base LIMIT 100;
    CREATE RULE ruled AS ON UPDATE TO ruled DO INSTEAD UPDATE base SET a = new.a WHERE id = old.id;
    CREATE MATERIALIZED VIEW stored AS SELECT id FROM base;
    CREATE TABLE parted (id integer, a text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (10);
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
    CREATE TABLE parent (id integer PRIMARY KEY, a text);
    CREATE TABLE child () INHERITS (parent);
    CREATE TABLE kept (id integer PRIMARY KEY, a text);
    CREATE RULE kept AS ON DELETE TO kept DO INSTEAD NOTHING;
    CREATE TABLE owners (id integer PRIMARY KEY);
    CREATE TABLE owned (id integer, owner integer REFERENCES owners (id)) PARTITION BY RANGE (id);
    CREATE TABLE owned_1 PARTITION OF owned FOR VALUES FROM (1) TO (10);
    CREATE VIEW owned_view AS SELECT id, owner FROM owned_1;
"""
SQLITE = """
    CREATE TABLE w_base (id integer PRIMARY KEY, a text);
    CREATE VIEW w_caught AS SELECT id, a FROM w_base;
    CREATE TRIGGER w_caught_u INSTEAD OF UPDATE OF a ON w_caught BEGIN
        UPDATE w_base SET a = new.a || '!' WHERE id = old.id#
    END;
    CREATE TRIGGER w_caught_d INSTEAD OF DELETE ON w_caught BEGIN DELETE FROM w_base WHERE id = old.id# END;
    CREATE VIEW w_plain AS SELECT id FROM w_base;
    CREATE VIRTUAL TABLE w_notes USING fts5 (title, body);
    CREATE TABLE w_without (a text, b text, n integer, PRIMARY KEY (a, b)) WITHOUT ROWID
"""


@pytest.fixture(scope="module")
def written(shared_postgresql: Place) -> Any:
    shared_postgresql.execute(POSTGRESQL)
    yield shared_postgresql
    shared_postgresql.execute("DROP SCHEMA written CASCADE")


def serving(place: Place) -> Any:
    return inside(place.url, access__mode="write", database__schemas=["written"], tools__surface="tables")


async def test_each_relation_takes_what_postgresql_takes_of_it(written: Place) -> None:
    async with serving(written) as program:
        tools = [name for name in await program.peer.table_tools() if not name.startswith(("query", "insert"))]
        assert tools == [
            f"{kind}_written__{name}"
            for kind, names in (
                (
                    "delete",
                    ["base", "caught", "child", "kept", "owned", "owned_view", "owners", "parent", "parted", "simple"],
                ),
                (
                    "update",
                    [
                        "base",
                        "caught",
                        "child",
                        "kept",
                        "owned",
                        "owned_view",
                        "owners",
                        "parent",
                        "parted",
                        "ruled",
                        "simple",
                    ],
                ),
            )
            for name in names
        ]
        listed = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        assert list(listed["update_written__base"].input_schema["properties"]["set"]["properties"]) == ["id", "a"]
        assert list(listed["update_written__simple"].input_schema["properties"]["set"]["properties"]) == ["id", "a"]
        error = await program.peer.error("update_rows", {"table": "written.stored", "all_rows": True, "set": {"id": 1}})
        assert (error["code"], error["message"], error["hint"]) == (
            "permission_denied",
            "table 'written.stored' (materialized view) does not take 'update' from this role",
            "It takes: query.",
        )
        row = listed["insert_written__simple"].input_schema["properties"]["rows"]["items"]
        assert list(row["properties"]) == ["id", "a"]
        error = await program.peer.error("update_written__simple", {"where": {"id": 1}, "set": {"loud": "A"}})
        assert error["message"].startswith("column 'loud' of table 'written.simple' takes no other value")


async def test_views_write_what_they_show(written: Place) -> None:
    written.execute("TRUNCATE written.base; INSERT INTO written.base VALUES (1, 'x'), (2, 'y'), (200, 'z')")
    async with serving(written) as program:
        peer = program.peer
        answer = await peer.call("update_written__simple", {"all_rows": True, "set": {"a": "k"}, "returning": ["loud"]})
        assert (answer["updated"], answer["rows"]) == (2, [{"loud": "K"}, {"loud": "K"}])
        caught = {"where": {"id": 1}, "set": {"a": "m"}}
        assert (await peer.call("update_written__caught", caught))["updated"] == 1
        answer = await peer.call("update_written__caught", {**caught, "returning": ["a"], "dry_run": True})
        assert answer["rows"] == [{"a": "m!"}]
        ruled = {"where": {"id": 2}, "set": {"a": "r"}}
        answer = await peer.call("update_written__ruled", ruled)
        assert (answer["updated"], answer["rows"]) == (1, [])
        error = await peer.error("update_written__ruled", {**ruled, "returning": ["a"]})
        assert error["message"].startswith("'returning' is not possible for view 'written.ruled'")
        assert await peer.rows("query_written__base", {"columns": ["id", "a"]}) == [
            {"id": 1, "a": "m!"}, {"id": 2, "a": "r"}, {"id": 200, "a": "z"},
        ]  # fmt: skip
        assert (await peer.call("delete_written__caught", {"where": {"id": 1}}))["deleted"] == 1
        assert (await peer.call("delete_written__simple", {"all_rows": True}))["deleted"] == 1
        assert await peer.rows("query_written__base", {"columns": ["id"]}) == [{"id": 200}]


async def test_rows_of_partitions_and_children_are_among_them(written: Place) -> None:
    written.execute("TRUNCATE written.parted, written.parent, written.kept")
    written.execute("INSERT INTO written.parted VALUES (1, 'x'), (11, 'x'); INSERT INTO written.kept VALUES (1, 'x')")
    written.execute("INSERT INTO written.parent VALUES (1, 'p'); INSERT INTO written.child VALUES (1, 'c'), (1, 'd')")
    async with serving(written) as program:
        peer = program.peer
        moved = await peer.call("update_written__parted", {"where": {"id": 1}, "set": {"id": 12}})
        assert (moved["updated"], moved["rows"]) == (1, [{"id": 12}])
        assert (await peer.call("delete_written__parted", {"where": {"a": "x"}}))["deleted"] == 2
        error = await peer.error("delete_written__parent", {"where": {"id": 1}, "max_affected": 2})
        assert error["message"] == "this would delete 3 rows of table 'parent', and at most 2 may"
        assert (await peer.call("delete_written__parent", {"where": {"id": 1}}))["deleted"] == 3
        assert (await peer.call("delete_written__kept", {"where": {"id": 1}}))["deleted"] == 0
        assert (await peer.call("update_written__kept", {"where": {"id": 1}, "set": {"a": "y"}}))["updated"] == 1


async def test_keys_of_partitions_and_beneath_views_are_told_from_both_sides(written: Place) -> None:
    written.execute("TRUNCATE written.owned, written.owners; INSERT INTO written.owners VALUES (1)")
    written.execute("INSERT INTO written.owned VALUES (1, 1)")
    async with serving(written) as program:
        for tool in ("update_written__owned", "update_written__owned_view"):
            error = await program.peer.error(tool, {"where": {"id": 1}, "set": {"owner": 7}})
            assert error["code"] == "foreign_key_violation"
            assert "violates foreign key constraint" in error["message"]
        error = await program.peer.error("delete_written__owners", {"where": {"id": 1}})
        assert error["message"] == (
            "rows of table 'written.owners' cannot be deleted while others refer to them: written.owned (owner)"
        )


async def test_what_may_be_changed_and_not_read_is_changed(written: Place) -> None:
    written.execute("TRUNCATE written.kept; INSERT INTO written.kept VALUES (1, 'x'), (2, 'x')")
    written.execute("DROP ROLE IF EXISTS blind_writer")
    written.execute(
        "CREATE ROLE blind_writer LOGIN PASSWORD 'word'; GRANT USAGE ON SCHEMA written TO blind_writer;"
        "GRANT UPDATE ON written.kept TO blind_writer"
    )
    try:
        user, _, rest = written.url.partition("//")
        url = f"{user}//blind_writer:word@{rest.rpartition('@')[2]}"
        async with inside(url, access__mode="write", database__schemas=["written"]) as program:
            (name,) = await program.peer.table_tools()
            error = await program.peer.error(name, {"all_rows": True, "set": {"a": "y"}, "max_affected": 1})
            assert error["message"] == "this would update more than 1 rows of table 'kept', and at most 1 may"
            answer = await program.peer.call(name, {"all_rows": True, "set": {"a": "y"}})
            assert (name, answer["updated"], answer["rows"]) == ("update_written__kept", 2, [])
            error = await program.peer.error(name, {"where": {"id": 1}, "set": {"a": "z"}})
            assert error["code"] == "unknown_column"
        async with inside(url, access__mode="insert", database__schemas=["written"]) as program:
            assert (await program.peer.call("list_tables"))["tables"] == []
    finally:
        written.execute("DROP OWNED BY blind_writer; DROP ROLE blind_writer")


async def test_grants_and_rules_are_followed(written: Place) -> None:
    written.execute("DROP ROLE IF EXISTS follower")
    written.execute("CREATE ROLE follower LOGIN PASSWORD 'word'; GRANT USAGE ON SCHEMA written TO follower")
    steps = [
        ("GRANT SELECT ON written.kept TO follower", ["query_written__kept"]),
        ("GRANT UPDATE (a) ON written.kept TO follower", ["query_written__kept", "update_written__kept"]),
        ("GRANT DELETE ON written.kept TO follower",
         ["delete_written__kept", "query_written__kept", "update_written__kept"]),
        ("REVOKE UPDATE (a) ON written.kept FROM follower", ["delete_written__kept", "query_written__kept"]),
        ("REVOKE DELETE ON written.kept FROM follower; GRANT SELECT, DELETE ON written.ruled TO follower",
         ["query_written__kept", "query_written__ruled"]),
        ("CREATE RULE rid AS ON DELETE TO written.ruled DO INSTEAD NOTHING",
         ["delete_written__ruled", "query_written__kept", "query_written__ruled"]),
    ]  # fmt: skip
    try:
        user, _, rest = written.url.partition("//")
        url = f"{user}//follower:word@{rest.rpartition('@')[2]}"
        async with inside(url, access__mode="write", database__schemas=["written"]) as program:
            assert await program.peer.table_tools() == []
            for statement, tools in steps:
                written.execute(statement)
                await program.peer.hears()
                assert await program.peer.table_tools() == tools, statement
    finally:
        written.execute("DROP OWNED BY follower; DROP ROLE follower; DROP RULE IF EXISTS rid ON written.ruled")


async def test_sqlite_takes_what_its_triggers_and_modules_take(shared_sqlite: Place) -> None:
    for statement in SQLITE.split(";"):
        shared_sqlite.execute(statement.replace("#", ";"))
    shared_sqlite.execute("INSERT INTO w_base VALUES (1, 'x'), (2, 'y'), (3, 'z')")
    shared_sqlite.execute("INSERT INTO w_notes VALUES ('one', 'a'), ('two', 'a'), ('three', 'b')")
    shared_sqlite.execute("INSERT INTO w_without VALUES ('a', 'b', 1), ('a', 'c', 2)")
    async with inside(shared_sqlite.url, access__mode="write", database__include=["w_*"]) as program:
        peer = program.peer
        tools = [name for name in await peer.table_tools() if not name.startswith(("query", "insert"))]
        assert tools == [
            f"{kind}_w_{name}" for kind in ("delete", "update") for name in ("base", "caught", "notes", "without")
        ]
        error = await peer.error("update_w_caught", {"where": {"id": 1}, "set": {"id": 4}})
        assert error["message"].startswith("column 'id' of table 'w_caught' takes no other value")
        call = {"filters": [{"column": "id", "op": "lt", "value": 3}], "set": {"a": "m"}}
        answer = await peer.call("update_w_caught", call)
        assert (answer["updated"], answer["rows"]) == (2, [])
        error = await peer.error("update_w_caught", {**call, "max_affected": 1})
        assert error["code"] == "too_many_rows"
        assert (await peer.call("delete_w_caught", {"where": {"id": 2}}))["deleted"] == 1
        assert await peer.rows("query_w_base") == [{"id": 1, "a": "m!"}, {"id": 3, "a": "z"}]
        answer = await peer.call("update_w_notes", {"where": {"body": "a"}, "set": {"title": "new"}})
        assert (answer["updated"], answer["rows"]) == (2, [])
        assert (await peer.call("delete_w_notes", {"where": {"title": "new"}}))["deleted"] == 2
        assert await peer.rows("query_w_notes") == [{"title": "three", "body": "b"}]
        answer = await peer.call("update_w_without", {"where": {"a": "a", "b": "c"}, "set": {"b": "d"}})
        assert (answer["updated"], answer["rows"]) == (1, [{"a": "a", "b": "d"}])


async def test_in_mode_read_the_database_itself_refuses(shared_postgresql: Place, shared_sqlite: Place) -> None:
    """Through whatever tool: a view may do more than look."""
    shared_postgresql.execute("""
        CREATE TABLE read_marks (n integer);
        CREATE FUNCTION read_mark() RETURNS integer LANGUAGE sql AS 'INSERT INTO read_marks VALUES (1) RETURNING n';
        CREATE VIEW read_marking AS SELECT read_mark() AS n
    """)
    async with inside(shared_postgresql.url, access__mode="read", database__include=["read_mark*"]) as program:
        error = await program.peer.error("query_read_marking")
        assert (error["code"], error["sqlstate"]) == ("read_only", "25006")
    async with inside(shared_postgresql.url, access__mode="insert", database__include=["read_mark*"]) as program:
        assert await program.peer.rows("query_read_marking") == [{"n": 1}]
    assert shared_postgresql.execute("SELECT count(*) FROM read_marks") == "1"
    shared_sqlite.execute("CREATE TABLE IF NOT EXISTS read_marks (n integer)")
    async with inside(shared_sqlite.url, access__mode="read", database__include=["read_mark*"]) as program:
        database = program.app.database
        async with database.connection() as connection:
            for statement in ("INSERT INTO read_marks VALUES (1)", "DELETE FROM read_marks", "BEGIN IMMEDIATE"):
                with pytest.raises(Exception, match="readonly") as refused:
                    await connection.execute(statement)
                told = database.dialect.translate(refused.value, None)
                assert told is not None
                assert told.code == "read_only"
