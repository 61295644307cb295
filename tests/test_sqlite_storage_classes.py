"""Values that SQLite lets a column hold whatever it declares: shown with their class, taken back, found by it."""

import base64
import json
import math
import sqlite3
from contextlib import closing, suppress
from decimal import Decimal
from typing import Any

from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from schema_mcp.dialects.documents import kept
from schema_mcp.dialects.sqlite.tagged import TAGS, untagged
from schema_mcp.dialects.sqlite.types import sql_type
from schema_mcp.errors import InvalidArgument
from schema_mcp.tools.values import bind
from tests.conftest import Place
from tests.peers import inside
from tests.sqlite import DIALECT

pytest_plugins = "tests.standing"

MARK = "\ufffd"


async def test_a_value_that_its_column_does_not_declare_is_shown_with_its_class(shared_sqlite: Place) -> None:
    shared_sqlite.execute("CREATE TABLE odd (i integer, r real, t text, b boolean, j json, n numeric, x)")
    shared_sqlite.execute(
        "INSERT INTO odd VALUES ('x', 'x', x'00ff', 2, '{', 'x', 9e999),"
        " (1.5, x'00', 'x', 'no', 5, 1.5, x'ff'),"
        " (9e999, -9e999, char(65533) || 'text:x', 0.5, 'null', 9e999, 9007199254740993),"
        " (NULL, NULL, char(65533), 9007199254740993, 9007199254740993, x'', '9007199254740993')"
    )
    big = f"{MARK}integer:9007199254740993"
    wanted: list[list[Any]] = [
        [f"{MARK}text:x", f"{MARK}text:x", f"{MARK}blob:AP8=", 2, f"{MARK}text:{{", f"{MARK}text:x",
         f"{MARK}real:Infinity"],
        [1.5, f"{MARK}blob:AA==", "x", f"{MARK}text:no", 5, "1.5", f"{MARK}blob:/w=="],
        [f"{MARK}real:Infinity", "-Infinity", f"{MARK}text:{MARK}text:x", 0.5, {"$json": "null"}, "Infinity", big],
        [None, None, MARK, big, {"$json": "9007199254740993"}, f"{MARK}blob:", "9007199254740993"],
    ]  # fmt: skip
    async with inside(shared_sqlite.url) as program:
        rows = await program.peer.rows("query_odd")
    assert [list(row.values()) for row in rows] == wanted


#: Declared types of every affinity and family, outside STRICT tables and in them.
LAX = [
    "INTEGER", "BIGINT", "BOOLEAN", "REAL", "DOUBLE", "TEXT", "VARCHAR(3)", "CLOB", "BLOB", "NUMERIC", "DECIMAL(10,2)",
    "DATE", "TIMESTAMP", "TIME", "JSON", "UUID", "INTERVAL", "STRING", "",
]  # fmt: skip
STRICT = ["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"]
#: Table and column by what they declare.
COLUMNS = [("lax", f"c{n}", declared) for n, declared in enumerate(LAX)]
COLUMNS += [("strict", f"c{n}", declared) for n, declared in enumerate(STRICT)]
AWKWARD: list[Any] = [
    None, 0, 1, -1, 2, 2**53 - 1, 2**53, -(2**53), 2**63 - 1, -(2**63), 1763596800,
    0.0, -0.0, 0.1, 1.5, 1.0, 1e15, 2.0**53, 1e17, 2.0**63, -(2.0**63), 1e300, -1e-300, 5e-324, math.inf, -math.inf,
    "", "x", "5", "-0", "007", "1.50", " 5 ", "1e5", "1e400", "0x10", "9223372036854775808", "Infinity", "NaN", "true",
    "null", '"x"', "[1, 2]", '{"a":1e400}', '{"a": 12345678901234567890}', '"\\ud800"', "AP8=", "2024-02-29",
    "[ 1e-400,\r\n1]", ' "\\ufffdtext:x"', '{"$json": "1"}', "[" * 5000, "[" * 2000 + "]" * 2000, "[NaN]",
    "a\0b\r\n", "5\0", MARK, f"{MARK}text:x", f"{MARK}blob:", f"{MARK}base64:/w==", '"\\ufffdtext:x"', "😀",
    b"", b"x", b"\x00\xff", b"5", b"null",
]  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER_LIKE = st.from_regex(r" ?[+-]?[0-9]{1,20}\.?[0-9]{0,3}(e[+-]?[0-9]{1,3})? ?", fullmatch=True)
VALUES = TEXT | NUMBER_LIKE | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary()


def comparable(declared: str, class_: str, value: Any) -> str:
    """JSON that every reader keeps by its meaning; everything else to the last bit."""
    if declared == "JSON" and class_ == "text" and kept(value) == value:
        with suppress(ValueError):
            return f"json {json.loads(value)!r}"
    return f"{class_} {value!r}"


