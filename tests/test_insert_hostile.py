"""What no insert expects: taken exactly as it was sent, or refused by name; and bulk is as one by one."""

import json
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

WORDS = [
    "", " ", "undefined", "null", "None", "NaN", "0", "-0", "007", "1e400", "1E+2", "0x1F", "١٢٣", "½", "true",
    "'", '"', "''", "';--", "1;DROP TABLE users", "' OR 1=1 -- 1", "%", "_", "%s%n%d", "{0}", "${HOME}", "$(touch x)",
    "\\", "\\x00", "\\'", "`", "<script>alert(1)</script>", "../../etc/passwd", "\t\n\r\v\f", "\u0001\u001f\u007f",
    "\u0085\u00a0\u2028\u2029", "\ufeff", "\u202eabc", "\u200b", "\ufffd", "\uffff", "\U0010ffff", "e\u0301", "İ ß",
    "田中さんにあげて下さい", "الكل في المجمو عة", "👾 🙇 💁🏽‍♂️ 🏳️‍🌈", "Ṱ̺̺̕o͞ ̷i̲̬n̝̗v̟̜o̘̙k̪e͚̮ ̺̙t̹h̜̪e̢ ",
    "CON", "sqlite_master", "DEFAULT",
    "[]", "{}", '{"$json": "1"}', "text:x", "1970-01-01", "Infinity", "x" * 100_000,
]  # fmt: skip
#: Values of no text column: what they are, and whether they may be taken.
OTHERS: list[Any] = [
    True, 0, -0.0, 1.5, 2**63, -(2**63) - 1, 10**400, 1e308, [], {}, [[]], ["a"], {"a": 1}, [None],
]  # fmt: skip
TYPES = {"postgresql": {"i": "integer", "n": "numeric(6,2)", "f": "double precision", "b": "boolean", "t": "text",
                        "d": "date", "y": "bytea", "j": "jsonb", "u": "uuid", "a": "integer[]"},
         "sqlite": {"i": "integer", "n": "numeric(6,2)", "f": "real", "b": "boolean", "t": "text", "d": "date",
                    "y": "blob", "j": "json"}}  # fmt: skip


@pytest.fixture(scope="module")
@made_once
def wild(shared: Place) -> Place:
    columns = ", ".join(f"{name} {type_}" for name, type_ in TYPES[shared.product].items())
    shared.execute(f'CREATE TABLE wild (id integer PRIMARY KEY, "a b" text, {columns})')
    shared.execute("CREATE TABLE wide (" + ", ".join(f"c{n} integer" for n in range(200)) + ")")
    return shared


@pytest.fixture
def empty(wild: Place) -> Place:
    wild.execute("DELETE FROM wild")
    return wild


def only(place: Place) -> dict[str, Any]:
    return {"database__include": ["wild", "wide"], "watch__poll_interval_s": 60.0, "access__mode": "write"}


async def test_hostile_text_goes_in_many_at_once_and_comes_back_unchanged(empty: Place) -> None:
    rows = [{"id": number, "t": word} for number, word in enumerate(WORDS)]
    async with inside(empty.url, **only(empty), results__max_bytes=10_000_000) as program:
        answer = await program.peer.call("insert_wild", {"rows": rows, "returning": ["id", "t"]})
        assert answer["rows"] == rows
        again = {"rows": rows, "returning": ["id", "t"], "on_conflict": "update"}
        answer = await program.peer.call("insert_wild", again)
        assert (answer["rows"], answer["updated"]) == (rows, len(rows))
        for word in WORDS:
            error = await program.peer.error("insert_wild", {"rows": [{word or " ": 1}]})
            assert error["code"] == "unknown_column", word


async def test_every_value_for_every_type_is_taken_or_refused_by_the_column(empty: Place) -> None:
    async with inside(empty.url, **only(empty), results__max_bytes=10_000_000) as program:
        taken = 0
        for value in [*WORDS[::6], *OTHERS]:
            for column in TYPES[empty.product]:
                row = {"id": taken, column: value}
                answer = await program.peer.call("insert_wild", {"rows": [row, {"id": 10**6}], "dry_run": True})
                if "error" in answer:
                    error = answer["error"]
                    assert error["code"] in ("invalid_value", "missing_value"), (row, error)
                    assert f"'{column}'" in error["message"] or error["details"]["row"] == 0, (row, error)
                else:
                    taken += 1
        assert taken > 50
        assert await program.peer.rows("query_wild") == []


SHAPES: list[tuple[Any, str, str]] = [
    ({"rows": []}, "missing_argument", "'rows' takes at least one row"),
    ({"rows": {}}, "invalid_argument", "'rows' takes an array"),
    ({"rows": [[]]}, "invalid_argument", "'rows[0]' takes an object"),
    ({"rows": [{"id": 1}, None]}, "invalid_argument", "'rows[1]' takes an object"),
    ({}, "missing_argument", "'rows' takes at least one row"),
    ({"rows": [{"id": 1}] * 10_001}, "too_many_rows", "'rows' takes at most 10000 rows, got 10001"),
    ({"rows": [{"id": None}]}, "missing_value", "rows[0]: column 'id' of table 'wild' is NOT NULL"),
    ({"rows": [{"id": 1}, {"t": "x"}]}, "missing_value", "rows[1] of table 'wild' lacks a value for: id"),
    ({"rows": [{"id": 1, "a b": "x", "ID": 2}]}, "unknown_column", "table 'wild' has no column 'ID'."),
    ({"rows": [{"id": 1}], "row": []}, "unknown_argument", "unknown argument 'row'"),
    ({"rows": [{"id": 1}], "returning": ["id", "id"]}, "invalid_argument", "'returning' names a column twice"),
    ({"rows": [{"id": 1}], "returning": ["id; --"]}, "unknown_column", "table 'wild' has no column 'id; --'."),
    ({"rows": [{"id": 1}], "dry_run": 1}, "invalid_argument", "'dry_run' takes true or false"),
]


