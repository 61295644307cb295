"""`describe_table` and `list_tables`: what there is now, in whole, and only what the role may see."""

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from schema_mcp.tools import samples
from schema_mcp.tools.operators import COMPARISONS, NULLS, PATTERNS, SETS
from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

ORDERED = [*COMPARISONS, *SETS, *NULLS]
TEXTUAL = [*ORDERED, *PATTERNS]
#: What PostgreSQL finds words in, in any column of text.
SEARCHABLE = [*TEXTUAL, "matches"]

SHOP = {
    "postgresql": """
        CREATE TYPE goods_size AS ENUM ('s', 'm');
        CREATE DOMAIN goods_code AS varchar(3);
        CREATE TABLE shops (id integer PRIMARY KEY, "the name" text);
        CREATE TABLE goods (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            shop integer NOT NULL REFERENCES shops,
            code goods_code,
            size goods_size DEFAULT 's',
            price numeric(8,2) NOT NULL CONSTRAINT positive CHECK (price > 0),
            sold boolean,
            UNIQUE (shop, code)
        );
        COMMENT ON TABLE goods IS 'what is "sold"';
        COMMENT ON COLUMN goods.price IS E'in euro\\nper piece';
        CREATE VIEW sold AS SELECT DISTINCT code FROM goods WHERE sold
    """,
    "sqlite": """
        CREATE TABLE shops (id integer PRIMARY KEY, "the name" text);
        CREATE TABLE goods (
            id integer PRIMARY KEY,
            shop integer NOT NULL REFERENCES shops,
            code varchar(3),
            size text DEFAULT 's',
            price numeric(8,2) NOT NULL CONSTRAINT positive CHECK (price > 0),
            sold boolean,
            UNIQUE (shop, code)
        );
        CREATE VIEW sold AS SELECT DISTINCT code FROM goods WHERE sold
    """,
}


def column(name: str, type_: str, operators: list[str], **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, "nullable": True, "operators": operators, "insert": "optional", **more}


GOODS = {
    "postgresql": [
        column("id", "integer", ORDERED, nullable=False, insert="no", generated="identity always"),
        column("shop", "integer", ORDERED, nullable=False, insert="required"),
        column("code", "public.goods_code", SEARCHABLE, domain="public.goods_code"),
        column("size", "public.goods_size", TEXTUAL, values=["s", "m"], default="\"'s'::public.goods_size\""),
        column("price", "numeric(8,2)", ORDERED, nullable=False, insert="required", comment='"in euro per piece"'),
        column("sold", "boolean", ["eq", "ne", "in", "not_in", *NULLS]),
    ],
    "sqlite": [
        column("id", "INTEGER", ORDERED, nullable=False, generated="identity by default"),
        column("shop", "INTEGER", ORDERED, nullable=False, insert="required"),
        column("code", "varchar(3)", TEXTUAL),
        column("size", "TEXT", TEXTUAL, default="\"'s'\""),
        column("price", "numeric(8,2)", ORDERED, nullable=False, insert="required"),
        column("sold", "boolean", ["eq", "ne", "in", "not_in", *NULLS]),
    ],
}


#: What only PostgreSQL has or prints so.
SCHEMA = {"postgresql": "public", "sqlite": "main"}
COMMENT = {"postgresql": "\"what is 'sold'\"", "sqlite": None}
CHECK = {"postgresql": '"(price > (0)::numeric)"', "sqlite": '"price > 0"'}


KEY = {"postgresql": {"name": "goods_shop_fkey"}, "sqlite": {}}
INDEXES = {
    "postgresql": [
        {"name": "goods_pkey", "on": ["id"], "unique": True, "method": "btree"},
        {"name": "goods_shop_code_key", "on": ["shop", "code"], "unique": True, "method": "btree"},
    ],
    "sqlite": [{"name": "sqlite_autoindex_goods_1", "on": ["shop", "code"], "unique": True}],
}


@pytest.fixture(scope="module")
@made_once
def shop(shared: Place) -> Place:
    for statement in SHOP[shared.product].split(";"):
        shared.execute(statement)
    return shared


SHOWN = ["goods", "shops", "sold"]


