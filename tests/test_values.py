"""PostgreSQL's values, exact both ways: what goes in comes out, what comes out goes in again, psql sees the same."""

import base64
import json
import math
from typing import Any

import asyncpg
import pytest
from mcp_types import TextContent

from schema_mcp.caller import Caller
from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok", {so}');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN code AS varchar(3);
CREATE DOMAIN strict_code AS code CHECK (value <> 'bad');
CREATE DOMAIN amount AS numeric(8, 2);
"""
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
THIRTY = "123456789012345678901234567890"
#: Per type: what is sent, what is answered and what psql shows; two where it is answered as it was sent.
EXACT: dict[str, list[tuple[Any, ...]]] = {
    "smallint": [(-32768, "-32768"), (32767, "32767"), ("7", 7, "7")],
    "integer": [(-2147483648, "-2147483648"), (2147483647, "2147483647"), (3.0, 3, "3"), ("+5", 5, "5")],
    "bigint": [
        (9007199254740991, "9007199254740991"),
        (9007199254740992, "9007199254740992", "9007199254740992"),
        (-9007199254740991, "-9007199254740991"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775807", "9223372036854775807"),
    ],
    "numeric": [
        ("0.10", "0.10"),
        (f"-{THIRTY}.{THIRTY}", f"-{THIRTY}.{THIRTY}"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-inf", "-Infinity", "-Infinity"),
        (1.5, "1.5", "1.5"),
        (int(THIRTY), THIRTY, THIRTY),
        (123456789012.345, "123456789012.345", "123456789012.345"),
        ("1e-20", "0.00000000000000000001", "0.00000000000000000001"),
        ("-0", "0", "0"),
    ],
    "numeric(5,2)": [("1.50", "1.50"), (1, "1.00", "1.00"), ("-999.990", "-999.99", "-999.99"), ("NaN", "NaN")],
    "numeric(4,-2)": [("123400", "123400")],
    "amount": [("1.1", "1.10", "1.10")],
    "real": [(0.1, "0.1"), (3.4028235e38, "3.4028235e+38"), (-0.0, "-0"), ("NaN", "NaN"), ("-Infinity", "-Infinity")],
    "double precision": [
        (0.1, "0.1"),
        (-0.0, "-0"),
        (0, "0"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (9007199254740993.0, "9.007199254740992e+15"),
        (1152921504606847000, 2.0**60, "1.152921504606847e+18"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("0.30000000000000004", 0.30000000000000004, "0.30000000000000004"),
    ],
    "boolean": [(True, "true"), (False, "false"), (1, True, "true"), ("False", False, "false")],
    "text": [
        ("", ""),
        ("a\nb\r\n\tc", "a\nb\r\n\tc"),
        ("Größe \U0001f600 e\u0301 \u2028 \ufeff", None),
        ("\\x41 \\", None),
    ],
    "varchar(3)": [("äöü", "äöü"), ("\U0001f600" * 3, None), ("ab ", "ab ")],
    "char(4)": [("ab", "ab  ", "ab"), ("ab  ", "ab"), ("ab      ", "ab  ", "ab")],
    '"char"': [("a", "a"), ("", "")],
    "name": [("n" * 63, None)],
    "code": [("abc", "abc")],
    "strict_code": [("ok", "ok")],
    "bytea": [("", "\\x"), ("AP8=", "\\x00ff"), (base64.b64encode(bytes(range(256)) * 3).decode(), None)],
    "date": [
        ("2024-02-29", None),
        ("infinity", None),
        ("-infinity", None),
        ("0044-03-15 BC", None),
        ("12000-01-01", None),
    ],
    "time": [("24:00:00", None), ("00:00:00.000001", None), ("10:00", "10:00:00", "10:00:00")],
    "timetz": [("10:00:00+05:30", None), ("24:00:00-15:59:59", None), ("10:00Z", "10:00:00+00", "10:00:00+00")],
    "timestamp": [
        ("2024-02-29T23:59:59.999999", "2024-02-29 23:59:59.999999"),
        ("2024-02-29 10:00", "2024-02-29T10:00:00", "2024-02-29 10:00:00"),
        ("infinity", None),
        ("0044-03-15T00:00:00 BC", "0044-03-15 00:00:00 BC"),
        ("12000-01-01T00:00:00", "12000-01-01 00:00:00"),
        ("2024-02-29", "2024-02-29T00:00:00", "2024-02-29 00:00:00"),
    ],
    "timestamptz": [
        ("2024-02-29T10:00:00.000001+05:30", "2024-02-29T04:30:00.000001+00:00", "2024-02-29 04:30:00.000001+00"),
        ("2024-02-29T10:00:00Z", "2024-02-29T10:00:00+00:00", "2024-02-29 10:00:00+00"),
        ("-infinity", None),
        ("0044-03-15T00:00:00+00:00 BC", "0044-03-15 00:00:00+00 BC"),
        ("12000-01-01T00:00:00+00:00", "12000-01-01 00:00:00+00"),
    ],
    "timestamp(3)": [("2024-02-29T10:00:00.123", "2024-02-29 10:00:00.123")],
    "uuid": [(UUID, None), (UUID.upper(), UUID, UUID)],
    "json": [
        ({"b": [1, None, {"a": "\n"}], "a": 1.5}, '{"b":[1,null,{"a":"\\n"}],"a":1.5}'),
        ([], "[]"),
        ("text", '"text"'),
        (2**70, {"$json": str(2**70)}, str(2**70)),
        (False, "false"),
        ({"\0": "\0"}, '{"\\u0000":"\\u0000"}'),
        ({"ä\u2028": "😀"}, None),
    ],
    "jsonb": [
        ({"a": [1, None, {}]}, '{"a": [1, null, {}]}'),
        (1.5, "1.5"),
        ("", '""'),
        ({"null": -(2**70)}, {"$json": f'{{"null": -{2**70}}}'}, f'{{"null": -{2**70}}}'),
    ],
    "mood": [("sad", "sad"), ('it\'s "ok", {so}', None)],
    "integer[]": [
        ([1, None, "3"], [1, None, 3], "{1,NULL,3}"),
        ([], "{}"),
        ([[1, 2], [3, None]], "{{1,2},{3,NULL}}"),
        ("[2:3]={1,2}", None),
    ],
    "bigint[]": [([1, 2], "{1,2}"), ([], "{}"), (["1", None, "9223372036854775807"], "{1,NULL,9223372036854775807}")],
    "numeric[]": [(["1.10", None, "NaN"], "{1.10,NULL,NaN}"), ([["1"], ["2"]], "{{1},{2}}")],
    "numeric(4,1)[]": [(["1.0", 2, "3.50"], ["1.0", "2.0", "3.5"], "{1.0,2.0,3.5}")],
    "real[]": [([0.1, -0.0, "NaN", None], "{0.1,-0,NaN,NULL}")],
    "double precision[]": [
        ([[-0.0, 10], [-0.5, "-Infinity"]], "{{-0,10},{-0.5,-Infinity}}"),
        ([0, 1e-7], "{0,1e-07}"),
    ],
    "boolean[]": [([True, False, None], "{t,f,NULL}")],
    "text[]": [
        (["a,b", "{}", '"', "\\", None, "NULL", "", "\n"], None),
        ([["a"], ["b"]], "{{a},{b}}"),
        ("[0:1]={a,b}", None),
    ],
    "varchar(3)[]": [(["abc", "äöü"], "{abc,äöü}")],
    "bytea[]": [
        (["AP8=", None, ""], '{"\\\\x00ff",NULL,"\\\\x"}'),
        ([], "{}"),
        ([["AA=="], [None]], '{{"\\\\x00"},{NULL}}'),
    ],
    "date[]": [(["2024-02-29", "infinity", None], "{2024-02-29,infinity,NULL}")],
    "timestamptz[]": [(["2024-02-29T10:00:00+00:00"], '{"2024-02-29 10:00:00+00"}')],
    "uuid[]": [([UUID, None], f"{{{UUID},NULL}}")],
    "mood[]": [(["sad", 'it\'s "ok", {so}'], None)],
    "jsonb[]": [([{"a": 1}, None, [1, [2]], "x"], None), ([], "{}")],
    "pair": [('(1,"a ""b"" c")', None), ("(,)", None)],
    "pair[]": [(['(1,"a b")', None], None)],
    "interval": [("1 year 2 mons -3 days +04:05:06.000001", None), ("P1Y2M", "1 year 2 mons", "1 year 2 mons")],
    "interval[]": [(["1 day", None], '{"1 day",NULL}')],
    "inet": [("10.0.0.1/8", None), ("10.0.0.1", "10.0.0.1/32", "10.0.0.1/32")],
    "int4range": [("[1,5)", None), ("empty", None)],
    "tstzrange": [('["2024-02-29 10:00:00+00",)', None)],
    "int4multirange": [("{[1,3),[5,7)}", None)],
    "money": [("$1,234.50", None), (12.5, "$12.50", "$12.50")],
    "bit(3)": [("101", None)],
    "varbit": [("10", None), ("", "")],
    "oid": [("4294967295", None), (7, "7", "7")],
    "point": [("(1.5,-2)", None)],
    "box[]": [(["(2,2),(1,1)", None], "{(2,2),(1,1);NULL}")],
    "pg_lsn": [("16/B374D848", None)],
    "tsvector": [("'a':1 'b''c':2", None)],
}  # fmt: skip


def expected(case: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Sent, answered, and as text; None for a text that is the value itself, or that nobody wants to write down."""
    return (case[0], case[0], case[1]) if len(case) == 2 else case


