"""The twins that take `table` answer like the table's own tools, whatever they are asked."""

from collections.abc import Mapping
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

SCHEMA = (
    "CREATE TABLE twin_owners (id integer PRIMARY KEY, name text)",
    "CREATE TABLE twin_pets (id integer PRIMARY KEY, name text NOT NULL, legs integer CHECK (legs < 9), "
    "owner_id integer REFERENCES twin_owners (id))",
    "INSERT INTO twin_owners VALUES (1, 'Ada'), (2, 'Bob')",
    "INSERT INTO twin_pets VALUES (1, 'Rex', 4, 1), (2, 'Tom', 4, NULL), (3, 'Kit', 2, 2), (4, 'Moe', NULL, 1)",
)
COLUMN = st.sampled_from(["id", "name", "legs", "owner_id"])
NUMBER, WORD = st.integers(0, 9), st.sampled_from(["Rex", "Tom", "x"])
WHERE = st.fixed_dictionaries({}, optional={"id": NUMBER, "name": WORD, "legs": st.none() | NUMBER})
FILTERS = st.lists(
    st.builds(
        lambda column, operator, value: {"column": column, "op": operator, "value": value},
        st.sampled_from(["id", "legs", "owner_id"]),
        st.sampled_from(["eq", "ne", "lt", "gte", "is_null"]),
        NUMBER,
    ).map(lambda made: made if made["op"] != "is_null" else {"column": made["column"], "op": "is_null"}),
    max_size=2,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(3, 20), "name": WORD}, optional={"legs": NUMBER, "owner_id": st.sampled_from([1, 2, 9])}
    ),
    min_size=1,
    max_size=3,
)
RETURNING = st.lists(COLUMN, unique=True)
SOME = st.fixed_dictionaries({"where": st.fixed_dictionaries({"id": NUMBER})}, optional={"filters": FILTERS})
ALL = st.fixed_dictionaries({"all_rows": st.just(True)}, optional={"max_affected": st.integers(3, 5)})
CHOSEN = st.builds(
    lambda chosen, more: {**chosen, **more, "dry_run": True},
    SOME | ALL,
    st.fixed_dictionaries({}, optional={"returning": RETURNING}),
)
SET = st.fixed_dictionaries({"legs": st.integers(0, 9)}, optional={"name": WORD})
ORDER = st.lists(st.builds("{} {}".format, COLUMN, st.sampled_from(["asc", "desc", "desc nulls last"])), max_size=2)
ARGUMENTS: Mapping[str, st.SearchStrategy[dict[str, Any]]] = {
    "query": st.fixed_dictionaries(
        {},
        optional={
            "columns": st.lists(COLUMN, min_size=1, unique=True),
            "where": WHERE,
            "filters": FILTERS,
            "order_by": ORDER,
            "limit": st.integers(1, 5),
            "count": st.sampled_from(["none", "exact"]),
            "include": st.just(["twin_owners"]),
        },
    )
    | st.fixed_dictionaries(
        {"aggregate": st.just(["count", "sum(legs) as n"])},
        optional={"group_by": st.just(["owner_id"]), "having": st.just(["count > 1"]), "where": WHERE},
    ),
    "insert": st.fixed_dictionaries(
        {"rows": ROWS, "dry_run": st.just(True)},
        optional={"returning": RETURNING, "on_conflict": st.sampled_from(["error", "skip", "update"])},
    ),
    "update": st.builds(lambda chosen, new: {**chosen, "set": new}, CHOSEN, SET),
    "delete": CHOSEN,
}


@pytest.fixture(scope="module")
@made_once
def twins(shared: Place) -> Place:
    for statement in SCHEMA:
        shared.execute(statement)
    return shared


def without_cursor(answer: dict[str, Any]) -> dict[str, Any]:
    """A cursor is made of the time and the call; that there is one is told."""
    return {**answer, "next_cursor": answer.get("next_cursor") is not None}


def test_a_twin_answers_like_the_tool_of_the_table(twins: Place) -> None:
    asked: list[str] = []
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(
            inside(twins.url, database__include=["twin_*"], access__mode="write", watch__poll_interval_s=60.0)
        ) as program,
    ):

        @given(st.one_of(*[st.tuples(st.just(kind), arguments) for kind, arguments in ARGUMENTS.items()]))
        @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def same(call: tuple[str, dict[str, Any]]) -> None:
            kind, arguments = call
            own = portal.call(program.peer.call, f"{kind}_twin_pets", arguments)
            twin = portal.call(program.peer.call, f"{kind}_rows", {"table": "twin_pets", **arguments})
            assert without_cursor(twin) == without_cursor(own)
            asked.append("error" if "error" in own else kind)

        same()
    assert set(ARGUMENTS) <= set(asked)  # not only errors were compared
