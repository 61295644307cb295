"""Errors that teach: each is told whole, and the next call, made by its words alone, is right."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schema_mcp.errors import ErrorCode
from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

TABLES = (
    "CREATE TABLE taught_owners (id integer PRIMARY KEY, name text NOT NULL)",
    "CREATE TABLE taught_pets (id integer PRIMARY KEY, name text NOT NULL UNIQUE, legs integer, chip text, "
    "owner_id integer REFERENCES taught_owners (id), "
    "CONSTRAINT few_legs CHECK (legs < 100 OR name = 'millipede'))",
    "INSERT INTO taught_owners VALUES (1, 'Ada')",
    "INSERT INTO taught_pets VALUES (1, 'Rex', 4, 'c1', 1), (2, 'Tom', 4, 'c2', NULL)",
)

Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A call that fails, and what is told of it, `other` on SQLite where that differs.

    `mend`: what to call next, by the error and the arguments of the call that failed.
    """

    tool: str = "query_taught_pets"
    asked: Arguments
    told: Arguments
    other: Arguments | None = None
    mend: Callable[[Arguments, Arguments], Arguments]


def suggested(error: Arguments) -> str:
    """The name that the message suggests."""
    found = re.search(r"Did you mean '([^']*)'", error["message"])
    assert found is not None, error
    return found[1]


def listed(error: Arguments) -> str:
    """The first word of the hint's list."""
    found = re.search(r": (\w+)", error["hint"])
    assert found is not None, error
    return found[1]


def told(code: str, message: str, hint: str, **more: Any) -> Arguments:
    """An error object."""
    return {"code": code, "message": message, "hint": hint, "retryable": False, **more}