async def create(place: Place, name: str, types: list[str]) -> None:
    columns = ", ".join(f"c{index} {type_}" for index, type_ in enumerate(types))
    place.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, {columns})")


@pytest.fixture(scope="module")
@made_once
def typed(shared_postgresql: Place) -> Place:
    once = f"DO $do$ BEGIN IF to_regtype('mood') IS NULL THEN {TYPES} END IF; END $do$"
    shared_postgresql.execute(once)  # tests of several servers may come in any order
    return shared_postgresql


@pytest.mark.parametrize("reader", ["auto", "information_schema"])
async def test_every_value_is_exact_both_ways(typed: Place, reader: str) -> None:
    sent_to, again = f"sent_{reader}", f"again_{reader}"
    await create(typed, sent_to, list(EXACT))
    await create(typed, again, list(EXACT))
    cases = [[expected(case) for case in values] for values in EXACT.values()]
    async with inside(typed.url, watch__reader=reader) as program:
        rows = []
        for number in range(max(map(len, cases)) + 1):
            given = {f"c{index}": values[number] for index, values in enumerate(cases) if number < len(values)}
            sent = {"id": number} | {name: case[0] for name, case in given.items()}
            await program.peer.rows(f"insert_{sent_to}", {"rows": [sent]})
            nothing = {f"c{index}": None for index in range(len(cases))}
            rows.append({"id": number} | nothing | {name: case[1] for name, case in given.items()})
        answered = await program.peer.rows(f"query_{sent_to}")
        for row, wanted in zip(answered, rows, strict=True):
            for (name, value), type_ in zip(list(wanted.items())[1:], EXACT, strict=True):
                assert json.dumps(row[name]) == json.dumps(value), type_
        connection = await asyncpg.connect(typed.url)
        try:
            for index, type_ in enumerate(EXACT):
                seen = await connection.fetch(f"SELECT c{index}::text AS text FROM {sent_to} ORDER BY id")
                for record, case in zip(seen, cases[index], strict=False):
                    if (text := case[2] or (case[1] if isinstance(case[1], str) else None)) is not None:
                        assert type_ == "bytea" or record["text"] == text, type_
            # What came out goes in again as it is, and the database cannot tell one from the other.
            await program.peer.rows(f"insert_{again}", {"rows": answered})
            for index, type_ in enumerate(EXACT):
                different = await connection.fetch(
                    f"SELECT a.c{index}::text, b.c{index}::text FROM {sent_to} a JOIN {again} b USING (id) "
                    f"WHERE a.c{index}::text IS DISTINCT FROM b.c{index}::text"
                )
                assert different == [], type_
        finally:
            await connection.close()


