"""`query_<table>` and `query_rows`: columns, where, order, limits of rows and bytes, and refusals of wrong calls."""

import json
from typing import Any

import pytest

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

PETS: list[dict[str, Any]] = [
    {"id": 1, "name": "Tom", "kind": "cat", "age": 9, "weight": 4.5, "tame": True},
    {"id": 2, "name": "Rex", "kind": "dog", "age": 3, "weight": 21.0, "tame": True},
    {"id": 3, "name": "Ada", "kind": "cat", "age": None, "weight": None, "tame": None},
    {"id": 4, "name": "Bo", "kind": "dog", "age": 3, "weight": 8.25, "tame": False},
    {"id": 5, "name": 'Zoë\'s "%"', "kind": None, "age": 12, "weight": 0.5, "tame": False},
]


def literal(value: Any) -> str:
    """A plain value as SQL, the same on both products."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return (
        {None: "NULL", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


@pytest.fixture(scope="module")
@made_once
def pets(shared: Place) -> Place:
    shared.execute(
        "CREATE TABLE pets (id integer PRIMARY KEY, name varchar(40) NOT NULL, kind text, age integer, "
        "weight double precision, tame boolean)"
    )
    rows = ", ".join(f"({', '.join(literal(value) for value in pet.values())})" for pet in PETS)
    shared.execute(f"INSERT INTO pets VALUES {rows}")
    return shared


async def test_a_query_without_arguments_answers_with_everything_in_the_order_of_the_key(pets: Place) -> None:
    async with inside(pets.url) as program:
        answer = await program.peer.call("query_pets")
        version = answer.pop("schema_version")
        assert answer == {"table": "pets", "rows": PETS, "row_count": 5, "truncated": False, "next_cursor": None}
        assert version == program.app.registry.current.generation
        assert list(answer["rows"][0]) == list(PETS[0])


async def test_columns_are_answered_in_the_order_asked(pets: Place) -> None:
    async with inside(pets.url) as program:
        rows = await program.peer.rows("query_pets", {"columns": ["name", "id"], "limit": 2})
        assert [list(row.items()) for row in rows] == [[("name", "Tom"), ("id", 1)], [("name", "Rex"), ("id", 2)]]


CHOSEN: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [1, 2, 3, 4, 5]),
    ({"where": {}}, [1, 2, 3, 4, 5]),
    ({"filters": []}, [1, 2, 3, 4, 5]),
    (
        {"where": None, "filters": None, "columns": None, "order_by": None, "limit": None, "cursor": None},
        [1, 2, 3, 4, 5],
    ),
    ({"where": {"kind": "cat"}}, [1, 3]),
    ({"where": {"kind": "cat", "age": 9}}, [1]),
    ({"where": {"kind": "cat", "age": 3}}, []),
    ({"where": {"age": None}}, [3]),
    ({"where": {"age": None, "tame": None, "kind": "cat"}}, [3]),
    ({"where": {"age": "3"}}, [2, 4]),
    ({"where": {"age": 3.0}}, [2, 4]),
    ({"where": {"weight": "8.25"}}, [4]),
    ({"where": {"weight": 21}}, [2]),
    ({"where": {"tame": "true"}}, [1, 2]),
    ({"where": {"tame": False}}, [4, 5]),
    ({"where": {"name": 'Zoë\'s "%"'}}, [5]),
    ({"where": {"name": "tom"}}, []),
    ({"where": {"kind": "dog"}, "filters": [{"column": "weight", "op": "gt", "value": 10}]}, [2]),
    (
        {"filters": [{"column": "age", "op": "gte", "value": "3"}, {"column": "age", "op": "lt", "value": 12}]},
        [1, 2, 4],
    ),
    ({"order_by": []}, [1, 2, 3, 4, 5]),
    ({"order_by": ["id desc"]}, [5, 4, 3, 2, 1]),
    ({"order_by": ["name"], "where": {"kind": "cat"}}, [3, 1]),
    ({"order_by": ["age nulls first"]}, [3, 2, 4, 1, 5]),
    ({"order_by": ["age ASC NULLS LAST"]}, [2, 4, 1, 5, 3]),
    ({"order_by": ["age desc nulls first"]}, [3, 5, 1, 4, 2]),
    ({"order_by": ["age desc nulls last", "id"]}, [5, 1, 2, 4, 3]),
    ({"order_by": ["  age\tDesc  nulls\n last "]}, [5, 1, 4, 2, 3]),
    ({"order_by": ["kind desc nulls last", "age asc nulls last"]}, [2, 4, 1, 3, 5]),
    ({"order_by": ["tame nulls first", "weight desc"]}, [3, 4, 5, 2, 1]),
]


async def test_rows_are_chosen_and_ordered_as_asked_by_both_tools(pets: Place) -> None:
    async with inside(pets.url) as program:
        for arguments, expected in CHOSEN:
            rows = await program.peer.rows("query_pets", arguments)
            assert [row["id"] for row in rows] == expected, arguments
            assert rows == [PETS[number - 1] for number in expected]
            assert await program.peer.rows("query_rows", {"table": "pets", **arguments}) == rows


async def test_nulls_stand_where_the_database_puts_them_if_the_order_does_not_say(pets: Place) -> None:
    async with inside(pets.url) as program:
        up = [row["id"] for row in await program.peer.rows("query_pets", {"order_by": ["age"]})]
        down = [row["id"] for row in await program.peer.rows("query_pets", {"order_by": ["age desc"]})]
        assert (up, down) == {
            "postgresql": ([2, 4, 1, 5, 3], [3, 5, 1, 4, 2]),
            "sqlite": ([3, 2, 4, 1, 5], [5, 1, 4, 2, 3]),
        }[pets.product]


async def test_in_an_order_the_longest_name_that_exists_wins(shared: Place) -> None:
    shared.execute('CREATE TABLE words (id integer PRIMARY KEY, x integer, "x desc" integer, "y nulls last" integer)')
    shared.execute("INSERT INTO words VALUES (1, 1, 30, 2), (2, 2, 10, NULL), (3, 3, 20, 1)")
    async with inside(shared.url) as program:
        for order, expected in {
            "x": [1, 2, 3],
            "x asc": [1, 2, 3],
            "x desc": [2, 3, 1],
            "x desc desc": [1, 3, 2],
            "x DESC": [3, 2, 1],
            "y nulls last nulls first": [2, 3, 1],
            "y nulls last desc nulls last": [1, 3, 2],
        }.items():
            rows = await program.peer.rows("query_words", {"order_by": [order], "columns": ["id"]})
            assert [row["id"] for row in rows] == expected, order
        error = await program.peer.error("query_words", {"order_by": ["x sideways"]})
        assert error == {
            "code": "unknown_column",
            "message": "table 'words' has no column 'x sideways'.",
            "hint": "Columns: id, x, x_desc_8b0c9450, y_nulls_last_d24abbae.",
            "retryable": False,
        }


async def test_truncated_is_exact(pets: Place) -> None:
    async with inside(pets.url, results__default_limit=3, results__max_rows=5) as program:
        cases: list[tuple[dict[str, Any], int, bool]] = [
            ({}, 3, True),
            ({"limit": 4}, 4, True),
            ({"limit": 4.0}, 4, True),
            ({"limit": 5}, 5, False),
            ({"limit": 2, "where": {"kind": "cat"}}, 2, False),
            ({"limit": 1, "where": {"kind": "cat"}}, 1, True),
            ({"limit": 1, "where": {"kind": "cow"}}, 0, False),
        ]
        for arguments, count, truncated in cases:
            answer = await program.peer.call("query_pets", arguments)
            assert (answer["row_count"], answer["truncated"]) == (count, truncated), arguments
            assert len(answer["rows"]) == count
            assert (answer["next_cursor"] is not None) == truncated


async def test_a_limit_above_a_batch_is_exact_too(shared: Place) -> None:
    shared.execute("CREATE TABLE many (id integer PRIMARY KEY)")
    numbers = ", ".join(f"({number})" for number in range(1201))
    shared.execute(f"INSERT INTO many VALUES {numbers}")
    async with inside(shared.url) as program:
        for limit, truncated in [(499, True), (500, True), (501, True), (1200, True), (1201, False), (1202, False)]:
            answer = await program.peer.call("query_many", {"limit": limit})
            assert answer["rows"] == [{"id": number} for number in range(min(limit, 1201))]
            assert answer["truncated"] == truncated, limit


async def test_an_order_of_blanks_is_refused_at_once(pets: Place) -> None:
    async with inside(pets.url) as program:
        for order in ("age" + " " * 100_000 + "down", " nulls" * 50_000, "age desc" * 50_000):
            error = await program.peer.error("query_pets", {"order_by": [order]})
            assert error["code"] == "unknown_column"
            error = await program.peer.error("query_pets", {"aggregate": ["count"], "order_by": [order]})
            assert error["code"] == "invalid_argument"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"colunms": ["id"]}, "unknown_argument", "unknown argument 'colunms'. Did you mean 'columns'?"),
    ({"WHERE": {}}, "unknown_argument", "unknown argument 'WHERE'. Did you mean 'where'?"),
    ({"table": "pets"}, "unknown_argument", "unknown argument 'table'."),
    ({"columns": "id"}, "invalid_argument", "'columns' takes an array, got 'id'"),
    ({"columns": []}, "invalid_argument", "'columns' takes at least one column"),
    ({"columns": [1]}, "invalid_argument", "'columns' takes column names as strings"),
    ({"columns": ["id", "id"]}, "invalid_argument", "'columns' names a column twice"),
    ({"columns": ["nmae"]}, "unknown_column", "table 'pets' has no column 'nmae'. Did you mean 'name'?"),
    ({"columns": ["NAME"]}, "unknown_column", "table 'pets' has no column 'NAME'. Did you mean 'name'?"),
    ({"columns": ["*"]}, "unknown_column", "table 'pets' has no column '*'."),
    ({"where": []}, "invalid_argument", "'where' takes an object, got an array"),
    ({"where": "kind = 'cat'"}, "invalid_argument", "'where' takes an object, got \"kind = 'cat'\""),
    ({"where": {"agee": 1}}, "unknown_column", "table 'pets' has no column 'agee'. Did you mean 'age'?"),
    (
        {"where": {"age": "x"}},
        "invalid_value",
        "column 'age' of table 'pets' takes an integer (integer), got 'x'",
    ),
    (
        {"where": {"age": [1]}},
        "invalid_value",
        "column 'age' of table 'pets' takes an integer (integer), got an array",
    ),
    ({"filters": {}}, "invalid_argument", "'filters' takes an array, got an object"),
    ({"filters": ["age > 3"]}, "invalid_argument", "'filters[0]' takes an object, got 'age > 3'"),
    ({"order_by": "age"}, "invalid_argument", "'order_by' takes an array, got 'age'"),
    ({"order_by": [5]}, "invalid_argument", "'order_by[0]' takes a string, got 5"),
    ({"order_by": [" "]}, "invalid_argument", "'order_by[0]' takes a string, got ' '"),
    ({"order_by": ["age", "age desc"]}, "invalid_argument", "'order_by' names column 'age' twice"),
    ({"order_by": ["agee desc"]}, "unknown_column", "table 'pets' has no column 'agee'. Did you mean 'age'?"),
    ({"order_by": ["age; DROP TABLE pets"]}, "unknown_column", "table 'pets' has no column 'age; DROP TABLE pets'."),
    ({"limit": 0}, "invalid_argument", "'limit' takes an integer from 1 to 10000, got 0"),
    ({"limit": -1}, "invalid_argument", "'limit' takes an integer from 1 to 10000, got -1"),
    ({"limit": 10001}, "invalid_argument", "'limit' takes an integer from 1 to 10000, got 10001"),
    ({"limit": 10**30}, "invalid_argument", f"'limit' takes an integer from 1 to 10000, got {10**30}"),
    ({"limit": 1.5}, "invalid_argument", "'limit' takes an integer, got 1.5"),
    ({"limit": True}, "invalid_argument", "'limit' takes an integer, got true"),
    ({"limit": "5"}, "invalid_argument", "'limit' takes an integer, got '5'"),
    ({"cursor": 5}, "invalid_argument", "'cursor' takes a string, got 5"),
    ({"cursor": ""}, "invalid_cursor", "'cursor' is not one that this server made"),
]


async def test_a_call_that_does_not_fit_is_refused_by_name(pets: Place) -> None:
    async with inside(pets.url) as program:
        for arguments, code, message in WRONG:
            error = await program.peer.error("query_pets", arguments)
            assert (error["code"], error["message"].replace("INTEGER", "integer")) == (code, message), arguments
            assert error["hint"]
        assert (await program.peer.error("query_pets", {"where": {"nmae": "Tom"}})) == {
            "code": "unknown_column",
            "message": "table 'pets' has no column 'nmae'. Did you mean 'name'?",
            "hint": "Columns: id, name, kind, age, weight, tame.",
            "retryable": False,
        }


async def test_the_tool_for_every_table_names_what_is_wrong_with_table(pets: Place) -> None:
    async with inside(pets.url, database__include=["pets"]) as program:
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({}, "missing_argument", "'table' takes a table's name as a string"),
            ({"table": 5}, "missing_argument", "'table' takes a table's name as a string"),
            ({"table": "petz"}, "unknown_table", "there is no table 'petz'. Did you mean 'pets'?"),
            ({"table": "pets; --"}, "unknown_table", "there is no table 'pets; --'. Did you mean 'pets'?"),
        ]
        for arguments, code, message in cases:
            error = await program.peer.error("query_rows", arguments)
            assert (error["code"], error["message"]) == (code, message), arguments


async def test_the_byte_cap_ends_a_page_and_the_cursor_goes_on(shared: Place) -> None:
    shared.execute("CREATE TABLE notes (id integer PRIMARY KEY, body text NOT NULL)")
    bodies = ["a" * 400, "b" * 400, "c" * 400, "d" * 5000, "e" * 980, "f"]
    rows = ", ".join(f"({number}, '{body}')" for number, body in enumerate(bodies))
    shared.execute(f"INSERT INTO notes VALUES {rows}")
    async with inside(shared.url, results__max_bytes=1000) as program:
        pages = [await program.peer.call("query_notes")]
        while cursor := pages[-1]["next_cursor"]:
            pages.append(await program.peer.call("query_notes", {"cursor": cursor}))
        assert [[row["id"] for row in page["rows"]] for page in pages] == [[0, 1], [2], [3], [4], [5]]
        assert [page["truncated"] for page in pages] == [True, True, True, True, False]
        assert [page.get("cut_columns") for page in pages] == [None, None, ["body"], None, None]
        assert all(len(json.dumps(page["rows"], separators=(",", ":"))) <= 1002 for page in pages)
        cut = pages[2]["rows"][0].pop("body")
        assert bodies[3].startswith(cut)
        assert len(cut) >= 100
        whole = [row["body"] for page in pages for row in page["rows"] if "body" in row]
        assert whole == [body for body in bodies if body != bodies[3]]


async def test_a_relation_without_a_key_says_why_it_gives_no_cursor(pets: Place) -> None:
    pets.execute("CREATE VIEW cats AS SELECT name, age FROM pets WHERE kind = 'cat'")
    async with inside(pets.url) as program:
        answer = await program.peer.call("query_cats", {"limit": 1, "order_by": ["name"]})
        del answer["schema_version"]
        assert answer == {
            "table": "cats",
            "rows": [{"name": "Ada", "age": None}],
            "row_count": 1,
            "truncated": True,
            "next_cursor": None,
            "hint": "More rows match, but nothing tells the rows of this relation apart, so there is no cursor: "
            "narrow the filters or raise 'limit'.",
        }
        whole = await program.peer.call("query_cats", {"limit": 2})
        assert (whole["row_count"], whole["truncated"], "hint" in whole) == (2, False, False)
