"""A value in a masked or a hidden column comes out nowhere, whichever tool is called with whichever arguments.

The arguments are made from the tools' own schemas, so that an argument that is added is tried too.
"""

import base64
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from schema_mcp.observe.log import log
from tests.conftest import Place, made_once
from tests.peers import Inside, inside

pytest_plugins = "tests.standing"

WORD, NUMBER = "kanarienvogel", 860_913_427
#: In whatever way a value is written: as it is, as base64, as hexadecimal digits.
CANARIES = (WORD, str(NUMBER), base64.b64encode(WORD.encode())[:-1].decode(), WORD.encode().hex())

TABLES = {
    "postgresql": f"""
        CREATE TABLE cage_birds (
            id integer PRIMARY KEY, name text NOT NULL UNIQUE CHECK (name <> 'bad'),
            hatched integer CHECK (hatched > 9), song text UNIQUE,
            ring integer, wings bytea, calls text[], notes jsonb, owner text,
            echo text GENERATED ALWAYS AS (song || song) STORED,
            keeper text GENERATED ALWAYS AS (lower(owner)) STORED,
            UNIQUE (hatched, ring), CHECK (song IS NOT NULL OR hatched IS NULL)
        );
        CREATE TABLE cage_eggs (
            ring integer PRIMARY KEY, mother text REFERENCES cage_birds (song), nest integer REFERENCES cage_birds (id)
        );
        CREATE VIEW cage_view AS SELECT DISTINCT id, CAST(song AS integer) AS song, ring, owner FROM cage_birds;
        CREATE FUNCTION cage_betray() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.name LIKE 'raise %' THEN
                RAISE EXCEPTION 'there is %', (SELECT song || ring || owner FROM cage_birds WHERE id = 1)
                    USING ERRCODE = substr(new.name, 7), CONSTRAINT = 'cage_birds_name_key',
                    DETAIL = (SELECT format('Key (name)=(%s)', song) FROM cage_birds WHERE id = 1),
                    HINT = (SELECT song FROM cage_birds WHERE id = 1);
            END IF;
            IF new.name = 'cast' THEN PERFORM CAST(song AS integer) FROM cage_birds WHERE id = 1; END IF;
            RETURN new; END $$;
        CREATE TRIGGER cage_betray BEFORE INSERT ON cage_birds FOR EACH ROW EXECUTE FUNCTION cage_betray();
        INSERT INTO cage_birds VALUES (1, 'Tweety', 10, '{WORD}', {NUMBER}, '{WORD}', '{{{WORD}}}', '{{"a": "{WORD}"}}',
            '{WORD}'), (2, 'Hansi', 11, '{WORD}2', NULL, NULL, NULL, NULL, NULL);
        INSERT INTO cage_eggs VALUES ({NUMBER}, '{WORD}', 1), (5, NULL, 2)
    """,
    "sqlite": f"""
        CREATE TABLE cage_birds (
            id integer PRIMARY KEY, name text NOT NULL UNIQUE CHECK (name <> 'bad'),
            hatched integer CHECK (hatched > 9), song text UNIQUE,
            ring integer, wings blob, calls text, notes json, owner text,
            echo text GENERATED ALWAYS AS (song || song) STORED,
            keeper text GENERATED ALWAYS AS (lower(owner)) STORED,
            UNIQUE (hatched, ring), CHECK (song IS NOT NULL OR hatched IS NULL)
        );
        CREATE TABLE cage_eggs (
            ring integer PRIMARY KEY, mother text REFERENCES cage_birds (song), nest integer REFERENCES cage_birds (id)
        );
        CREATE VIEW cage_view AS SELECT DISTINCT id, json(song) AS song, ring, owner FROM cage_birds;
        INSERT INTO cage_birds VALUES (1, 'Tweety', 10, '{WORD}', {NUMBER}, CAST('{WORD}' AS blob), '{WORD}',
            '{{"a": "{WORD}"}}', '{WORD}'), (2, 'Hansi', 11, '{WORD}2', NULL, NULL, NULL, NULL, NULL);
        INSERT INTO cage_eggs VALUES ({NUMBER}, '{WORD}', 1), (5, NULL, 2)
    """,
}
SETTINGS: dict[str, Any] = {
    "database__include": ["cage_*"],
    "database__mask_columns": ["song", "ring", "wings", "cage_birds.calls", "notes", "mother"],
    "database__hide_columns": ["owner"],
}
COLUMNS = ["id", "name", "hatched", "song", "ring", "wings", "calls", "notes", "owner", "echo", "keeper", "mother"]
ROWS: list[Mapping[str, Any]] = [
    {"id": 1, "name": "new"},
    {"id": 3, "name": "Tweety"},
    {"id": 3, "name": "bad"},
    {"id": 3, "name": "cast"},
    {"id": 3, "name": None},
    {"id": 3, "name": "new", "hatched": 5},
    {"id": 3, "name": "new", "hatched": 12},
    {"id": 3, "name": "new", "ring": "x", "notes": "{", "wings": "?"},
    {"id": 3, "name": "new", "owner": "x"},
    {"id": 3, "name": "new", "mother": "x", "nest": 77},
    *({"id": 3, "name": f"raise {state}"} for state in ("P0001", "22P02", "23505", "23514", "23503", "42501", "42703")),
]


