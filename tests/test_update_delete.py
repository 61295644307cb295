"""`update_<table>` and `delete_<table>`: exactly the rows that are meant, or none."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Place, made_once, sqlite_place
from tests.peers import inside

pytest_plugins = "tests.standing"

#: Statements run one by one: SQLite's driver takes one at a time.
TABLES = """
    CREATE TABLE change_pets (id integer PRIMARY KEY, name varchar(9) NOT NULL, age integer, note text, f0 text,
        s0 text, row_limit text, twice integer GENERATED ALWAYS AS (age * 2) STORED);
    CREATE TABLE change_keyless (a integer, b text);
    CREATE TABLE change_owners (id integer PRIMARY KEY, name text UNIQUE);
    CREATE TABLE change_owned (id integer PRIMARY KEY, owner integer REFERENCES change_owners (id));
    CREATE TABLE change_hidden (id integer PRIMARY KEY, owner integer REFERENCES change_owners (id));
    CREATE TABLE change_sealed (id integer PRIMARY KEY,
        owner integer NOT NULL REFERENCES change_owners (id) ON DELETE SET NULL ON UPDATE SET NULL);
    CREATE TABLE change_late (id integer PRIMARY KEY,
        owner integer REFERENCES change_owners (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE change_many (id integer PRIMARY KEY, n integer)
"""
PETS = [
    {"id": 1, "name": "Rex", "age": 3, "note": None},
    {"id": 2, "name": "Ada", "age": 5, "note": "shy"},
    {"id": 3, "name": "Tom", "age": 5, "note": None},
]
SERVED = ["change_pets", "change_keyless", "change_owners", "change_owned", "change_late", "change_many"]


@pytest.fixture(scope="module")
@made_once
def tables(shared: Place) -> Place:
    for statement in TABLES.split(";"):
        shared.execute(statement)
    return shared


@pytest.fixture
def pets(tables: Place) -> Place:
    """The tables with the rows of PETS and nothing else in them."""
    for table in (
        "change_sealed",
        "change_hidden",
        "change_late",
        "change_owned",
        "change_owners",
        "change_keyless",
        "change_pets",
    ):
        tables.execute(f"DELETE FROM {table}")
    tables.execute(
        "INSERT INTO change_pets (id, name, age, note) VALUES (1, 'Rex', 3, NULL), (2, 'Ada', 5, 'shy'), "
        "(3, 'Tom', 5, NULL)"
    )
    return tables


def writing(place: Place, **settings: Any) -> Any:
    return inside(place.url, **{"access__mode": "write", "database__include": SERVED, **settings})


async def pets_of(peer: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await peer.rows("query_change_pets", {"columns": ["id", "name", "age", "note"]})
    return rows


async def test_an_update_changes_the_rows_that_match_and_answers_with_their_keys(pets: Place) -> None:
    async with writing(pets) as program:
        peer = program.peer
        answer = await peer.call(
            "update_change_pets",
            {
                "where": {"age": 5},
                "filters": [{"column": "note", "op": "is_null"}],
                "set": {"name": "Tim", "note": "x"},
            },
        )
        assert answer == {
            "table": "change_pets", "updated": 1, "rows": [{"id": 3}], "dry_run": False, "outcome": "committed",
        }  # fmt: skip
        assert await pets_of(peer) == [*PETS[:2], {"id": 3, "name": "Tim", "age": 5, "note": "x"}]
        answer = await peer.call(
            "update_change_pets",
            {"where": {"id": 2}, "set": {"note": None, "age": "6"}, "returning": ["age", "twice", "note"]},
        )
        assert (answer["updated"], answer["rows"]) == (1, [{"age": 6, "twice": 12, "note": None}])
        nobody = await peer.call("update_change_pets", {"where": {"id": 9}, "set": {"age": 1}})
        assert (nobody["updated"], nobody["rows"], nobody["outcome"]) == (0, [], "committed")


async def test_a_delete_removes_the_rows_that_match_and_answers_as_they_were(pets: Place) -> None:
    async with writing(pets) as program:
        answer = await program.peer.call(
            "delete_change_pets", {"where": {"age": 5, "note": None}, "returning": ["name", "id"]}
        )
        assert answer == {
            "table": "change_pets", "deleted": 1, "rows": [{"name": "Tom", "id": 3}], "dry_run": False,
            "outcome": "committed",
        }  # fmt: skip
        assert await pets_of(program.peer) == PETS[:2]


async def test_the_twins_that_take_a_table_answer_the_same(pets: Place) -> None:
    async with writing(pets) as program:
        peer = program.peer
        arguments = {"where": {"id": 1}, "set": {"age": 4}, "returning": ["id", "age"], "dry_run": True}
        own = await peer.call("update_change_pets", arguments)
        assert await peer.call("update_rows", {"table": "change_pets", **arguments}) == own
        del arguments["set"]
        own = await peer.call("delete_change_pets", arguments)
        assert await peer.call("delete_rows", {"table": "change_pets", **arguments}) == own


@pytest.mark.parametrize("tool", ["update", "delete"])
async def test_every_row_is_meant_only_where_that_is_said(pets: Place, tool: str) -> None:
    more = {"set": {"note": "all"}} if tool == "update" else {}
    async with writing(pets) as program:
        peer = program.peer
        nothings: list[dict[str, Any]] = [{}, {"where": {}, "filters": []}, {"all_rows": False}, {"where": None}]
        for nothing in nothings:
            error = await peer.error(f"{tool}_change_pets", {**more, **nothing})
            assert (error["code"], error["message"], error["hint"]) == (
                "missing_argument",
                f"which rows of table 'change_pets' to {tool}? 'where' and 'filters' are empty",
                "Give conditions in 'where' or 'filters'; where every row is meant, send all_rows: true.",
            )
        error = await peer.error(f"{tool}_change_pets", {**more, "all_rows": True, "where": {"id": 1}})
        assert (error["code"], error["message"]) == (
            "invalid_argument", "'all_rows' means every row, and there are conditions as well",
        )  # fmt: skip
        error = await peer.error(f"{tool}_change_pets", {**more, "where": {"id": 1}, "limit": 1})
        assert error["code"] == "unknown_argument"
        assert await pets_of(peer) == PETS
        answer = await peer.call(f"{tool}_change_pets", {**more, "all_rows": True})
        assert answer[f"{tool}d"] == 3
        assert await pets_of(peer) == ([{**pet, "note": "all"} for pet in PETS] if tool == "update" else [])


async def test_more_rows_than_may_be_touched_are_not_touched_at_all(pets: Place) -> None:
    async with writing(pets, access__max_affected_rows=2) as program:
        peer = program.peer
        error = await peer.error("update_change_pets", {"all_rows": True, "set": {"age": 1}})
        assert error == {
            "code": "too_many_rows",
            "message": "this would update 3 rows of table 'change_pets', and at most 2 may",
            "hint": "Nothing was written. Narrow the conditions; if that many are meant, raise 'max_affected' or go on "
            "in parts.",
            "retryable": False,
            "details": {"max_affected": 2},
        }
        error = await peer.error("delete_change_pets", {"where": {"age": 5}, "max_affected": 1})
        assert error["message"] == "this would delete 2 rows of table 'change_pets', and at most 1 may"
        error = await peer.error("delete_change_pets", {"where": {"age": 5}, "max_affected": 3})
        assert error["message"] == "'max_affected' takes an integer from 1 to 2, got 3"
        assert await pets_of(peer) == PETS
        answer = await peer.call("delete_change_pets", {"where": {"age": 5}, "max_affected": 2})
        assert answer["rows"] == [{"id": 2}, {"id": 3}]


async def test_many_rows_are_counted_no_further_than_needed(tables: Place) -> None:
    tables.execute("DELETE FROM change_many")
    numbers = "SELECT value FROM " + (
        "generate_series(1, 12000) value" if tables.product == "postgresql" else "numbers"
    )
    count = "WITH RECURSIVE numbers (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < 12000) "
    tables.execute(f"{count if tables.product == 'sqlite' else ''}INSERT INTO change_many (id) {numbers}")
    async with writing(tables) as program:
        peer = program.peer
        error = await peer.error("delete_change_many", {"all_rows": True})
        assert error["message"] == "this would delete more than 10000 rows of table 'change_many', and at most 1000 may"
        few = {"filters": [{"column": "id", "op": "lte", "value": 700}], "set": {"n": 1}}
        answer = await peer.call("update_change_many", few)
        assert (answer["updated"], [row["id"] for row in answer["rows"]]) == (700, list(range(1, 701)))
        answer = await peer.call("update_change_many", {**few, "returning": []})
        assert (answer["updated"], answer["rows"]) == (700, [])
        total = await peer.rows("query_change_many", {"where": {"n": 1}, "limit": 1000})
        assert len(total) == 700


@pytest.mark.parametrize("tool", ["update", "delete"])
async def test_a_dry_run_shows_what_would_be_and_changes_nothing(pets: Place, tool: str) -> None:
    more = {"set": {"age": 7}} if tool == "update" else {}
    async with writing(pets) as program:
        answer = await program.peer.call(
            f"{tool}_change_pets", {**more, "where": {"age": 5}, "returning": ["id", "age"], "dry_run": True}
        )
        age = 7 if tool == "update" else 5
        assert answer == {
            "table": "change_pets", f"{tool}d": 2, "rows": [{"id": 2, "age": age}, {"id": 3, "age": age}],
            "dry_run": True, "outcome": "rolled_back",
        }  # fmt: skip
        assert await pets_of(program.peer) == PETS


async def test_a_dry_run_tells_also_what_only_the_commit_would_refuse(pets: Place) -> None:
    pets.execute("INSERT INTO change_owners VALUES (1, 'Ann'), (2, 'Bob')")
    pets.execute("INSERT INTO change_late VALUES (1, 1)")
    async with writing(pets) as program:
        peer = program.peer
        refused = await peer.error("delete_change_owners", {"where": {"id": 1}})
        assert refused["code"] == "foreign_key_violation"
        assert await peer.error("delete_change_owners", {"where": {"id": 1}, "dry_run": True}) == refused
        change = {"where": {"id": 1}, "set": {"owner": 9}}
        refused = await peer.error("update_change_late", change)
        assert await peer.error("update_change_late", {**change, "dry_run": True}) == refused
        fine = await peer.call("delete_change_owners", {"where": {"id": 2}, "dry_run": True})
        assert (fine["deleted"], fine["outcome"]) == (1, "rolled_back")
        assert len(await peer.rows("query_change_owners")) == 2


async def test_what_was_wrong_before_is_no_fault_of_a_dry_run(pets: Place) -> None:
    if pets.product != "sqlite":
        pytest.skip("PostgreSQL lets nothing be wrong")
    pets.execute("INSERT INTO change_owners VALUES (1, 'Ann')")
    pets.execute("INSERT INTO change_late VALUES (1, 77)")  # this connection does not enforce keys
    async with writing(pets) as program:
        answer = await program.peer.call("delete_change_owners", {"where": {"id": 1}, "dry_run": True})
        assert answer["deleted"] == 1


async def test_rows_that_others_refer_to_stay_and_the_served_tables_are_named(pets: Place) -> None:
    pets.execute("INSERT INTO change_owners VALUES (1, 'Ann'), (2, 'Bob')")
    pets.execute("INSERT INTO change_owned VALUES (1, 1)")
    pets.execute("INSERT INTO change_hidden VALUES (1, 2)")
    async with writing(pets) as program:
        peer = program.peer
        error = await peer.error("delete_change_owners", {"where": {"id": 1}})
        assert error["code"] == "foreign_key_violation"
        if pets.product == "postgresql":
            assert (error["message"], error["hint"], error["details"]) == (
                "rows of table 'change_owners' cannot be deleted while others refer to them: change_owned (owner)",
                "Delete the rows that refer to them first, or leave these be.",
                {"table": "change_owned", "constraint": "change_owned_owner_fkey"},
            )
        else:
            assert (error["message"], error["hint"]) == (
                "rows of table 'change_owners' cannot be deleted while others refer to them",
                "Tables that refer to it: change_late (owner), change_owned (owner). Delete their rows first, or leave "
                "these be.",
            )
        error = await peer.error("delete_change_owners", {"where": {"id": 2}})
        assert "hidden" not in str(error)
        if pets.product == "postgresql":
            assert error["message"] == (
                "rows of table 'change_owners' cannot be deleted while others refer to them: a table that is not served"
            )
        error = await peer.error("update_change_owners", {"where": {"id": 1}, "set": {"id": 5}})
        assert error["code"] == "foreign_key_violation"
        assert "change_owned (owner)" in error["message"] + error["hint"]
        error = await peer.error("update_change_owned", {"where": {"id": 1}, "set": {"owner": 5}})
        assert error["code"] == "foreign_key_violation"
        error = await peer.error("update_change_owners", {"where": {"id": 1}, "set": {"name": "Bob"}})
        assert (error["code"], error["hint"]) == ("unique_violation", "Give other values, or change fewer rows.")


async def test_a_constraint_of_a_table_that_is_not_served_is_not_named(pets: Place) -> None:
    pets.execute("INSERT INTO change_owners VALUES (1, 'Ann')")
    pets.execute("INSERT INTO change_sealed VALUES (1, 1)")
    async with writing(pets) as program:
        change = {"where": {"id": 1}, "set": {"id": 5}}
        for error in (
            await program.peer.error("delete_change_owners", {"where": {"id": 1}}),
            await program.peer.error("update_change_owners", change),
        ):
            assert (error["code"], error["message"].partition(": ")[2]) == (
                "not_null_violation",
                "it would break a constraint of another table, in which a foreign key or a trigger writes",
            )
            assert "sealed" not in str(error)


async def test_what_a_trigger_says_is_passed_on(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path / "guarded.sqlite")
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY)")
    place.execute("INSERT INTO cats VALUES (1)")
    place.execute("CREATE TRIGGER stay BEFORE DELETE ON cats BEGIN SELECT RAISE(ABORT, 'cats stay'); END")
    async with inside(place.url, access__mode="write") as program:
        error = await program.peer.error("delete_cats", {"where": {"id": 1}})
        assert (error["code"], error["message"]) == (
            "constraint_violation",
            "table 'cats' refused the row: cats stay.",
        )


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({}, "missing_argument", "'set' takes at least one column and its new value"),
        ({"name": None}, "missing_value", "set: column 'name' of table 'change_pets' is NOT NULL, got null"),
        ({"id": None}, "missing_value", "set: column 'id' of table 'change_pets' is NOT NULL, got null"),
        ({"age": "old"}, "invalid_value", "set: column 'age' of table 'change_pets' takes an integer"),
        ({"age": 1.5}, None, None),
        ({"age": True}, "invalid_value", "set: column 'age' of table 'change_pets' takes an integer"),
        ({"twice": 4}, "invalid_argument", "column 'twice' of table 'change_pets' takes no other value: the database"),
        ({"nam": "x"}, "unknown_column", "table 'change_pets' has no column 'nam'. Did you mean 'name'?"),
        ([], "invalid_argument", "'set' takes an object, got an array"),
    ],
)
async def test_new_values_are_checked_as_an_insert_checks_them(
    pets: Place, given: Any, code: str | None, message: str | None
) -> None:
    async with writing(pets) as program:
        call = {"where": {"id": 1}, "set": given}
        if code is None:  # SQLite stores it as it is
            code = "invalid_value" if pets.product == "postgresql" else None
        if code is None:
            assert (await program.peer.call("update_change_pets", call))["updated"] == 1
            return
        error = await program.peer.error("update_change_pets", call)
        assert error["code"] == code
        assert error["message"].startswith(message or "")


async def test_columns_may_be_called_as_parameters_are(pets: Place) -> None:
    async with writing(pets) as program:
        new = {"f0": "1", "s0": "2", "row_limit": "3"}
        call = {"where": {"name": "Rex", "f0": None, "s0": None}, "set": new, "returning": [*new, "id"]}
        assert (await program.peer.call("update_change_pets", call))["rows"] == [{**new, "id": 1}]
        deleted = await program.peer.call("delete_change_pets", {"where": new})
        assert deleted["rows"] == [{"id": 1}]


async def test_rows_without_a_key_are_changed_too(pets: Place) -> None:
    pets.execute("INSERT INTO change_keyless VALUES (1, 'x'), (1, 'x'), (2, 'y')")
    async with writing(pets) as program:
        answer = await program.peer.call("update_change_keyless", {"where": {"a": 1}, "set": {"b": "z"}})
        assert (answer["updated"], answer["rows"]) == (2, [])
        answer = await program.peer.call("delete_change_keyless", {"where": {"b": "z"}, "returning": ["a"]})
        assert (answer["deleted"], answer["rows"]) == (2, [{"a": 1}, {"a": 1}])


async def test_tools_that_write_say_so_and_are_listed_in_mode_write_alone(pets: Place) -> None:
    async with writing(pets) as program:
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        for name in ("update_change_pets", "delete_change_pets", "update_rows", "delete_rows"):
            annotations = tools[name].annotations
            assert annotations is not None
            assert (annotations.read_only_hint, annotations.destructive_hint, annotations.idempotent_hint) == (
                False, True, True,
            )  # fmt: skip
        properties = tools["update_change_pets"].input_schema["properties"]
        assert list(properties["set"]["properties"]) == ["id", "name", "age", "note", "f0", "s0", "row_limit"]
        assert tools["update_change_pets"].input_schema["required"] == ["set"]
        assert tools["delete_change_pets"].input_schema["required"] == []
        described = await program.peer.call("describe_table", {"table": "change_pets"})
        assert described["tools"] == [f"{kind}_change_pets" for kind in ("query", "insert", "update", "delete")]
        assert [column.get("updatable", True) for column in described["columns"]] == [*[True] * 7, False]
    for mode in ("insert", "read"):
        async with writing(pets, access__mode=mode) as program:
            assert [name for name in await program.peer.names() if name.startswith(("update", "delete"))] == []
            for name in ("update_change_pets", "delete_change_pets", "update_rows", "delete_rows"):
                with pytest.raises(Exception, match="tool"):
                    await program.peer.call(name, {"table": "change_pets", "all_rows": True})
            described = await program.peer.call("describe_table", {"table": "change_pets"})
            assert not any("updatable" in column for column in described["columns"])
            assert await pets_of(program.peer) == PETS


async def test_a_dry_run_goes_on_where_sqlite_cannot_look_through_the_keys(tmp_path: Path) -> None:
    """A key to a column that tells no rows apart is an error of the schema, which only its own rows meet."""
    place = sqlite_place(tmp_path / "wrong.sqlite")
    place.execute("CREATE TABLE parents (a integer)")
    place.execute("CREATE TABLE children (a integer REFERENCES parents (a) DEFERRABLE INITIALLY DEFERRED)")
    place.execute("CREATE TABLE others (id integer PRIMARY KEY)")
    place.execute("INSERT INTO children VALUES (1)")
    place.execute("INSERT INTO others VALUES (1)")
    async with inside(place.url, access__mode="write") as program:
        answer = await program.peer.call("delete_others", {"where": {"id": 1}, "dry_run": True})
        assert (answer["deleted"], await program.peer.rows("query_others")) == (1, [{"id": 1}])
