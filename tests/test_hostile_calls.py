"""What no caller should send, to every tool in every argument: answered, or refused with words that help."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest
from mcp.shared.exceptions import MCPError

from schema_mcp.caller import Caller
from schema_mcp.observe.events import InternalFailure
from schema_mcp.server.results import tool_result
from schema_mcp.server.service import UnknownToolError
from tests.conftest import Place
from tests.hostile import MANY, OTHERS, WORDS, base_of, calls, filled
from tests.peers import Inside, inside
from tests.postgres import PostgresServer

TABLES = {
    "postgresql": (
        "CREATE TABLE hostile_owners (id integer PRIMARY KEY, name text)",
        "CREATE TABLE hostile_birds (id integer PRIMARY KEY, name text UNIQUE, born date, weight numeric(6,2), "
        "flies boolean, tags text[], notes jsonb, picture bytea, span int4range, owner_id integer "
        "REFERENCES hostile_owners (id))",
    ),
    "sqlite": (
        "CREATE TABLE hostile_owners (id integer PRIMARY KEY, name text)",
        "CREATE TABLE hostile_birds (id integer PRIMARY KEY, name text UNIQUE, born date, weight numeric(6,2), "
        "flies boolean, notes json, picture blob, owner_id integer REFERENCES hostile_owners (id))",
    ),
}
ROWS = (
    "INSERT INTO hostile_owners VALUES (1, 'Ada')",
    "INSERT INTO hostile_birds (id, name, owner_id) VALUES (1, 'Tweety', 1), (2, 'Hansi', NULL)",
)
SETTINGS: dict[str, Any] = {
    "watch__poll_interval_s": 60.0,
    "access__mode": "write",
    "access__sql": "read",
    "tools__groups": ["activate_tables"],
    # What is begun by the way is in nobody's way for long.
    "transactions__idle_timeout_s": 0.1,
}
COLUMNS = {
    "postgresql": ["id", "name", "born", "weight", "flies", "tags", "notes", "picture", "span", "owner_id"],
    "sqlite": ["id", "name", "born", "weight", "flies", "notes", "picture", "owner_id"],
}
VALUES = [*WORDS, *OTHERS, *MANY]
CALLER = Caller(session="hostile")


@pytest.fixture
def birds(place: Place) -> Place:
    for statement in (*TABLES[place.product], *ROWS):
        place.execute(statement)
    return place


async def outcome(program: Inside, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as a client is sent it. A defect comes out as it is."""
    try:
        answer = await program.app.service.call(tool, arguments, CALLER)
    except UnknownToolError:
        return {}
    tool_result(answer, structured=True)
    document: dict[str, Any] = orjson.loads(answer.json)
    return document


def helps(answer: Mapping[str, Any]) -> bool:
    """An answer, or an error with everything that it needs."""
    errors = [answer] if "error" in answer else [part for part in answer.get("results", ()) if "error" in part]
    told = [part["error"] for part in errors]
    return all(error["code"] != "internal_error" and error["message"] and error["hint"] for error in told)


def wanted(tools: Sequence[Any], place: Place) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """A tool, a template of a call of it and a value: of each argument's templates every value has its turn.

    The twins have the code of the tables' own tools, and own statements a connection each: some values do for them.
    """
    turn = 0
    for tool in tools:
        few = tool.name.endswith("_rows") or tool.name in ("execute_sql", "explain_query")
        for templates in calls(tool.name, tool.input_schema, COLUMNS[place.product]):
            turn += 1
            for index, value in enumerate(VALUES[turn % 5 :: 5] if few else VALUES):
                yield tool.name, templates[(index + turn) % len(templates)], value


async def test_every_hostile_value_in_every_argument_is_answered_or_refused_with_help(birds: Place) -> None:
    codes: Counter[str] = Counter()
    async with inside(birds.url, **SETTINGS) as program:
        tools = [tool for tool in (await program.peer.client.list_tools()).tools if "owners" not in tool.name]
        for tool, template, value in wanted(tools, birds):
            answer = await outcome(program, tool, filled(template, value))
            assert helps(answer), (tool, template, repr(value)[:200], answer)
            codes[answer.get("error", {"code": "answered"})["code"]] += 1
        assert not [event for event in program.observed if isinstance(event, InternalFailure)]
        assert await program.peer.rows("query_hostile_owners") == [{"id": 1, "name": "Ada"}]
    # It was no matter of one refusal for all.
    assert codes.total() > 3_000, codes
    assert codes["answered"] > 300, codes
    assert {"invalid_argument", "unknown_argument", "invalid_value", "unknown_column", "invalid_operator"} <= set(codes)


async def test_what_no_wire_carries_whole_is_told_through_a_client_too(birds: Place) -> None:
    async with inside(birds.url, **SETTINGS) as program:
        for tool in ("query_hostile_birds", "query_rows", "no_such_tool"):
            for value in (*WORDS, *OTHERS):
                with suppress(MCPError, UnicodeEncodeError):  # an unknown tool; what the client cannot send
                    answer = await program.peer.call(tool, {**base_of(tool), "where": value})
                    assert helps(answer), answer


def statements(log: str) -> set[str]:
    """The texts of all statements that the server of the log was sent, without the names they are prepared under."""
    entries = re.split(r"^(?=\d{4}-\d\d-\d\d )", log, flags=re.MULTILINE)
    found = (re.search(r"schema-mcp LOG:  (?:execute [^:]*|statement): (.*)", entry, re.DOTALL) for entry in entries)
    return {match[1].strip() for match in found if match is not None}


#: Sound values, each for some of the arguments.
SOUND: list[Any] = ["x", 1, "2026-01-01", True, None, "[1,5)", ["x"], ["1", "2"], {"a": 1}, "$.a == 1", "eA==", "id"]
#: Those whose statements are compared.
TOLD = ("query_hostile_birds", "insert_hostile_birds", "update_hostile_birds", "describe_table", "list_tables")


@pytest.mark.parametrize("own_server_session", ["18"], indirect=True)
async def test_no_hostile_value_makes_a_statement_of_its_own(own_server: PostgresServer, own_database: str) -> None:
    for statement in (*TABLES["postgresql"], *ROWS):
        own_server.execute(statement, own_database.rpartition("/")[2])
    async with inside(own_database, **SETTINGS) as program:
        tools = [tool for tool in (await program.peer.client.list_tools()).tools if tool.name in TOLD]

        async def sent(values: Sequence[Any]) -> set[str]:
            before = own_server.log_bytes()
            for tool in tools:
                for templates in calls(tool.name, tool.input_schema, COLUMNS["postgresql"]):
                    for template in templates:
                        for value in values:
                            await outcome(program, tool.name, filled(template, value))
            return statements(own_server.log_text(before))

        sound = await sent(SOUND)
        assert len(sound) > 100
        assert await sent([word for word in WORDS if len(word) < 1_000][::4]) - sound == set()