@pytest.fixture(scope="module")
@made_once
def cage(shared: Place) -> Place:
    if shared.product == "postgresql":
        shared.execute(TABLES["postgresql"])
    else:
        for statement in TABLES["sqlite"].split(";"):
            shared.execute(statement)
    return shared


def tried(name: str, schema: Mapping[str, Any]) -> Iterator[Any]:
    """Values for an argument by its schema: every column wherever a name may stand."""
    forms = cycle(("{} desc nulls last", "max({}) as top", "count(distinct {})", "sum({})", "{} > 1"))
    values = cycle((None, "1", 1))
    match schema["type"], schema.get("items", {}).get("type"):
        case "array", "string":
            for column in COLUMNS:
                yield [column]
                yield [next(forms).format(column)]
            yield ["cage_birds", "cage_eggs"]
        case "array", _ if name == "rows":
            yield from ([row] for row in ROWS)
        case "array", _:
            operators = cycle(schema["items"]["properties"].get("op", {}).get("enum", ["eq"]))
            for column in COLUMNS:
                yield [{"column": column, "op": next(operators), "value": "1"}]
                yield [{"column": column, "op": next(operators), "values": ["1", "2"]}]
        case "object", _:
            for column in COLUMNS:
                yield {column: next(values)}
        case "string", _:
            yield from schema.get("enum", COLUMNS)
        case "boolean", _:
            yield True
        case _:
            yield from (1, 2)


