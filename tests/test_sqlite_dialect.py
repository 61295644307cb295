"""SQLite through its dialect: values both ways, conditions, inserts, rows in batches."""

import math
import sqlite3
from collections.abc import Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue, Row, Statement
from schema_mcp.dialects.sqlite.types import sql_type
from schema_mcp.schema.select import Selection
from tests.sqlite import DIALECT, answer, execute, opened, rows_of

NUMBERS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT {} FROM n"


def compiled(clause: sa.sql.ClauseElement, labels: Sequence[str] = (), **values: DriverValue) -> Statement:
    built = clause.compile(dialect=DIALECT.sqlalchemy)
    names: list[str] = built.positiontup  # type: ignore[attr-defined]
    types = tuple(sql_type("TEXT", strict=False) for _ in labels)
    return Statement(str(built), tuple(values[name] for name in names), tuple(labels), types)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    path.touch()
    return path


STORED: list[tuple[str, Any, str, str]] = [
    ("INTEGER", 2**63 - 1, "integer", '"9223372036854775807"'),
    ("INTEGER", -(2**53) + 1, "integer", "-9007199254740991"),
    ("INTEGER", 2**53, "integer", '"9007199254740992"'),
    ("NUMERIC", Decimal("12345678901234567.0"), "integer", '"12345678901234567"'),
    ("DECIMAL(10,2)", Decimal("9.950"), "real", '"9.95"'),
    ("NUMERIC", Decimal("1e400") * 0, "integer", '"0"'),
    ("NUMERIC", Decimal("-Infinity"), "real", '"-Infinity"'),
    ("REAL", 0.1, "real", "0.1"),
    ("REAL", math.inf, "real", '"Infinity"'),
    ("", -0.0, "real", "-0.0"),
    ("BOOLEAN", True, "integer", "true"),
    ("BOOLEAN", False, "integer", "false"),
    ("TEXT", "007 null \r\n\0 😀", "text", '"007 null \\r\\n\\u0000 😀"'),
    ("UUID", "00000000-0000-0000-0000-0000000001e0", "text", '"00000000-0000-0000-0000-0000000001e0"'),
    ("DATE", "2026-11-20", "text", '"2026-11-20"'),
    ("TIMESTAMP", "1763596800", "integer", "1763596800"),
    ("", "007", "text", '"007"'),
    ("STRING", "1.5", "real", "1.5"),
    ("BLOB", b"\x00\xff", "blob", '"AP8="'),
    ("JSON", {"a": [1, 2**53, "\n"], "b": None}, "text", '{"a":[1,9007199254740992,"\\n"],"b":null}'),
    ("JSON", [2**70], "text", '{"$json":"[1180591620717411303424]"}'),
    ("JSON", 0.30000000000000004, "real", "0.30000000000000004"),
    ("JSON", "text", "text", '"text"'),
    ("JSON", True, "text", "true"),
]


@pytest.mark.parametrize(("declared", "value", "storage", "json"), STORED)
async def test_values_are_stored_exactly_and_come_back(
    path: Path, declared: str, value: Any, storage: str, json: str
) -> None:
    execute(path, f"CREATE TABLE t (a {declared})")
    async with opened(path) as connection:
        bound = DIALECT.encode(sql_type(declared, strict=False), value)
        await rows_of(connection, Statement("INSERT INTO t VALUES (?)", (bound,)))
        found = await answer(connection, "SELECT a, typeof(a) FROM t", declared, "TEXT")
    assert found == [f'{{"a":{json},"b":"{storage}"}}']


REFUSED: list[tuple[str, Any, str]] = [
    ("INTEGER", 2**63, "integers end at"),
    ("NUMERIC", Decimal("0.12345678901234567890"), "round it to 0.12345678901234568"),
    ("NUMERIC", Decimal("1e400"), "round it to inf"),
    ("NUMERIC", Decimal("NaN"), "cannot store NaN"),
    ("REAL", math.nan, "cannot store NaN"),
    ("DATE", "007", "would store 7"),
    ("STRING", "1e3", "would store 1000"),
    ("UUID", " 12 ", "would store 12"),
    ("JSON", 2**64, "integers end at"),
    ("JSON", [math.inf], "not JSON compliant"),
    ("TEXT", "\ud800", "lone surrogate"),
    ("TEXT", "\ufffdbase64:/w==", "not UTF-8"),
]


