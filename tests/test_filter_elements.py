"""Filters that look into a value: elements of arrays, parts of ranges, keys and places of JSON documents."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import Inside, inside

pytest_plugins = "tests.standing"


async def found(program: Inside, table: str, *filters: dict[str, Any]) -> list[int]:
    rows = await program.peer.rows(f"query_{table}", {"filters": list(filters), "columns": ["id"]})
    return [row["id"] for row in rows]


#: Type of the elements, the arrays of the rows, an element, several elements.
ARRAYS: dict[str, tuple[str, Sequence[Any], Any, Sequence[Any]]] = {
    "numbers": ("integer", ([1, 2, 3], [3], [], [None, 2], None), 3, (1, 2)),
    "bigs": ("bigint", (["9007199254740993", 1], [1], [], [None], None), "9007199254740993", (1, 5)),
    "exacts": ("numeric", (["1.10", "2"], ["2.0"], [], [None], None), 2, ("1.1", "7")),
    "words": ("text", (['a "b"', "c"], ["c,d", "{}"], [], ["NULL"], None), "NULL", ("c", "{}", 'a "b"')),
    "codes": ("varchar(5)", (["a", "b"], ["b"], [], ["c"], None), "b", ("a", "b")),
    "days": ("date", (["2024-02-29"], ["2024-02-29", "infinity"], [], [None], None), "infinity", ("2024-02-29",)),
    "flags": ("boolean", ([True], [False, True], [], [None], None), False, (True, False)),
    "blobs": ("bytea", (["AA=="], ["AA==", "/w=="], [], [None], None), "/w==", ("AA==",)),
    "keys": ("uuid", (["1" * 8 + "-0000-0000-0000-000000000000"], [], [], [None], None), None, ()),
    "moods": ("feather_moods", (["sad", "glad"], ["glad"], [], [None], None), "sad", ("glad", "sad")),
    "shorts": ("word5", (["a", "b"], ["b"], [], ["c"], None), "a", ("b", "c")),
    "documents": ("jsonb", ([{"a": 1}], [{"a": 1.0}, 2], [], None, None), {"a": 1}, (2, 3)),
}


def same(one: Any, other: Any) -> bool:
    """Equality of the element's type, for the values of these tests."""
    if isinstance(one, str) and isinstance(other, str) and one[:1].isdigit() and other[:1].isdigit():
        return one == other or (one.count("-") == 0 and float(one) == float(other))
    if isinstance(one, bool) or isinstance(other, bool) or type(one) in (dict, list):
        return bool(one == other)
    if isinstance(one, str) != isinstance(other, str) and None not in (one, other) and not isinstance(other, dict):
        return float(one) == float(other)
    return bool(one == other)


async def test_elements_of_arrays_are_found_whatever_their_type(shared_postgresql: Place) -> None:
    columns = ", ".join(f"{name} {type_}[]" for name, (type_, *_) in ARRAYS.items())
    shared_postgresql.execute("CREATE TYPE feather_moods AS ENUM ('sad', 'glad'); CREATE DOMAIN word5 AS varchar(5)")
    shared_postgresql.execute(f"CREATE TABLE lists (id integer PRIMARY KEY, {columns})")
    async with inside(shared_postgresql.url) as program:
        rows = [
            {"id": number} | {name: values[number] for name, (_, values, *_) in ARRAYS.items()} for number in range(5)
        ]
        await program.peer.rows("insert_lists", {"rows": rows})
        for name, (_, arrays, one, several) in ARRAYS.items():
            if one is not None:
                holding = [
                    number for number, array in enumerate(arrays) if any(same(one, element) for element in array or ())
                ]
                assert holding, name
                for given in ({"op": "has", "value": one}, {"op": "contains", "value": one}):
                    assert await found(program, "lists", {"column": name, **given}) == holding, (name, given)
            if several:
                held = [
                    [any(same(wanted, element) for element in array or ()) for wanted in several] for array in arrays
                ]
                for operator, every in {"has_any": any, "has_all": all, "contains": all}.items():
                    expected = [number for number, each in enumerate(held) if every(each)]
                    for member in ("value", "values"):
                        given = {"column": name, "op": operator, member: list(several)}
                        assert await found(program, "lists", given) == expected, given