async def test_a_table_is_described_in_whole(shop: Place) -> None:
    async with inside(shop.url, database__include=SHOWN) as program:
        described = await program.peer.call("describe_table", {"table": "goods"})
        assert described.pop("schema_version") == program.app.registry.current.generation
        assert described == {
            "table": "goods",
            "schema": SCHEMA[shop.product],
            "kind": "table",
            "comment": COMMENT[shop.product],
            "tools": ["query_goods", "insert_goods"],
            "columns": GOODS[shop.product],
            "primary_key": ["id"],
            "unique_keys": [["shop", "code"]],
            "references": [{**KEY[shop.product], "columns": ["shop"], "table": "shops", "table_columns": ["id"]}],
            "referenced_by": [],
            "relationships": [
                {"name": "shops", "table": "shops", "rows": "one", "columns": ["shop"], "table_columns": ["id"]}
            ],
            "checks": [{"name": "positive", "expression": CHECK[shop.product]}],
            "indexes": INDEXES[shop.product],
            "row_estimate": None,
        }
        shops = await program.peer.call("describe_table", {"table": "shops"})
        assert shops["referenced_by"] == [{**KEY[shop.product], "table": "goods", "columns": ["shop"], "to": ["id"]}]
        assert shops["relationships"] == [
            {"name": "goods", "table": "goods", "rows": "many", "columns": ["id"], "table_columns": ["shop"]}
        ]
        native = "text" if shop.product == "postgresql" else "TEXT"
        operators = SEARCHABLE if shop.product == "postgresql" else TEXTUAL
        assert shops["columns"][1] == column("the_name_ecdc2e79", native, operators, real_name="the name")
        assert (shops["primary_key"], shops["unique_keys"], shops["references"], shops["checks"]) == (
            ["id"],
            [],
            [],
            [],
        )


async def test_the_tables_are_listed_and_found(shop: Place) -> None:
    comment = {"comment": COMMENT[shop.product]} if COMMENT[shop.product] else {}

    def entry(table: str, kind: str, *tools: str, **more: Any) -> dict[str, Any]:
        return {"table": table, "kind": kind, "row_estimate": None, "tools": list(tools), **more}

    goods = entry("goods", "table", "query_goods", "insert_goods", **comment)
    shops = entry("shops", "table", "query_shops", "insert_shops")
    sold = entry("sold", "view", "query_sold")
    cases: list[tuple[dict[str, Any], list[Any]]] = [
        ({}, [goods, shops, sold]),
        ({"search": "SOLD"}, [goods, sold] if comment else [sold]),
        ({"search": "op"}, [shops]),
        ({"search": "%"}, []),
        ({"schema": SCHEMA[shop.product]}, [goods, shops, sold]),
        ({"schema": "nowhere"}, []),
    ]
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("list_tables", {"serach": "x"}, "unknown_argument"),
        ("list_tables", {"search": 5}, "invalid_argument"),
        ("list_tables", {"limit": 0}, "invalid_argument"),
        ("describe_table", {}, "missing_argument"),
        ("describe_table", {"table": "good"}, "unknown_table"),
        ("describe_table", {"table": "goods", "schema": "x"}, "unknown_argument"),
        ("describe_table", {"table": "goods", "sample_values": "yes"}, "invalid_argument"),
        ("refresh_schema", {"now": True}, "unknown_argument"),
    ]
    async with inside(shop.url, database__include=SHOWN) as program:
        for arguments, expected in cases:
            answer = await program.peer.call("list_tables", arguments)
            assert answer.pop("schema_version") == program.app.registry.current.generation
            page = {"tables": expected, "row_count": len(expected), "truncated": False, "next_cursor": None}
            assert answer == page, arguments
        for tool, arguments, code in wrong:
            assert (await program.peer.error(tool, arguments))["code"] == code, arguments


async def test_indexes_and_estimates_are_described_and_change_no_tool(place: Place) -> None:
    place.execute("CREATE TABLE things (id integer PRIMARY KEY, word text, n integer)")
    for n in range(7):
        place.execute(f"INSERT INTO things VALUES ({n}, 'x', {n})")
    async with inside(place.url) as program:
        before = await program.peer.names()
        place.execute("CREATE INDEX by_word ON things (lower(word), n DESC) WHERE n > 3")
        place.execute("ANALYZE things")
        refreshed = await program.peer.call("refresh_schema")
        described = await program.peer.call("describe_table", {"table": "things"})
        (found,) = [index for index in described["indexes"] if index["name"] == "by_word"]
        method = {"method": "btree"} if place.product == "postgresql" else {}
        where = '"(n > 3)"' if place.product == "postgresql" else '"n > 3"'
        expected = {"name": "by_word", "on": ['"lower(word)"', "n desc"], "unique": False, "where": where}
        assert found == expected | method
        (listed,) = (await program.peer.call("list_tables"))["tables"]
        assert (listed["row_estimate"], described["row_estimate"]) == (7, 7)
        generation = program.app.registry.current.generation
        place.execute("INSERT INTO things VALUES (8, 'y', 8)")
        place.execute("ANALYZE things")
        assert (await program.peer.call("refresh_schema"))["schema_version"] == generation
        (listed,) = (await program.peer.call("list_tables"))["tables"]
        assert listed["row_estimate"] == 8
        assert (refreshed["refreshed"], await program.peer.names()) == (True, before)
        assert program.peer.told.empty()


