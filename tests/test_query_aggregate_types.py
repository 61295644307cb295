"""Aggregates of every type: exact where the type is, the least and the greatest in the type's order, errors that say
which aggregates fit."""

from typing import Any

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"

#: Type, values, and what sum, avg, min and max give; "-" where the aggregate does not fit.
TYPED: list[tuple[str, list[str], list[Any]]] = [
    ("smallint", ["32767", "32767"], [65534, "32767.000000000000", 32767, 32767]),
    ("integer", ["2147483647", "2"], [2147483649, "1073741824.50000000", 2, 2147483647]),
    (
        "bigint",
        ["9223372036854775807", "9223372036854775807", "-1"],
        ["18446744073709551613", "6148914691236517204", -1, "9223372036854775807"],
    ),
    (
        "numeric",
        ["0.1", "0.2", "12345678901234567890.123456789"],
        ["12345678901234567890.423456789", "4115226300411522630.141152263", "0.1", "12345678901234567890.123456789"],
    ),
    ("numeric(10,2)", ["1.10", "2.20"], ["3.30", "1.6500000000000000", "1.10", "2.20"]),
    ("numeric", ["NaN", "1"], ["NaN", "NaN", "1", "NaN"]),
    ("real", ["0.1", "0.2"], [0.3, 0.15000000223517418, 0.1, 0.2]),
    ("double precision", ["0.5", "Infinity"], ["Infinity", "Infinity", 0.5, "Infinity"]),
    ("money", ["1.50", "2"], ["$3.50", "-", "$1.50", "$2.00"]),
    ("interval", ["1 day", "02:00"], ["1 day 02:00:00", "13:00:00", "02:00:00", "1 day"]),
    ("boolean", ["true", "false"], ["-", "-", False, True]),
    ("text", ["b", "a"], ["-", "-", "a", "b"]),
    ("char(3)", ["b", "a"], ["-", "-", "a  ", "b  "]),
    ("date", ["2024-01-01", "infinity"], ["-", "-", "2024-01-01", "infinity"]),
    ("time", ["10:00", "09:00"], ["-", "-", "09:00:00", "10:00:00"]),
    ("timestamp", ["2024-01-01 10:00", "2023-01-01"], ["-", "-", "2023-01-01T00:00:00", "2024-01-01T10:00:00"]),
    ("timestamptz", ["2024-01-01 10:00+01", "-infinity"], ["-", "-", "-infinity", "2024-01-01T09:00:00+00:00"]),
    (
        "uuid",
        ["b0000000-0000-0000-0000-000000000000", "0a000000-0000-0000-0000-000000000000"],
        ["-", "-", "0a000000-0000-0000-0000-000000000000", "b0000000-0000-0000-0000-000000000000"],
    ),
    ("bytea", [r"\xff", r"\x00ff"], ["-", "-", "AP8=", "/w=="]),
    ("inet", ["10.0.0.2", "10.0.0.1/8"], ["-", "-", "10.0.0.1/8", "10.0.0.2/32"]),
    ("cidr", ["10.0.0.2/32", "10.0.0.0/8"], ["-", "-", "10.0.0.0/8", "10.0.0.2/32"]),
    ("macaddr", ["08:00:2b:01:02:04", "08:00:2b:01:02:03"], ["-", "-", "08:00:2b:01:02:03", "08:00:2b:01:02:04"]),
    ("int4range", ["[5,6)", "[1,2)"], ["-", "-", "[1,2)", "[5,6)"]),
    ("bit(3)", ["101", "011"], ["-", "-", "011", "101"]),
    ("integer[]", ["{1,2}", "{1}"], ["-", "-", [1], [1, 2]]),
    ("hue", ["red", "blue"], ["-", "-", "red", "blue"]),
    ("cents", ["5", "7"], [12, "6.0000000000000000", 5, 7]),
    ("jsonb", ["{}", "1"], ["-", "-", "-", "-"]),
    ("json", ["{}", "1"], ["-", "-", "-", "-"]),
]