ARRAY_REFUSALS = [
    (
        {"column": "numbers", "op": "has", "value": "x"},
        "an element of column 'numbers' of table 'inner' takes an integer (integer), got 'x'",
    ),
    (
        {"column": "numbers", "op": "has_all", "values": [1, "x"]},
        "an element of column 'numbers' of table 'inner' takes an integer (integer), got 'x'",
    ),
    (
        {"column": "numbers", "op": "has_any", "values": [None]},
        "'filters[0]': 'has_any' takes an array of values without null in 'values', got an array",
    ),
    ({"column": "numbers", "op": "has_any", "values": []}, "'filters[0]': 'has_any' takes at least one value"),
    ({"column": "numbers", "op": "has", "values": [1]}, "'filters[0]': 'has' takes 'value', not 'values'"),
    ({"column": "numbers", "op": "has"}, "'filters[0]': 'has' takes a value, got null"),
    (
        {"column": "texts", "op": "has_any", "value": 5},
        "'filters[0]': 'has_any' takes an array of values without null in 'values', got 5",
    ),
    (
        {"column": "points", "op": "has", "value": "(1,2)"},
        "operator 'has' does not fit column 'points' of type point[]",
    ),
    ({"column": "spelled", "op": "eq", "value": "{}"}, "operator 'eq' does not fit column 'spelled' of type json[]"),
]


async def test_what_no_element_can_be_is_refused_by_name(shared_postgresql: Place) -> None:
    shared_postgresql.execute(
        'CREATE TABLE "inner" (id integer PRIMARY KEY, numbers integer[], texts text[], points point[], spelled json[])'
    )
    async with inside(shared_postgresql.url) as program:
        for given, message in ARRAY_REFUSALS:
            error = await program.peer.error("query_inner", {"filters": [given]})
            assert error["message"] == message
            assert error["hint"]


RANGES: list[tuple[str, str, Any, list[int]]] = [
    ("span", "has", 5, [1, 2]),
    ("span", "has", "5", [1, 2]),
    ("span", "has", 1, [2, 4]),
    ("span", "contains", 5, [1, 2]),
    ("span", "has", 2**31 - 1, [2]),
    ("span", "contains", "[2,4)", [1, 2]),
    ("span", "contains", "empty", [1, 2, 3, 4]),
    ("span", "has_any", "[10,20]", [2]),
    ("span", "has_any", "(,2)", [2, 4]),
    ("span", "has_any", 9, [1, 2]),
    ("span", "eq", "[2,10)", [1]),
    ("spans", "has", 5, [1]),
    ("spans", "contains", "[5,6)", [1]),
    ("spans", "contains", "{[1,2),[5,6)}", [1]),
    ("spans", "has_any", "(,2]", [1, 4]),
    ("exact", "has", "1.5", [1]),
    ("exact", "has", 2.25, [1]),
    ("days", "has", "2024-02-29", [1, 2]),
    ("days", "has", "infinity", [2]),
    ("days", "contains", "[2024-02-01,2024-03-01)", [1, 2]),
    ("days", "has_any", "[2030-01-01,)", [2]),
    ("times", "has", "2024-02-29T10:00:00", [1]),
    ("moments", "has", "2024-02-29T10:00:00+02:00", [1]),
]


async def test_ranges_hold_elements_and_ranges_and_overlap(shared_postgresql: Place) -> None:
    shared_postgresql.execute(
        "CREATE TABLE ranged (id integer PRIMARY KEY, span int4range, spans int4multirange, exact numrange, "
        "days daterange, times tsrange, moments tstzrange)"
    )
    shared_postgresql.execute(
        """INSERT INTO ranged VALUES
        (1, '[2,10)', '{[1,3),[5,7)}', '(1,2.25]', '[2024-01-01,2025-01-01)','[2024-02-29 10:00,)', '(,2024-03-01]'),
        (2, '(,)', '{}', 'empty', '[2024-02-01,)', 'empty', 'empty'),
        (3, 'empty', '{[8,9)}', NULL, '(,2020-01-01)', NULL, NULL),
        (4, '[1,2)', '{(,0)}', NULL, NULL, NULL, NULL),
        (5, NULL, NULL, NULL, NULL, NULL, NULL)"""
    )
    async with inside(shared_postgresql.url) as program:
        for column, operator, value, expected in RANGES:
            assert await found(program, "ranged", {"column": column, "op": operator, "value": value}) == expected, (
                column,
                operator,
                value,
            )
        for column, value, message in [
            ("span", "x", "an element of column 'span' of table 'ranged' takes an integer (integer), got 'x'"),
            ("span", 2**31, "it must be between -2147483648 and 2147483647"),
            ("days", "now", "an element of column 'days' of table 'ranged' takes a date string (ISO 8601) (date), got"),
            ("span", "[2,", "malformed range literal"),
            ("span", "[9,2]", "range lower bound must be less than or equal to range upper bound"),
        ]:
            given = {"column": column, "op": "contains", "value": value}
            error = await program.peer.error("query_ranged", {"filters": [given]})
            assert (error["code"], message in error["message"]) == ("invalid_value", True), error


