"""The grammar of `aggregate` and `having`: columns of any name, and whatever else a client may send."""

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"


async def test_the_longest_name_of_a_column_that_exists_is_meant(shared: Place) -> None:
    shared.execute(
        'CREATE TABLE odd_names (id integer PRIMARY KEY, x integer, "distinct x" integer, "x) as y" integer, '
        '"count" integer, "a > b" integer, "z desc" integer)'
    )
    shared.execute("INSERT INTO odd_names VALUES (1, 1, 10, 100, 7, 3, 5), (2, 1, 20, 200, 7, 4, 6)")
    async with inside(shared.url) as program:
        for given, expected in {
            "count(distinct x)": {"count_distinct_x_4158e35e": 2},
            "count(distinct distinct x)": {"count_distinct_distinct_x_4158e35e": 2},
            "count distinct count": {"count_distinct_count": 1},
            "sum(distinct x)": {"sum_distinct_x_4158e35e": 30},
            "sum(x)": {"sum_x": 2},
            "sum(x) as y": {"y": 2},
            "sum(x) as y)": {"sum_x_as_y_bb08f9e5": 300},
            "sum(x) as y) as z": {"z": 300},
            "sum(a > b)": {"sum_a_b_1fd1c595": 7},
        }.items():
            assert await program.peer.rows("query_odd_names", {"aggregate": [given]}) == [expected], given
        grouped = {"group_by": ["a > b", "z desc"], "having": ["a > b > 2"], "order_by": ["z desc desc"]}
        rows = await program.peer.rows("query_odd_names", grouped)
        assert [list(row.values()) for row in rows] == [[4, 6], [3, 5]]
        error = await program.peer.error("query_odd_names", {"group_by": ["count"], "aggregate": ["count"]})
        assert error["message"] == "'aggregate[0]': the answer has a 'count' already"


HOSTILE = [
    *["", "\0", "'", '"', "')--", "count(", "count)", "count()", "count(**)", "sum n", "sum((n))", "as"],
    *["distinct", "count distinct", "count(distinct)", "is null", "is not null", "count is", "= 1", " > ", "count ="],
    *["count = '", "count = '''", "count == 1", "count >> 1", "count = 1e400", "count = NaN", "count = 0x10"],
    *["what = '\0'", 'what > "\\ud800"', "what = ''''", "count = " + "9" * 1000, "x" * 5000, "sum(n) as \u200b"],
    *["count as " + "x" * 65, "count; DROP TABLE hostile", "(SELECT 1)", "count > (SELECT 1)", "count = 1 OR 1 = 1"],
]  # fmt: skip


async def test_whatever_is_sent_is_answered_or_refused_by_name(shared: Place) -> None:
    shared.execute("CREATE TABLE hostile (id integer PRIMARY KEY, what text, n integer)")
    shared.execute("INSERT INTO hostile VALUES (1, 'a', 1)")
    async with inside(shared.url) as program:
        for text in HOSTILE:
            grouped = {"group_by": ["what"], "aggregate": ["count"]}
            for arguments in (
                {"aggregate": [text]},
                {"group_by": [text]},
                {**grouped, "having": [text]},
                {**grouped, "order_by": [text]},
                {"count": text},
            ):
                answer = await program.peer.call("query_hostile", arguments)
                code = answer.get("error", {}).get("code", "")
                assert code in ("", "invalid_argument", "unknown_column", "invalid_value"), (arguments, answer)
        assert await program.peer.rows("query_hostile", {"aggregate": ["count"]}) == [{"count": 1}]
