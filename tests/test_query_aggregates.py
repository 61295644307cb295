"""`aggregate`, `group_by`, `having`: exact values of every type, the small grammar, pages of groups, refusals."""

from typing import Any

import pytest

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

SALES = [
    (1, "north", "tea", 3, "1.10", 0.5, "2024-01-01"),
    (2, "north", "tea", None, "2.20", 1.5, "2024-03-01"),
    (3, "south", "tea", 5, "0.30", None, "2024-02-01"),
    (4, "south", "milk", 7, None, 2.0, None),
    (5, None, "milk", 9007199254740993, "100.00", 4.0, "2023-12-31"),
    (6, None, "Tea", -1, "-0.10", 8.0, "2024-05-05"),
]


def literal(value: Any) -> str:
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def values_of(rows: list[tuple[Any, ...]]) -> str:
    return ", ".join(f"({', '.join(map(literal, row))})" for row in rows)


@pytest.fixture(scope="module")
@made_once
def sales(shared: Place) -> Place:
    collate = 'COLLATE "C"' if shared.product == "postgresql" else ""
    shared.execute(
        f"CREATE TABLE sales (id integer PRIMARY KEY, region text, what text {collate} NOT NULL, n bigint, "
        "price numeric(10,2), weight double precision, day date)"
    )
    shared.execute(f"INSERT INTO sales VALUES {values_of(SALES)}")
    return shared


def alike(product: str, value: Any) -> Any:
    """A decimal as the product writes it: SQLite keeps no zeros at the end."""
    return value[0 if product == "postgresql" else 1] if isinstance(value, tuple) else value


async def test_the_whole_table_is_one_group(sales: Place) -> None:
    async with inside(sales.url) as program:
        answer = await program.peer.call(
            "query_sales",
            {
                "aggregate": [
                    "count",
                    "count(n)",
                    "count(distinct what)",
                    "sum(n)",
                    "sum(price) as revenue",
                    "sum(weight)",
                    "min(day)",
                    "max(day)",
                    "min(what)",
                    "max(n)",
                    "avg(weight)",
                ]
            },
        )
        version = answer.pop("schema_version")
        assert version == program.app.registry.current.generation
        assert answer == {
            "table": "sales",
            "rows": [
                {
                    "count": 6,
                    "count_n": 5,
                    "count_distinct_what": 3,
                    "sum_n": "9007199254741007",
                    "revenue": alike(sales.product, ("103.50", "103.5")),
                    "sum_weight": 16.0,
                    "min_day": "2023-12-31",
                    "max_day": "2024-05-05",
                    "min_what": "Tea",
                    "max_n": "9007199254740993",
                    "avg_weight": 3.2,
                }
            ],
            "row_count": 1,
            "truncated": False,
            "next_cursor": None,
        }
        empty = await program.peer.rows(
            "query_sales", {"aggregate": ["count", "sum(price)", "max(n)"], "where": {"id": 99}}
        )
        assert empty == [{"count": 0, "sum_price": None, "max_n": None}]