DOCUMENTS: list[Any] = [
    {"name": "Ada", "age": 36, "tags": ["x", "y"], "address": {"city": "Paris", "zip": "75001"}, "odd key.": True},
    {"name": "Bob", "age": 36.5, "tags": [], "address": None, "items": [{"n": 1}, {"n": 2, "m": [3, [4]]}]},
    ["x", 5, None, {"name": "Cy"}],
    "x",
    5,
    {"name": 'say "hi"', "age": "36", "tags": "x", "big": 9007199254740993, "exact": 0.1, "": {"": 1}},
    [],
    {"a": {"b": {"c": [1, 2, 3]}}, "flag": False, "nothing": None},
    None,
]
JSON_CASES: list[tuple[str, Any, list[int]]] = [
    ("has", "name", [0, 1, 5]),
    ("has", "x", [2, 3]),
    ("has", "", [5]),
    ("has", "odd key.", [0]),
    ("has_any", ["x", "age"], [0, 1, 2, 3, 5]),
    ("has_all", ["name", "tags", "address"], [0, 1]),
    ("has_all", ["x"], [2, 3]),
    ("contains", {"address": {"city": "Paris"}}, [0]),
    ("contains", '{"address": {"city": "Paris"}}', [0]),
    ("contains", {"tags": ["y"]}, [0]),
    ("contains", {"tags": []}, [0, 1]),
    ("contains", {"age": 36.0}, [0]),
    ("contains", {"age": "36"}, [5]),
    ("contains", {"big": 9007199254740993}, [5]),
    ("contains", '{"big": 9007199254740992}', []),
    ("contains", {}, [0, 1, 5, 7]),
    ("contains", [], [2, 6]),
    ("contains", [5], [2]),
    ("contains", 5, [2, 4]),
    ("contains", "x", [2, 3]),
    ("contains", [{"name": "Cy"}, None], [2]),
    ("contains", {"items": [{"m": [[4]]}]}, [1]),
    ("contains", {"nothing": None}, [7]),
    ("contains", {"flag": False}, [7]),
    ("contains", {"address": None}, [1]),
    ("path", '$.address.city == "Paris"', [0]),
    ("path", "address.city = 'Paris'", [0]),
    ("path", "$.address.city != 'Rome'", [0]),
    ("path", "$.address", [0, 1]),
    ("path", "$.address == null", [1]),
    ("path", "$.address != null", [0]),
    ("path", "$.age != null", [0, 1, 5]),
    ("path", "$.age >= 36", [0, 1]),
    ("path", "$.age > 36", [1]),
    ("path", "$.age < 36.50001", [0, 1]),
    ("path", '$.age == "36"', [5]),
    ("path", "$.age <> 36", [1]),
    ("path", "$.big == 9007199254740993", [5]),
    ("path", "$.big > 9007199254740992", [5]),
    ("path", "$.exact == 1e-1", [5]),
    ("path", '$.tags[*] == "y"', [0]),
    ("path", '$.tags == "y"', [0]),
    ("path", '$.tags[last] == "y"', [0]),
    ("path", '$.tags[0] == "x"', [0, 5]),
    ("path", "$.tags[0]", [0, 5]),
    ("path", "$.items[*].n > 1", [1]),
    ("path", "$.items.n == 1", [1]),
    ("path", "$.items[1].m == 3", [1]),
    ("path", "$.items[1].m == 4", [1]),
    ("path", '$."odd key." == true', [0]),
    ("path", "$['odd key.'] == true", [0]),
    ("path", "$.flag == false", [7]),
    ("path", "$.flag <= true", [7]),
    ("path", "a.b.c[2] == 3", [7]),
    ("path", " $ . a [ 'b' ] . c [ * ] < 2 ", [7]),
    ("path", '$[""][""] == 1', [5]),
    ("path", '$.name == "say \\"hi\\""', [5]),
    ("path", "$.name == 'say \"hi\"'", [5]),
    ("path", '$.name == "\\u0041da"', [0]),
    ("path", '$.name > "A"', [0, 1, 2, 5]),
    ("path", "$[1] == 5", [2]),
    ("path", '$.name == "Cy"', [2]),
    ("path", "$ == 5", [2, 4]),
    ("path", "$[3].name", [2]),
    ("path", "$", [0, 1, 2, 3, 4, 5, 6, 7]),
    ("path", "$[*]", [0, 1, 2, 3, 4, 5, 7]),
    ("path", "$.nothing <= null", [7]),
    ("path", "$.missing == null", []),
    ("path", "$[999999999]", []),
]