FIDO = {"id": 3, "name": "Fido"}
LESSONS = [
    Lesson(
        asked={"columns": ["nmae"]},
        told=told(
            "unknown_column",
            "table 'taught_pets' has no column 'nmae'. Did you mean 'name'?",
            "Columns: id, name, legs, chip, owner_id.",
        ),
        mend=lambda error, _: {"columns": [suggested(error)]},
    ),
    Lesson(
        asked={"filters": [{"column": "name", "op": "has", "value": "Rex"}]},
        told=told(
            "invalid_operator",
            "operator 'has' does not fit column 'name' of type text",
            "Operators for 'name': eq, ne, lt, lte, gt, gte, in, not_in, between, is_null, not_null, like, ilike, "
            "starts_with, contains, matches.",
        ),
        other=told(
            "invalid_operator",
            "operator 'has' does not fit column 'name' of type TEXT",
            "Operators for 'name': eq, ne, lt, lte, gt, gte, in, not_in, between, is_null, not_null, like, ilike, "
            "starts_with, contains.",
        ),
        mend=lambda error, _: {"filters": [{"column": "name", "op": listed(error), "value": "Rex"}]},
    ),
    Lesson(
        asked={"limit": 10_001},
        told=told(
            "invalid_argument", "'limit' takes an integer from 1 to 10000, got 10001", "Ask for 1 to 10000 at a time."
        ),
        mend=lambda error, _: {"limit": int(re.findall(r"to (\d+)", error["hint"])[0])},
    ),
    Lesson(
        asked={"cursor": "abc"},
        told=told(
            "invalid_cursor",
            "'cursor' is not one that this server made",
            "Repeat the query without 'cursor' to begin at the first page.",
        ),
        mend=lambda _, asked: {name: asked[name] for name in asked if name != "cursor"},
    ),
    Lesson(
        asked={"include": ["owner"]},
        told=told(
            "unknown_relationship",
            "'include[0]': table 'taught_pets' has no relationship 'owner'.",
            "Relationships of 'taught_pets': taught_owners.",
        ),
        mend=lambda error, _: {"include": [listed(error)]},
    ),
    Lesson(
        asked={"wher": {"id": 1}},
        told=told(
            "unknown_argument",
            "unknown argument 'wher'. Did you mean 'where'?",
            "Known: columns, where, filters, order_by, limit, cursor, count, include, aggregate, group_by, having.",
        ),
        mend=lambda error, asked: {suggested(error): asked["wher"]},
    ),
    Lesson(
        asked={"order_by": ["chip"]},
        told=told(
            "not_allowed",
            "column 'chip' of table 'taught_pets' is masked, and 'order_by[0]' would tell of its values",
            "A masked column may only be shown, as '***'. Columns: id, name, legs, owner_id.",
        ),
        mend=lambda error, _: {"order_by": [re.findall(r"Columns: (\w+)", error["hint"])[0]]},
    ),
    Lesson(
        asked={"where": {"legs": "four"}},
        told=told(
            "invalid_value",
            "column 'legs' of table 'taught_pets' takes an integer (integer), got 'four'",
            "Send an integer, or null where the column is nullable.",
        ),
        other=told(
            "invalid_value",
            "column 'legs' of table 'taught_pets' takes an integer (INTEGER), got 'four'",
            "Send an integer, or null where the column is nullable.",
        ),
        mend=lambda _, asked: {"where": {"legs": 4}},
    ),
    Lesson(
        tool="query_rows",
        asked={"table": "taught_pet"},
        told=told(
            "unknown_table",
            "there is no table 'taught_pet'. Did you mean 'taught_pets'?",
            "list_tables tells the tables there are.",
        ),
        mend=lambda error, _: {"table": suggested(error)},
    ),
    Lesson(
        tool="delete_taught_pets",
        asked={"all_rows": True, "max_affected": 1, "dry_run": True},
        told=told(
            "too_many_rows",
            "this would delete 2 rows of table 'taught_pets', and at most 1 may",
            "Nothing was written. Narrow the conditions; if that many are meant, raise 'max_affected' or go on in "
            "parts.",
            details={"max_affected": 1},
        ),
        mend=lambda error, asked: {**asked, "max_affected": int(re.findall(r"(\d+) rows", error["message"])[0])},
    ),
    Lesson(
        tool="delete_taught_pets",
        asked={"dry_run": True},
        told=told(
            "missing_argument",
            "which rows of table 'taught_pets' to delete? 'where' and 'filters' are empty",
            "Give conditions in 'where' or 'filters'; where every row is meant, send all_rows: true.",
        ),
        mend=lambda _, asked: {**asked, "all_rows": True},
    ),
    Lesson(
        tool="insert_taught_pets",
        asked={"rows": [{"id": 3}], "dry_run": True},
        told=told(
            "missing_value",
            "rows[0] of table 'taught_pets' lacks a value for: name",
            "These columns are NOT NULL and have no default: give each a value.",
            details={"row": 0, "columns": ["name"]},
        ),
        mend=lambda error, asked: {**asked, "rows": [{"id": 3, **dict.fromkeys(error["details"]["columns"], "Fido")}]},
    ),
    Lesson(
        tool="insert_taught_pets",
        asked={"rows": [{"id": 3, "name": "Rex"}], "dry_run": True},
        told=told(
            "unique_violation",
            "rows[0]: table 'taught_pets' has a row with that key already (taught_pets_name_key): "
            "Key (name)=(Rex) already exists.",
            "Give other values, or use on_conflict to skip or update the row that is there.",
            sqlstate="23505",
            details={"row": 0, "table": "taught_pets", "constraint": "taught_pets_name_key", "columns": ["name"]},
        ),
        other=told(
            "unique_violation",
            "rows[0]: table 'taught_pets' already has a row with the same 'name'.",
            "Give another value, or use on_conflict.",
            details={"row": 0, "columns": ["name"]},
        ),
        mend=lambda _, asked: {**asked, "on_conflict": "skip", "conflict_columns": ["name"]},
    ),
    Lesson(
        tool="insert_taught_pets",
        asked={"rows": [{**FIDO, "owner_id": 9}], "dry_run": True},
        told=told(
            "foreign_key_violation",
            'rows[0]: insert or update on table "taught_pets" violates foreign key constraint '
            '"taught_pets_owner_id_fkey": Key (owner_id)=(9) is not present in table "taught_owners".',
            "Refer to a row that is there, or insert it first; a row that others refer to cannot go before them.",
            sqlstate="23503",
            details={
                "row": 0,
                "table": "taught_pets",
                "constraint": "taught_pets_owner_id_fkey",
                "columns": ["owner_id"],
            },
        ),
        other=told(
            "foreign_key_violation",
            "rows[0]: A row of table 'taught_pets' refers to a row that does not exist, or is still referred to.",
            "Check these: owner_id -> taught_owners (id).",
            details={"row": 0},
        ),
        mend=lambda _, asked: {**asked, "rows": [{**FIDO, "owner_id": 1}]},
    ),
    Lesson(
        tool="insert_taught_pets",
        asked={"rows": [{**FIDO, "legs": 100}], "dry_run": True},
        told=told(
            "check_violation",
            'rows[0]: new row for relation "taught_pets" violates check constraint "few_legs": '
            "((legs < 100) OR (name = 'millipede'::text))",
            "Give values for which the check holds.",
            sqlstate="23514",
            details={
                "row": 0,
                "table": "taught_pets",
                "constraint": "few_legs",
                "expression": "((legs < 100) OR (name = 'millipede'::text))",
            },
        ),
        other=told(
            "check_violation",
            "rows[0]: The row does not keep the rule of table 'taught_pets': legs < 100 OR name = 'millipede'.",
            "Give values that keep it.",
            details={"row": 0, "constraint": "few_legs", "expression": "legs < 100 OR name = 'millipede'"},
        ),
        mend=lambda _, asked: {**asked, "rows": [{**FIDO, "legs": 99}]},
    ),
]
SETTINGS: dict[str, Any] = {
    "database__include": ["taught_*"],
    "database__mask_columns": ["chip"],
    "access__mode": "write",
    "watch__poll_interval_s": 60.0,
}


