"""Strings that programs trip over: kept and found again exactly, or refused by name."""

from typing import Any

import pytest

from schema_mcp.caller import Caller
from tests.conftest import Place
from tests.naughty import NAUGHTY, UNSTORABLE
from tests.peers import inside

pytest_plugins = "tests.standing"

#: What SQLite holds and PostgreSQL does not.
NULS = [word for word in UNSTORABLE if "\0" in word]
CHUNK = 100
CALLER = Caller(session="naughty")


@pytest.fixture
def words(shared: Place) -> Place:
    shared.execute("DROP TABLE IF EXISTS naughty")
    shared.execute(
        "CREATE TABLE naughty (id integer PRIMARY KEY, word text, doc "
        f"{'jsonb' if shared.product == 'postgresql' else 'json'})"
    )
    return shared


def test_there_are_enough_of_them() -> None:
    assert len(NAUGHTY) == len(set(NAUGHTY)) >= 515


def _document(word: str) -> Any:
    """With the word in it, where the column can hold it; a NUL in JSON is SQLite's to keep as six characters."""
    return {"a": [word]} if "\0" not in word else None


async def test_each_is_kept_and_found_again_exactly_or_refused_by_name(words: Place) -> None:
    kept = [word for word in NAUGHTY if word not in UNSTORABLE or (words.product == "sqlite" and word in NULS)]
    async with inside(words.url, database__include=["naughty"]) as program:
        for word in set(NAUGHTY) - set(kept):
            refused = await program.app.service.call("insert_naughty", {"rows": [{"id": 0, "word": word}]}, CALLER)
            assert refused.is_error, ascii(word)
            assert b'"code":"internal_error"' not in refused.json
        rows: list[dict[str, Any]] = [
            {"id": number, "word": word, "doc": _document(word)} for number, word in enumerate(kept, 1)
        ]
        for start in range(0, len(rows), CHUNK):
            answer = await program.peer.call("insert_naughty", {"rows": rows[start : start + CHUNK]})
            assert answer["inserted"] == len(rows[start : start + CHUNK]), answer
        found = await program.peer.rows("query_naughty", {"where": {}, "limit": 10_000, "order_by": ["id"]})
        assert [row for row in found if row["id"]] == rows
        for start in range(0, len(rows), CHUNK):
            some = kept[start : start + CHUNK]
            by_word: dict[str, Any] = {"filters": [{"column": "word", "op": "in", "values": some}], "limit": 1_000}
            found = await program.peer.rows("query_naughty", by_word | {"columns": ["word"]})
            assert sorted(row["word"] for row in found) == sorted(some)


async def test_none_is_a_name_a_cursor_or_a_word_of_ours(words: Place) -> None:
    async with inside(words.url, database__include=["naughty"]) as program:
        for word in NAUGHTY:
            for arguments in (
                {"columns": [word or " "]},
                {"order_by": [word or " "]},
                {"cursor": word},
                {"filters": [{"column": "word", "op": word, "value": "x"}]},
                {"include": [word]},
                {"aggregate": [word]},
            ):
                answer = await program.app.service.call("query_naughty", arguments, CALLER)
                told = answer.json
                assert answer.is_error, (arguments, told)
                assert b'"code":"internal_error"' not in told, arguments
                assert b'"hint":""' not in told, arguments