REFUSED: dict[str, list[tuple[Any, str]]] = {
    "smallint": [(32768, "it must be between -32768 and 32767"), ("-32769", "it must be between -32768 and 32767")],
    "integer": [
        (1.5, "takes an integer (integer), got 1.5"),
        ("2147483648", "it must be between -2147483648 and 2147483647"),
        (True, "takes an integer (integer), got true"),
        ("1e3", "takes an integer (integer), got '1e3'"),
        ("", "takes an integer (integer), got ''"),
        (10**5000, "got an integer of more than 60 digits"),
        (1e300, "takes an integer (integer), got 1e+300"),
    ],
    "bigint": [(2**63, "it must be between -9223372036854775808 and"), (2.0**53, "takes an integer (bigint)")],
    "numeric": [
        (12345678901234567.0, "a JSON number of more than 15 digits is not exact"),
        (0.12345678901234567, "a JSON number of more than 15 digits is not exact"),
        ("1,5", "takes a number (numeric), got '1,5'"),
        ("0x10", "takes a number (numeric), got '0x10'"),
        (True, "takes a number (numeric), got true"),
        ("1e999999", "value overflows numeric format"),
    ],
    "numeric(5,2)": [
        ("1.239", "it would be rounded to 2 digits after the point"),
        (0.001, "it would be rounded to 2 digits after the point"),
        ("1000", "numeric field overflow"),
    ],
    "numeric(4,-2)": [("123450", "it would be rounded to -2 digits after the point")],
    "amount": [("1.005", "it would be rounded to 2 digits after the point")],
    "numeric(4,1)[]": [([["1.25"]], "it would be rounded to 1 digits after the point")],
    "real": [("1e39", "is out of range for type real")],
    "double precision": [
        ("1e400", "it is beyond the range of a double"),
        (10**400, "it is beyond the range of a double"),
        (9007199254740993, "a double would round it to 9007199254740992.0"),
        ("9007199254740993", "a double would round it to 9007199254740992.0"),
        ("1.5x", "takes a number (double precision), got '1.5x'"),
    ],
    "boolean": [("t", "takes true or false (boolean), got 't'"), (2, "got 2"), (1.0, "got 1.0")],
    "text": [
        (5, "takes a string (text), got 5"),
        ({}, "takes a string (text), got an object"),
        ("a\0", "PostgreSQL cannot store the character NUL"),
        ("\ud800", "it holds a lone surrogate"),
    ],
    "varchar(3)": [
        ("abcd", "value too long for type character varying(3)"),
        ("ab  ", "the spaces at its end would be cut to 3 characters"),
    ],
    "timestamp(3)": [("2024-02-29T10:00:00.1234", "it would be rounded to 3 digits of a second")],
    "time(0)": [("10:00:00.5", "it would be rounded to 0 digits of a second")],
    "char(4)": [("abcde", "value too long for type character(4)")],
    '"char"': [("ab", "the type holds at most 1 byte")],
    "name": [("ä" * 32, "the type holds at most 63 bytes")],
    "code": [("abcd", "value too long for type character varying(3)")],
    "strict_code": [("abcd", "value too long for type character varying(3)"), ("bad", "violates check constraint")],
    "varchar(3)[]": [(["abcd"], "value too long for type character varying(3)")],
    "bytea": [(wrong, "takes a base64 string") for wrong in ("AP8", "AP9=", "AP8=AP8=", "\\x00", "AP8=\n", "_-==")],
    "date": [
        ("2024-02-30", "date/time field value out of range"),
        ("2024-02-29T10:00:00", "a date has no time of day, and it would be cut off"),
        ("today", "takes a date string (ISO 8601) (date), got 'today'"),
        ("1/2/2024", "takes a date string (ISO 8601) (date), got '1/2/2024'"),
        (20240229, "takes a date string (ISO 8601) (date), got 20240229"),
    ],
    "time": [
        ("10:00:00+02", "the column has no time zone, and the offset would be dropped"),
        ("10:00:00.1234567", "PostgreSQL keeps six digits of a second, and would round it"),
        ("24:00:01", "date/time field value out of range"),
        ("infinity", "takes a time string (ISO 8601)"),
    ],
    "timestamp": [
        ("2024-02-29T10:00:00Z", "the column has no time zone, and the offset would be dropped"),
        ("2024-02-29T10:00:00+02:00", "the column has no time zone, and the offset would be dropped"),
        ("now", "takes a date and time string (ISO 8601)"),
        ("300000-01-01", "out of range"),
    ],
    "timestamptz": [("2024-02-29T10:00:00.0000001Z", "PostgreSQL keeps six digits of a second"), ("x", "got 'x'")],
    "uuid": [("x", "invalid input syntax for type uuid"), (5, "takes a UUID string (uuid), got 5")],
    "jsonb": [({"a": "\0"}, "unsupported Unicode escape sequence"), ({"a": "\ud800"}, "it holds a lone surrogate")],
    "json": [({"a": ["\ud800"]}, "it holds a lone surrogate")],
    "mood": [("sadd", "takes one of its labels"), ("", "takes one of its labels"), (0, "takes one of its labels")],
    "integer[]": [
        ([1, 1.5], "an element takes an integer, got 1.5"),
        ([2**31], "an element takes an integer, got 2147483648: it must be between"),
        ([[1], [2, 3]], "malformed array literal"),
        ([[]], "an array inside an array must not be empty"),
        ({"0": 1}, "takes an array (integer[]), got an object"),
        ("1,2", "malformed array literal"),
    ],
    "text[]": [(["\0"], "PostgreSQL cannot store the character NUL"), ([1], "an element takes a string, got 1")],
    "mood[]": [(["sadd"], "an element takes one of its labels, got 'sadd'")],
    "bit(3)": [("1011", "bit string length 4 does not match type bit(3)")],
    "int4range": [("[5,1)", "range lower bound must be less than or equal to range upper bound")],
    "interval": [(True, "takes a string (interval), got true")],
}  # fmt: skip