GROUPED: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    (
        {"group_by": ["what"], "filters": [{"column": "what", "op": "ne", "value": "Tea"}]},
        [{"what": "milk"}, {"what": "tea"}],
    ),
    (
        {"group_by": ["region"], "aggregate": ["count"], "order_by": ["region nulls last"]},
        [{"region": "north", "count": 2}, {"region": "south", "count": 2}, {"region": None, "count": 2}],
    ),
    (
        {"group_by": ["region"], "aggregate": ["sum(price) as revenue"], "order_by": ["revenue desc"]},
        [
            {"region": None, "revenue": ("99.90", "99.9")},
            {"region": "north", "revenue": ("3.30", "3.3")},
            {"region": "south", "revenue": ("0.30", "0.3")},
        ],
    ),
    (
        {"group_by": ["region"], "aggregate": ["sum(price) as revenue"], "order_by": ["sum(price)"], "limit": 1},
        [{"region": "south", "revenue": ("0.30", "0.3")}],
    ),
    (
        {
            "group_by": ["region", "what"],
            "aggregate": ["COUNT(*) AS n", "max(weight)"],
            "order_by": ["max_weight desc nulls last", "region"],
            "where": {"region": "south"},
        },
        [
            {"region": "south", "what": "milk", "n": 1, "max_weight": 2.0},
            {"region": "south", "what": "tea", "n": 1, "max_weight": None},
        ],
    ),
    (
        {
            "group_by": ["region"],
            "aggregate": ["count", "sum(price) as revenue"],
            "having": ["revenue > 0.30", "count = 2"],
            "order_by": ["revenue"],
        },
        [
            {"region": "north", "count": 2, "revenue": ("3.30", "3.3")},
            {"region": None, "count": 2, "revenue": ("99.90", "99.9")},
        ],
    ),
    (
        {
            "group_by": ["region"],
            "aggregate": ["sum(price) as revenue"],
            "having": ["sum(price)<=3.3", "region is not null"],
            "order_by": ["region"],
        },
        [{"region": "north", "revenue": ("3.30", "3.3")}, {"region": "south", "revenue": ("0.30", "0.3")}],
    ),
    ({"group_by": ["region"], "having": ["region = 'north'"]}, [{"region": "north"}]),
    ({"group_by": ["region"], "having": ["region IS NULL"]}, [{"region": None}]),
    (
        {
            "group_by": ["what"],
            "aggregate": ["min(day) as first"],
            "having": ["first >= 2024-01-01", "first <> '2024-05-05'"],
        },
        [{"what": "tea", "first": "2024-01-01"}],
    ),
    ({"aggregate": ["count"], "having": ["count > 6"]}, []),
    ({"aggregate": ["count"], "having": ["count > 5.5"]}, [{"count": 6}]),
    (
        {"aggregate": ["count distinct region", "count( distinct  region ) as r"]},
        [{"count_distinct_region": 2, "r": 2}],
    ),
    ({"aggregate": ["count"], "group_by": [], "having": [], "columns": None}, [{"count": 6}]),
]