async def test_an_aggregate_gives_what_the_type_holds(shared_postgresql: Place) -> None:
    place = shared_postgresql
    place.execute("CREATE TYPE hue AS ENUM ('red', 'blue'); CREATE DOMAIN cents AS integer CHECK (VALUE >= 0)")
    height = max(len(values) for _, values, _ in TYPED)
    columns = ", ".join(f"c{index} {type_}" for index, (type_, _, _) in enumerate(TYPED))
    rows = [
        "(" + ", ".join(f"'{values[row]}'" if row < len(values) else "NULL" for _, values, _ in TYPED) + ")"
        for row in range(height + 1)
    ]
    place.execute(f"CREATE TABLE kinds_of ({columns}); INSERT INTO kinds_of VALUES {', '.join(rows)}")
    async with inside(place.url) as program:
        for index, (type_, values, expected) in enumerate(TYPED):
            given = dict(zip(("sum", "avg", "min", "max"), expected, strict=True))
            fit = {function: value for function, value in given.items() if value != "-"}
            asked: dict[str, Any] = {
                "aggregate": [
                    "count",
                    f"count(c{index}) as n",
                    *(f"{function}(c{index}) as {function}" for function in fit),
                ],
                "having": [f"min = '{_text(fit['min'])}'"] if "min" in fit else [],
            }
            answered = await program.peer.rows("query_kinds_of", asked)
            assert answered == [{"count": height + 1, "n": len(values), **fit}], type_
            for function in given.keys() - fit.keys():
                error = await program.peer.error("query_kinds_of", {"aggregate": [f"{function}(c{index})"]})
                distinct = () if type_ == "json" else ("count distinct",)
                names = [name for name in ("count", "sum", "avg", "min", "max") if name in ("count", *fit)]
                assert (error["code"], error["hint"]) == (
                    "invalid_operator",
                    f"Aggregates for 'c{index}': {', '.join((*names, *distinct))}.",
                )


async def test_groups_of_any_type_are_paged(shared_postgresql: Place) -> None:
    types = [(type_, values) for type_, values, _ in TYPED if type_ not in ("json", "hue", "cents")]
    columns = ", ".join(f"c{index} {type_}" for index, (type_, _) in enumerate(types))
    rows = ["(" + ", ".join(f"'{values[row]}'" for _, values in types) + ")" for row in (0, 1, 0)]
    shared_postgresql.execute(f"CREATE TABLE grouped_by ({columns}); INSERT INTO grouped_by VALUES {', '.join(rows)}")
    shared_postgresql.execute("INSERT INTO grouped_by DEFAULT VALUES")
    async with inside(shared_postgresql.url) as program:
        for index, (type_, values) in enumerate(types):
            asked: dict[str, Any] = {"group_by": [f"c{index}"], "aggregate": ["count as n"], "limit": 1}
            pages = [await program.peer.call("query_grouped_by", asked)]
            while cursor := pages[-1]["next_cursor"]:
                pages.append(await program.peer.call("query_grouped_by", {**asked, "cursor": cursor}))
            joined = [row for page in pages for row in page["rows"]]
            assert joined == await program.peer.rows("query_grouped_by", {**asked, "limit": 99}), type_
            sizes = [3, 1] if values[0] == values[1] else [2, 1, 1]
            assert sorted((row["n"] for row in joined), reverse=True) == sizes
            assert joined[-1][f"c{index}"] is None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "{" + ",".join(map(str, value)) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


async def test_what_a_type_without_order_or_equality_cannot_do_is_refused(shared_postgresql: Place) -> None:
    shared_postgresql.execute("CREATE TABLE places (id integer PRIMARY KEY, at point, doc json)")
    shared_postgresql.execute("INSERT INTO places VALUES (1, '(1,2)', '{}')")
    async with inside(shared_postgresql.url) as program:
        assert await program.peer.rows("query_places", {"aggregate": ["count(at)", "count(doc)"]}) == [
            {"count_at": 1, "count_doc": 1}
        ]
        for arguments in ({"aggregate": ["min(at)"]}, {"group_by": ["at"]}, {"aggregate": ["count(distinct at)"]}):
            assert (await program.peer.error("query_places", arguments))["code"] == "invalid_operator"
        assert await program.peer.error("query_places", {"group_by": ["doc"]}) == {
            "code": "invalid_operator",
            "message": "'group_by[0]': values of column 'doc' of type json cannot be compared",
            "hint": "Group by a column of another type.",
            "retryable": False,
        }


