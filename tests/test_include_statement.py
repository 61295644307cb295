"""`include` as the database sees it: one statement, of the schema as it is; values, caps and names of any kind."""

import re
import sqlite3
import uuid
from typing import Any
from urllib.parse import urlsplit

from schema_mcp.dialects.sqlite.connection import SqliteConnection
from tests.conftest import Place
from tests.peers import inside
from tests.postgres import PostgresServer

pytest_plugins = "tests.standing"

ONE = [
    "CREATE TABLE one_top (id integer PRIMARY KEY, word text)",
    "CREATE TABLE one_mid (id integer PRIMARY KEY, top integer REFERENCES one_top (id))",
    "CREATE TABLE one_low (id integer PRIMARY KEY, mid integer REFERENCES one_mid (id))",
    "CREATE TABLE one_join (mid integer REFERENCES one_mid (id), top integer REFERENCES one_top (id), "
    "PRIMARY KEY (mid, top))",
    "INSERT INTO one_top VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO one_mid VALUES (1, 1), (2, 1), (3, 2)",
    "INSERT INTO one_low VALUES (1, 2), (2, 2), (3, 3)",
    "INSERT INTO one_join VALUES (1, 2), (2, 2)",
]
ASKED = {"include": ["one_mid.one_low", "one_mid.one_top_by_one_join(word)", "one_join.one_mid", "one_mid_by_one_join"]}
MID: list[dict[str, Any]] = [
    {"id": 1, "top": 1, "one_low": [], "one_top_by_one_join": [{"word": "b"}]},
    {"id": 2, "top": 1, "one_low": [{"id": 1, "mid": 2}, {"id": 2, "mid": 2}], "one_top_by_one_join": [{"word": "b"}]},
    {"id": 3, "top": 2, "one_low": [{"id": 3, "mid": 3}], "one_top_by_one_join": []},
]
JOINED = [
    {"mid": 1, "top": 2, "one_mid": {"id": 1, "top": 1}},
    {"mid": 2, "top": 2, "one_mid": {"id": 2, "top": 1}},
]
TOP = [
    {"id": 1, "word": "a", "one_mid": MID[:2], "one_join": [], "one_mid_by_one_join": []},
    {
        "id": 2,
        "word": "b",
        "one_mid": MID[2:],
        "one_join": JOINED,
        "one_mid_by_one_join": [{"id": 1, "top": 1}, {"id": 2, "top": 1}],
    },
]


async def test_postgresql_gets_one_statement_whatever_is_included(
    own_server: PostgresServer, own_database: str
) -> None:
    for statement in ONE:
        own_server.execute(statement, urlsplit(own_database).path[1:])
    async with inside(own_database) as program:
        await program.peer.names()
        start = own_server.log_bytes()
        assert await program.peer.rows("query_one_top", ASKED) == TOP
        entries = re.split(r"^(?=\d{4}-\d\d-\d\d )", own_server.log_text(start), flags=re.M)
        statements = [entry for entry in entries if "LOG:  execute" in entry and "one_" in entry]
        assert len(statements) == 1
        assert statements[0].count("one_low") > 0


async def test_sqlite_gets_one_statement_whatever_is_included(shared_sqlite: Place) -> None:
    for statement in ONE:
        shared_sqlite.execute(statement)
    seen: list[str] = []

    def trace(raw: sqlite3.Connection) -> None:
        raw.set_trace_callback(seen.append)

    async with inside(shared_sqlite.url, database__include=["one_*"]) as program:
        await program.peer.names()
        async with program.app.database.connection() as connection:
            assert isinstance(connection, SqliteConnection)
            await connection.run(trace)
        assert await program.peer.rows("query_one_top", ASKED) == TOP
        assert [statement[:4] for statement in seen] == ["WITH"]


async def test_a_related_table_that_changes_is_read_as_it_is_now(place: Place) -> None:
    place.execute("CREATE TABLE a (id integer PRIMARY KEY)")
    place.execute("CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a (id), x integer, y integer)")
    place.execute("INSERT INTO a VALUES (1)")
    place.execute("INSERT INTO b VALUES (5, 1, 2, 3)")
    async with inside(place.url, watch__poll_interval_s=60) as program:
        peer = program.peer
        asked = {"include": ["b"]}
        assert await peer.rows("query_a", asked) == [{"id": 1, "b": [{"id": 5, "a": 1, "x": 2, "y": 3}]}]
        place.execute("ALTER TABLE b DROP COLUMN y")
        assert await peer.rows("query_a", asked) == [{"id": 1, "b": [{"id": 5, "a": 1, "x": 2}]}]
        place.execute("ALTER TABLE b RENAME COLUMN x TO z")
        assert await peer.rows("query_a", asked) == [{"id": 1, "b": [{"id": 5, "a": 1, "z": 2}]}]
        assert await peer.rows("query_a", {"include": ["b(z)"]}) == [{"id": 1, "b": [{"z": 2}]}]
        place.execute("CREATE TABLE c (id integer PRIMARY KEY REFERENCES a (id))")
        assert await peer.rows("query_a", {"include": ["c"]}) == [{"id": 1, "c": []}]
        place.execute("DROP TABLE b")
        error = await peer.error("query_a", asked)
        assert (error["code"], error["hint"]) == ("unknown_relationship", "Relationships of 'a': c.")


