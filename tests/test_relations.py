"""Every kind of relation through its tools: what is offered, what an insert does, what a query gives back."""

from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

RELATIONS = {
    "postgresql": """
        CREATE SCHEMA kinds; SET search_path = kinds;
        CREATE TABLE plain (n integer, word text);
        CREATE TABLE parted (n integer, word text) PARTITION BY LIST (n);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
        CREATE TABLE parent (n integer, word text);
        CREATE TABLE child (more integer) INHERITS (parent);
        INSERT INTO child VALUES (9, 'of the child', 0);
        CREATE TABLE stock (n integer, word text);
        CREATE VIEW natural_view AS SELECT n, word FROM stock WHERE n > 0 WITH CHECK OPTION;
        CREATE VIEW ruled AS SELECT n, upper(word) AS word FROM stock;
        CREATE RULE take AS ON INSERT TO ruled DO INSTEAD INSERT INTO stock VALUES (new.n, new.word);
        CREATE VIEW answering AS SELECT n, word FROM stock;
        CREATE RULE take AS ON INSERT TO answering
            DO INSTEAD INSERT INTO stock VALUES (new.n, new.word) RETURNING n, word;
        CREATE VIEW swallowing AS SELECT n, word FROM stock;
        CREATE RULE take AS ON INSERT TO swallowing DO INSTEAD NOTHING;
        CREATE VIEW triggered AS SELECT DISTINCT n, word FROM stock;
        CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO kinds.stock VALUES (new.n, new.word); RETURN new; END $$;
        CREATE TRIGGER take INSTEAD OF INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION take();
        CREATE VIEW grouped AS SELECT count(*) AS n FROM stock;
        CREATE MATERIALIZED VIEW stored AS SELECT 5 AS n;
        CREATE UNLOGGED TABLE unlogged (n integer, word text);
        CREATE SCHEMA more_kinds; CREATE TABLE more_kinds.plain (n integer)
    """,
    "sqlite": """
        CREATE TABLE kind_plain (n integer, word text);
        CREATE TABLE kind_stern (n integer PRIMARY KEY, word text) STRICT;
        CREATE TABLE kind_rowless (n integer PRIMARY KEY, word text) WITHOUT ROWID;
        CREATE VIEW kind_grouped AS SELECT count(*) AS n FROM kind_plain;
        CREATE VIEW kind_triggered AS SELECT DISTINCT n, word FROM kind_plain;
        CREATE TRIGGER kind_take INSTEAD OF INSERT ON kind_triggered
            BEGIN INSERT INTO kind_plain VALUES (new.n, new.word); END;
        CREATE VIRTUAL TABLE kind_notes USING fts5 (word)
    """,
}
ROW = {"n": 1, "word": "it"}
#: By relation: its kind, whether it takes rows, and what a query gives after ROW was inserted.
EXPECTED: dict[str, dict[str, tuple[str, bool, list[dict[str, Any]]]]] = {
    "postgresql": {
        "plain": ("table", True, [ROW]),
        "parted": ("partitioned table", True, [ROW]),
        "parent": ("table", True, [ROW, {"n": 9, "word": "of the child"}]),
        "child": ("table", True, [ROW | {"more": None}, {"n": 9, "word": "of the child", "more": 0}]),
        "stock": ("table", True, [ROW]),
        "natural_view": ("view", True, [ROW]),
        "ruled": ("view", True, [{"n": 1, "word": "IT"}]),
        "answering": ("view", True, [ROW]),
        "swallowing": ("view", True, []),
        "triggered": ("view", True, [ROW]),
        "grouped": ("view", False, [{"n": 0}]),
        "stored": ("materialized view", False, [{"n": 5}]),
        "unlogged": ("table", True, [ROW]),
    },
    "sqlite": {
        "kind_plain": ("table", True, [ROW]),
        "kind_stern": ("table", True, [ROW]),
        "kind_rowless": ("table", True, [ROW]),
        "kind_grouped": ("view", False, [{"n": 0}]),
        "kind_triggered": ("view", True, [ROW]),
        "kind_notes": ("virtual table", True, [{"word": "it"}]),
    },
}


@pytest.fixture(scope="module")
@made_once
def kinds(shared: Place) -> Place:
    if shared.product == "sqlite":
        *statements, one, two, virtual = RELATIONS["sqlite"].split(";")
        for statement in (*statements, f"{one};{two}", virtual):
            shared.execute(statement)
    else:
        shared.execute(RELATIONS["postgresql"])
    return shared


def settings(place: Place) -> dict[str, Any]:
    if place.product == "sqlite":
        return {"database__include": [*EXPECTED["sqlite"], "kind_notes_*"]}
    return {"database__schemas": ["kinds"], "tools__surface": "tables"}


def empty(place: Place) -> None:
    if place.product == "sqlite":
        for table in ("kind_plain", "kind_stern", "kind_rowless", "kind_notes"):
            place.execute(f"DELETE FROM {table}")
    else:
        place.execute(
            "SET search_path = kinds; TRUNCATE plain, parted, stock, unlogged; TRUNCATE ONLY parent; "
            "DELETE FROM child WHERE n = 1"
        )


