"""`database.mask_columns`: a masked column is there and may be given values, and nothing tells of those it has."""

import base64
from typing import Any

import pytest

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

TABLES = """
    CREATE TABLE veiled_people (
        id integer PRIMARY KEY, name text NOT NULL, ssn varchar(20) UNIQUE, pin integer, seen timestamp, flags {json},
        mirror varchar(40) GENERATED ALWAYS AS (ssn || '!') STORED, UNIQUE (name, pin)
    );
    CREATE TABLE veiled_cards (
        code integer PRIMARY KEY, label text NOT NULL UNIQUE, holder integer REFERENCES veiled_people (id),
        holder_ssn varchar(20) REFERENCES veiled_people (ssn)
    );
    CREATE TABLE veiled_tokens (code integer PRIMARY KEY, word text);
    CREATE VIEW veiled_view AS SELECT id, ssn FROM veiled_people;
    INSERT INTO veiled_people (id, name, ssn, pin, seen, flags)
        VALUES (1, 'Ann', '111-22', 4711, '2020-01-01 00:00:00', '{{"a": 1}}'), (2, 'Bob', NULL, NULL, NULL, NULL);
    INSERT INTO veiled_cards VALUES (9001, 'gold', 1, '111-22'), (9002, 'blue', 2, NULL);
    INSERT INTO veiled_tokens VALUES (7001, 'a'), (7002, 'b'), (7003, 'c')
"""
MASKED = [
    "ssn",
    "veiled_people.pin",
    "*.veiled_people.SEEN",
    "veiled_people.flags",
    "veiled_cards.code",
    "*tokens.code",
]
SETTINGS: dict[str, Any] = {"database__include": ["veiled_*"], "database__mask_columns": MASKED}
SHOWN = {"ssn": "***", "pin": "***", "seen": "***", "flags": "***", "mirror": "***"}


@pytest.fixture(scope="module")
@made_once
def veiled(shared: Place) -> Place:
    for statement in TABLES.format(json="jsonb" if shared.product == "postgresql" else "json").split(";"):
        shared.execute(statement)
    return shared