async def test_groups_are_made_chosen_and_ordered_as_asked_by_both_tools(sales: Place) -> None:
    async with inside(sales.url) as program:
        for arguments, expected in GROUPED:
            rows = await program.peer.rows("query_sales", arguments)
            wanted = [{key: alike(sales.product, value) for key, value in row.items()} for row in expected]
            assert rows == wanted, arguments
            assert [list(row) for row in rows] == [list(row) for row in wanted]
            assert await program.peer.rows("query_rows", {"table": "sales", **arguments}) == rows


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"aggregate": "count"}, "invalid_argument", "'aggregate' takes an array, got 'count'"),
    ({"aggregate": [5]}, "invalid_argument", "'aggregate[0]' takes a string, got 5"),
    ({"aggregate": [""]}, "invalid_argument", "'aggregate[0]' takes a string, got ''"),
    (
        {"aggregate": ["median(n)"]},
        "invalid_argument",
        "'aggregate[0]' takes count, sum, avg, min, max of a column, got 'median(n)'",
    ),
    (
        {"aggregate": ["som(n)"]},
        "invalid_argument",
        "'aggregate[0]' takes count, sum, avg, min, max of a column, got 'som(n)'",
    ),
    ({"aggregate": ["sum(nn)"]}, "unknown_column", "table 'sales' has no column 'nn'. Did you mean 'n'?"),
    (
        {"aggregate": ["sum(prize) as x"]},
        "unknown_column",
        "table 'sales' has no column 'prize'. Did you mean 'price'?",
    ),
    ({"aggregate": ["sum()"]}, "unknown_column", "table 'sales' has no column ''."),
    (
        {"aggregate": ["sum(n); --"]},
        "invalid_argument",
        "'aggregate[0]' takes count, sum, avg, min, max of a column, got 'sum(n); --'",
    ),
    ({"aggregate": ["sum(n + 1)"]}, "unknown_column", "table 'sales' has no column 'n + 1'."),
    ({"aggregate": ["sum(*)"]}, "invalid_argument", "'aggregate[0]': 'sum' takes a column, got '*'"),
    (
        {"aggregate": ["sum(distinct n)"]},
        "invalid_argument",
        "'aggregate[0]': 'distinct' goes with 'count' alone, not with 'sum'",
    ),
    ({"aggregate": ["sum(what)"]}, "invalid_operator", "'aggregate[0]': 'sum' does not fit column 'what' of type TEXT"),
    ({"aggregate": ["avg(day)"]}, "invalid_operator", "'aggregate[0]': 'avg' does not fit column 'day' of type DATE"),
    (
        {"aggregate": ["count as a b"]},
        "invalid_argument",
        "'aggregate[0]' takes count, sum, avg, min, max of a column, got 'count as a b'",
    ),
    ({"aggregate": ["count as a.b"]}, "invalid_argument", "'aggregate[0]' names its result 'a.b'"),
    ({"aggregate": ["count", "count"]}, "invalid_argument", "'aggregate[1]': the answer has a 'count' already"),
    (
        {"aggregate": ["count as region"], "group_by": ["region"]},
        "invalid_argument",
        "'aggregate[0]': the answer has a 'region' already",
    ),
    ({"group_by": ["region", "region"]}, "invalid_argument", "'group_by[1]': the answer has a 'region' already"),
    ({"group_by": ["regoin"]}, "unknown_column", "table 'sales' has no column 'regoin'. Did you mean 'region'?"),
    ({"group_by": [1]}, "invalid_argument", "'group_by[0]' takes column names as strings"),
    ({"having": ["count > 1"]}, "invalid_argument", "'having' goes with 'aggregate' or 'group_by'"),
    (
        {"aggregate": ["count"], "having": ["n > 1"]},
        "invalid_argument",
        "'having[0]' takes a comparison with something of the answer, got 'n > 1'",
    ),
    (
        {"aggregate": ["count"], "having": ["count > 1 or 1=1"]},
        "invalid_argument",
        "'having[0]' compares with a number or a value in quotes, got '1 or 1=1'",
    ),
    (
        {"aggregate": ["count"], "having": ["count > sum(n)"]},
        "invalid_argument",
        "'having[0]' compares with a number or a value in quotes, got 'sum(n)'",
    ),
    (
        {"aggregate": ["count"], "having": ["count = null"]},
        "invalid_argument",
        "'having[0]' compares with a number or a value in quotes, got 'null'",
    ),
    (
        {"aggregate": ["count"], "having": ["count > 'x'"]},
        "invalid_value",
        "'count' in 'having[0]' takes a number (numeric), got 'x'",
    ),
    (
        {"aggregate": ["count"], "having": ["count ~ 1"]},
        "invalid_argument",
        "'having[0]' takes a comparison with something of the answer, got 'count ~ 1'",
    ),
    (
        {"aggregate": ["count"], "having": ["count"]},
        "invalid_argument",
        "'having[0]' takes a comparison with something of the answer, got 'count'",
    ),
    ({"aggregate": ["count"], "having": [None]}, "invalid_argument", "'having[0]' takes a string, got null"),
    (
        {"aggregate": ["count"], "order_by": ["region"]},
        "invalid_argument",
        "'order_by[0]': 'region' is of nothing in the grouped answer.",
    ),
    (
        {"aggregate": ["count"], "order_by": ["cuont desc"]},
        "invalid_argument",
        "'order_by[0]': 'cuont desc' is of nothing in the grouped answer. Did you mean 'count'?",
    ),
    (
        {"aggregate": ["count"], "order_by": ["count", "count(*) desc"]},
        "invalid_argument",
        "'order_by' names 'count' twice",
    ),
    ({"aggregate": ["count"], "order_by": [None]}, "invalid_argument", "'order_by[0]' takes a string, got null"),
    ({"aggregate": ["count"], "columns": ["id"]}, "invalid_argument", "'columns' does not go with 'aggregate'"),
    (
        {"aggregate": ["count"], "group_by": ["what"], "columns": ["id"]},
        "invalid_argument",
        "'columns' does not go with 'aggregate' and 'group_by'",
    ),
    ({"aggregate": ["count"], "cursor": "AAAA"}, "invalid_cursor", "'cursor' is not one that this server made"),
    (
        {"aggregate": [f"count as n{n}" for n in range(51)]},
        "invalid_argument",
        "more than 50 aggregates and columns of 'group_by'",
    ),
    (
        {"aggregate": ["count"], "having": ["count > 1"] * 51},
        "invalid_argument",
        "'having' takes at most 50 conditions",
    ),
]


