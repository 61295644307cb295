"""What PostgreSQL would change without a word is refused by name, and what JSON would change travels as text."""

import json
from typing import Any

import pytest

from schema_mcp.caller import Caller
from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

#: Per type: what is sent, and what is said of it.
REFUSED: dict[str, list[tuple[Any, str]]] = {
    "money": [("$1.239", "it would be rounded"), (0.001, "it would be rounded"), ("(1.005)", "it would be rounded")],
    "interval": [
        ("1.0000001 seconds", "it would be rounded"),
        ("00:00:00.0000001", "it would be rounded"),
        ("PT0.0000001S", "it would be rounded"),
        ("0.3 years", "it would be rounded"),
        ("P0.3Y", "it would be rounded"),
        (0.0000001, "it would be rounded"),
    ],
    "interval year to month": [("1 day", "would cut off what is finer"), ("P1Y2M3D", "would cut off what is finer")],
    "interval year": [("14 months", "would cut off what is finer")],
    "interval day to minute": [("1 day 04:05:06", "would cut off what is finer"), ("now", "write it like '1 year")],
    "interval(0)": [("04:05:06.7", "would cut off what is finer")],
    "real": [
        (16777217, "a real has six to nine digits, and would round it"),
        ("123456789", "a real has six to nine digits, and would round it"),
        ("1e-60", "out of range"),
    ],
    "double precision": [("1e-400", "it is beyond the range of a double")],
    "tsrange": [
        ("[2024-01-01 00:00:00.0000001,)", "PostgreSQL keeps six digits of a second"),
        ('(,"2024-01-01 00:00+02"]', "the column has no time zone"),
        ("[today,)", "its bound 'today' is not written in ISO 8601"),
    ],
    "daterange": [("[2024-01-01 10:00,)", "a date has no time of day")],
    "datemultirange": [("{[2024-01-01,2024-01-02],[2024-02-01 10:00,)}", "a date has no time of day")],
    "seconds": [("2024-02-29T10:00:00.5", "it would be rounded to 0 digits of a second")],
    "numeric(4,1)[]": [("{1.25}", "it would be rounded to 1 digits"), ("[0:0]={1.25}", "it would be rounded to 1")],
    "timestamp[]": [("{2024-02-29 10:00:00+02}", "the offset would be dropped")],
    "name[]": [("{%s}" % ("n" * 64), "the type holds at most 63 bytes")],
    "money[]": [('{"$1,000.001"}', "it would be rounded"), (["$0.001"], "it would be rounded")],
    "varchar(3)[]": [('{"abc "}', "the spaces at its end would be cut")],
    "whole_prices[]": [(["1.5"], "it would be rounded to 0 digits"), ('{"1.5"}', "it would be rounded to 0 digits")],
    "jsonb": [({"$json": "{"}, "invalid input syntax for type json"), ({"$json": "1\0"}, "cannot store the character")],
}  # fmt: skip
#: Per type: what is sent and what is stored.
TAKEN: dict[str, list[tuple[Any, str]]] = {
    "money": [("1.230", "$1.23"), ("-$0.01", "-$0.01"), (12, "$12.00")],
    "interval": [
        ("1.5 hours", "01:30:00"), (1.5, "00:00:01.5"), ("0.25 years", "3 mons"), ("2 04:05:06.7", "2 days 04:05:06.7"),
        ("1-2", "1 year 2 mons"), ("P1.5W", "10 days 12:00:00"), ("1 month ago", "-1 mons"), ("@ 1 min", "00:01:00"),
        ("1y2mon3d", "1 year 2 mons 3 days"), ("P0001-02-03T04:05:06", "1 year 2 mons 3 days 04:05:06"),
    ],
    "interval year to month": [("1 year 2 mons", "1 year 2 mons"), ("1-2", "1 year 2 mons")],
    "interval day to minute": [("1 day 04:05", "1 day 04:05:00")],
    "interval(0)": [("1.5 hours", "01:30:00")],
    "real": [(16777216, "1.6777216e+07"), (3.4028235e38, "3.4028235e+38"), (123456.7, "123456.7"), (0, "0")],
    "tsrange": [('["2024-01-01 00:00:00","2024-01-02"]', '["2024-01-01 00:00:00","2024-01-02 00:00:00"]')],
    "numeric(4,1)[]": [("{1.20,NULL}", "{1.2,NULL}")],
    "regclass": [("-", "-"), ("pg_class", "pg_class"), (4294967295, "4294967295")],
    "json": [({"$json": '{"a":1,\t"a":2}'}, '{"a":1,\t"a":2}'), ({"$json": 1}, '{"$json":1}')],
    "jsonb": [({"$json": "null"}, "null"), ([None], "[null]"), ({"$json": "1.10"}, "1.10")],
    "jsonb[]": [([{"$json": "null"}, None], '{"null",NULL}')],
    "whole_prices[]": [(["1"], "{1}")],
}  # fmt: skip