async def test_sqlite_sums_decimals_as_they_are_shown(shared_sqlite: Place) -> None:
    shared_sqlite.execute("CREATE TABLE purse (id integer PRIMARY KEY, d decimal(10,2), n numeric, i integer, u)")
    cents = [10, 20, 3, 999999999999, -10]
    for number, cent in enumerate(cents):
        shared_sqlite.execute(
            f"INSERT INTO purse VALUES ({number}, {cent}/100.0, {cent}/10000000.0, 9007199254740993, {cent})"
        )
    async with inside(shared_sqlite.url) as program:
        asked = ["sum(d)", "avg(d)", "sum(n)", "sum(i)", "avg(i)", "sum(u)", "max(d)"]
        assert await program.peer.rows("query_purse", {"aggregate": asked}) == [
            {
                "sum_d": "10000000000.22",
                "avg_d": "2000000000.044",
                "sum_n": "100000.0000022",
                "sum_i": "45035996273704965",
                "avg_i": "9007199254740993",
                "sum_u": 1000000000022,
                "max_d": "9999999999.99",
            }
        ]
        small = {"aggregate": ["sum(d) as s"], "where": {"id": 0}, "having": ["s = 0.1"]}
        assert await program.peer.rows("query_purse", small) == [{"s": "0.1"}]
        three = {
            "aggregate": ["sum(d) as s"],
            "filters": [{"column": "id", "op": "lt", "value": 2}],
            "having": ["s = 0.3"],
        }
        assert await program.peer.rows("query_purse", three) == [{"s": "0.3"}]
        infinite = "INSERT INTO purse (id, d, i) VALUES (9, 9e999, NULL), (10, -9e999, NULL)"
        shared_sqlite.execute(infinite)
        assert await program.peer.rows("query_purse", {"aggregate": ["sum(d)"]}) == [{"sum_d": None}]
        assert await program.peer.rows("query_purse", {"aggregate": ["sum(d)"], "where": {"id": 9}}) == [
            {"sum_d": "Infinity"}
        ]


async def test_sqlite_says_so_where_a_sum_meets_text_or_the_end_of_integers(shared_sqlite: Place) -> None:
    shared_sqlite.execute("CREATE TABLE mixture (id integer PRIMARY KEY, i integer, d decimal, r real, u)")
    shared_sqlite.execute("INSERT INTO mixture VALUES (1, 'x', 'x', 'x', 'x'), (2, 1, 1, 1, 1), (3, 1.5, 2, 2, X'00')")
    shared_sqlite.execute("CREATE TABLE huge (id integer PRIMARY KEY, i integer)")
    shared_sqlite.execute("INSERT INTO huge VALUES (1, 9223372036854775807), (2, 1)")
    async with inside(shared_sqlite.url) as program:
        for column in "idru":
            for function in ("sum", "avg"):
                error = await program.peer.error("query_mixture", {"aggregate": [f"{function}({column})"]})
                assert error == {
                    "code": "invalid_value",
                    "message": "A sum or a mean met a value that is no number; SQLite lets any column hold text.",
                    "hint": 'Text is greater than any number; a filter leaves it out: "op": "lte", '
                    '"value": "9000000000000000000".',
                    "retryable": False,
                }
        numbers = [{"column": "i", "op": "lte", "value": "9000000000000000000"}]
        rows = await program.peer.rows("query_mixture", {"aggregate": ["sum(i)", "avg(i)"], "filters": numbers})
        assert rows == [{"sum_i": 2.5, "avg_i": 1.25}]
        error = await program.peer.error("query_huge", {"aggregate": ["sum(i)"]})
        assert (error["code"], error["message"]) == (
            "invalid_value",
            "A sum or a result is beyond 9223372036854775807, where SQLite's integers end.",
        )
        assert (await program.peer.error("query_mixture", {"aggregate": ["sum(u)", "sum(id)"]}))["hint"]


async def test_sqlite_groups_by_the_collation_of_a_column_on_every_page(shared_sqlite: Place) -> None:
    shared_sqlite.execute("CREATE TABLE collated (id integer PRIMARY KEY, t text COLLATE NOCASE, v)")
    shared_sqlite.execute(
        "INSERT INTO collated VALUES (1, 'a', 1), (2, 'A', '1'), (3, 'b', X'31'), (4, NULL, 1.5), (5, 'B', NULL), "
        "(6, 'c', 1)"
    )
    async with inside(shared_sqlite.url) as program:
        for column in "tv":
            for order in ([], [f"{column} desc nulls first"], [f"{column} nulls last"]):
                asked: dict[str, Any] = {"group_by": [column], "aggregate": ["count"], "order_by": order}
                whole = await program.peer.rows("query_collated", asked)
                assert sum(row["count"] for row in whole) == 6
                assert len(whole) == {"t": 4, "v": 5}[column]
                pages: list[dict[str, Any]] = []
                cursor = None
                while not pages or cursor:
                    answer = await program.peer.call("query_collated", {**asked, "limit": 1, "cursor": cursor})
                    pages += answer["rows"]
                    cursor = answer["next_cursor"]
                assert pages == whole, order
