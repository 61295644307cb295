"""Conditions together: OR groups inside the AND list, and calls with more of everything than anyone needs."""

import itertools
import json
from typing import Any

import pytest

from schema_mcp.caller import Caller
from tests.conftest import Place, made_once
from tests.peers import Inside, inside

pytest_plugins = "tests.standing"


@pytest.fixture(scope="module")
@made_once
def cubes(shared: Place) -> Place:
    """Every combination of a, b and c from 0, 1 and null."""
    shared.execute("CREATE TABLE cubes (id integer PRIMARY KEY, a integer, b integer, c integer, t text, d json)")
    values = ", ".join(
        f"({number}, {a}, {b}, {c}, 'x', '{{}}')"
        for number, (a, b, c) in enumerate(itertools.product(("0", "1", "NULL"), repeat=3))
    )
    shared.execute(f"INSERT INTO cubes VALUES {values}")
    return shared


ROWS = [dict(zip("abc", values, strict=True)) for values in itertools.product((0, 1, None), repeat=3)]


def is_(column: str, value: int | None, **label: Any) -> dict[str, Any]:
    if value is None:
        return {"column": column, "op": "is_null", **label}
    return {"column": column, "op": "eq", "value": value, **label}


async def ids(program: Inside, arguments: dict[str, Any]) -> list[int]:
    rows = await program.peer.rows("query_cubes", {"columns": ["id"], **arguments})
    return [row["id"] for row in rows]


GROUPS: list[tuple[list[dict[str, Any]], Any]] = [
    ([is_("a", 0, **{"or": "x"}), is_("b", 1, **{"or": "x"})], lambda row: row["a"] == 0 or row["b"] == 1),
    (
        [is_("a", 0, **{"or": "x"}), is_("c", 1), is_("b", None, **{"or": "x"})],
        lambda row: (row["a"] == 0 or row["b"] is None) and row["c"] == 1,
    ),
    (
        [
            is_("a", 0, **{"or": "1"}),
            is_("b", 0, **{"or": "2"}),
            is_("a", 1, **{"or": "1"}),
            is_("c", 0, **{"or": "2"}),
        ],
        lambda row: (row["a"] == 0 or row["a"] == 1) and (row["b"] == 0 or row["c"] == 0),
    ),
    ([is_("a", 0, **{"or": "alone"}), is_("b", 0)], lambda row: row["a"] == 0 and row["b"] == 0),
    ([is_("a", 0, **{"or": ""}), is_("b", 0, **{"or": ""})], lambda row: row["a"] == 0 or row["b"] == 0),
    ([is_("a", 0, **{"or": None}), is_("b", 0, **{"or": None})], lambda row: row["a"] == 0 and row["b"] == 0),
    (
        [{"column": "a", "op": "in", "values": [1], "or": "'; --"}, is_("c", None, **{"or": "'; --"})],
        lambda row: row["a"] == 1 or row["c"] is None,
    ),
]


async def test_conditions_of_one_label_are_joined_by_or_inside_the_and(cubes: Place) -> None:
    async with inside(cubes.url) as program:
        for filters, holds in GROUPS:
            expected = [number for number, row in enumerate(ROWS) if holds(row)]
            assert 0 < len(expected) < len(ROWS)
            assert await ids(program, {"filters": filters}) == expected, filters
            both = [number for number in expected if ROWS[number]["c"] == 0]
            assert await ids(program, {"filters": filters, "where": {"c": 0}}) == both
            asked = {"table": "cubes", "columns": ["id"], "filters": filters}
            assert [row["id"] for row in await program.peer.rows("query_rows", asked)] == expected