@pytest.fixture(scope="module")
@made_once
def typed(shared_postgresql: Place) -> Place:
    domains = "CREATE DOMAIN seconds AS timestamp(0); CREATE DOMAIN whole_prices AS numeric(8);"
    once = f"DO $do$ BEGIN IF to_regtype('seconds') IS NULL THEN {domains} END IF; END $do$"
    shared_postgresql.execute(once)  # tests of several servers may come in any order
    return shared_postgresql


def create(place: Place, table: str, types: dict[str, Any]) -> None:
    columns = ", ".join(f"c{index} {type_}" for index, type_ in enumerate(types))
    place.execute(f"CREATE TABLE {table} (id serial PRIMARY KEY, {columns})")


async def test_what_a_type_would_round_or_cut_is_refused_with_the_name_of_the_column(typed: Place) -> None:
    create(typed, "kept_refused", REFUSED)
    async with inside(typed.url) as program:
        for index, (type_, values) in enumerate(REFUSED.items()):
            for value, message in values:
                error = await program.peer.error("insert_kept_refused", {"rows": [{f"c{index}": value}]})
                assert (error["code"], message in error["message"]) == ("invalid_value", True), (type_, value, error)
        assert await program.peer.rows("query_kept_refused") == []


async def test_what_a_type_keeps_whole_is_taken_in_every_form(typed: Place) -> None:
    create(typed, "kept_taken", TAKEN)
    async with inside(typed.url) as program:
        for index, (type_, values) in enumerate(TAKEN.items()):
            for value, text in values:
                (row,) = await program.peer.rows("insert_kept_taken", {"rows": [{f"c{index}": value}]})
                seen = typed.execute(
                    f"SET lc_monetary = 'C'; SELECT c{index}::text FROM kept_taken WHERE id = {row['id']}"
                )
                assert seen == text, (type_, value)


async def test_documents_that_json_readers_do_not_keep_leave_as_their_text(typed: Place) -> None:
    documents = {
        "null": {"$json": "null"},
        "[null]": [None],
        '{"a": 9007199254740993}': {"$json": '{"a": 9007199254740993}'},
        '{"a": 9007199254740992}': {"a": 9007199254740992},
        '{"a": [1.10, 0.30000000000000004, 1e5]}': {"a": [1.1, 0.30000000000000004, 100000]},
        '{"a": 1.00000000000000001}': {"$json": '{"a": 1.00000000000000001}'},
        "[1e400]": {"$json": f"[1{'0' * 400}]"},
        '{"a": "12345678901234567890.5 1e400"}': {"a": "12345678901234567890.5 1e400"},
        '{"$json": "null"}': {"$json": '{"$json": "null"}'},
        '{"$json": null}': {"$json": None},
        '{"a": {"$json": "1"}}': {"a": {"$json": "1"}},
    }
    typed.execute("CREATE TABLE documents (id serial PRIMARY KEY, j json, jb jsonb, js jsonb[], nothing jsonb)")
    for text in documents:
        typed.execute(f"INSERT INTO documents (j, jb, js) VALUES ('{text}', '{text}', ARRAY['{text}', NULL]::jsonb[])")
    spelled = {"$json": "[1e400]"}
    async with inside(typed.url) as program:
        rows = await program.peer.rows("query_documents")
        null = {"js": '{"null",NULL}'}
        expected = [
            {
                "id": index, "j": spelled if text == "[1e400]" else document, "jb": document, "js": [document, None],
                "nothing": None,
            }
            | (null if text == "null" else {})
            for index, (text, document) in enumerate(documents.items(), start=1)
        ]  # fmt: skip
        assert rows == expected
        assert await program.peer.rows("query_documents", {"where": {"jb": {"$json": "null"}}}) == rows[:1]
        assert await program.peer.rows(
            "query_documents", {"where": {"jb": {"$json": "[1e400]"}}, "columns": ["id"]}
        ) == [{"id": 7}]
        again = [{"id": row["id"] + 100, **{name: row[name] for name in ("j", "jb", "js")}} for row in rows]
        await program.peer.rows("insert_documents", {"rows": again})
    same = "a.jb = b.jb AND a.js = b.js AND a.j::jsonb = b.j::jsonb"
    different = typed.execute(
        f"SELECT a.id FROM documents a JOIN documents b ON b.id = a.id + 100 WHERE ({same}) IS NOT TRUE"
    )
    assert different == ""


