"""Properties of queries over made data, on both databases: pages joined are the whole in any order, whatever comes and
goes between them; groups are what Python makes of the same rows.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Place
from tests.peers import Inside, inside

pytest_plugins = "tests.standing"

COLUMNS = {
    "postgresql": 'example integer, a bigint, n numeric(12,2), f double precision, t text COLLATE "C", b boolean',
    "sqlite": "example integer, a integer, n numeric(12,2), f real, t text, b boolean",
}
NAMES = ("a", "n", "f", "t", "b")
#: Few values, so that there are ties, and those that are hard to order.
VALUES = {
    "a": st.sampled_from([None, -(2**63), -1, 0, 1, 2**53 + 1]),
    "n": st.sampled_from([None, "-0.01", "0.00", "0.10", "0.20", "1234567890.12"]),
    "f": st.sampled_from([None, "-Infinity", -1.5, 0.0, 1e-300, 2.5, "Infinity"]),
    "t": st.sampled_from([None, "", " ", "A", "a", "a'b", "ä", "\U0001f600"]),
    "b": st.sampled_from([None, True, False]),
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=24)
ORDERS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["", " asc", " desc"]),
        st.sampled_from(["", " nulls first", " nulls last"]),
    ),
    max_size=4,
    unique_by=lambda entry: entry[0],
).map(lambda entries: ["".join(entry) for entry in entries])


class Table:
    """One table of the server. Each example has rows of its own, told by a number."""

    def __init__(self, portal: BlockingPortal, program: Inside, name: str) -> None:
        self.portal, self.program, self.name = portal, program, name
        self.next_id = self.example = 0

    def begin(self, rows: Sequence[dict[str, Any]]) -> None:
        self.example += 1
        self.add(rows)

    def call(self, **arguments: Any) -> dict[str, Any]:
        arguments = {"columns": None if "group_by" in arguments else ["id", *NAMES], **arguments}
        arguments["where"] = {"example": self.example}
        answer: dict[str, Any] = self.portal.call(self.program.peer.call, f"query_{self.name}", arguments)
        assert "error" not in answer, answer
        return answer

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        numbered = [{"id": self.next_id + index, "example": self.example, **row} for index, row in enumerate(rows)]
        self.next_id += len(rows)
        answer = self.portal.call(self.program.peer.call, f"insert_{self.name}", {"rows": numbered})
        assert "error" not in answer, answer

    def pages(self, limit: int, **arguments: Any) -> Iterator[list[dict[str, Any]]]:
        cursor = None
        while True:
            answer = self.call(limit=limit, cursor=cursor, **arguments)
            yield answer["rows"]
            cursor = answer["next_cursor"]
            assert (cursor is not None) == answer["truncated"]
            if cursor is None:
                return


@contextmanager
def table(place: Place, name: str) -> Iterator[Table]:
    place.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, {COLUMNS[place.product]})")
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(inside(place.url, database__include=[name])) as program,
    ):
        yield Table(portal, program, name)


def test_the_pages_joined_are_the_whole_in_any_order(shared: Place) -> None:
    with table(shared, "any_order") as made:

        @settings(max_examples=12, deadline=None, database=None)
        @given(ROWS, ORDERS, st.integers(1, 7))
        def holds(rows: list[dict[str, Any]], order: list[str], limit: int) -> None:
            made.begin(rows)
            whole = made.call(order_by=order, limit=1000, count="exact")
            assert (whole["total"], whole["row_count"]) == (len(rows), len(rows))
            joined = [row for page in made.pages(limit, order_by=order) for row in page]
            assert joined == whole["rows"]

        holds()


def test_no_standing_row_is_skipped_or_repeated_whatever_comes_and_goes(shared: Place) -> None:
    with table(shared, "busy") as made:
        change = st.tuples(
            st.lists(st.integers(0, 30), max_size=4), st.lists(st.fixed_dictionaries(VALUES), max_size=3)
        )

        @settings(max_examples=6, deadline=None, database=None)
        @given(ROWS, ORDERS, st.integers(1, 5), st.lists(change, max_size=5))
        def holds(
            rows: list[dict[str, Any]],
            order: list[str],
            limit: int,
            changes: list[tuple[list[int], list[dict[str, Any]]]],
        ) -> None:
            first = made.next_id
            made.begin(rows)
            whole = [row["id"] for row in made.call(order_by=order, limit=1000)["rows"]]
            gone: set[int] = set()
            seen: list[int] = []
            for turn, page in enumerate(made.pages(limit, order_by=order)):
                seen += [row["id"] for row in page]
                if turn < len(changes):
                    leaving, coming = changes[turn]
                    ids = {first + number for number in leaving}
                    gone |= ids
                    if ids:
                        shared.execute(f"DELETE FROM busy WHERE id IN ({', '.join(map(str, ids))})")
                    if coming:
                        made.add(coming)
            assert len(seen) == len(set(seen))
            standing = [number for number in whole if number not in gone]
            assert [number for number in seen if number in standing] == standing

        holds()


def test_groups_are_what_python_makes_of_the_same_rows(shared: Place) -> None:
    with table(shared, "grouped_rows") as made:

        @settings(max_examples=12, deadline=None, database=None)
        @given(ROWS, st.sets(st.sampled_from(NAMES), max_size=2).map(sorted), st.integers(1, 4))
        def holds(rows: list[dict[str, Any]], group_by: list[str], limit: int) -> None:
            made.begin(rows)
            aggregates = ["count", "count(n)", "count(distinct t)", "sum(n)", "min(a)", "max(n)"]
            groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
            for row in made.call(limit=1000)["rows"]:
                groups[tuple(row[name] for name in group_by)].append(row)
            expected = {key: computed(members) for key, members in groups.items()}
            pages = list(made.pages(limit, group_by=group_by, aggregate=aggregates))
            found = {
                tuple(row[name] for name in group_by): {
                    name: exact(value) for name, value in row.items() if name not in group_by
                }
                for page in pages
                for row in page
            }
            assert found == expected
            assert sum(map(len, pages)) == len(expected)
            whole = made.call(limit=1000, group_by=group_by, aggregate=aggregates)["rows"]
            assert [row for page in pages for row in page] == whole

        holds()


def computed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    decimals = [Decimal(row["n"]) for row in rows if row["n"] is not None]
    integers = [Decimal(row["a"]) for row in rows if row["a"] is not None]
    return {
        "count": len(rows),
        "count_n": len(decimals),
        "count_distinct_t": len({row["t"] for row in rows} - {None}),
        "sum_n": sum(decimals) if decimals else None,
        "min_a": min(integers, default=None),
        "max_n": max(decimals, default=None),
    }


def exact(value: Any) -> Any:
    return Decimal(value) if isinstance(value, str) else value