async def test_every_kind_of_relation_is_offered_filled_and_read(kinds: Place) -> None:
    prefix = "" if kinds.product == "sqlite" else "kinds__"
    expected = EXPECTED[kinds.product]
    async with inside(kinds.url, **settings(kinds)) as program:
        peer = program.peer
        listed = {table["table"].removeprefix("kinds."): table for table in (await peer.call("list_tables"))["tables"]}
        assert {name: table["kind"] for name, table in listed.items()} == {
            name: kind for name, (kind, _, _) in expected.items()
        }
        assert set(await peer.table_tools()) == {f"query_{prefix}{name}" for name in expected} | {
            f"insert_{prefix}{name}" for name, (_, takes, _) in expected.items() if takes
        }
        for name, (_, takes, rows) in expected.items():
            empty(kinds)
            if takes:
                row = {"word": "it"} if name == "kind_notes" else ROW
                answer = await peer.call(f"insert_{prefix}{name}", {"rows": [row]})
                assert (answer.get("inserted"), answer.get("rows")) in (
                    [(0, [])] if name == "swallowing" else [(1, []), (1, [{"n": 1}])]
                ), (name, answer)
            found = await peer.rows(f"query_{prefix}{name}", {"order_by": [] if name == "kind_notes" else ["n"]})
            assert found == rows, name


async def test_rows_that_a_rule_takes_are_counted_and_not_returned(kinds: Place) -> None:
    if kinds.product == "sqlite":
        pytest.skip("SQLite has no rules")
    async with inside(kinds.url, **settings(kinds)) as program:
        empty(kinds)
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        returning = tools["insert_kinds__ruled"].input_schema["properties"]["returning"]
        assert returning["description"] == "Default none."
        rows = [{"n": 1, "word": "a"}, {"n": 2, "word": "b"}]
        assert (await program.peer.call("insert_kinds__ruled", {"rows": rows}))["inserted"] == 2
        error = await program.peer.error("insert_kinds__ruled", {"rows": rows, "returning": ["n"]})
        assert error["code"] == "invalid_argument"
        answer = await program.peer.call("insert_kinds__answering", {"rows": rows, "returning": ["word"]})
        assert answer["rows"] == [{"word": "a"}, {"word": "b"}]


async def test_several_schemas_and_patterns_choose_the_relations(kinds: Place) -> None:
    if kinds.product == "sqlite":
        pytest.skip("SQLite has one schema")
    chosen: dict[str, Any] = {
        "database__schemas": ["kinds", "more_kinds"],
        "database__include": ["plain", "kinds.p*", "kinds.s?o*"],
        "database__exclude": ["kinds.plain", "*.paren[st]"],
    }
    async with inside(kinds.url, **chosen) as program:
        listed = (await program.peer.call("list_tables"))["tables"]
        assert [table["table"] for table in listed] == [
            "kinds.parted",
            "kinds.stock",
            "kinds.stored",
            "more_kinds.plain",
        ]


async def test_a_foreign_table_is_filled_and_read_through_its_wrapper(kinds: Place) -> None:
    if kinds.product == "sqlite" or "postgres_fdw" not in kinds.execute("SELECT name FROM pg_available_extensions"):
        pytest.skip("this server has no postgres_fdw")
    port = kinds.execute("SHOW port")
    kinds.execute(f"""
        CREATE EXTENSION postgres_fdw; CREATE SCHEMA foreigners; CREATE TABLE foreigners.here (n integer, word text);
        CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host '127.0.0.1', port '{port}', dbname '{unquote(urlsplit(kinds.url).path[1:])}');
        CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user 'postgres', password_required 'false');
        CREATE FOREIGN TABLE foreigners.there (n integer, word text) SERVER loop
            OPTIONS (schema_name 'foreigners', table_name 'here')
    """)
    try:
        async with inside(kinds.url, database__schemas=["foreigners"]) as program:
            assert (await program.peer.call("insert_foreigners__there", {"rows": [ROW]}))["inserted"] == 1
            assert await program.peer.rows("query_foreigners__here") == [ROW]
            assert await program.peer.rows("query_foreigners__there", {"where": {"n": 1}}) == [ROW]
    finally:
        with suppress(RuntimeError):
            kinds.execute("DROP SCHEMA foreigners CASCADE; DROP EXTENSION postgres_fdw CASCADE")


@pytest.mark.parametrize("place", ["18"], indirect=True)
async def test_what_no_row_of_a_catalog_tells_is_found_by_the_full_refresh_though_nothing_follows(place: Place) -> None:
    """ALTER EXTENSION changes neither the table's rows in the catalogs nor any count of them."""
    place.execute("CREATE TABLE kept (id integer); CREATE TABLE taken (id integer)")
    async with inside(place.url, watch__poll_interval_s=0.05, watch__full_refresh_s=1.0) as program:
        await program.peer.names()
        place.execute("ALTER EXTENSION plpgsql ADD TABLE taken")
        await program.peer.hears()
        assert await program.peer.table_tools() == ["insert_kept", "query_kept"]
    place.execute("ALTER EXTENSION plpgsql DROP TABLE taken")