async def test_a_masked_column_shows_the_mask_whatever_is_in_it(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        assert await program.peer.rows("query_veiled_people") == [
            {"id": 1, "name": "Ann", **SHOWN},
            {"id": 2, "name": "Bob", **SHOWN},
        ]
        assert await program.peer.rows("query_veiled_people", {"columns": ["pin"], "limit": 1}) == [{"pin": "***"}]
        assert await program.peer.rows("query_veiled_view", {"where": {"id": 1}}) == [{"id": 1, "ssn": "***"}]
        rows = await program.peer.rows("query_rows", {"table": "veiled_cards", "order_by": ["label"]})
        assert rows == [
            {"code": "***", "label": "blue", "holder": 2, "holder_ssn": None},
            {"code": "***", "label": "gold", "holder": 1, "holder_ssn": "111-22"},
        ]


async def test_nothing_that_would_tell_of_its_values_may_name_it(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        for column in SHOWN:
            refused: list[tuple[str, dict[str, Any]]] = [
                ("where", {"where": {column: None}}),
                ("filters[0].column", {"filters": [{"column": column, "op": "eq", "value": "x"}]}),
                ("filters[0].column", {"filters": [{"column": column, "op": "is_null"}]}),
                ("order_by[0]", {"order_by": [column]}),
                ("order_by[0]", {"order_by": [f"{column} desc nulls last"]}),
            ]
            for place, arguments in refused:
                for tool, table in (("query_veiled_people", {}), ("query_rows", {"table": "veiled_people"})):
                    assert await program.peer.error(tool, table | arguments) == refusal(column, place)
            row = {"id": 3, "name": "Cid"}
            arguments = {"rows": [row], "returning": ["id", column]}
            assert await program.peer.error("insert_veiled_people", arguments) == refusal(column, "returning")
    assert "Cid" not in str(veiled.execute("SELECT name FROM veiled_people"))


def refusal(column: str, place: str) -> dict[str, Any]:
    return {
        "code": "not_allowed",
        "message": f"column '{column}' of table 'veiled_people' is masked, and '{place}' would tell of its values",
        "hint": "A masked column may only be shown, as '***'. Columns: id, name.",
        "retryable": False,
    }


async def test_it_may_be_given_a_value_that_is_not_answered(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        answer = await program.peer.call("insert_veiled_tokens", {"rows": [{"code": 7004, "word": "d"}]})
        assert (answer["inserted"], answer["rows"]) == (1, [])
        assert await program.peer.rows("query_veiled_tokens", {"where": {"word": "d"}}) == [
            {"code": "***", "word": "d"}
        ]
    assert "7004" in str(veiled.execute("SELECT code FROM veiled_tokens"))
    veiled.execute("DELETE FROM veiled_tokens WHERE code = 7004")


async def test_a_mask_that_is_sent_back_is_not_taken_for_a_value(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        (row,) = await program.peer.rows("query_veiled_people", {"columns": ["name", "ssn"], "where": {"id": 1}})
        assert await program.peer.error("insert_veiled_people", {"rows": [{"id": 6, **row}]}) == {
            "code": "invalid_value",
            "message": "rows[0]: column 'ssn' of table 'veiled_people' got '***', which is its mask and not its value",
            "hint": "Leave the column out, or give it a value of its own.",
            "retryable": False,
        }


async def test_a_row_that_breaks_a_masked_key_is_told_the_columns_and_no_value(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        error = await program.peer.error("insert_veiled_people", {"rows": [{"id": 5, "name": "x", "ssn": "111-22"}]})
        assert (error["code"], error["details"]["columns"]) == ("unique_violation", ["ssn"])
        assert "111-22" not in str(error)


async def test_no_page_goes_on_from_a_masked_value(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        page = await program.peer.call("query_veiled_cards", {"limit": 1})
        sealed = base64.urlsafe_b64decode(page["next_cursor"] + "==")
        assert b"9001" not in sealed
        assert b"9002" not in sealed
        rest = await program.peer.rows("query_veiled_cards", {"limit": 1, "cursor": page["next_cursor"]})
        assert {row["label"] for row in (*page["rows"], *rest)} == {"gold", "blue"}
        tokens = await program.peer.call("query_veiled_tokens", {"limit": 2})
        if veiled.product == "sqlite":  # the rowid is the masked value
            assert (tokens["truncated"], tokens["next_cursor"]) == (True, None)
        else:
            assert b"700" not in base64.urlsafe_b64decode(tokens["next_cursor"] + "==")


async def test_the_tools_say_which_columns_are_masked(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        query = tools["query_veiled_people"]
        assert query.description == (
            "Read rows of table veiled_people. Masked, for no condition or order: ssn, pin, seen, flags, mirror."
        )
        assert list(query.input_schema["properties"]["where"]["properties"]) == ["id", "name"]
        row = tools["insert_veiled_people"].input_schema["properties"]["rows"]["items"]
        assert set(row["properties"]) == {"id", "name", "ssn", "pin", "seen", "flags"}
        people = await program.peer.call("describe_table", {"table": "veiled_people", "sample_values": True})
        masked = {column["name"]: column.get("masked") for column in people["columns"]}
        assert masked == {"id": None, "name": None, **dict.fromkeys(SHOWN, True)}
        assert not any("operators" in column for column in people["columns"] if column["name"] in SHOWN)
        assert set(people["samples"]) == {"name"}
        assert (people["primary_key"], people["unique_keys"]) == (["id"], [])
        assert sorted(people["masked_keys"]) == [["name", "pin"], ["ssn"]]


async def test_a_reference_by_a_masked_column_or_to_one_does_not_exist(veiled: Place) -> None:
    async with inside(veiled.url, **SETTINGS) as program:
        people, cards = [
            await program.peer.call("describe_table", {"table": name}) for name in ("veiled_people", "veiled_cards")
        ]
        assert [reference["columns"] for reference in cards["references"]] == [["holder"]]
        assert [reference["columns"] for reference in people["referenced_by"]] == [["holder"]]


async def test_a_table_that_is_not_masked_is_served_as_before(veiled: Place) -> None:
    async with inside(veiled.url, database__include=["veiled_*"]) as program:
        rows = await program.peer.rows("query_veiled_people", {"columns": ["ssn", "pin"], "where": {"ssn": "111-22"}})
        assert rows == [{"ssn": "111-22", "pin": 4711}]