async def test_what_does_not_fit_is_refused_by_name(sales: Place) -> None:
    async with inside(sales.url) as program:
        for arguments, code, message in WRONG:
            error = await program.peer.error("query_sales", arguments)
            message_of_both = error["message"].replace("type text", "type TEXT").replace("type date", "type DATE")
            assert (error["code"], message_of_both) == (code, message)
            assert error["hint"]
        hints = {
            "sum(what)": "Aggregates for 'what': count, min, max, count distinct.",
            "count as a.b": "A name has 1 to 63 letters, digits, '_' and '-' of ASCII.",
            f"count as {'n' * 64}": "A name has 1 to 63 letters, digits, '_' and '-' of ASCII.",
        }
        for given, hint in hints.items():
            assert (await program.peer.error("query_sales", {"aggregate": [given]}))["hint"] == hint


async def test_a_cursor_of_groups_serves_these_groups_alone(sales: Place) -> None:
    asked: dict[str, Any] = {"group_by": ["what", "region"], "aggregate": ["count"], "limit": 1}
    async with inside(sales.url) as program:
        first = await program.peer.call("query_sales", asked)
        cursor = first["next_cursor"]
        assert first["truncated"]
        others: list[dict[str, Any]] = [
            {"group_by": ["what"]},
            {"group_by": ["region", "what"]},
            {"aggregate": ["count as n"]},
            {"aggregate": ["count", "sum(n)"]},
            {"having": ["count > 0"]},
            {"where": {"what": "tea"}},
            {"order_by": ["what desc"]},
            {"group_by": None, "aggregate": None},
            {"group_by": None},
            {"order_by": ["count"]},
        ]
        for other in others:
            error = await program.peer.error("query_sales", {**asked, **other, "cursor": cursor})
            assert (error["code"], error["message"]) == (
                "invalid_cursor",
                "'cursor' belongs to a query with other filters or another order",
            ), other
        rest = await program.peer.rows("query_sales", {**asked, "limit": 99, "cursor": cursor, "count": "none"})
        assert [*first["rows"], *rest] == await program.peer.rows("query_sales", {**asked, "limit": 99})
        of_rows = (await program.peer.call("query_sales", {"limit": 1}))["next_cursor"]
        assert (await program.peer.error("query_sales", {**asked, "cursor": of_rows}))["code"] == "invalid_cursor"


async def test_groups_ordered_by_an_aggregate_say_why_they_give_no_cursor(sales: Place) -> None:
    async with inside(sales.url) as program:
        asked = {"group_by": ["region"], "aggregate": ["sum(n)"], "order_by": ["sum_n desc nulls last"], "limit": 2}
        answer = await program.peer.call("query_sales", asked)
        del answer["schema_version"]
        assert answer == {
            "table": "sales",
            "rows": [
                {"region": None, "sum_n": "9007199254740992"},
                {"region": "south", "sum_n": alike(sales.product, ("12", 12))},
            ],
            "row_count": 2,
            "truncated": True,
            "next_cursor": None,
            "hint": "More groups match. A cursor comes where 'order_by' names columns of 'group_by' alone; else raise "
            "'limit', or narrow with 'having' and 'filters'.",
        }
