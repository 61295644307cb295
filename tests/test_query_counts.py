"""`count`: the number of rows over all pages, exact as the page itself or estimated, beside the rows it is about."""

import asyncio
import threading
from typing import Any

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"


def create(place: Place, name: str, rows: int) -> None:
    place.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, kind integer NOT NULL)")
    if rows:
        values = ", ".join(f"({number}, {number % 4})" for number in range(rows))
        place.execute(f"INSERT INTO {name} VALUES {values}")


def told(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["row_count"], answer.get("total"), answer.get("total_kind")


async def test_an_exact_total_counts_all_pages_under_the_same_filters(shared: Place) -> None:
    create(shared, "counted", 50)
    create(shared, "uncounted", 0)
    filters = [{"column": "id", "op": "lt", "value": 40}]
    cases: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
        ("query_counted", {"limit": 3}, (3, None, None)),
        ("query_counted", {"limit": 3, "count": "none"}, (3, None, None)),
        ("query_counted", {"limit": 3, "count": None}, (3, None, None)),
        ("query_counted", {"limit": 3, "count": "exact"}, (3, 50, None)),
        ("query_counted", {"limit": 50, "count": "exact"}, (50, 50, None)),
        ("query_counted", {"limit": 3, "count": "exact", "where": {"kind": 1}}, (3, 13, None)),
        ("query_counted", {"limit": 3, "count": "exact", "where": {"kind": 1}, "filters": filters}, (3, 10, None)),
        ("query_counted", {"limit": 3, "count": "exact", "where": {"kind": 9}}, (0, 0, None)),
        ("query_uncounted", {"count": "exact"}, (0, 0, None)),
        ("query_uncounted", {"count": "estimated"}, (0, 0, "exact")),
        ("query_counted", {"limit": 2, "count": "exact", "group_by": ["kind"]}, (2, 4, None)),
        ("query_counted", {"limit": 9, "count": "exact", "group_by": ["kind"]}, (4, 4, None)),
        (
            "query_counted",
            {"limit": 1, "count": "exact", "group_by": ["kind"], "aggregate": ["count"], "having": ["count > 12"]},
            (1, 2, None),
        ),
    ]
    async with inside(shared.url) as program:
        for tool, arguments, expected in cases:
            assert told(await program.peer.call(tool, arguments)) == expected, arguments
        error = await program.peer.error("query_counted", {"count": "exakt"})
        assert error == {
            "code": "invalid_argument",
            "message": "'count' takes 'none', 'estimated' or 'exact', got 'exakt'. Did you mean 'exact'?",
            "hint": "To count rows of groups, send \"count\" in 'aggregate'.",
            "retryable": False,
        }


async def test_every_page_tells_the_total_also_one_that_finds_nothing_more(shared: Place) -> None:
    create(shared, "leafed", 10)
    asked: dict[str, Any] = {"limit": 4, "count": "exact", "where": {"kind": 2}}
    async with inside(shared.url) as program:
        shared.execute("INSERT INTO leafed VALUES (100, 2), (101, 2), (102, 2), (103, 2)")
        first = await program.peer.call("query_leafed", asked)
        assert told(first) == (4, 6, None)
        second = await program.peer.call("query_leafed", {**asked, "cursor": first["next_cursor"]})
        assert told(second) == (2, 6, None)
        shared.execute("DELETE FROM leafed WHERE id > 101")
        third = await program.peer.call("query_leafed", {**asked, "cursor": first["next_cursor"]})
        assert (told(third), third["next_cursor"]) == ((0, 4, None), None)
        groups: dict[str, Any] = {"limit": 3, "count": "exact", "group_by": ["kind"]}
        first = await program.peer.call("query_leafed", groups)
        assert told(first) == (3, 4, None)
        shared.execute("DELETE FROM leafed WHERE kind = 3")
        assert told(await program.peer.call("query_leafed", {**groups, "cursor": first["next_cursor"]})) == (0, 3, None)


