"""Filters on text that go beyond its letters: case in all scripts, and full text where the database has it."""

from pathlib import Path

import pytest

from schema_mcp.schema.render import as_json
from tests.conftest import Place
from tests.peers import Inside, inside
from tests.sqlite import execute

pytest_plugins = "tests.standing"


async def found(program: Inside, table: str, column: str, operator: str, value: str) -> list[int]:
    given = {"column": column, "op": operator, "value": value}
    rows = await program.peer.rows(f"query_{table}", {"filters": [given], "columns": ["id"]})
    return [row["id"] for row in rows]


CASED = [
    "Zoë",
    "ZOË",
    "ÄPFEL",
    "äpfel",
    "ЖУК",
    "жук",
    "ΣΟΦΟΣ",
    "σοφοσ",
    "straße",
    "STRASSE",
    "Žižka",
    "I",
    "ı",
    "50% Ö",
    "ǅ",
]
CASE_CASES = [
    ("zoë", ["Zoë", "ZOË"]),
    ("Z%Ë", ["Zoë", "ZOË"]),
    ("Äp_el", ["ÄPFEL", "äpfel"]),
    ("%УК", ["ЖУК", "жук"]),
    ("σΟφΟσ", ["ΣΟΦΟΣ", "σοφοσ"]),
    ("STRASSE", ["STRASSE"]),
    ("STRAßE", ["straße"]),
    ("žIžka", ["Žižka"]),
    ("i", ["I"]),
    ("50\\% ö", ["50% Ö"]),
]


async def test_ilike_knows_the_case_of_all_scripts_on_both_products(shared: Place) -> None:
    if shared.product == "postgresql" and shared.execute("SELECT lower('Ë') = 'ë'") in ("f", "false", False):
        pytest.skip("this database folds ASCII alone: its locale is C")
    shared.execute("CREATE TABLE cased (id integer PRIMARY KEY, body text)")
    async with inside(shared.url) as program:
        rows = [{"id": number, "body": text} for number, text in enumerate(CASED)]
        await program.peer.rows("insert_cased", {"rows": rows})
        for pattern, expected in CASE_CASES:
            numbers = await found(program, "cased", "body", "ilike", pattern)
            assert [CASED[number] for number in numbers] == expected, pattern