def attempts(tool: str, schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Calls of the tool: each argument alone, and every further one beside each row where it takes rows."""
    properties = dict(schema["properties"])
    base: dict[str, Any] = {"table": "cage_birds"} if properties.pop("table", None) else {}
    yield base
    for name, member in properties.items():
        for value in tried(name, member):
            yield {**base, name: value}
            if "rows" in properties and name != "rows":
                yield {**base, "rows": [{"id": 1, "name": "Hansi", "song": "x"}], name: value}


class Ear:
    """Every word that a client hears."""

    def __init__(self, program: Inside) -> None:
        self.program = program
        self.heard: list[str] = []
        self.calls = 0

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.calls += 1
        try:
            result = await self.program.peer.client.call_tool(tool, dict(arguments))
        except MCPError as error:
            self.heard.append(error.error.model_dump_json())
            return {}
        self.heard.append(result.model_dump_json())
        answer: dict[str, Any] = result.structured_content or {}
        if answer.get("next_cursor"):
            self.heard.append(str(base64.urlsafe_b64decode(answer["next_cursor"] + "==")))
        return answer

    def betrayed(self, more: Sequence[str]) -> list[str]:
        """What of the canaries was heard, or stands in `more`."""
        return [text for text in (*self.heard, *more) if any(canary in text for canary in CANARIES)]


async def test_a_masked_or_hidden_value_comes_out_nowhere(cage: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with inside(cage.url, **SETTINGS) as program:
        ear = Ear(program)
        listed = (await program.peer.client.list_tools()).tools
        ear.heard.append(json.dumps([tool.model_dump() for tool in listed]))
        for tool in listed:
            for arguments in attempts(tool.name, tool.input_schema):
                answer = await ear.call(tool.name, arguments)
                if answer.get("next_cursor"):
                    await ear.call(tool.name, {**arguments, "cursor": answer["next_cursor"]})
                if tool.name == "begin_transaction" and "transaction_id" in answer:  # nobody is to wait for its lock
                    await ear.call("rollback_transaction", {"transaction_id": answer["transaction_id"]})
        for observation in program.observed:
            log(observation)
        assert ear.betrayed([repr(program.observed), caplog.text]) == []
    said = "".join(ear.heard)
    # It was no silence: rows came, masks, and errors of the database.
    assert len(re.findall(r'\\?"\*\*\*\\?"', said)) > 20
    codes = set(re.findall(r'"code":"(\w+)"', said))
    assert {"not_allowed", "unknown_column", "unique_violation", "check_violation"} <= codes
    assert "internal_error" not in codes
    print("CALLS", ear.calls)
    assert ear.calls > 300


async def test_nor_by_way_of_an_operation_its_pages_or_its_progress(
    cage: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    formats = cycle(("csv", "json"))
    more: dict[str, Any] = {"tools__groups": ["set_context", "wait_for_change"], "operations__per_caller": 1}
    async with inside(cage.url, **SETTINGS, **more) as program:
        ear = Ear(program)
        for tool in (await program.peer.client.list_tools()).tools:
            if tool.name not in ("query_cage_birds", "query_cage_view", "insert_cage_birds"):
                continue
            for arguments in attempts(tool.name, tool.input_schema):
                asked = {"tool": tool.name, "arguments": arguments, "format": next(formats)}
                begun = await ear.call("start_operation", asked)
                if "operation_id" not in begun:
                    continue
                page = {"operation_id": begun["operation_id"], "wait_s": 10, "limit": 1}
                while cursor := (await ear.call("check_operation", page)).get("result", {}).get("next_cursor"):
                    page["cursor"] = cursor
            await ear.call("server_status", {})
        for column in COLUMNS:
            for value in (1, WORD, NUMBER):
                await ear.call("set_context", {"filters": {column: value}})
                await ear.call("query_cage_birds", {"limit": 1})
                await ear.call("clear_context", {})
        for table in ("cage_birds", "cage_view"):
            await ear.call("wait_for_change", {"table": table, "timeout_s": 0.01})
        given = [text for text in ear.heard if "standing filter" not in text]  # told again is what was given
        ear.heard = [text for text in given if '"context"' not in text]
        for observation in program.observed:
            log(observation)
        assert ear.betrayed([repr(program.observed), caplog.text]) == []
    said = "".join(ear.heard)
    assert said.count("***") > 50
    assert said.count('"status":"succeeded"') > 50
    assert '"code":"internal_error"' not in said


async def test_no_function_of_the_database_tells_a_masked_value(cage: Place) -> None:
    """Where nothing is hidden either: hidden columns have a guard of their own."""
    if cage.product == "sqlite":
        pytest.skip("SQLite's triggers raise constant texts alone")
    async with inside(
        cage.url, database__include=["cage_*"], database__mask_columns=["song", "ring", "owner"]
    ) as program:
        ear = Ear(program)
        for row in ROWS:
            await ear.call("insert_cage_birds", {"rows": [row]})
        assert len(ear.heard) == len(ROWS)
        assert ear.betrayed([]) == []


async def test_the_canary_sings_where_nothing_is_masked(cage: Place) -> None:
    async with inside(cage.url, database__include=["cage_*"]) as program:
        ear = Ear(program)
        await ear.call("query_cage_birds", {"limit": 1, "order_by": ["song desc nulls last"]})
        rows, cursor = ear.heard
        assert ear.betrayed([]) == [rows, cursor]