async def test_calls_of_a_wrong_shape_are_refused_by_name(empty: Place) -> None:
    async with inside(empty.url, **only(empty)) as program:
        for arguments, code, message in SHAPES:
            if code == "missing_value" and empty.product == "sqlite":
                continue  # the rowid counts by itself
            error = await program.peer.error("insert_wild", arguments)
            assert (error["code"], error["message"][: len(message)]) == (code, message)
        alias = next(name for name, column in program.app.registry.current.table_tools["insert_wild"][1].by_key.items()
                     if column.name == "a b" and name != "a b")  # fmt: skip
        error = await program.peer.error("insert_wild", {"rows": [{"id": 1, "a b": "x", alias: "y"}]})
        assert error["message"] == f"rows[0] names column '{alias}' twice"
        assert await program.peer.rows("query_wild") == []


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "\udfff\ud800"], ids=["NUL", "surrogate", "two surrogates"])
async def test_what_is_no_text_of_the_databases_is_refused_by_its_row_and_column(empty: Place, word: str) -> None:
    async with inside(empty.url, **only(empty)) as program:
        answer = await program.peer.call("insert_wild", {"rows": [{"id": 1}, {"id": 2, "t": word}]})
        if empty.product == "sqlite" and word == "a\0b":
            assert answer["inserted"] == 2
            assert (await program.peer.rows("query_wild", {"where": {"id": 2}, "columns": ["t"]})) == [{"t": word}]
        else:
            assert answer["error"]["code"] == "invalid_value"
            assert answer["error"]["message"].startswith("rows[1]: column 't' of table 'wild'")


async def test_documents_of_any_depth_are_kept_or_refused(empty: Place) -> None:
    async with inside(empty.url, **only(empty), results__max_bytes=10_000_000) as program:
        for number, depth in enumerate((10, 100)):
            document: Any = "x"
            for _ in range(depth):
                document = [document]
            answer = await program.peer.call(
                "insert_wild", {"rows": [{"id": number, "j": document}], "returning": ["j"]}
            )
            if "error" in answer:
                assert answer["error"]["code"] == "invalid_value"
            else:
                assert answer["rows"] == [{"j": document}]
        bomb = {f"k{n}": ["x" * 100] * 100 for n in range(20)}
        answer = await program.peer.call("insert_wild", {"rows": [{"id": 9, "j": bomb}], "returning": ["j"]})
        assert answer["rows"] == [{"j": bomb}]


async def test_more_values_than_a_statement_binds_go_in(empty: Place) -> None:
    rows = [{f"c{n}": n * row for n in range(200)} for row in range(330)]
    async with inside(empty.url, **only(empty)) as program:
        answer = await program.peer.call("insert_wide", {"rows": rows, "dry_run": True, "returning": ["c199"]})
        assert answer["rows"] == [{"c199": 199 * row} for row in range(330)]


ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 12)},
        optional={
            "t": st.none() | st.sampled_from(WORDS[:40]),
            "i": st.none() | st.integers(-(2**31), 2**31 - 1),
            "f": st.none() | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),
            "j": st.lists(st.integers(0, 9), max_size=3),
        },
    ),
    min_size=1,
    max_size=14,
)


def test_bulk_is_as_one_by_one_and_a_dry_run_changes_nothing(wild: Place) -> None:
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(inside(wild.url, **only(wild), state__url="off")) as program,
    ):

        async def inserted(calls: list[list[dict[str, Any]]], word: str, **more: Any) -> tuple[Any, ...]:
            """Whether all were taken, the counts, and the first row that was refused, of calls one after the other."""
            counts = [0, 0, 0]
            for number, rows in enumerate(calls):
                arguments = {"rows": rows, "on_conflict": word, **more}
                answer = await program.peer.call("insert_wild", arguments)
                if "error" in answer:
                    return answer["error"]["code"], number + answer["error"]["details"]["row"]
                for place, name in enumerate(("inserted", "updated", "skipped")):
                    counts[place] += answer.get(name, 0)
            return tuple(counts)

        async def stored() -> str:
            rows = await program.peer.rows("query_wild", {"order_by": ["id"]})
            return json.dumps(rows)

        @given(first=ROWS, rows=ROWS, word=st.sampled_from(["error", "skip", "update"]))
        @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def hold(first: list[dict[str, Any]], rows: list[dict[str, Any]], word: str) -> None:
            wild.execute("DELETE FROM wild")
            portal.call(inserted, [first], "skip")
            before = portal.call(stored)
            rehearsed = portal.call(lambda: inserted([rows], word, dry_run=True))
            assert portal.call(stored) == before
            bulk = portal.call(inserted, [rows], word)
            assert bulk == rehearsed
            together = portal.call(stored)
            wild.execute("DELETE FROM wild")
            portal.call(inserted, [first], "skip")
            single = portal.call(inserted, [[row] for row in rows], word)
            assert bulk == single
            assert together == (before if isinstance(bulk[0], str) else portal.call(stored))

        hold()
