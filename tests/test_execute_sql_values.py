"""What `execute_sql` answers with and takes as parameters is exact, value by value."""

from typing import Any

import pytest

from tests.conftest import Place
from tests.test_execute_sql import turned_on

pytest_plugins = "tests.standing"

POSTGRESQL = pytest.mark.parametrize("shared_postgresql", ["18"], indirect=True)

EXACT = [
    ("9007199254740993::bigint", "9007199254740993", "bigint"),
    ("-5::bigint", -5, "bigint"),
    ("1.50::numeric", "1.50", "numeric"),
    ("'NaN'::numeric", "NaN", "numeric"),
    ("0.1::float8 + 0.2::float8", 0.30000000000000004, "double precision"),
    ("'-Infinity'::float8", "-Infinity", "double precision"),
    ("true", True, "boolean"),
    ("null::text", None, "text"),
    ("'\\xdead'::bytea", "3q0=", "bytea"),
    ("'0044-03-15 BC'::date", "0044-03-15 BC", "date"),
    ("'0044-03-15 10:00 BC'::timestamp", "0044-03-15T10:00:00 BC", "timestamp without time zone"),
    ("'2020-01-01 10:00:00.5+02'::timestamptz", "2020-01-01T08:00:00.5+00:00", "timestamp with time zone"),
    ("'infinity'::timestamptz", "infinity", "timestamp with time zone"),
    ("'10:00+02'::timetz", "10:00:00+02", "time with time zone"),
    ("'null'::jsonb", {"$json": "null"}, "jsonb"),
    ('\'{"a":\n [1, "é"]}\'::json', {"a": [1, "é"]}, "json"),
    ("'{1,null,3}'::int[]", [1, None, 3], "integer[]"),
    ("'{9007199254740993,1}'::bigint[]", ["9007199254740993", "1"], "bigint[]"),
    ("array[[1.0,2],[3,4]]", [["1.0", "2"], ["3", "4"]], "numeric[]"),
    ("'[2:3]={1,2}'::int[]", "[2:3]={1,2}", "integer[]"),
    ("'{}'::text[]", [], "text[]"),
    ("""'{a,"NULL",NULL,"q\\"r,{}"}'::text[]""", ["a", "NULL", None, 'q"r,{}'], "text[]"),
    ("array['2020-01-01'::timestamp]", ["2020-01-01T00:00:00"], "timestamp without time zone[]"),
    ("array['1'::jsonb, 'null'::jsonb]", "{1,NULL}".replace("NULL", '"null"'), "jsonb[]"),
    ("array['{\"a\":1}'::jsonb, null]", [{"a": 1}, None], "jsonb[]"),
    ("array['(1,1),(0,0)'::box]", ["(1,1),(0,0)"], "box[]"),
    ("'[1,3)'::int4range", "[1,3)", "int4range"),
    ("'1 day 02:00'::interval", "1 day 02:00:00", "interval"),
    ("row(1, 'x')", "(1,x)", "record"),
    ("array['10.0.0.1'::inet, '::1']", ["10.0.0.1/32", "::1/128"], "inet[]"),
    ("'1 2'::int2vector", "1 2", "int2vector"),
    ("'$1.50'::money", "$1.50", "money"),
]


@POSTGRESQL
async def test_every_value_of_postgresql_is_exact(shared_postgresql: Place) -> None:
    async with turned_on(shared_postgresql) as program:
        sql = "SELECT " + ", ".join(f"{expression} AS c{place}" for place, (expression, _, _) in enumerate(EXACT))
        answer = await program.peer.call("execute_sql", {"sql": sql})
        assert "error" not in answer, answer
        values, types = answer["rows"][0].values(), [column["type"] for column in answer["columns"]]
        found = zip([expression for expression, _, _ in EXACT], values, types, strict=True)
        assert [one for one in found if one not in EXACT] == []
        # A record that asyncpg knows no codec for.
        record = await program.peer.rows("execute_sql", {"sql": "SELECT c FROM pg_class c WHERE relname = 'pg_class'"})
        assert "pg_class" in record[0]["c"]


@POSTGRESQL
async def test_every_value_of_a_table_is_the_same_by_sql_and_by_its_tool(shared_postgresql: Place) -> None:
    shared_postgresql.execute(
        """
        CREATE TYPE sql_mood AS ENUM ('glad', 'sad');
        CREATE DOMAIN sql_count AS bigint CHECK (VALUE > 0);
        CREATE TABLE sql_kinds (
            id integer PRIMARY KEY, a smallint, b sql_count, c numeric(8,2), d real, e boolean, f char(3), g bytea,
            h timestamptz, i time, j uuid, k jsonb, l sql_mood[], m inet, n timestamptz[], o float8[]
        );
        INSERT INTO sql_kinds VALUES (
            1, -7, 9007199254740993, 1.5, 0.1, false, 'a', '\\x00ff',
            '2020-05-05 05:05:05.05+01', '10:00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"n": 1e40, "s": "\\u00e9"}',
            '{glad,NULL}', '10.0.0.1', '{2020-01-01 00:00+00}', '{-0,NaN,1e-7}'
        )
        """
    )
    async with turned_on(shared_postgresql) as program:
        (by_tool,) = await program.peer.rows("query_sql_kinds")
        (by_sql,) = await program.peer.rows("execute_sql", {"sql": "SELECT * FROM sql_kinds"})
        assert {name: (value, by_tool[name]) for name, value in by_sql.items() if value != by_tool[name]} == {}