def test_whatever_others_store_can_be_read_sent_back_and_found(shared_sqlite: Place) -> None:
    """Every storage class in every kind of column: what is sent back is stored the same, its class included."""
    for table, types in (("lax", LAX), ("strict", STRICT)):
        columns = ", ".join(f"c{n} {declared}" for n, declared in enumerate(types))
        for name in (table, f"{table}_copy"):
            options = "STRICT" if table == "strict" else ""
            shared_sqlite.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, {columns}) {options}")
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(inside(shared_sqlite.url)) as program,
        closing(sqlite3.connect(shared_sqlite.url, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA synchronous = OFF")

        def stored(table: str, column: str, declared: str) -> list[str]:
            rows = connection.execute(f"SELECT typeof({column}), {column} FROM {table} ORDER BY id")
            return [comparable(declared, *row) for row in rows]

        def comes_back(where: tuple[str, str, str], values: list[Any]) -> None:
            table, column, declared = where
            connection.execute("BEGIN")
            for name in (table, f"{table}_copy"):
                connection.execute(f"DELETE FROM {name}")
            for value in values:
                with suppress(sqlite3.IntegrityError):  # a STRICT table takes the classes that it takes
                    connection.execute(f"INSERT INTO {table} ({column}) VALUES (?)", (value,))
            connection.execute("COMMIT")
            answered = portal.call(program.peer.rows, f"query_{table}", {"columns": [column], "limit": 1000})
            if answered:
                portal.call(program.peer.rows, f"insert_{table}_copy", {"rows": answered})
            assert stored(table, column, declared) == stored(f"{table}_copy", column, declared)
            named = [row for row in answered if row[column] is not None]
            if named and declared != "JSON":
                wanted = {"column": column, "op": "in", "values": [row[column] for row in named]}
                found = portal.call(
                    program.peer.rows, f"query_{table}", {"columns": [column], "filters": [wanted], "limit": 1000}
                )
                assert found == named, declared

        for where in COLUMNS:
            comes_back(where, AWKWARD)

        @settings(max_examples=30, deadline=None, database=None)
        @given(st.sampled_from(COLUMNS), st.lists(VALUES, max_size=8))
        def holds(where: tuple[str, str, str], values: list[Any]) -> None:
            comes_back(where, values)

        holds()


SENT: list[Any] = [
    *(value for value in AWKWARD if not isinstance(value, bytes) and value not in (math.inf, -math.inf)),
    *(f"{MARK}{rest}" for rest in ("integer:5", "integer:-0", "real:1.5", "real:2.0", "real:1e400", "real:-Infinity")),
    *(f"{MARK}{rest}" for rest in ("text:5", "text:é", "blob:AP8=", "blob:AP8", "integer:99999999999999999999")),
    True, False, 2**63, 10**400, "9007199254740993.0", "123456789012345678.5", "TRUE", [], {"a": [None, 2**70]},
    *({"$json": text} for text in ("null", "5", "1.5", "1e400", "[1e-400]", '"\\ud800"', "[1", " [\n1.10 ]")),
]  # fmt: skip


def means(declared: str, sent: Any, stored: Any) -> bool:
    """Whether the stored value is the one that was sent: itself, its bytes, its JSON, or the number that it spells."""
    if isinstance(sent, str) and sent.startswith(TAGS):
        return repr(untagged(sent)) == repr(stored)
    if isinstance(sent, dict) and list(sent) == ["$json"]:
        return bool(sent["$json"] == str(stored))
    if declared == "JSON" and isinstance(stored, str):
        return repr(json.loads(stored)) == repr(sent)
    if isinstance(stored, bytes):
        return declared == "BLOB" and base64.b64encode(stored).decode() == sent
    if declared == "BOOLEAN" and str(sent).lower() in ("true", "false"):
        return bool(stored == (str(sent).lower() == "true"))
    if declared in ("REAL", "DOUBLE"):
        return bool(stored == float(sent))  # the nearest, as everywhere
    if isinstance(stored, int | float):
        return isinstance(sent, str | int | float) and Decimal(str(sent)) == Decimal(str(stored))
    return bool(stored == sent)


def test_whatever_is_sent_is_stored_as_it_is_or_refused(shared_sqlite: Place) -> None:
    columns = ", ".join(f"c{n} {declared}" for n, declared in enumerate(LAX))
    shared_sqlite.execute(f"CREATE TABLE sent (id integer PRIMARY KEY, {columns})")
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(inside(shared_sqlite.url)) as program,
    ):
        for n, declared in enumerate(LAX):
            taken = [value for value in SENT if value is not None and takes(declared, value)]
            rows = [{f"c{n}": value} for value in taken]
            portal.call(program.peer.call, "insert_sent", {"rows": rows})
            stored = shared_sqlite.execute(f"SELECT c{n} FROM sent WHERE c{n} IS NOT NULL ORDER BY id")
            pairs = list(zip(taken, [value for (value,) in stored], strict=True))
            assert [pair for pair in pairs if not means(declared, *pair)] == [], declared


def takes(declared: str, value: Any) -> bool:
    """Whether the tool would bind it; what it refuses it refuses by name."""
    with suppress(InvalidArgument):
        bind(DIALECT, sql_type(declared, strict=False), value, "it")
        return True
    return False


async def test_what_a_view_or_a_virtual_table_has_stored_is_never_guessed(shared_sqlite: Place) -> None:
    """SQLite's RETURNING knows no key that was given and no value that was changed there."""
    for statement in (
        "CREATE VIRTUAL TABLE boxes USING rtree (id, low, high)",
        "CREATE TABLE loud (id integer PRIMARY KEY, word text)",
        "CREATE VIEW soft AS SELECT * FROM loud",
        "CREATE TRIGGER soften INSTEAD OF INSERT ON soft BEGIN INSERT INTO loud (word) VALUES (upper(new.word)); END",
    ):
        shared_sqlite.execute(statement)
    async with inside(shared_sqlite.url) as program:
        for table, row, stored in (
            ("boxes", {"low": 0.5, "high": 1.5}, {"id": 1, "low": 0.5, "high": 1.5}),
            ("soft", {"word": "a"}, {"id": 1, "word": "A"}),
        ):
            refused = await program.peer.error(f"insert_{table}", {"rows": [row], "returning": ["id"]})
            assert (refused["code"], "does not tell what it stored" in refused["message"]) == ("invalid_argument", True)
            answer = await program.peer.call(f"insert_{table}", {"rows": [row]})
            assert (answer["inserted"], answer["rows"]) == (1, [])
            assert await program.peer.rows(f"query_{table}") == [stored]