@pytest.mark.parametrize(("declared", "value", "reason"), REFUSED)
def test_what_sqlite_would_change_is_refused(declared: str, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DIALECT.encode(sql_type(declared, strict=False), value)


async def test_text_is_bound_as_what_a_numeric_column_keeps_of_it(path: Path) -> None:
    """Every text that is accepted reads back the same; SQLite itself is asked."""
    execute(path, "CREATE TABLE t (a NUMERIC)")
    pieces = ["", "0", "7", "1.5", ".5", "5.", "1e3", "1e-5", "e", "x", "9223372036854775808", "0.1234567890123456"]
    texts = [f"{space}{sign}{piece}" for space in ("", " ", "\v") for sign in ("", "-", "+") for piece in pieces]
    with closing(sqlite3.connect(path)) as connection:
        for text in texts:
            try:
                bound = DIALECT.encode(sql_type("STRING", strict=False), text)
            except ValueError:
                continue
            connection.execute("INSERT INTO t VALUES (?)", (bound,))
            (kept,) = connection.execute("DELETE FROM t RETURNING a").fetchone()
            assert str(kept) == text


async def test_a_column_may_hold_what_its_type_does_not_say(path: Path) -> None:
    async with opened(path) as connection:
        sql = "SELECT 'abc', 2, x'ff', '{\n\"a\": 1.0}', '{no json', 'abc', NULL, 9e999"
        types = ("INTEGER", "BOOLEAN", "TEXT", "JSON", "JSON", "NUMERIC", "JSON", "")
        assert await answer(connection, sql, *types) == [
            '{"a":"\ufffdtext:abc","b":2,"c":"\ufffdblob:/w==","d":{ "a": 1.0},"e":"\ufffdtext:{no json",'
            '"f":"\ufffdtext:abc","g":null,"h":"\ufffdreal:Infinity"}'
        ]


async def test_text_that_is_not_utf8_is_given_in_base64_and_costs_no_row(path: Path) -> None:
    execute(path, "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t (b) VALUES ('x')")
    async with opened(path) as connection:
        values = "VALUES ('ä'), (CAST(x'ff41' AS TEXT)), ('z')"
        inserted = await answer(connection, f"INSERT INTO t (b) {values} RETURNING a, b", "INTEGER", "TEXT")
        assert inserted == ['{"a":2,"b":"ä"}', '{"a":3,"b":"\ufffdbase64:/0E="}', '{"a":4,"b":"z"}']
        assert await answer(connection, "SELECT count(*) FROM t", "INTEGER") == ['{"a":4}']
        with pytest.raises(sqlite3.DataError) as caught:
            await rows_of(connection, Statement("SELECT b FROM t", (), keys=1))
        refused = DIALECT.translate(caught.value, None)
        assert refused is not None
        assert refused.hint == "Order by another column."


async def test_rows_come_in_batches_up_to_the_limit_with_their_keys_raw(path: Path) -> None:
    async with opened(path) as connection:
        statement = Statement(NUMBERS.format("x, x * 0.5, x'00'"), (), ("n",), (sql_type("INT", strict=False),), 2)
        async with aclosing(DIALECT.fetch(connection, statement, 1100)) as batches:
            sizes = [(len(batch), batch[-1]) async for batch in batches]
    assert sizes == [
        (500, Row(b'{"n":500}', (250.0, b"\0"))),
        (500, Row(b'{"n":1000}', (500.0, b"\0"))),
        (100, Row(b'{"n":1100}', (550.0, b"\0"))),
    ]


async def test_large_rows_make_small_batches(path: Path) -> None:
    async with opened(path) as connection:
        statement = Statement(NUMBERS.format("zeroblob(400000)"), (), ("a",), (sql_type("BLOB", strict=False),))
        async with aclosing(DIALECT.fetch(connection, statement, 5)) as batches:
            assert [len(batch) async for batch in batches] == [2, 2, 1]


PATTERNS: list[tuple[str, tuple[str, ...], list[str]]] = [
    ("like", ("a%",), ["a%b", "a*c", "aXb"]),
    ("like", (r"a\%_",), ["a%b"]),
    ("like", ("a*_",), ["a*c"]),
    ("like", ("[x]",), ["[x]"]),
    ("ilike", ("AX_",), ["aXb"]),
    ("ilike", (r"A\%_",), ["a%b"]),
    ("starts_with", ("a*",), ["a*c"]),
    ("starts_with", ("[",), ["[x]"]),
    ("contains", ("%",), ["a%b"]),
    ("contains", ("A",), []),
    ("in", ("a%b", "[x]", "n"), ["a%b", "[x]"]),
    ("not_in", ("a%b", "[x]"), ["a*c", "aXb"]),
]


@pytest.mark.parametrize(("operator", "texts", "expected"), PATTERNS)
async def test_conditions_find_what_they_say(
    path: Path, operator: str, texts: tuple[str, ...], expected: list[str]
) -> None:
    execute(path, "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('a%b'), ('a*c'), ('aXb'), ('[x]'), (NULL)")
    table, text = sa.table("t", sa.column("a"), schema="main"), sql_type("TEXT", strict=False)
    values = {f"f{n}": DIALECT.encode(text, value, operator) for n, value in enumerate(texts)}
    query = sa.select(*DIALECT.row([("a", table.c.a, text)], ())).where(
        DIALECT.condition(operator, table.c.a, text, list(values))
    )
    async with opened(path) as connection:
        found = await rows_of(connection, compiled(query, ["a"], **values))
    assert [row.json.decode() for row in found] == [f'{{"a":"{value}"}}' for value in expected]


def test_a_pattern_that_cannot_be_is_refused() -> None:
    for operator, text in (("like", "a\\"), ("ilike", "a\\"), ("starts_with", "\0"), ("contains", "\ud800")):
        with pytest.raises(ValueError, match=r"backslash|NUL|surrogate"):
            DIALECT.encode(sql_type("TEXT", strict=False), text, operator)


async def test_rows_are_inserted_by_column_and_hostile_names_are_only_names(path: Path) -> None:
    name = 'a"; DROP TABLE t; --%s:x?'
    quoted = '"' + name.replace('"', '""') + '"'
    execute(path, f"CREATE TABLE {quoted} (one TEXT DEFAULT 'd', {quoted} TEXT)")
    async with opened(path) as connection:
        schema = (await DIALECT.read(connection, "s", Selection(), None)).schema
        (table,) = schema.tables.values()
        target = sa.table(table.name.name, *[sa.column(column.name) for column in table.columns], schema="main")
        returning = DIALECT.row([(column.name, target.c[column.name], column.type) for column in table.columns], ())
        labels = [column.name for column in table.columns]
        both = DIALECT.insert(target, table.columns[::-1], 1, None)[0].returning(*returning)
        none = DIALECT.insert(target, (), 1, None)[0].returning(*returning)
        found = await rows_of(connection, replace(compiled(both, labels), values=("second", "first")))
        found += await rows_of(connection, compiled(none, labels))
    key = name.replace('"', '\\"')
    assert [row.json.decode() for row in found] == [
        f'{{"one":"first","{key}":"second"}}',
        f'{{"one":"d","{key}":null}}',
    ]


async def test_what_a_relation_is_is_not_asked_again_until_the_schema_has_changed(path: Path) -> None:
    execute(path, "CREATE TABLE a (x); CREATE TABLE b (x)")
    asked: list[str] = []
    async with opened(path) as connection:

        async def identity(name: str) -> tuple[Any, ...]:
            (row,) = await rows_of(connection, Statement(DIALECT.identity, ("main", name)), 1)
            return row.keys

        await connection.run(lambda raw: raw.set_trace_callback(asked.append))
        first, second = await identity("a"), await identity("b")
        assert first != second
        assert sum("sqlite_schema" in sql for sql in asked) == 2
        await connection.execute("BEGIN IMMEDIATE")
        assert (await identity("a"), await identity("b")) == (first, second)
        await connection.execute("ROLLBACK")
        assert sum("sqlite_schema" in sql for sql in asked) == 2
        execute(path, "ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; ALTER TABLE c RENAME TO b")
        await connection.execute("BEGIN IMMEDIATE")
        roots = [str(keys[0]).split()[0] for keys in (await identity("a"), await identity("b"), second, first)]
        assert roots[:2] == roots[2:]