async def test_what_a_column_would_change_or_cannot_hold_is_refused_and_nothing_is_written(typed: Place) -> None:
    await create(typed, "refusing", list(REFUSED))
    async with inside(typed.url) as program:
        for index, (type_, values) in enumerate(REFUSED.items()):
            for value, message in values:
                error = await program.peer.error("insert_refusing", {"rows": [{"id": 1, f"c{index}": value}]})
                assert error["code"] == ("check_violation" if "check" in message else "invalid_value"), (type_, error)
                assert message in error["message"], (type_, value)
                assert error["hint"]
        hint = await program.peer.error("insert_refusing", {"rows": [{"id": 1, "c3": 12345678901234567.0}]})
        assert hint["hint"] == "Send the number as a string to keep every digit."
        assert await program.peer.rows("query_refusing") == []


async def test_numbers_that_only_json_text_can_hold_are_refused(typed: Place) -> None:
    """The SDK's client sends null for them, so this is said below the wire: other clients send 1e400 and NaN."""
    await create(typed, "finite", list(REFUSED))
    async with inside(typed.url) as program:
        for index, type_ in enumerate(REFUSED):
            for value in (math.inf, -math.inf, math.nan, [math.inf], {"a": [None, math.nan]}):
                rows = {"rows": [{"id": 1, f"c{index}": value}]}
                answer = await program.app.service.call("insert_finite", rows, Caller())
                assert json.loads(answer.json)["error"]["code"] == "invalid_value", (type_, value)
        assert await program.peer.rows("query_finite") == []


