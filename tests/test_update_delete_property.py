"""Over any rows and conditions: a dry run changes nothing, and what is changed is what the same conditions show."""

from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"

NUMBER = st.none() | st.integers(-2, 2)
WORD = st.none() | st.sampled_from(["", "a", "A", "ab", "%", "_"])
ROWS = st.lists(st.fixed_dictionaries({"n": NUMBER, "w": WORD}), max_size=8)
FILTER = st.one_of(
    st.builds(
        lambda op, value: {"column": "n", "op": op, "value": value},
        st.sampled_from(["eq", "ne", "lt", "lte", "gt", "gte"]),
        st.integers(-2, 2),
    ),
    st.builds(
        lambda op, values: {"column": "n", "op": op, "values": values},
        st.sampled_from(["in", "not_in"]),
        st.lists(st.integers(-2, 2), min_size=1, max_size=3),
    ),
    st.builds(lambda op, value: {"column": "w", "op": op, "value": value}, st.sampled_from(["like", "contains"]),
              st.sampled_from(["a", "%", "A_", ""])),
    st.builds(lambda name, op: {"column": name, "op": op}, st.sampled_from(["n", "w"]),
              st.sampled_from(["is_null", "not_null"])),
)  # fmt: skip
WHERE = st.fixed_dictionaries({}, optional={"n": NUMBER, "w": WORD})
SET = st.fixed_dictionaries({}, optional={"n": NUMBER, "w": WORD}).filter(bool)


@pytest.mark.parametrize("tool", ["update", "delete"])
def test_what_is_written_is_what_the_same_conditions_show(shared: Place, tool: str) -> None:
    table = f"any_{tool}"
    shared.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, n integer, w text)")
    program_of = inside(shared.url, access__mode="write", database__include=[table])
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(program_of) as program:
        peer = program.peer

        def all_rows() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = portal.call(peer.rows, f"query_{table}", {})
            return rows

        @settings(max_examples=15, deadline=None, database=None)
        @given(ROWS, WHERE, st.lists(FILTER, max_size=2), SET)
        def holds(rows: list[dict[str, Any]], where: Any, filters: Any, new: dict[str, Any]) -> None:
            portal.call(peer.call, f"delete_{table}", {"all_rows": True})
            if rows:
                numbered = [{"id": number, **row} for number, row in enumerate(rows)]
                portal.call(peer.call, f"insert_{table}", {"rows": numbered})
            before = all_rows()
            conditions = {"where": where, "filters": filters}
            shown = [row["id"] for row in portal.call(peer.rows, f"query_{table}", conditions)]
            call = conditions if where or filters else {"all_rows": True}
            if tool == "update":
                call = {**call, "set": new}
            answers = []
            for dry_run in (True, False):
                answer = portal.call(peer.call, f"{tool}_{table}", {**call, "dry_run": dry_run})
                answers.append((answer[f"{tool}d"], sorted(row["id"] for row in answer["rows"])))
                if dry_run:
                    assert all_rows() == before
            assert answers == [(len(shown), shown)] * 2
            changed = [{**row, **new} if tool == "update" else None for row in before]
            expected = [other if row["id"] in shown else row for row, other in zip(before, changed, strict=True)]
            assert all_rows() == [row for row in expected if row is not None]

        holds()