async def test_what_the_role_may_not_read_is_no_relationship(shared_postgresql: Place) -> None:
    role = f"part_{uuid.uuid4().hex}"
    shared_postgresql.execute(f"""
        CREATE ROLE {role} LOGIN PASSWORD 'word'; CREATE SCHEMA part; GRANT USAGE ON SCHEMA part TO {role};
        SET search_path = part;
        CREATE TABLE top (id integer PRIMARY KEY);
        CREATE TABLE open (id integer PRIMARY KEY, top integer REFERENCES top, kept text, given text);
        CREATE TABLE closed (id integer PRIMARY KEY, top integer REFERENCES top);
        CREATE TABLE keyless (id integer PRIMARY KEY, top integer REFERENCES top, word text);
        CREATE TABLE between (closed integer REFERENCES closed, top integer REFERENCES top, PRIMARY KEY (closed, top));
        CREATE TABLE hidden (open integer REFERENCES open, top integer REFERENCES top, PRIMARY KEY (open, top));
        INSERT INTO top VALUES (1); INSERT INTO open VALUES (2, 1, 'secret', 'shown');
        GRANT SELECT ON top, between TO {role}; GRANT SELECT (id, top, given) ON open TO {role};
        GRANT SELECT (id, word) ON keyless TO {role}; GRANT INSERT ON closed TO {role}
    """)
    try:
        parts = urlsplit(shared_postgresql.url)
        url = parts._replace(netloc=f"{role}:word@{parts.netloc.rpartition('@')[2]}").geturl()
        async with inside(url, database__schemas=["part"]) as program:
            described = await program.peer.call("describe_table", {"table": "part.top"})
            assert [one["name"] for one in described["relationships"]] == ["part__between", "part__open"]
            assert await program.peer.rows("query_part__top", {"include": ["part__open", "part__between"]}) == [
                {"id": 1, "part__open": [{"id": 2, "top": 1, "given": "shown"}], "part__between": []}
            ]
            for name in ("part__closed", "part__keyless", "part__hidden", "part__closed_by_part__between"):
                error = await program.peer.error("query_part__top", {"include": [name]})
                assert (error["code"], error["hint"]) == (
                    "unknown_relationship",
                    "Relationships of 'part.top': part__between, part__open.",
                )
            error = await program.peer.error("query_part__top", {"include": ["part__open(kept)"]})
            assert (error["code"], error["hint"]) == ("unknown_column", "Columns: id, top, given.")
            shared_postgresql.execute(f"REVOKE SELECT ON part.between FROM {role}")
            error = await program.peer.error("query_part__top", {"include": ["part__between"]})
            assert error["code"] == "unknown_relationship"
    finally:
        shared_postgresql.execute(f"DROP SCHEMA part CASCADE; DROP OWNED BY {role}; DROP ROLE {role}")


async def test_hidden_columns_and_tables_that_are_not_served_join_nothing(shared: Place) -> None:
    for statement in (
        "CREATE TABLE veil_a (id integer PRIMARY KEY)",
        "CREATE TABLE veil_b (id integer PRIMARY KEY, a integer REFERENCES veil_a (id), dark integer)",
        "CREATE TABLE veil_c (id integer PRIMARY KEY, dark integer REFERENCES veil_a (id))",
        "CREATE TABLE veil_d (id integer PRIMARY KEY, a integer REFERENCES veil_a (id))",
        "CREATE VIEW veil_view AS SELECT id FROM veil_a",
        "INSERT INTO veil_a VALUES (1)",
        "INSERT INTO veil_b VALUES (1, 1, 666)",
    ):
        shared.execute(statement)
    settings: dict[str, Any] = {
        "database__include": ["veil_*"],
        "database__exclude": ["veil_d"],
        "database__hide_columns": ["dark"],
    }
    async with inside(shared.url, **settings) as program:
        peer = program.peer
        assert await peer.rows("query_veil_a", {"include": ["veil_b"]}) == [{"id": 1, "veil_b": [{"id": 1, "a": 1}]}]
        for name in ("veil_c", "veil_d"):
            assert (await peer.error("query_veil_a", {"include": [name]}))[
                "hint"
            ] == "Relationships of 'veil_a': veil_b."
        assert (await peer.error("query_veil_a", {"include": ["veil_b(dark)"]}))["code"] == "unknown_column"
        error = await peer.error("query_veil_view", {"include": ["veil_a"]})
        assert (error["message"], error["hint"]) == (
            "'include[0]': table 'veil_view' has no relationship 'veil_a'.",
            "No foreign key that may be used leads to or from 'veil_view': leave 'include' out.",
        )