async def test_pages_and_groups_go_together(cubes: Place) -> None:
    asked = {"filters": GROUPS[0][0], "columns": ["id"], "order_by": ["b", "id desc"], "limit": 4}
    async with inside(cubes.url) as program:
        whole = await program.peer.rows("query_cubes", asked | {"limit": 100})
        pages, cursor = [], None
        while True:
            answer = await program.peer.call("query_cubes", asked | {"cursor": cursor})
            pages += answer["rows"]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
            other = [{**given, "or": "y"} for given in GROUPS[0][0]]  # another label says the same
            assert "rows" in await program.peer.call("query_cubes", asked | {"cursor": cursor, "filters": other})
            apart = [{**given, "or": given["column"]} for given in GROUPS[0][0]]
            error = await program.peer.error("query_cubes", asked | {"cursor": cursor, "filters": apart})
            assert error["code"] == "invalid_cursor"
        assert pages == whole


@pytest.mark.parametrize("label", [1, True, ["a"], {}, "a" * 101])
async def test_a_label_that_is_no_short_text_is_refused(cubes: Place, label: Any) -> None:
    async with inside(cubes.url) as program:
        error = await program.peer.error("query_cubes", {"filters": [is_("a", 0, **{"or": label})]})
        assert (error["code"], error["hint"]) == (
            "invalid_argument",
            'Give the conditions of which one is enough the same short label, for example "a".',
        )
        assert error["message"].startswith("'filters[0].or' takes a label of at most 100 characters, got ")


async def test_the_schema_offers_the_operators_that_fit_some_column(shared: Place) -> None:
    shared.execute("CREATE TABLE plain (id integer PRIMARY KEY, at date)")
    shared.execute("CREATE TABLE packed (id integer PRIMARY KEY, body json, word text)")
    plain = ["eq", "ne", "lt", "lte", "gt", "gte", "in", "not_in", "between", "is_null", "not_null"]
    words = ["matches"] if shared.product == "postgresql" else []
    elements = ["has", "has_any", "has_all", "path"]
    expected = {
        "query_plain": plain,
        "query_packed": [*plain, "like", "ilike", "starts_with", "contains", *words, *elements],
        "query_rows": [*plain, "like", "ilike", "starts_with", "contains", "matches", *elements],
    }
    async with inside(shared.url, tools__surface="tables") as program:
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        for name, operators in expected.items():
            filters = tools[name].input_schema["properties"]["filters"]
            assert filters["items"]["properties"]["op"] == {"type": "string", "enum": operators}
            assert filters["items"]["properties"]["or"] == {"type": "string"}
        sets = "in, not_in, between, has_any, has_all: 'values'."
        assert tools["query_rows"].input_schema["properties"]["filters"]["description"] == (
            f"AND; same 'or' label: OR. {sets}"
        )
        assert tools["query_plain"].input_schema["properties"]["filters"]["description"] == (
            "AND; same 'or' label: OR. in, not_in, between: 'values'."
        )


TOO_MUCH: list[tuple[dict[str, Any], str]] = [
    ({"filters": [is_("a", 0)] * 101}, "more than 100 conditions"),
    ({"filters": [is_("a", 0, **{"or": "a"})] * 10_000}, "more than 100 conditions"),
    (
        {"filters": [{"column": "a", "op": "in", "values": list(range(100_000))}]},
        "'filters[0]': more than 10000 values",
    ),
    ({"filters": [{"column": "t", "op": "eq", "value": "x" * 10_000_001}]}, "more than 10000000 characters"),
    (
        {"filters": [{"column": "t", "op": "in", "values": ["x" * 1001] * 10_000}]},
        "the values of the conditions have more than 10000000 characters",
    ),
    ({"where": {"t": json.loads("[" * 150 + "]" * 150)}}, "arrays or objects more than 100 deep"),
    ({"filters": [{"column": "d", "op": "contains", "value": json.loads('{"a":' * 150 + "1" + "}" * 150)}]}, "deep"),
    ({"filters": [{"column": "d", "op": "has_any", "values": ["x"] * 10_001}]}, "more than 10000 values"),
]