async def test_a_document_with_half_a_surrogate_pair_is_in_the_object_as_well(typed: Place) -> None:
    typed.execute("""CREATE TABLE halves (j json); INSERT INTO halves VALUES ('["\\ud800"]'), ('"\\ud83d\\ude00"')""")
    async with inside(typed.url) as program:
        assert await program.peer.rows("query_halves") == [{"j": {"$json": '["\\ud800"]'}}, {"j": "\U0001f600"}]


async def test_a_value_that_postgresql_itself_refuses_is_refused_with_the_name_of_its_column(typed: Place) -> None:
    typed.execute(
        "CREATE TABLE suspected (id serial, u uuid, v varchar(3), w varchar(4), n numeric(5, 2), m numeric(6, 2), "
        "d date, j jsonb, b bit(3), p point, q point, l bigint[], r real, x int4range)"
    )
    refused: list[tuple[dict[str, Any], list[str] | None]] = [
        ({"u": "date"}, ["u"]),
        ({"v": "abcd"}, ["v"]),
        ({"w": "abcde"}, ["w"]),
        ({"n": "1000"}, ["n"]),
        ({"m": "10000"}, ["m"]),
        ({"d": "2024-02-30"}, ["d"]),
        ({"j": {"$json": "{"}}, ["j"]),
        ({"b": "1011"}, ["b"]),
        ({"p": "uuid"}, ["p", "q"]),
        ({"l": "{x}"}, ["l"]),
        ({"r": "1e39"}, ["r"]),
        ({"x": "[5,1)"}, None),
    ]
    async with inside(typed.url) as program:
        for row, columns in refused:
            error = await program.peer.error("insert_suspected", {"rows": [row]})
            assert (error["code"], error.get("details", {}).get("columns")) == ("invalid_value", columns), error
            if columns is not None:
                assert all(f"'{name}'" in error["message"] for name in columns)


async def test_a_name_that_is_not_there_is_no_change_of_the_table(typed: Place) -> None:
    typed.execute(
        "CREATE TABLE named (id serial PRIMARY KEY, c regclass, t regtype, f regproc, n regnamespace, o pg_node_tree)"
    )
    async with inside(typed.url) as program:
        for name in "ctfn":
            error = await program.peer.error("insert_named", {"rows": [{name: "nope"}]})
            assert (error["code"], error["details"]["columns"]) == ("invalid_value", ["c", "t", "f", "n"]), error
        error = await program.peer.error("insert_named", {"rows": [{"o": "x"}]})
        assert error["message"] == "column 'o': cannot accept a value of type pg_node_tree"
        assert error["code"] == "invalid_value"
        await program.peer.rows("insert_named", {"rows": [{"c": "-"}, {"c": "pg_type"}]})
        found = {"filters": [{"column": "c", "op": "in", "values": ["-", "pg_class"]}], "columns": ["c"]}
        assert await program.peer.rows("query_named", found) == [{"c": "-"}]


@pytest.mark.parametrize("reader", ["auto", "information_schema"])
async def test_arrays_in_an_array_of_a_domain_are_its_elements(typed: Place, reader: str) -> None:
    typed.execute(f"CREATE DOMAIN lists_{reader} AS integer[]; CREATE TABLE listed_{reader} (ls lists_{reader}[])")
    async with inside(typed.url, watch__reader=reader) as program:
        returning = {"returning": ["ls"]}
        answered = await program.peer.rows(
            f"insert_listed_{reader}", {"rows": [{"ls": [[], [1, 2], None]}, {"ls": '{{"{1}"},{"{}"}}'}], **returning}
        )
        assert answered == [{"ls": ["{}", "{1,2}", None]}, {"ls": '{{"{1}"},{"{}"}}'}]
        assert await program.peer.rows(f"insert_listed_{reader}", {"rows": answered, **returning}) == answered


async def test_an_error_about_what_is_no_unicode_text_is_an_answer(typed: Place) -> None:
    """The SDK's client cannot send it; others send "\\ud800"."""
    typed.execute("CREATE TABLE surrogates (a text)")
    async with inside(typed.url) as program:
        for arguments in ({"columns": ["\ud800"]}, {"\ud800": 1}, {"where": {"\udfff": 1}}, {"order_by": ["\ud800 x"]}):
            answer = await program.app.service.call("query_surrogates", arguments, Caller())
            error = json.loads(answer.json)["error"]
            assert error["code"] in ("unknown_column", "unknown_argument", "invalid_argument"), error
