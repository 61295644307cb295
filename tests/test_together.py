"""What several parts of the program make together: masks over several sources, rehearsals and limits within a batch."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Place, made_once, sqlite_place
from tests.peers import inside, inside_several

pytest_plugins = "tests.standing"

SCHEMA = (
    "CREATE TABLE both_makers (id integer PRIMARY KEY, name text UNIQUE, secret text)",
    "CREATE TABLE both_mugs (id integer PRIMARY KEY, maker_id integer REFERENCES both_makers (id), secret text)",
    "INSERT INTO both_makers VALUES (1, 'Ada', 'x'), (2, 'Bob', 'y')",
    "INSERT INTO both_mugs VALUES (1, 1, 'x'), (2, 1, NULL)",
)


@pytest.fixture(scope="module")
@made_once
def both(shared: Place) -> Place:
    for statement in SCHEMA:
        shared.execute(statement)
    return shared


async def test_a_mask_of_one_source_masks_there_alone_in_related_rows_too(both: Place, tmp_path: Path) -> None:
    other = sqlite_place(tmp_path / "other.sqlite")
    for statement in SCHEMA:
        other.execute(statement)
    settings = {"sources__a__include": "both_*", "sources__a__mask_columns": "secret"}
    async with inside_several(a=both.url, b=other.url, **settings) as program:
        asked: dict[str, Any] = {"where": {"id": 1}, "include": ["both_mugs(id, secret)"]}
        shown: dict[str, dict[str, Any]] = {
            "a": {
                "name": "Ada",
                "secret": "***",
                "both_mugs": [{"id": 1, "secret": "***"}, {"id": 2, "secret": "***"}],
            },
            "b": {"name": "Ada", "secret": "x", "both_mugs": [{"id": 1, "secret": "x"}, {"id": 2, "secret": None}]},
        }
        for source, row in shown.items():
            assert await program.peer.rows(f"query_{source}_both_makers", asked) == [{"id": 1, **row}]
        grouped = {"aggregate": ["count", "max(secret) as most"]}
        assert await program.peer.rows("query_b_both_mugs", grouped) == [{"count": 2, "most": "x"}]
        assert (await program.peer.error("query_a_both_mugs", grouped))["code"] == "not_allowed"
        calls = [{"tool": f"query_{source}_both_mugs", "arguments": grouped} for source in ("b", "a")]
        answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
        assert [result.get("error", {}).get("code") for result in answer["results"]] == [None, "not_allowed"]
        error = await program.peer.error("run_batch", {"calls": [{"tool": call["tool"]} for call in calls]})
        assert error["message"] == (
            "calls[1] (query_a_both_mugs): its table is in another database than that of calls[0], and a transaction "
            "has one (a, b)"
        )


async def test_a_batch_keeps_what_is_no_rehearsal_and_nothing_where_a_limit_is_passed(both: Place) -> None:
    def insert(number: int, **more: Any) -> dict[str, Any]:
        return {"tool": "insert_both_makers", "arguments": {"rows": [{"id": number, "name": f"n{number}"}], **more}}

    def update(**more: Any) -> dict[str, Any]:
        return {"tool": "update_both_makers", "arguments": {"set": {"name": "new"}, **more}}

    async with inside(both.url, database__include=["both_*"], access__mode="write") as program:
        calls = [insert(10, dry_run=True), insert(10), insert(11), update(where={"id": 11}, dry_run=True)]
        answer = await program.peer.call("run_batch", {"calls": calls})
        outcomes = [result["result"]["outcome"] for result in answer["results"]]
        assert outcomes == ["rolled_back", "committed", "committed", "rolled_back"]
        stored = [{"name": "Ada"}, {"name": "Bob"}, {"name": "n10"}, {"name": "n11"}]
        assert await program.peer.rows("query_both_makers", {"columns": ["name"]}) == stored
        for calls, code, call, row in (
            ([insert(12), update(all_rows=True, max_affected=1)], "too_many_rows", 1, None),
            ([insert(12), insert(13), insert(12)], "unique_violation", 2, 0),
            ([insert(12), insert(13, idempotency_key="k")], "invalid_argument", 1, None),
        ):
            error = await program.peer.error("run_batch", {"calls": calls})
            assert (error["code"], error["details"]["call"], error["details"].get("row")) == (code, call, row)
        assert await program.peer.rows("query_both_makers", {"columns": ["name"]}) == stored