@pytest.mark.parametrize("type_", ["json", "jsonb"])
async def test_documents_are_looked_into_alike_on_both_products(shared: Place, type_: str) -> None:
    shared.execute(f"CREATE TABLE papers_{type_} (id integer PRIMARY KEY, body {type_})")
    async with inside(shared.url) as program:
        rows = [{"id": number, "body": document} for number, document in enumerate(DOCUMENTS)]
        await program.peer.rows(f"insert_papers_{type_}", {"rows": rows})
        for operator, value, expected in JSON_CASES:
            given = {
                "column": "body",
                "op": operator,
                ("values" if operator[3:] in ("_any", "_all") else "value"): value,
            }
            assert await found(program, f"papers_{type_}", given) == expected, given


JSON_REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"op": "has", "value": 5}, "'has' takes keys of an object, or texts of an array, as strings, got 5"),
    (
        {"op": "has_all", "values": ["a", 1]},
        "'has_all' takes keys of an object, or texts of an array, as strings, got 1",
    ),
    ({"op": "path", "value": 5}, "'path' takes a path in the document and a comparison, got 5: it is no string"),
    ({"op": "path", "value": ""}, "got '': expected '$' or a name at its end"),
    ({"op": "path", "value": "$.a = Paris"}, "expected a number, true, false, null or text in quotation marks"),
    ({"op": "path", "value": "$.a == 1 || true"}, "expected nothing more at '|| true'"),
    ({"op": "path", "value": "$.a ? (@ > 1)"}, "expected a step of the path or a comparison (==, !=, <, <=, >, >=) at"),
    ({"op": "path", "value": "$..a"}, "expected a name, or any text in double quotes, at '.a'"),
    ({"op": "path", "value": "$[-1]"}, "expected [0], [last], [*] or a quoted name at '[-1]'"),
    ({"op": "path", "value": '$.a == "\\x41"'}, "has an escape that JSON does not know"),
    ({"op": "path", "value": "$" + ".a" * 101}, "its path has more than 100 steps"),
    ({"op": "path", "value": "$." + "a" * 10_000}, "it has more than 10000 characters"),
    ({"op": "path", "value": "$.a == 1e1000"}, "expected a number, true, false, null or text"),
]


async def test_what_no_test_of_a_document_is_is_refused_by_name(shared: Place) -> None:
    shared.execute("CREATE TABLE sheets (id integer PRIMARY KEY, body json)")
    async with inside(shared.url) as program:
        for given, message in JSON_REFUSALS:
            error = await program.peer.error("query_sheets", {"filters": [{"column": "body", **given}]})
            assert error["code"] == "invalid_value"
            assert error["message"].startswith("column 'body' of table 'sheets'")
            assert message in error["message"], error
            assert error["hint"]
        deep = json.loads("[" * 101 + "]" * 101)
        error = await program.peer.error(
            "query_sheets", {"filters": [{"column": "body", "op": "contains", "value": deep}]}
        )
        assert error["message"] == "column 'body' of table 'sheets': the value has arrays or objects more than 100 deep"
        fits: dict[str, Any] = {"column": "body", "op": "contains", "value": deep[0]}
        assert await found(program, "sheets", fits) == []


async def test_text_in_a_json_column_that_is_no_document_passes_no_test(shared_sqlite: Place) -> None:
    shared_sqlite.execute("CREATE TABLE scraps (id integer PRIMARY KEY, body json)")
    shared_sqlite.execute(
        """INSERT INTO scraps VALUES (1, '{bad'), (2, x'7b7d'), (3, CAST(x'22ff22' AS TEXT)), (4, '{"a": NaN}'), (5, 7),
        (6, 1.5), (7, '{"a": 1, "a": 2}'), (8, '1e999999999999999999999'), (9, NULL)"""
    )
    shared_sqlite.execute(f"INSERT INTO scraps VALUES (10, '{'[' * 5000}{']' * 5000}')")
    async with inside(shared_sqlite.url) as program:
        for value, expected in [("$", [5, 6, 7]), ("$ == 1.5", [6]), ("$.a == 2", [7]), ("$.a == 1", [])]:
            assert await found(program, "scraps", {"column": "body", "op": "path", "value": value}) == expected
        assert await found(program, "scraps", {"column": "body", "op": "contains", "value": 7}) == [5]
        assert await found(program, "scraps", {"column": "body", "op": "has", "value": "a"}) == [7]
