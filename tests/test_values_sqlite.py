"""SQLite's values, exact both ways, whatever class a column stores them in; what SQLite would change is refused."""

import base64
import json
import math
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from schema_mcp.caller import Caller
from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
BIG = st.integers(-(2**63), 2**63 - 1)
DOCUMENT = {"b": [1, None, "\n"], "a": 2**70}
DOCUMENT_TEXT = json.dumps(DOCUMENT, separators=(",", ":"))
#: Per declared type: what is sent, what is answered, and what is stored.
EXACT: dict[str, list[tuple[Any, Any, Any]]] = {
    "INTEGER": [
        (9007199254740991, 9007199254740991, 9007199254740991),
        (9007199254740992, "9007199254740992", 9007199254740992),
        ("-9223372036854775808", "-9223372036854775808", -(2**63)),
        (3.0, 3, 3),
        (1.5, 1.5, 1.5),
    ],
    "REAL": [(0.1, 0.1, 0.1), ("Infinity", "Infinity", math.inf), (5, 5.0, 5.0), ("5e-324", 5e-324, 5e-324)],
    "TEXT": [(text, text, text) for text in ("", "007", "1e5", "a\r\n\0b", "Größe 😀 \u2028")],
    "VARCHAR(3)": [("longer", "longer", "longer")],
    "BLOB": [("", "", b""), ("AP8=", "AP8=", b"\0\xff")],
    "NUMERIC": [
        ("1.50", "1.5", 1.5),
        (7, "7", 7),
        ("9223372036854775807", "9223372036854775807", 2**63 - 1),
        ("1e300", "1e+300", 1e300),
    ],
    "DECIMAL(10,2)": [("-0.125", "-0.125", -0.125), (0.1, "0.1", 0.1)],
    "BOOLEAN": [(True, True, 1), (False, False, 0), ("true", True, 1), (-1, -1, -1)],
    "DATE": [("2024-02-29", "2024-02-29", "2024-02-29"), (2460370.5, 2460370.5, 2460370.5), ("2024", 2024, 2024)],
    "TIMESTAMP": [(text, text, text) for text in ("2024-02-29T10:00:00.1234567+02:00", "infinity")],
    "UUID": [(text, text, text) for text in ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "1e1-a")],
    "JSON": [
        (DOCUMENT, {"$json": DOCUMENT_TEXT}, DOCUMENT_TEXT),
        ("text", "text", '"text"'),
        ("7", "7", '"7"'),
        (1.5, 1.5, 1.5),
        ([], [], "[]"),
        (False, False, "false"),
        ({"$json": "null"}, {"$json": "null"}, "null"),
        ({"$json": "[1,\r\n 1e-400]"}, {"$json": "[1,\r\n 1e-400]"}, "[1,\r\n 1e-400]"),
        ({"$json": '["\\ud800"]'}, {"$json": '["\\ud800"]'}, '["\\ud800"]'),
        ({"$json": '{"$json":"1"}'}, {"$json": '{"$json":"1"}'}, '{"$json":"1"}'),
        ({"$json": '{"a":1.0}'}, {"a": 1.0}, '{"a":1.0}'),
        ({"$json": "9007199254740993"}, {"$json": "9007199254740993"}, 2**53 + 1),
        ({"$json": 1}, {"$json": 1}, '{"$json":1}'),
    ],
    "": [(1, 1, 1), (1.5, 1.5, 1.5), ("1", "1", "1"), (-0.0, -0.0, -0.0), ("007", "007", "007")],
}
STRICT: dict[str, list[tuple[Any, Any, Any]]] = {
    "INT": EXACT["INTEGER"][:-1],
    "INTEGER": EXACT["INTEGER"][:-1],
    "REAL": EXACT["REAL"],
    "TEXT": EXACT["TEXT"],
    "BLOB": EXACT["BLOB"],
    "ANY": EXACT[""],
}


@pytest.mark.parametrize(("name", "strict", "types"), [("loose", "", EXACT), ("stern", "STRICT", STRICT)])
async def test_every_value_is_exact_both_ways(
    shared_sqlite: Place, name: str, strict: str, types: dict[str, list[tuple[Any, Any, Any]]]
) -> None:
    columns = ", ".join(f"c{index} {type_}" for index, type_ in enumerate(types))
    for table in (name, f"{name}_again"):
        shared_sqlite.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, {columns}) {strict}")
    async with inside(shared_sqlite.url) as program:
        height = max(map(len, types.values())) + 1
        for number in range(height):
            sent = {f"c{index}": cases[number][0] for index, cases in enumerate(types.values()) if number < len(cases)}
            await program.peer.rows(f"insert_{name}", {"rows": [{"id": number, **sent}]})
        answered = await program.peer.rows(f"query_{name}")
        await program.peer.rows(f"insert_{name}_again", {"rows": answered})
    for index, (type_, cases) in enumerate(types.items()):
        wanted = [case[1] for case in cases] + [None] * (height - len(cases))
        assert [json.dumps(row[f"c{index}"]) for row in answered] == [json.dumps(value) for value in wanted], type_
        stored = [row[0] for row in shared_sqlite.execute(f"SELECT c{index} FROM {name} ORDER BY id")]
        again = [row[0] for row in shared_sqlite.execute(f"SELECT c{index} FROM {name}_again ORDER BY id")]
        assert repr(stored) == repr(again), type_
        assert repr(stored[: len(cases)]) == repr([case[2] for case in cases]), type_