@pytest.fixture(scope="module")
@made_once
def taught(shared: Place) -> Place:
    for statement in TABLES:
        shared.execute(statement)
    return shared


async def test_an_error_is_told_whole_and_the_call_that_it_leads_to_is_right(taught: Place) -> None:
    async with inside(taught.url, **SETTINGS) as program:
        for lesson in LESSONS:
            error = await program.peer.error(lesson.tool, lesson.asked)
            expected = lesson.other if taught.product == "sqlite" and lesson.other is not None else lesson.told
            assert error == expected
            answer = await program.peer.call(lesson.tool, lesson.mend(error, lesson.asked))
            assert "error" not in answer, (lesson, answer)


FULL = {
    "postgresql": told(
        "database_full",
        "the database's disk is full (no space left)",
        "Nothing was written. Whoever runs the database has to make room; reading goes on.",
        sqlstate="53100",
    ),
    "sqlite": told(
        "database_full", "The disk or the database is full; nothing was written.", "Make room and try again."
    ),
}


async def test_a_full_disk_is_told(place: Place) -> None:
    place.execute("CREATE TABLE heap (id integer PRIMARY KEY, word text)")
    if place.product == "postgresql":
        place.execute(
            "CREATE FUNCTION full_up() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$; "
            "CREATE TRIGGER full_up BEFORE INSERT ON heap FOR EACH ROW EXECUTE FUNCTION full_up()"
        )
    async with inside(place.url, pool__size=1) as program:
        if place.product == "sqlite":
            async with program.app.database.connection() as connection:
                await connection.execute("PRAGMA max_page_count = 4")
        error = await program.peer.error("insert_heap", {"rows": [{"id": 1, "word": "x" * 100_000}]})
        assert error == FULL[place.product]
        assert await program.peer.rows("query_heap") == []


def test_every_code_is_told_in_some_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [code for code in ErrorCode if f'"{code}"' not in tests and f"ErrorCode.{code.name}" not in tests] == []
