"""Filters: every operator on every family of types, refusals of those that do not fit, and values that attack."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from schema_mcp.caller import Caller
from tests.conftest import Place, made_once
from tests.peers import Inside, inside

pytest_plugins = "tests.standing"

#: Per column its declared type and three values in ascending order, in the form in which they are answered.
ORDERED: dict[str, tuple[str, Sequence[Any]]] = {
    "small": ("smallint", (-1, 0, 7)),
    "big": ("bigint", ("-9223372036854775808", 5, "9007199254740993")),
    "exact": ("numeric", ("-0.5", "1.25", "100")),
    "rough": ("double precision", (-1.5, 0.25, 1e300)),
    "word": ("text", ("apple", "banana", "cherry")),
    "bytes": ("bytea", ("AA==", "Af8=", "/w==")),
    "day": ("date", ("2024-02-29", "2024-03-01", "2025-01-01")),
    "moment": ("timestamp", ("2024-02-29T10:00:00", "2024-02-29T10:00:00.000001", "2024-03-01T00:00:00")),
}
#: What only PostgreSQL has.
ORDERED_POSTGRESQL: dict[str, tuple[str, Sequence[Any]]] = {
    "hour": ("time", ("00:00:00", "12:30:00.5", "24:00:00")),
    "zoned": ("timestamptz", ("2024-02-29T10:00:00+00:00", "2024-02-29T10:00:01+00:00", "infinity")),
    "key": ("uuid", tuple(f"{digit * 8}-0000-0000-0000-000000000000" for digit in "1ab")),
    "mood": ("humour", ("sad", "'\"; ok", "glad")),
    "list": ("bigint[]", ([1, 2, 3], [1, None], ["2", "9007199254740993"])),
    "span": ("interval", ("-1 days", "00:00:01", "1 year")),
    "address": ("inet", ("10.0.0.1/8", "10.0.0.2/32", "2001:db8::1/128")),
    "single": ("real", ("-Infinity", 0.1, "NaN")),
}
COMPARISONS: list[tuple[str, Sequence[int], list[int]]] = [
    ("eq", (1,), [2]),
    ("ne", (1,), [1, 3]),
    ("lt", (1,), [1]),
    ("lte", (1,), [1, 2]),
    ("gt", (1,), [3]),
    ("gte", (1,), [2, 3]),
    ("in", (0, 2), [1, 3]),
    ("in", (1,), [2]),
    ("not_in", (0, 2), [2]),
    ("between", (1, 2), [2, 3]),
    ("between", (2, 0), []),
    ("is_null", (), [4]),
    ("not_null", (), [1, 2, 3]),
]
SETS = ("in", "not_in", "between")
PATTERNS = ("like", "ilike", "starts_with", "contains")


@pytest.fixture(scope="module")
@made_once
def families(shared: Place) -> Place:
    """A table with a column a family and one for flags and documents; `id` is the place in the order."""
    columns = dict(ORDERED)
    if shared.product == "postgresql":
        shared.execute("CREATE TYPE humour AS ENUM ('sad', '''\"; ok', 'glad')")
        columns |= ORDERED_POSTGRESQL
    declared = ", ".join(f'"{name}" {type_}' for name, (type_, _) in columns.items())
    if shared.product == "sqlite":
        declared = declared.replace("bytea", "blob")
    shared.execute(f"CREATE TABLE families (id integer PRIMARY KEY, {declared}, flag boolean, document json)")
    return shared


async def filled(program: Inside, place: Place) -> dict[str, tuple[str, Sequence[Any]]]:
    """The columns of `families`, in which there are rows from now on."""
    columns = ORDERED | (ORDERED_POSTGRESQL if place.product == "postgresql" else {})
    if not await program.peer.rows("query_families", {"limit": 1}):
        rows = [
            {"id": number + 1, "flag": (True, False, True)[number], "document": {"n": number}}
            | {name: values[number] for name, (_, values) in columns.items()}
            for number in range(3)
        ]
        await program.peer.rows("insert_families", {"rows": [*rows, {"id": 4}]})
    return columns


def condition(column: str, operator: str, values: Sequence[Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"column": column, "op": operator}
    if operator in SETS:
        return given | {"values": list(values)}
    return given | ({"value": values[0]} if values else {})


async def test_every_comparison_fits_every_family_that_has_an_order(families: Place) -> None:
    async with inside(families.url) as program:
        for name, (_, values) in (await filled(program, families)).items():
            for operator, chosen, expected in COMPARISONS:
                given = condition(name, operator, [values[index] for index in chosen])
                rows = await program.peer.rows("query_families", {"filters": [given], "columns": ["id", name]})
                assert rows == [{"id": number, name: [*values, None][number - 1]} for number in expected], given


async def test_a_set_may_stand_in_value_and_numbers_may_be_strings(families: Place) -> None:
    async with inside(families.url) as program:
        await filled(program, families)
        for given, expected in [
            ({"column": "small", "op": "in", "value": [0, "7"]}, [2, 3]),
            ({"column": "small", "op": "between", "value": ["-1", 0]}, [1, 2]),
            ({"column": "exact", "op": "eq", "value": 1.25}, [2]),
            ({"column": "exact", "op": "eq", "value": "1.2500"}, [2]),
            ({"column": "exact", "op": "in", "value": [100, "1e2", -0.5]}, [1, 3]),
            ({"column": "rough", "op": "lt", "value": "0.5"}, [1, 2]),
            ({"column": "small", "op": "eq", "value": 7, "values": None}, [3]),
            ({"column": "word", "op": "in", "values": [f"no {number}" for number in range(2000)] + ["apple"]}, [1]),
            ({"column": "flag", "op": "eq", "value": "true"}, [1, 3]),
            ({"column": "flag", "op": "ne", "value": True}, [2]),
            ({"column": "flag", "op": "in", "values": ["true", "false"]}, [1, 2, 3]),
            ({"column": "flag", "op": "is_null"}, [4]),
            ({"column": "document", "op": "is_null", "value": None}, [4]),
            ({"column": "document", "op": "not_null"}, [1, 2, 3]),
        ]:
            rows = await program.peer.rows("query_families", {"filters": [given], "columns": ["id"]})
            assert [row["id"] for row in rows] == expected, given


async def test_what_no_operator_of_a_family_is_refused_with_those_that_are(families: Place) -> None:
    async with inside(families.url) as program:
        columns = await filled(program, families)
        described = await program.peer.call("describe_table", {"table": "families"})
        fitting = {column["name"]: column["operators"] for column in described["columns"]}
        plain = ["eq", "ne", "lt", "lte", "gt", "gte", *SETS, "is_null", "not_null"]
        textual = {"word", "mood", "span", "address"}
        words = ["matches"] if families.product == "postgresql" else []
        elements = ["has", "has_any", "has_all"]
        assert fitting == {
            "id": plain,
            **{name: [*plain, *PATTERNS] if name in textual else plain for name in columns},
            "word": [*plain, *PATTERNS, *words],
            "flag": ["eq", "ne", "in", "not_in", "is_null", "not_null"],
            "document": ["is_null", "not_null", "contains", *elements, "path"],
            **({"list": [*plain, "contains", *elements]} if families.product == "postgresql" else {}),
        }
        for column in described["columns"]:
            for operator in {*plain, *PATTERNS, *elements, "matches", "path"} - set(column["operators"]):
                given = condition(column["name"], operator, ["1", "2"])
                error = await program.peer.error("query_families", {"filters": [given]})
                assert error == {
                    "code": "invalid_operator",
                    "message": f"operator '{operator}' does not fit column '{column['name']}' of type {column['type']}",
                    "hint": f"Operators for '{column['name']}': {', '.join(column['operators'])}.",
                    "retryable": False,
                }
        for name in textual & set(columns):
            everything = {"column": name, "op": "like", "value": "%"}
            assert len(await program.peer.rows("query_families", {"filters": [everything]})) == 3
        error = await program.peer.error("query_families", {"where": {"document": {"n": 1}}})
        assert error["code"] == "invalid_operator"


TEXTS = ["Straw", "straw", "50% off", "500 off", "a_b", "axb", "[x]", "x", "back\\slash", "*?", "", "line\nbreak", None]
PATTERN_CASES = [
    ("like", "S%", ["Straw"]),
    ("like", "straw", ["straw"]),
    ("like", "_traw", ["Straw", "straw"]),
    ("like", "50\\% off", ["50% off"]),
    ("like", "50% off", ["50% off", "500 off"]),
    ("like", "a\\_b", ["a_b"]),
    ("like", "a_b", ["a_b", "axb"]),
    ("like", "[x]", ["[x]"]),
    ("like", "*?", ["*?"]),
    ("like", "back\\\\%", ["back\\slash"]),
    ("like", "", [""]),
    ("like", "line%break", ["line\nbreak"]),
    ("like", "%", [text for text in TEXTS if text is not None]),
    ("ilike", "STRAW", ["Straw", "straw"]),
    ("ilike", "A\\_B", ["a_b"]),
    ("ilike", "%OFF", ["50% off", "500 off"]),
    ("starts_with", "50%", ["50% off"]),
    ("starts_with", "S", ["Straw"]),
    ("starts_with", "[", ["[x]"]),
    ("starts_with", "*", ["*?"]),
    ("starts_with", "back\\", ["back\\slash"]),
    ("contains", "_", ["a_b"]),
    ("contains", "x", ["axb", "[x]", "x"]),
    ("contains", "\n", ["line\nbreak"]),
    ("contains", "%s", []),
]


async def test_patterns_match_text_alike_on_both_products(shared: Place) -> None:
    shared.execute("CREATE TABLE patterns (id integer PRIMARY KEY, body text)")
    async with inside(shared.url) as program:
        rows = [{"id": number, "body": text} for number, text in enumerate(TEXTS)]
        await program.peer.rows("insert_patterns", {"rows": rows})
        for operator, pattern, expected in PATTERN_CASES:
            given = {"column": "body", "op": operator, "value": pattern}
            found = await program.peer.rows("query_patterns", {"filters": [given], "columns": ["body"]})
            assert [row["body"] for row in found] == expected, given
        refused: list[tuple[dict[str, Any], str]] = [
            ({"op": "like", "value": 5}, "got 5: 'like' takes a string"),
            ({"op": "contains", "value": "\ud800"}, "it holds a lone surrogate, which is no Unicode text"),
            ({"op": "like", "value": "a\\"}, ""),
        ]
        for given, message in refused:
            error = await program.peer.error("query_patterns", {"filters": [{"column": "body", **given}]})
            assert error["code"] == "invalid_value"
            assert message in error["message"]


async def test_a_column_that_disregards_case_is_still_matched_by_case(shared_postgresql: Place) -> None:
    if shared_postgresql.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'") == "0":
        pytest.skip("this server has no citext")
    shared_postgresql.execute("CREATE EXTENSION citext; CREATE TABLE folded (id int PRIMARY KEY, body citext)")
    async with inside(shared_postgresql.url) as program:
        await program.peer.rows("insert_folded", {"rows": [{"id": 1, "body": "Tom"}, {"id": 2, "body": "tim"}]})
        for operator, value, expected in [
            ("eq", "TOM", [1]),
            ("like", "t%", [2]),
            ("starts_with", "T", [1]),
            ("contains", "O", []),
            ("ilike", "t%", [1, 2]),
        ]:
            given = {"column": "body", "op": operator, "value": value}
            rows = await program.peer.rows("query_folded", {"filters": [given]})
            assert [row["id"] for row in rows] == expected, given


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "invalid_argument", "'filters[0].column' takes column names as strings"),
    ({"column": 1, "op": "eq", "value": 1}, "invalid_argument", "'filters[0].column' takes column names as strings"),
    ({"column": "smal", "op": "eq"}, "unknown_column", "no column 'smal'. Did you mean 'small'?"),
    ({"column": "small"}, "invalid_operator", "'filters[0].op' takes an operator, got null."),
    ({"column": "small", "op": "="}, "invalid_operator", "'filters[0].op' takes an operator, got '='."),
    ({"column": "small", "op": "betwen"}, "invalid_operator", "got 'betwen'. Did you mean 'between'?"),
    ({"column": "small", "op": ["eq"]}, "invalid_operator", "'filters[0].op' takes an operator, got an array."),
    ({"column": "small", "op": "eq", "vlaue": 1}, "unknown_argument", "'vlaue' in 'filters[0]'. Did you mean 'value'?"),
    ({"column": "small", "op": "eq"}, "invalid_argument", "'filters[0]': 'eq' takes a value, got null"),
    ({"column": "small", "op": "gt", "value": None}, "invalid_argument", "'gt' takes a value, got null"),
    ({"column": "small", "op": "eq", "values": [1]}, "invalid_argument", "'eq' takes 'value', not 'values'"),
    ({"column": "small", "op": "is_null", "value": 1}, "invalid_argument", "'is_null' takes no value"),
    ({"column": "small", "op": "not_null", "values": []}, "invalid_argument", "'not_null' takes no value"),
    ({"column": "small", "op": "in"}, "invalid_argument", "'in' takes an array of values without null"),
    ({"column": "small", "op": "in", "values": 1}, "invalid_argument", "'in' takes an array of values without null"),
    ({"column": "small", "op": "in", "values": []}, "invalid_argument", "'in' takes at least one value"),
    ({"column": "small", "op": "not_in", "values": [1, None]}, "invalid_argument", "array of values without null"),
    ({"column": "small", "op": "in", "value": [1], "values": [2]}, "invalid_argument", "both 'value' and 'values'"),
    ({"column": "small", "op": "in", "values": [0] * 10_001}, "invalid_argument", "more than 10000 values"),
    ({"column": "small", "op": "between", "values": [1]}, "invalid_argument", "'between' takes two values, got 1"),
    ({"column": "small", "op": "between", "values": [1, 2, 3]}, "invalid_argument", "takes two values, got 3"),
    ({"column": "small", "op": "in", "values": [1, "x"]}, "invalid_value", "column 'small' of table 'families' takes"),
]


async def test_a_filter_that_does_not_fit_is_refused_by_name(families: Place) -> None:
    async with inside(families.url) as program:
        await filled(program, families)
        for given, code, message in WRONG:
            error = await program.peer.error("query_families", {"filters": [given]})
            assert error["code"] == code, (given, error)
            assert message in error["message"]
            assert error["hint"]
        hundred = [{"column": "small", "op": "not_null"}] * 100
        assert len(await program.peer.rows("query_families", {"filters": hundred})) == 3
        error = await program.peer.error("query_families", {"filters": hundred, "where": {"id": 1}})
        assert (error["code"], error["message"]) == ("invalid_argument", "more than 100 conditions")


HOSTILE_TEXTS = [
    "'; DROP TABLE attacked; --",
    '"',
    "''",
    "%s",
    "%(x)s",
    ":x",
    "$1",
    "?",
    "\\",
    "\\'",
    "{}",
    "NULL",
    " ",
]
HOSTILE_TEXTS += ["E'\\x27'", "\r\n\t", "\u2028", "\U0001f600", "e\u0301", "\ufeff", "/*", "a" * 100_000]


async def test_hostile_text_is_stored_and_found_exactly(shared: Place) -> None:
    shared.execute("CREATE TABLE attacked (id integer PRIMARY KEY, body text)")
    async with inside(shared.url) as program:
        rows = [{"id": number, "body": text} for number, text in enumerate(HOSTILE_TEXTS)]
        await program.peer.rows("insert_attacked", {"rows": rows})
        assert await program.peer.rows("query_attacked") == rows
        for row in rows:
            for given in ({"op": "eq", "value": row["body"]}, {"op": "in", "values": [row["body"], "absent"]}):
                found = await program.peer.rows("query_attacked", {"filters": [{"column": "body", **given}]})
                assert found == [row]
        nul = {"column": "body", "op": "eq", "value": "a\0b"}
        if shared.product == "sqlite":
            assert await program.peer.rows("query_attacked", {"filters": [nul]}) == []
        else:
            error = await program.peer.error("query_attacked", {"filters": [nul]})
            assert (error["code"], "NUL" in error["message"]) == ("invalid_value", True)


HOSTILE_VALUES: list[Any] = [True, 0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 10**5000, 1.5, 1e308, math.nan, math.inf]
HOSTILE_VALUES += ["", "x", " 7 ", "1e400", "NaN", "-Infinity", "0x10", "1_000", "\u0661", "\0", "\ud800", "a" * 5000]
HOSTILE_VALUES += [[], [None], [[]], [[1], [2, 3]], {}, {"a": [math.inf]}, "{", "{{1},{2,3}}", "2024-13-01", "24:00:01"]


async def test_no_value_is_more_than_refused_by_name(families: Place) -> None:
    """Below the wire: JSON text may hold 1e400 and NaN, which the SDK's client does not send."""
    async with inside(families.url) as program:
        columns = await filled(program, families)
        for name in (*columns, "flag", "document"):
            for value in HOSTILE_VALUES:
                for operator in ("gt", "in"):
                    given = condition(name, operator, [value])
                    answer = await program.app.service.call("query_families", {"filters": [given]}, Caller())
                    if answer.is_error:
                        assert b'"internal_error"' not in answer.json
                        assert b'"database_error"' not in answer.json, (given, answer.json)
                        assert name.encode() in answer.json or b'"sqlstate":"22' in answer.json, (given, answer.json)