REFUSED: dict[str, list[tuple[Any, str]]] = {
    "INTEGER": [
        (2**63, "it must be between"),
        (True, "takes an integer (INTEGER), got true"),
        ("x", "takes an integer (INTEGER), got 'x'"),
        (10**5000, "got an integer of more than 60 digits"),
    ],
    "REAL": [("NaN", "SQLite cannot store NaN"), ("1e400", "beyond the range of a double"), (2**53 + 1, "would round"),
             (-0.0, "SQLite keeps no sign of zero here; it would store 0")],
    "TEXT": [(5, "takes a string (TEXT), got 5"), ("\ud800", "it holds a lone surrogate"),
             ("\ufffdinteger:5", "a column declared TEXT would store '5' for it"),
             ("\ufffdbase64:/w==", "text that is not UTF-8, and such text cannot be stored")],
    "BLOB": [("AP8", "takes a base64 string"), ([0], "got an array")],
    "NUMERIC": [
        ("123456789012345678901234567890", "a TEXT column keeps every digit"),
        (12345678901234567.0, "a JSON number of more than 15 digits is not exact"),
        ("NaN", "SQLite cannot store NaN"),
    ],
    "BOOLEAN": [("yes", "takes true or false"), ("2", "takes true or false")],
    "DATE": [
        ("02024", "a column declared DATE takes it for a number and would store 2024"),
        ([5], "got an array"),
        (-0.0, "no sign of zero"),
    ],
    "JSON": [({"a": "\ud800"}, "it holds a lone surrogate"), (-0.0, "no sign of zero"),
             ("\ufffdtext:5", "a column declared JSON would store 5 for it"),
             ({"$json": "{"}, "'$json' takes the text of a JSON document"), ({"$json": "NaN"}, "'$json' takes"),
             ({"$json": "1.50"}, "a column declared JSON takes it for a number and would store 1.5")],
    "": [([], "takes a string"), (True, "takes a string")],
}  # fmt: skip


async def test_what_sqlite_would_change_is_refused_and_nothing_is_written(shared_sqlite: Place) -> None:
    columns = ", ".join(f"c{index} {type_}" for index, type_ in enumerate(REFUSED))
    shared_sqlite.execute(f"CREATE TABLE refusing (id integer PRIMARY KEY, {columns})")
    async with inside(shared_sqlite.url) as program:
        for index, (type_, values) in enumerate(REFUSED.items()):
            for value, message in values:
                error = await program.peer.error("insert_refusing", {"rows": [{"id": 1, f"c{index}": value}]})
                assert error["code"] == "invalid_value", (type_, error)
                assert message in error["message"], (type_, value)
            for value in (math.inf, math.nan, {"a": [math.nan]}):  # below the wire, where the SDK's client sends null
                rows = {"rows": [{"id": 1, f"c{index}": value}]}
                answer = await program.app.service.call("insert_refusing", rows, Caller())
                assert json.loads(answer.json)["error"]["code"] == "invalid_value", (type_, value)
        assert await program.peer.rows("query_refusing") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ROW = st.fixed_dictionaries(
    {
        "i": BIG,
        "r": st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),  # REAL has no -0.0
        "t": TEXT,
        "b": st.binary().map(lambda data: base64.b64encode(data).decode()),
        "j": st.lists(JSON, max_size=4) | st.dictionaries(TEXT, JSON, max_size=4) | TEXT | st.booleans(),
        "n": BIG.filter(lambda number: number > -(2**63)).map(str)
        | st.decimals(-1000, 1000, places=2).map(lambda number: repr(float(number)).removesuffix(".0")),
        "a": TEXT | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53) + 1, 2**53 - 1),
    }
)


def is_text(answered: Any) -> bool:
    return isinstance(answered, dict) and list(answered) == ["$json"]


def test_whatever_is_inserted_is_read_again_and_seen_by_others(shared_sqlite: Place) -> None:
    shared_sqlite.execute(
        "CREATE TABLE anything (id integer PRIMARY KEY, i integer, r real, t text, b blob, j json, n numeric, a)"
    )
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(inside(shared_sqlite.url)) as program,
        closing(sqlite3.connect(shared_sqlite.url, isolation_level=None)) as connection,
    ):

        @settings(max_examples=40, deadline=None, database=None)
        @given(ROW)
        def holds(row: dict[str, Any]) -> None:
            connection.execute("DELETE FROM anything")
            portal.call(program.peer.rows, "insert_anything", {"rows": [row]})
            (out,) = portal.call(program.peer.rows, "query_anything", {"columns": list(row)})
            document = json.loads(out["j"]["$json"]) if is_text(out["j"]) else out["j"]
            assert out | {"i": int(out["i"]), "j": document} == row
            assert repr([out["r"], out["a"]]) == repr([row["r"], row["a"]])
            portal.call(program.peer.rows, "insert_anything", {"rows": [out]})
            first, second = connection.execute("SELECT i, r, t, b, j, n, a FROM anything ORDER BY id").fetchall()
            assert repr(first) == repr(second)
            assert repr(first[:3]) == repr((row["i"], row["r"], row["t"]))
            assert first[3] == base64.b64decode(row["b"])
            assert (str(first[5]).removesuffix(".0"), repr(first[6])) == (row["n"], repr(row["a"]))

        holds()