VALUES = {
    "postgresql": [
        "CREATE TABLE val_a (id bigint PRIMARY KEY)",
        "CREATE TABLE val_b (a bigint PRIMARY KEY REFERENCES val_a (id), n numeric, f double precision, j json, "
        'jb jsonb, bs bytea[], b bytea, t timestamptz, "a,b" text, ns numeric[])',
        "INSERT INTO val_a VALUES (9007199254740993), (2), (3)",
        "INSERT INTO val_b VALUES (9007199254740993, 1.10, '-0', E'{\"a\":\\n 1.00000000000000000001}', 'null', "
        "'{\"\\\\x00\"}', '\\x00ff', 'infinity', E'x\\ny', '{1.10,NULL}'), (2, 'NaN', 'NaN', '[1]', '{\"$json\": 1}', "
        "NULL, NULL, NULL, 'ü\"\\', NULL), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    ],
    "sqlite": [
        "CREATE TABLE val_a (id integer PRIMARY KEY)",
        "CREATE TABLE val_b (a integer PRIMARY KEY REFERENCES val_a (id), n numeric, f real, j json, b blob, t text, "
        '"a,b" text)',
        "INSERT INTO val_a VALUES (9007199254740993), (2), (3)",
        "INSERT INTO val_b VALUES "
        "(9007199254740993, 1.5, 1, '{\"a\":\n 1.00000000000000000001}', x'00ff', 9.0, 'x\ny'), "
        "(2, 'word', 9e999, '{\"$json\": 1}', 'text', x'ff', 'ü\"\\'), (3, 7, 0.1, 'no json', NULL, "
        "CAST(x'ff' AS text), NULL)",
    ],
}


async def test_values_of_related_rows_are_as_exact_as_those_of_a_query(shared: Place) -> None:
    for statement in VALUES[shared.product]:
        shared.execute(statement)
    async with inside(shared.url, database__include=["val_*"]) as program:
        peer = program.peer
        found = await peer.rows("query_val_b")
        assert len(found) == 3
        for limit in (3, 10_000):
            rows = await peer.rows("query_val_a", {"include": ["val_b limit 1"], "limit": limit})
            assert [row["val_b"][0] for row in rows] == found
        rows = await peer.rows("query_val_b", {"columns": ["a"], "include": ["val_a.val_b"]})
        assert [row["val_a"]["val_b"][0] for row in rows] == found


async def test_related_rows_count_to_the_bytes_of_an_answer(shared: Place) -> None:
    for statement in (
        "CREATE TABLE cap_a (id integer PRIMARY KEY)",
        "CREATE TABLE cap_b (id integer PRIMARY KEY, a integer REFERENCES cap_a (id), word text)",
        "INSERT INTO cap_a VALUES (1), (2), (3)",
        f"INSERT INTO cap_b VALUES (1, 1, '{'x' * 300}'), (2, 2, '{'y' * 300}'), (3, 2, '{'z' * 900}')",
    ):
        shared.execute(statement)
    async with inside(shared.url, database__include=["cap_*"], results__max_bytes=1_000) as program:
        peer = program.peer
        first = await peer.call("query_cap_a", {"include": ["cap_b(word)"]})
        assert (first["rows"], first["truncated"]) == ([{"id": 1, "cap_b": [{"word": "x" * 300}]}], True)
        second = await peer.call("query_cap_a", {"include": ["cap_b(word)"], "cursor": first["next_cursor"]})
        assert (second["cut_columns"], second["row_count"], second["truncated"]) == (["cap_b"], 1, True)
        assert second["rows"][0]["cap_b"].startswith('[{"word":"yyy')
        third = await peer.call("query_cap_a", {"include": ["cap_b(word)"], "cursor": second["next_cursor"]})
        assert (third["rows"], third["truncated"]) == ([{"id": 3, "cap_b": []}], False)


async def test_large_pages_come_whole_and_in_order(shared: Place) -> None:
    numbers = {
        "postgresql": "SELECT n FROM generate_series(1, {}) n",
        "sqlite": "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n FROM s",
    }[shared.product]
    for statement in (
        "CREATE TABLE big_a (id integer PRIMARY KEY)",
        "CREATE TABLE big_b (id integer PRIMARY KEY, a integer REFERENCES big_a (id))",
        f"INSERT INTO big_a {numbers.format(1300)}",
        f"INSERT INTO big_b SELECT n, n % 1000 + 1 FROM ({numbers.format(2500)}) AS given",
    ):
        shared.execute(statement)
    expected = [{"id": a, "big_b": [{"id": n} for n in range(1, 2501) if n % 1000 + 1 == a]} for a in range(1, 1301)]
    async with inside(shared.url, database__include=["big_*"]) as program:
        answer = await program.peer.call("query_big_a", {"include": ["big_b(id)"], "limit": 10_000})
        assert (answer["rows"] == expected, answer["truncated"]) == (True, False)
        answer = await program.peer.call("query_big_a", {"include": ["big_b(id)"], "limit": 1_200})
        assert (answer["rows"] == expected[:1_200], answer["truncated"]) == (True, True)


async def test_names_of_any_kind_neither_meet_nor_mislead(shared: Place) -> None:
    """The statement's own parts are called `page`; members of rows are told apart from relationships."""
    for statement in (
        'CREATE TABLE "page" (page_row integer PRIMARY KEY, "row" integer, v0 integer, parent_row integer)',
        'CREATE TABLE "page1" (id integer PRIMARY KEY, "page" integer REFERENCES "page" (page_row), "o0" integer)',
        'CREATE TABLE "Page Two.x" (id integer PRIMARY KEY, "the page" integer REFERENCES "page" (page_row), '
        '"page1" integer REFERENCES "page1" (id), "page1_truncated" text, j_id integer)',
        'INSERT INTO "page" VALUES (1, 2, 3, 4)',
        'INSERT INTO "page1" VALUES (5, 1, 6)',
        """INSERT INTO "Page Two.x" VALUES (7, 1, 5, 'x', 8)""",
    ):
        shared.execute(statement)
    async with inside(shared.url, database__include=["[pP]age*"]) as program:
        peer = program.peer
        page = {"page_row": 1, "row": 2, "v0": 3, "parent_row": 4}
        page1 = {"id": 5, "page": 1, "o0": 6}
        described = await peer.call("describe_table", {"table": "page"})
        names = [one["name"] for one in described["relationships"]]
        (two,) = [name for name in names if name.startswith("Page_Two_x_")]
        assert set(names) == {"page1", two}
        ((key, _),) = (await peer.rows(f"query_{two}", {"columns": ["the page"]}))[0].items()
        row = {"id": 7, key: 1, "page1": 5, "page1_truncated": "x", "j_id": 8}
        assert await peer.rows("query_page", {"include": ["page1", f"{two}.page1_by_page1"]}) == [
            {**page, "page1": [page1], two: [{**row, "page1_by_page1": page1}]}
        ]
        assert await peer.rows("query_page1", {"include": ["page_by_page", f"{two}(the page)"]}) == [
            {**page1, "page_by_page": page, two: [{key: 1}]}
        ]


async def test_sqlite_references_to_what_is_no_key_are_lists(shared_sqlite: Place) -> None:
    for statement in (
        "CREATE TABLE odd_a (id integer PRIMARY KEY, word text, code text)",
        "CREATE UNIQUE INDEX odd_codes ON odd_a (code)",
        "CREATE TABLE odd_b (id integer PRIMARY KEY, word text REFERENCES odd_a (word), gone text REFERENCES nowhere)",
        "CREATE TABLE odd_c (id integer PRIMARY KEY, code text REFERENCES odd_a (code))",
    ):
        shared_sqlite.execute(statement)
    shared_sqlite.execute("INSERT INTO odd_a VALUES (1, 'w', 'c'), (2, 'w', 'd')")
    shared_sqlite.execute("PRAGMA foreign_keys = OFF")
    shared_sqlite.execute("INSERT INTO odd_b VALUES (1, 'w', NULL)")
    shared_sqlite.execute("INSERT INTO odd_c VALUES (1, 'd')")
    async with inside(shared_sqlite.url, database__include=["odd_*"]) as program:
        peer = program.peer
        assert await peer.rows("query_odd_b", {"columns": ["id"], "include": ["odd_a(id)"]}) == [
            {"id": 1, "odd_a": [{"id": 1}, {"id": 2}]}
        ]
        assert await peer.rows("query_odd_c", {"columns": ["id"], "include": ["odd_a(id)"]}) == [
            {"id": 1, "odd_a": {"id": 2}}
        ]