@POSTGRESQL
async def test_parameters_of_postgresql_are_read_as_their_types(shared_postgresql: Place) -> None:
    cases: list[tuple[str, Any, Any]] = [
        ("$1::int", 5, 5),
        ("$1::int", 5.0, 5),
        ("$1::int", "5", 5),
        ("$1::numeric", "1.2345678901234567890", "1.2345678901234567890"),
        ("$1::float8", 0.1, 0.1),
        ("$1::boolean", True, True),
        ("$1::text", "é😀'\\", "é😀'\\"),
        ("$1", "untyped", "untyped"),
        ("$1::date", "2020-02-29", "2020-02-29"),
        ("$1::jsonb", {"a": [1, None]}, {"a": [1, None]}),
        ("$1::jsonb", '{"a": 1}', {"a": 1}),
        ("$1::int[]", [[1, 2], [3, None]], [[1, 2], [3, None]]),
        ("$1::text[]", ["a,b", 'q"', "NULL", None], ["a,b", 'q"', "NULL", None]),
        ("$1::int4range", "[1,3)", "[1,3)"),
    ]
    refused: list[tuple[str, Any, str]] = [
        ("$1::int", "x", "invalid_value"),
        ("$1::int", [1], "invalid_value"),
        ("$1::text", "a\0b", "invalid_value"),
        ("$1::text", "\ud800", "invalid_value"),
        ("$1::numeric", 0.12345678901234567, "invalid_value"),
        ("$1::date", {"a": 1}, "invalid_value"),
    ]
    async with turned_on(shared_postgresql) as program:
        for expression, given, expected in cases:
            arguments = {"sql": f"SELECT {expression} AS v", "parameters": [given]}
            assert await program.peer.rows("execute_sql", arguments) == [{"v": expected}], (expression, given)
        for expression, given, code in refused:
            error = await program.peer.error("execute_sql", {"sql": f"SELECT {expression}", "parameters": [given]})
            assert error["code"] == code, (expression, given, error)
        error = await program.peer.error("execute_sql", {"sql": "SELECT $1::int, $2::int", "parameters": [1]})
        assert error["message"] == "the statement has 2 parameters, and 1 were given"


async def test_values_of_sqlite_keep_their_storage_class(shared_sqlite: Place) -> None:
    async with turned_on(shared_sqlite) as program:
        sql = "SELECT 1 AS a, 1.0 AS b, 'x' AS c, x'00ff' AS d, 9007199254740993 AS e, 1e999 AS f, NULL AS g, json(?) h"
        answer = await program.peer.call("execute_sql", {"sql": sql, "parameters": ['{"k": [1]}']})
        assert answer["rows"] == [
            {
                "a": 1,
                "b": 1.0,
                "c": "x",
                "d": "\ufffdblob:AP8=",
                "e": "\ufffdinteger:9007199254740993",
                "f": "\ufffdreal:Infinity",
                "g": None,
                "h": '{"k":[1]}',
            }
        ]
        types = [column["type"] for column in answer["columns"]]
        assert types == ["integer", "real", "text", "blob", "integer", "real", "null", "text"]
        sent_back = {"sql": "SELECT typeof(?1) AS t, ?1 AS v", "parameters": ["\ufffdblob:AP8="]}
        assert await program.peer.rows("execute_sql", sent_back) == [{"t": "blob", "v": "\ufffdblob:AP8="}]
        mixed = await program.peer.call(
            "execute_sql", {"sql": "SELECT 1 AS a UNION ALL SELECT 'x' UNION ALL SELECT NULL"}
        )
        assert mixed["columns"] == [{"name": "a", "type": "integer or text"}]
        each = {"sql": "SELECT value FROM json_each(?)", "parameters": ["[1,2]"]}
        assert await program.peer.rows("execute_sql", each) == [{"value": 1}, {"value": 2}]
        for given in ({"a": 1}, [1], "\ud800", "\ufffdblob:?", 2**70):
            error = await program.peer.error("execute_sql", {"sql": "SELECT ?", "parameters": [given]})
            assert error["code"] == "invalid_value", (given, error)