async def test_an_exact_total_is_of_the_same_moment_as_the_rows(shared_postgresql: Place) -> None:
    """10 rows of kind 0 are alive, or 20 rows of kind 1, in turn."""
    place = shared_postgresql
    place.execute("CREATE TABLE moment (id integer PRIMARY KEY, kind integer NOT NULL, alive integer NOT NULL)")
    rows = ", ".join(f"({number}, 0, {int(number < 10)})" for number in range(20))
    place.execute(f"INSERT INTO moment VALUES {rows}")

    def swap() -> None:
        while not done.is_set():
            place.execute("UPDATE moment SET kind = 1 - kind, alive = CASE WHEN id < 10 OR kind = 0 THEN 1 ELSE 0 END")

    done = threading.Event()
    async with inside(place.url) as program:
        swapping = asyncio.create_task(asyncio.to_thread(swap))
        try:
            asked = {"limit": 5, "count": "exact", "where": {"alive": 1}}
            answers = [await program.peer.call("query_moment", asked) for _ in range(30)]
        finally:
            done.set()
            await swapping
        assert {(row["kind"], answer["total"]) for answer in answers for row in answer["rows"]} <= {(0, 10), (1, 20)}


async def test_an_estimate_is_the_planners_and_never_less_than_what_is_there(shared_postgresql: Place) -> None:
    create(shared_postgresql, "guessed", 4000)
    shared_postgresql.execute("ANALYZE guessed")
    async with inside(shared_postgresql.url) as program:
        whole = await program.peer.call("query_guessed", {"limit": 5, "count": "estimated"})
        assert told(whole) == (5, 4000, None)
        some = await program.peer.call("query_guessed", {"limit": 5, "count": "estimated", "where": {"kind": 1}})
        assert (some["row_count"], "total_kind" in some) == (5, False)
        assert 800 < some["total"] < 1200
        follow = {"limit": 5, "count": "estimated", "where": {"kind": 1}, "cursor": some["next_cursor"]}
        assert (await program.peer.call("query_guessed", follow))["total"] == some["total"]
        rare = {"limit": 5, "count": "estimated", "filters": [{"column": "id", "op": "between", "values": [3, 5]}]}
        assert told(await program.peer.call("query_guessed", rare)) == (3, 3, "exact")
        shared_postgresql.execute("UPDATE guessed SET kind = 77 WHERE id < 100")
        unseen = await program.peer.call("query_guessed", {"limit": 50, "count": "estimated", "where": {"kind": 77}})
        assert told(unseen) == (50, 51, None)
        groups = await program.peer.call("query_guessed", {"limit": 2, "count": "estimated", "group_by": ["kind"]})
        assert told(groups) == (2, 4, None)


async def test_on_sqlite_an_estimate_is_what_analyze_has_counted_else_exact(shared_sqlite: Place) -> None:
    create(shared_sqlite, "analyzed", 40)
    create(shared_sqlite, "fresh", 40)
    shared_sqlite.execute("ANALYZE analyzed")
    async with inside(shared_sqlite.url) as program:
        asked: dict[str, Any] = {"limit": 5, "count": "estimated"}
        assert told(await program.peer.call("query_analyzed", asked)) == (5, 40, None)
        assert told(await program.peer.call("query_fresh", asked)) == (5, 40, "exact")
        assert told(await program.peer.call("query_analyzed", {**asked, "where": {"kind": 3}})) == (5, 10, "exact")
        assert told(await program.peer.call("query_analyzed", {**asked, "limit": 1, "group_by": ["kind"]})) == (
            1,
            4,
            "exact",
        )


async def test_a_page_of_several_batches_has_its_total(shared: Place) -> None:
    create(shared, "batched", 1300)
    async with inside(shared.url) as program:
        assert told(await program.peer.call("query_batched", {"limit": 1200, "count": "exact"})) == (1200, 1300, None)
        answer = await program.peer.call("query_batched", {"limit": 1200, "count": "estimated"})
        assert answer.get("total", 0) >= 1201, answer