SAMPLED = {
    "postgresql": """
        CREATE TYPE sampled_size AS ENUM ('s', 'm', 'l');
        CREATE TABLE sampled (id integer PRIMARY KEY, state varchar(9), size sampled_size, live boolean, level integer,
                              word text, long text, day date, blank text, nr integer UNIQUE);
        INSERT INTO sampled SELECT n, (ARRAY['new', 'it''s', NULL])[n % 3 + 1],
            (ARRAY['l', 's'])[n % 2 + 1]::sampled_size, n % 2 = 0, n % 20, 'w' || (n % 21), repeat('x', 90),
            '2024-01-01', NULL, n FROM generate_series(1, 1100) n
    """,
    "sqlite": """
        CREATE TABLE sampled (id integer PRIMARY KEY, state varchar(9), size text, live boolean, level integer,
                              word text, long text, day date, blank text, nr integer UNIQUE);
        WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1100)
        INSERT INTO sampled SELECT n, CASE n % 3 WHEN 0 THEN 'new' WHEN 1 THEN 'it''s' END,
            CASE n % 2 WHEN 0 THEN 'l' ELSE 's' END, n % 2 = 0, n % 20, 'w' || (n % 21), printf('%090d', 0),
            '2024-01-01', NULL, n FROM s
    """,
}


async def test_sample_values_are_those_of_columns_with_few_different_ones(shared: Place) -> None:
    for statement in SAMPLED[shared.product].split(";"):
        shared.execute(statement)
    shared.execute("CREATE VIEW sampled_days AS SELECT DISTINCT day FROM sampled")
    async with inside(shared.url, database__include=["sampled*"]) as program:
        plain = await program.peer.call("describe_table", {"table": "sampled"})
        described = await program.peer.call("describe_table", {"table": "sampled", "sample_values": True})
        few = {"state": ["it's", "new"], "size": ["l", "s"], "live": [False, True], "level": list(range(20))}
        assert described == plain | {"samples": few, "sampled_rows": 1000}
        days = await program.peer.call("describe_table", {"table": "sampled_days", "sample_values": True})
        assert days["samples"] == {}


async def test_a_relation_that_cannot_be_sampled_is_described_without(
    shared_postgresql: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "TIMEOUT_S", 0.3)
    shared_postgresql.execute(
        "CREATE VIEW slow_words AS SELECT pg_sleep(60)::text AS word; CREATE VIEW no_words AS SELECT 1 / 0 AS n"
    )
    async with inside(shared_postgresql.url, database__include=["*_words"]) as program:
        for table, reason in (("slow_words", "it takes longer than 0.3 s"), ("no_words", "division by zero")):
            described = await program.peer.call("describe_table", {"table": table, "sample_values": True})
            assert (described["samples"], described["samples_failed"], len(described["columns"])) == (None, reason, 1)


async def test_what_the_role_may_not_read_is_not_there(shared_postgresql: Place) -> None:
    role = f"reader_{uuid4().hex}"
    shared_postgresql.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; CREATE TABLE payroll (name text, salary integer, bonus integer); "
        f"INSERT INTO payroll VALUES ('a', 1, 2), ('b', 3, 4); CREATE TABLE vault (id integer); "
        f"GRANT SELECT (name), INSERT (name, salary) ON payroll TO {role}"
    )
    try:
        address = urlsplit(shared_postgresql.url)
        url = address._replace(netloc=f"{role}:secret@{address.netloc.rpartition('@')[2]}").geturl()
        async with inside(url) as program:
            peer = program.peer
            assert [table["table"] for table in (await peer.call("list_tables"))["tables"]] == ["payroll"]
            described = await peer.call("describe_table", {"table": "payroll"})
            assert described["columns"] == [
                column("name", "text", SEARCHABLE),
                {"name": "salary", "type": "integer", "nullable": True, "readable": False, "insert": "optional"},
            ]
            assert await peer.rows("query_payroll", {"order_by": ["name desc"]}) == [{"name": "b"}, {"name": "a"}]
            for arguments in (
                {"columns": ["salary"]},
                {"where": {"salary": 1}},
                {"filters": [{"column": "bonus", "op": "not_null"}]},
                {"order_by": ["salary"]},
            ):
                error = await peer.error("query_payroll", arguments)
                assert (error["code"], error["hint"]) == ("unknown_column", "Columns: name.")
            # Without the right to the whole table there is nothing that tells its rows apart.
            page = await peer.call("query_payroll", {"limit": 1})
            assert (page["truncated"], page["next_cursor"], "hint" in page) == (True, None, True)
            assert await peer.call("insert_payroll", {"rows": [{"name": "c", "salary": 5}]})
            assert (await peer.error("insert_payroll", {"rows": [{"bonus": 5}]}))["code"] == "invalid_argument"
            assert (await peer.error("query_rows", {"table": "vault"}))["code"] == "unknown_table"
    finally:
        shared_postgresql.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_database_without_tables_says_what_may_be_the_reason(place: Place) -> None:
    async with inside(place.url) as program:
        answer = await program.peer.call("list_tables")
    assert answer["tables"] == []
    assert answer["hint"].startswith("The database has no table that the connected role may use")