async def test_json_leaves_as_it_is_spelled(typed: Place) -> None:
    typed.execute("CREATE TABLE spelled (id integer PRIMARY KEY, j json, jb jsonb)")
    spelled = '{"a" :  1.10, "a": 1234567.50, "b": [1E5, -0, "\\ud83d\\ude00"]}'
    broken = spelled.replace(", ", ",\r\n\t")
    typed.execute(f"INSERT INTO spelled VALUES (1, '{broken}', '{{\"n\": 1.10}}'), (2, '[]', '\"x\"')")
    async with inside(typed.url) as program:
        result = await program.peer.client.call_tool("query_spelled", {"order_by": ["id"], "limit": 1})
        (content,) = result.content
        assert isinstance(content, TextContent)
        line = broken.replace("\r", " ").replace("\n", " ")
        assert f'"rows":[{{"id":1,"j":{line},"jb":{{"n": 1.10}}}}]' in content.text
        assert "\n" not in content.text
        assert result.structured_content == json.loads(content.text)
        assert await program.peer.rows("query_spelled", {"where": {"id": 2}}) == [{"id": 2, "j": [], "jb": "x"}]


async def test_a_row_without_values_is_one_of_defaults(shared: Place) -> None:
    shared.execute("CREATE TABLE silent (id integer, word text DEFAULT 'none')")
    async with inside(shared.url) as program:
        answer = await program.peer.call(
            "insert_silent", {"rows": [{}, {"id": 1}, {}, {}], "returning": ["id", "word"]}
        )
        assert [(row["id"], row["word"]) for row in answer["rows"]] == [
            (None, "none"),
            (1, "none"),
            (None, "none"),
            (None, "none"),
        ]
