"""What reaches PostgreSQL: statements of the server's own making, the same ones whatever the values are."""

import json
import re
from typing import Any

import pytest

from tests.peers import inside
from tests.postgres import PostgresServer

ON_18 = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)

#: Conditions of every kind by the places of their values, and values that try to be more than that.
CONDITIONS: list[tuple[str, str, str]] = [
    ("word", "eq", "value"),
    ("word", "in", "values"),
    ("word", "ilike", "value"),
    ("word", "contains", "value"),
    ("word", "matches", "value"),
    ("list", "has", "value"),
    ("list", "has_any", "values"),
    ("list", "contains", "values"),
    ("body", "has", "value"),
    ("body", "has_all", "values"),
    ("body", "contains", "value"),
    ("body", "path", "value"),
]
HOSTILE = [
    "canary'; DROP TABLE attacked; --",
    'canary"',
    "canary\\",
    "$1 canary",
    "%(canary)s",
    ":canary",
    "{canary}",
    "?",
]


def wanted(column: str, operator: str, member: str, text: str, label: str) -> dict[str, Any]:
    value = f"$.a == {json.dumps(text)}"
    given = value if operator == "path" else text
    return {"column": column, "op": operator, member: [given, "x"] if member == "values" else given, "or": label}


def statements(log: str) -> set[str]:
    """The texts of the statements, without the names that the driver prepares them under."""
    found = re.findall(r"execute [^:\n]*: (SELECT .*?)(?=^\S|\Z)", log, re.DOTALL | re.MULTILINE)
    return {statement for statement in found if "attacked" in statement}


@ON_18
async def test_hostile_values_make_no_statement_of_their_own(own_server: PostgresServer, own_database: str) -> None:
    own_server.execute(
        "CREATE TABLE attacked (id int PRIMARY KEY, word text, list text[], body jsonb)",
        own_database.rpartition("/")[2],
    )
    async with inside(own_database) as program:

        async def attack(text: str, label: str) -> set[str]:
            before = own_server.log_bytes()
            for condition in CONDITIONS:
                for more in ([], [{"column": "id", "op": "gt", "value": 0, "or": label}]):
                    answer = await program.peer.call(
                        "query_attacked", {"filters": [wanted(*condition, text, label), *more]}
                    )
                    assert answer.get("error", {"code": "invalid_value"})["code"] == "invalid_value", answer
            return statements(own_server.log_text(before))

        harmless = await attack("word", "a")
        assert len(harmless) >= 2 * len({operator for _, operator, _ in CONDITIONS})
        for text in HOSTILE:
            made = await attack(text, text)
            assert made - harmless == set()
            assert not [statement for statement in made if "canary" in statement]
        assert await program.peer.rows("query_attacked") == []