async def test_more_of_everything_than_fits_is_refused_by_name(cubes: Place) -> None:
    async with inside(cubes.url) as program:
        for arguments, message in TOO_MUCH:
            error = await program.peer.error("query_cubes", arguments)
            assert error["code"] in ("invalid_argument", "invalid_value"), error
            assert message in error["message"], error
            assert error["hint"]


async def test_the_most_that_fits_is_answered_exactly(cubes: Place) -> None:
    numbers = list(range(10_000))
    async with inside(cubes.url) as program:
        sets = [{"column": column, "op": "in", "values": numbers} for column in "abc"]
        assert await ids(program, {"filters": sets}) == [0, 1, 3, 4, 9, 10, 12, 13]
        texts = [f"no {number}" for number in range(9_999)] + ["x"]
        assert len(await ids(program, {"filters": [{"column": "t", "op": "in", "values": texts}]})) == 27
        assert await ids(program, {"filters": [{"column": "t", "op": "not_in", "values": texts}]}) == []
        assert len(await ids(program, {"filters": [is_("t", "x", **{"or": str(n)}) for n in range(100)]})) == 27  # type: ignore[arg-type]
        odd = [f"{'x' * 1000}{number}\0" for number in range(100)] if cubes.product == "sqlite" else texts[1:]
        assert (
            await ids(program, {"filters": [{"column": "t", "op": "in", "values": [*odd, "y"]}], "where": {"a": 7}})
            == []
        )


async def test_how_many_conditions_a_call_may_have_is_configured(cubes: Place) -> None:
    async with inside(cubes.url, limits__filters=500) as program:
        assert await ids(program, {"filters": [is_("a", 1)] * 500}) == list(range(9, 18))
        assert await ids(program, {"filters": [is_("a", 1, **{"or": "a"})] * 500}) == list(range(9, 18))
        error = await program.peer.error("query_cubes", {"filters": [is_("a", 1)] * 501})
        assert error["message"] == "more than 500 conditions"


HOSTILE: list[Any] = [0, -1, 10**400, 1.5, "", "x", "\0", "\ud800", "a" * 60_000, "%" * 60_000, "-", '"', "or or", "*"]
HOSTILE += [
    "$",
    "$.",
    "$[",
    "$.a == ",
    "{",
    "[",
    "[[",
    "empty",
    "(,)",
    '"$json"',
    "\ufffdtext:x",
    "\ufffdblob:?",
    "$.\0",
]
HOSTILE += [
    [],
    [None],
    [[]],
    {},
    {"a": {"$json": "{"}},
    {"$json": "{"},
    {"$json": "[1,"},
    True,
    None,
    "\\",
    "a\\",
    "-x",
]


#: What `test_query_filters` attacks.
COMPARED = {"ne", "lt", "lte", "gt", "gte", "in", "not_in", "between"}


async def test_no_operand_of_any_operator_is_more_than_refused_by_name(shared: Place) -> None:
    shared.execute(
        "CREATE TABLE targets (id integer PRIMARY KEY, word text, body json, flag boolean"
        + (
            ", list text[], span int4range, vector tsvector, deep jsonb, point point, row_id xid"
            if shared.product == "postgresql"
            else ""
        )
        + ")"
    )
    if shared.product == "sqlite":
        shared.execute("CREATE VIRTUAL TABLE search_targets USING fts5(word)")
    async with inside(shared.url) as program:
        for table in ("targets", "search_targets"):
            if (table, shared.product) == ("search_targets", "postgresql"):
                continue
            described = await program.peer.call("describe_table", {"table": table})
            for column in described["columns"]:
                operators = [operator for operator in column["operators"] if operator not in COMPARED]
                for operator, value in itertools.product(operators, HOSTILE):
                    given = {"column": column["name"], "op": operator, "value": value}
                    answer = await program.app.service.call(f"query_{table}", {"filters": [given]}, Caller())
                    if answer.is_error:
                        assert b'"internal_error"' not in answer.json, given
                        assert b'"database_error"' not in answer.json, (given, answer.json)