async def test_ilike_passes_over_what_is_no_text(shared_sqlite: Place) -> None:
    shared_sqlite.execute("CREATE TABLE mixed_bodies (id integer PRIMARY KEY, body)")
    shared_sqlite.execute(
        "INSERT INTO mixed_bodies VALUES (1, 'AB'), (2, x'6162'), (3, 7), (4, NULL), (5, CAST(x'4142FF' AS TEXT))"
    )
    async with inside(shared_sqlite.url) as program:
        assert await found(program, "mixed_bodies", "body", "ilike", "ab%") == [1, 5]
        assert await found(program, "mixed_bodies", "body", "ilike", "7") == [3]


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
async def test_the_encoding_of_the_file_makes_no_difference(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "wide.sqlite"
    execute(
        path,
        f"""PRAGMA encoding = '{encoding}'; CREATE TABLE wide (id integer PRIMARY KEY, body text, paper json);
        INSERT INTO wide VALUES (1, 'ÄB', '{{"ö": ["Ö"]}}'), (2, 'c', '[]')""",
    )
    async with inside(str(path)) as program:
        assert await found(program, "wide", "body", "ilike", "äb") == [1]
        assert await found(program, "wide", "paper", "has", "ö") == [1]
        assert await found(program, "wide", "paper", "path", '$.ö == "Ö"') == [1]


TEXTS = [
    "The red fox jumps",
    "a red apple and a green apple",
    "green pears; no fox",
    "nothing at all",
    'it\'s 100% "quoted"',
    None,
]
#: The same on both products: plain words, in their simplest form.
SEARCHES = [
    ("red", [0, 1]),
    ("RED fox", [0]),
    ("fox or apple", [0, 1, 2]),
    ("fox -red", [2]),
    ('"green apple"', [1]),
    ('"apple green"', []),
    ('green -"green apple"', [2]),
    ("red fox or green pears", [0, 2]),
    ("quoted", [4]),
    ("!!! red", [0, 1]),
    ('red "', [0, 1]),
    ("fox OR", [0, 2]),
]
#: What would be signs of the databases' own query languages.
SIGNS = [
    "red & fox",
    "red | fox",
    "fox:*",
    "red <-> fox",
    "red* OR",
    "NEAR(red fox)",
    "body : red",
    "^red",
    "(red",
    "red AND NOT",
]
SIGNS += ["-", '"', "'", "\\", "a'b\"c", "{red}", "+red", "é\u0301", "red -- fox", "\ufffd", "or or or"]


async def test_words_are_found_by_the_full_text_search_of_the_database(shared: Place) -> None:
    kind = "TABLE lines (id integer PRIMARY KEY, body text)"
    if shared.product == "sqlite":
        kind = "VIRTUAL TABLE lines USING fts5(id UNINDEXED, body, tokenize = 'porter unicode61')"
    shared.execute(f"CREATE {kind}")
    async with inside(shared.url) as program:
        rows = [{"id": number, "body": text} for number, text in enumerate(TEXTS)]
        await program.peer.call("insert_lines", {"rows": rows})
        for words, expected in SEARCHES:
            assert await found(program, "lines", "body", "matches", words) == expected, words
        for words in SIGNS:
            answer = await program.peer.call(
                "query_lines", {"filters": [{"column": "body", "op": "matches", "value": words}]}
            )
            assert answer.get("error", {}).get("code", "invalid_value") == "invalid_value", (words, answer)
        group = [
            {"column": "body", "op": "matches", "value": "fox", "or": "a"},
            {"column": "body", "op": "is_null", "or": "a"},
        ]
        page = await program.peer.call("query_lines", {"filters": group, "columns": ["id"], "limit": 2})
        assert (page["rows"], page["truncated"]) == ([{"id": 0}, {"id": 2}], True)


async def test_a_tsvector_is_searched_as_it_is(shared_postgresql: Place) -> None:
    shared_postgresql.execute(
        "CREATE TABLE indexed (id integer PRIMARY KEY, body text, "
        "words tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED)"
    )
    shared_postgresql.execute("INSERT INTO indexed VALUES (1, 'jumping foxes'), (2, 'nothing'), (3, NULL)")
    async with inside(shared_postgresql.url) as program:
        assert await found(program, "indexed", "words", "matches", "fox") == [1]
        for value, message in [
            ("x" * 2047, "a word has at most 2046 bytes"),
            ("x " * 5001, "a search has at most 10000 characters"),
            ("a\0b", "PostgreSQL cannot store the character NUL"),
        ]:
            given = {"column": "words", "op": "matches", "value": value}
            error = await program.peer.error("query_indexed", {"filters": [given]})
            assert (error["code"], message in error["message"]) == ("invalid_value", True), error


async def test_only_what_sqlite_has_an_index_of_words_for_is_searched(shared_sqlite: Place) -> None:
    shared_sqlite.execute("CREATE TABLE unworded (id integer PRIMARY KEY, body text)")
    shared_sqlite.execute(
        'CREATE VIRTUAL TABLE "using fts5(" USING FTS5 (id UNINDEXED, "the body", [x] unindexed /* , y */, prefix=2)'
    )
    shared_sqlite.execute("CREATE VIRTUAL TABLE fts5 USING rtree(id, low, high)")
    shared_sqlite.execute("INSERT INTO \"using fts5(\" VALUES (1, 'red', 'fox')")
    plain = ["eq", "ne", "lt", "lte", "gt", "gte", "in", "not_in", "between", "is_null", "not_null"]
    textual = [*plain, "like", "ilike", "starts_with", "contains"]
    async with inside(shared_sqlite.url) as program:
        for table, expected in {
            "unworded": [plain, textual],
            "using fts5(": [textual, [*textual, "matches"], textual],
            "fts5": [plain, plain, plain],
        }.items():
            described = await program.peer.call("describe_table", {"table": table})
            assert [column["operators"] for column in described["columns"]] == expected, table
        given = {"column": "body", "op": "matches", "value": "red"}
        assert await program.peer.error("query_unworded", {"filters": [given]}) == {
            "code": "invalid_operator",
            "message": "operator 'matches' does not fit column 'body' of type TEXT",
            "hint": f"Operators for 'body': {', '.join(textual)}.",
            "retryable": False,
        }
        for words, message in [
            ("-red", "SQLite needs a word that is there besides those that are not"),
            ("!!", "there is no word in it to look for"),
            ("red or -fox", "SQLite needs a word that is there"),
        ]:
            asked = [{"column": "the body", "op": "matches", "value": words}]
            error = await program.peer.error("query_rows", {"table": "using fts5(", "filters": asked})
            assert (error["code"], message in error["message"]) == ("invalid_value", True), error
        asked = [{"column": "the body", "op": "matches", "value": "red -fox"}]
        rows = await program.peer.rows("query_rows", {"table": "using fts5(", "filters": asked, "columns": ["id"]})
        assert rows == [{"id": 1}]


async def test_a_hidden_column_is_neither_searched_nor_named(tmp_path: Path) -> None:
    path = tmp_path / "hidden.sqlite"
    execute(path, "CREATE VIRTUAL TABLE notes USING fts5(body, secret); INSERT INTO notes VALUES ('red', 'canary')")
    async with inside(str(path), database__hide_columns=["secret"]) as program:
        for column, words in [("body", "canary"), ("body", "secret : canary"), ("body", "{secret} : canary")]:
            given = {"column": column, "op": "matches", "value": words}
            assert await program.peer.rows("query_notes", {"filters": [given]}) == []
        given = {"column": "secret", "op": "matches", "value": "canary"}
        error = await program.peer.error("query_notes", {"filters": [given]})
        assert (error["code"], error["hint"]) == ("unknown_column", "Columns: body.")
        (schema,) = program.app.registry.current.schemas.values()
        assert "body" in as_json(schema)
        assert "secret" not in as_json(schema)
