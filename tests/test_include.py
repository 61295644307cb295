"""`include`: rows of related tables inside the rows that they belong to, both directions, capped, in one statement."""

from typing import Any

import pytest

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

TABLES = """
    CREATE TABLE inc_towns (code char(2) PRIMARY KEY, name text NOT NULL);
    CREATE TABLE inc_people (
        id integer PRIMARY KEY, name text NOT NULL, town char(2) REFERENCES inc_towns (code),
        boss integer REFERENCES inc_people (id)
    );
    CREATE TABLE inc_clubs (id integer PRIMARY KEY, name text NOT NULL, founded_by integer REFERENCES inc_people (id));
    CREATE TABLE inc_members (
        person integer NOT NULL REFERENCES inc_people (id), club integer NOT NULL REFERENCES inc_clubs (id),
        since integer, PRIMARY KEY (person, club)
    );
    CREATE TABLE inc_letters (
        id integer PRIMARY KEY, sender integer REFERENCES inc_people (id), receiver integer REFERENCES inc_people (id),
        words text, cost numeric
    );
    CREATE TABLE inc_floors (house text, level integer, height integer, PRIMARY KEY (house, level));
    CREATE TABLE inc_rooms (
        number integer PRIMARY KEY, house text, level integer, inc_floors text,
        FOREIGN KEY (house, level) REFERENCES inc_floors (house, level)
    );
    INSERT INTO inc_towns VALUES ('AA', 'Aachen'), ('BB', 'Bonn');
    INSERT INTO inc_people VALUES
        (1, 'Ada', 'AA', NULL), (2, 'Bo', 'BB', 1), (3, 'Cy', 'AA', 1), (4, 'Di', NULL, 2), (5, 'Ed', 'AA', 1);
    INSERT INTO inc_clubs VALUES (1, 'chess', 1), (2, 'rowing', 1), (3, 'empty', 3);
    INSERT INTO inc_members VALUES (1, 1, 2001), (1, 2, 2002), (2, 1, 2003), (3, 1, NULL), (3, 2, 2005);
    INSERT INTO inc_letters VALUES
        (1, 1, 2, 'hello', 0.8), (2, 1, 3, 'dear', 1.1), (3, 2, 1, NULL, 10), (4, 1, 1, 'self', NULL);
    INSERT INTO inc_floors VALUES ('h', 0, 300), ('h', 1, 280);
    INSERT INTO inc_rooms VALUES (7, 'h', 1, 'a'), (8, 'h', 0, 'b'), (9, 'h', 1, 'c'), (10, NULL, 1, 'd'),
        (11, 'x', NULL, 'e')
"""
SERVED: dict[str, Any] = {"database__include": ["inc_*"]}


@pytest.fixture(scope="module")
@made_once
def town(shared: Place) -> Place:
    for statement in TABLES.split(";"):
        shared.execute(statement)
    return shared


def people(*ids: int, **more: Any) -> list[dict[str, Any]]:
    names = {1: "Ada", 2: "Bo", 3: "Cy", 4: "Di", 5: "Ed"}
    return [{"name": names[number]} | more for number in ids]


CASES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "a parent is an object, null where there is none": (
        "inc_people",
        {"columns": ["id"], "include": ["inc_towns"], "where": {"boss": 2}, "filters": []},
        [{"id": 4, "inc_towns": None}],
    ),
    "the columns of a parent are all or those asked": (
        "inc_people",
        {"columns": ["id"], "include": ["inc_towns(name)", "inc_people_by_boss"], "limit": 2},
        [
            {"id": 1, "inc_towns": {"name": "Aachen"}, "inc_people_by_boss": None},
            {
                "id": 2,
                "inc_towns": {"name": "Bonn"},
                "inc_people_by_boss": {"id": 1, "name": "Ada", "town": "AA", "boss": None},
            },
        ],
    ),
    "children are an array, empty where there are none, in the order of their key": (
        "inc_people",
        {"columns": ["name"], "include": ["inc_people_children_by_boss(name)"], "limit": 3},
        [
            {"name": "Ada", "inc_people_children_by_boss": people(2, 3, 5)},
            {"name": "Bo", "inc_people_children_by_boss": people(4)},
            {"name": "Cy", "inc_people_children_by_boss": []},
        ],
    ),
    "two keys between two tables have names of their own": (
        "inc_people",
        {
            "columns": ["name"],
            "include": ["inc_letters_by_sender(id)", "inc_letters_by_receiver(id, cost)"],
            "limit": 2,
        },
        [
            {
                "name": "Ada",
                "inc_letters_by_sender": [{"id": 1}, {"id": 2}, {"id": 4}],
                "inc_letters_by_receiver": [{"id": 3, "cost": "10"}, {"id": 4, "cost": None}],
            },
            {
                "name": "Bo",
                "inc_letters_by_sender": [{"id": 3}],
                "inc_letters_by_receiver": [{"id": 1, "cost": "0.8"}],
            },
        ],
    ),
    "a list that a limit cuts says so, and one that it just holds does not": (
        "inc_towns",
        {"columns": ["code"], "include": ["inc_people(name) limit 2", "inc_people.inc_members(club) limit 1"]},
        [
            {
                "code": "AA",
                "inc_people": [
                    {"name": "Ada", "inc_members": [{"club": 1}], "inc_members_truncated": True},
                    {"name": "Cy", "inc_members": [{"club": 1}], "inc_members_truncated": True},
                ],
                "inc_people_truncated": True,
            },
            {"code": "BB", "inc_people": [{"name": "Bo", "inc_members": [{"club": 1}]}]},
        ],
    ),
    "the far side of a junction stands beside the junction itself": (
        "inc_clubs",
        {"columns": ["name"], "include": ["inc_people_by_inc_members(name)", "inc_members(person,since)"]},
        [
            {
                "name": "chess",
                "inc_people_by_inc_members": people(1, 2, 3),
                "inc_members": [
                    {"person": 1, "since": 2001},
                    {"person": 2, "since": 2003},
                    {"person": 3, "since": None},
                ],
            },
            {
                "name": "rowing",
                "inc_people_by_inc_members": people(1, 3),
                "inc_members": [{"person": 1, "since": 2002}, {"person": 3, "since": 2005}],
            },
            {"name": "empty", "inc_people_by_inc_members": [], "inc_members": []},
        ],
    ),
    "keys of several columns are matched as a whole, and nulls match nothing": (
        "inc_rooms",
        {"columns": ["number"], "include": ["inc_floors_by_house_level(height)"], "order_by": ["number desc"]},
        [
            {"number": 11, "inc_floors_by_house_level": None},
            {"number": 10, "inc_floors_by_house_level": None},
            {"number": 9, "inc_floors_by_house_level": {"height": 280}},
            {"number": 8, "inc_floors_by_house_level": {"height": 300}},
            {"number": 7, "inc_floors_by_house_level": {"height": 280}},
        ],
    ),
    "children have an order of their own": (
        "inc_floors",
        {"columns": ["level"], "include": ["inc_rooms(number) ORDER BY inc_floors desc, number limit 1"]},
        [
            {"level": 0, "inc_rooms": [{"number": 8}]},
            {"level": 1, "inc_rooms": [{"number": 9}], "inc_rooms_truncated": True},
        ],
    ),
    "a path goes back to where it came from": (
        "inc_towns",
        {"where": {"code": "BB"}, "include": ["inc_people.inc_towns(name)", "inc_people(id)"]},
        [{"code": "BB", "name": "Bonn", "inc_people": [{"id": 2, "inc_towns": {"name": "Bonn"}}]}],
    ),
    "a parent of a parent, and its other children": (
        "inc_people",
        {
            "columns": ["id"],
            "where": {"name": "Di"},
            "include": ["inc_people_by_boss.inc_people_by_boss(id)", "inc_people_by_boss.inc_towns(code)"],
        },
        [
            {
                "id": 4,
                "inc_people_by_boss": {
                    "id": 2,
                    "name": "Bo",
                    "town": "BB",
                    "boss": 1,
                    "inc_people_by_boss": {"id": 1},
                    "inc_towns": {"code": "BB"},
                },
            }
        ],
    ),
    "filters and order are those of the page": (
        "inc_people",
        {
            "columns": ["id"],
            "filters": [{"column": "id", "op": "in", "values": [1, 2, 3, 4]}],
            "order_by": ["town desc nulls last", "name desc"],
            "include": ["inc_towns(code)"],
        },
        [
            {"id": 2, "inc_towns": {"code": "BB"}},
            {"id": 3, "inc_towns": {"code": "AA"}},
            {"id": 1, "inc_towns": {"code": "AA"}},
            {"id": 4, "inc_towns": None},
        ],
    ),
    "nothing is included by an empty array": (
        "inc_towns",
        {"columns": ["code"], "include": [], "limit": 1},
        [{"code": "AA"}],
    ),
}


async def test_related_rows_stand_inside_the_rows_that_they_belong_to(town: Place) -> None:
    async with inside(town.url, **SERVED) as program:
        for name, (table, arguments, rows) in CASES.items():
            assert (name, await program.peer.rows(f"query_{table}", arguments)) == (name, rows)
            assert (name, await program.peer.rows("query_rows", {"table": table, **arguments})) == (name, rows)


async def test_members_come_in_the_order_asked(town: Place) -> None:
    arguments = {"columns": ["name", "id"], "include": ["inc_clubs(name, id)", "inc_towns(name)"], "limit": 1}
    async with inside(town.url, **SERVED) as program:
        (row,) = await program.peer.rows("query_inc_people", arguments)
        assert [list(row), list(row["inc_clubs"][0])] == [["name", "id", "inc_clubs", "inc_towns"], ["name", "id"]]


async def test_pages_go_on_with_related_rows_and_may_include_others(town: Place) -> None:
    asked = {"columns": ["id"], "limit": 2, "order_by": ["name desc"]}
    async with inside(town.url, **SERVED) as program:
        first = await program.peer.call("query_inc_people", {**asked, "include": ["inc_towns(code)"]})
        second = await program.peer.call(
            "query_inc_people", {**asked, "include": ["inc_clubs(id)"], "cursor": first["next_cursor"]}
        )
        third = await program.peer.call("query_inc_people", {**asked, "cursor": second["next_cursor"]})
        assert [first["rows"], second["rows"], third["rows"], third["next_cursor"]] == [
            [{"id": 5, "inc_towns": {"code": "AA"}}, {"id": 4, "inc_towns": None}],
            [{"id": 3, "inc_clubs": [{"id": 3}]}, {"id": 2, "inc_clubs": []}],
            [{"id": 1}],
            None,
        ]


async def test_the_configured_number_of_related_rows_comes_unless_the_call_says_more(town: Place) -> None:
    async with inside(town.url, **SERVED, results__include_rows=1) as program:
        asked = {"columns": ["code"], "limit": 1}
        assert await program.peer.rows("query_inc_towns", {**asked, "include": ["inc_people(id)"]}) == [
            {"code": "AA", "inc_people": [{"id": 1}], "inc_people_truncated": True}
        ]
        assert await program.peer.rows("query_inc_towns", {**asked, "include": ["inc_people(id) limit 3"]}) == [
            {"code": "AA", "inc_people": [{"id": 1}, {"id": 3}, {"id": 5}]}
        ]


def way(name: str, table: str, rows: str, columns: str, others: str, *through: str) -> dict[str, Any]:
    """A relationship as `describe_table` tells it."""
    described: dict[str, Any] = {"name": name, "table": table, "rows": rows}
    described |= {"columns": columns.split(), "table_columns": others.split()}
    if through:
        junction, near, far = through
        described["through"] = {"table": junction, "columns": [near], "table_columns": [far]}
    return described


RELATIONSHIPS = {
    "inc_people": [
        way("inc_clubs", "inc_clubs", "many", "id", "founded_by"),
        way("inc_clubs_by_inc_members", "inc_clubs", "many", "id", "id", "inc_members", "person", "club"),
        way("inc_letters_by_receiver", "inc_letters", "many", "id", "receiver"),
        way("inc_letters_by_sender", "inc_letters", "many", "id", "sender"),
        way("inc_members", "inc_members", "many", "id", "person"),
        way("inc_people_by_boss", "inc_people", "one", "boss", "id"),
        way("inc_people_children_by_boss", "inc_people", "many", "id", "boss"),
        way("inc_towns", "inc_towns", "one", "town", "code"),
    ],
    "inc_clubs": [
        way("inc_members", "inc_members", "many", "id", "club"),
        way("inc_people", "inc_people", "one", "founded_by", "id"),
        way("inc_people_by_inc_members", "inc_people", "many", "id", "id", "inc_members", "club", "person"),
    ],
    "inc_rooms": [way("inc_floors_by_house_level", "inc_floors", "one", "house level", "house level")],
    "inc_floors": [way("inc_rooms", "inc_rooms", "many", "house level", "house level")],
}


async def test_the_relationships_of_a_table_are_described(town: Place) -> None:
    async with inside(town.url, **SERVED) as program:
        for table, expected in RELATIONSHIPS.items():
            described = (await program.peer.call("describe_table", {"table": table}))["relationships"]
            assert sorted(described, key=lambda one: str(one["name"])) == expected


REFUSED: list[tuple[list[Any], str, str, str]] = [
    (
        ["inc_towms"],
        "unknown_relationship",
        "'include[0]': table 'inc_people' has no relationship 'inc_towms'. Did you mean 'inc_towns'?",
        "Relationships of 'inc_people': ",
    ),
    (
        ["inc_clubs", "inc_clubs.inc_towns"],
        "unknown_relationship",
        "'include[1]': table 'inc_clubs' has no relationship 'inc_towns'.",
        "Relationships of 'inc_clubs': ",
    ),
    (["inc_clubs.inc_members.inc_people"], "invalid_argument", "goes deeper than 2 levels", "Query the table"),
    (["inc_clubs(nmae)"], "unknown_column", "table 'inc_clubs' has no column 'nmae'. Did you mean 'name'?", "Columns"),
    (["inc_clubs(id,id)"], "invalid_argument", "'include[0]' names a column twice", "once"),
    (["inc_clubs()"], "unknown_column", "table 'inc_clubs' has no column ''", "Columns: id, name, founded_by."),
    (["inc_clubs", "inc_clubs"], "invalid_argument", "'include' names 'inc_clubs' twice", "one entry"),
    (["inc_clubs limit 0"], "invalid_argument", "'limit' takes an integer from 1 to 10000, got '0'", "for example"),
    (["inc_clubs limit -1"], "invalid_argument", "'limit' takes an integer from 1 to 10000, got '-1'", "for example"),
    (["inc_clubs limit 99999999999999999999"], "invalid_argument", "'limit' takes an integer", "for example"),
    (["inc_clubs limit"], "invalid_argument", "cannot read 'limit' after 'inc_clubs'", "for example"),
    (["inc_clubs(id"], "invalid_argument", "cannot read '(id' after 'inc_clubs'", "for example"),
    (["inc_clubs(inc_members(club))"], "invalid_argument", "cannot read '(inc_members(club))'", "for example"),
    (["inc_clubs; DROP TABLE inc_clubs"], "invalid_argument", "cannot read 'DROP TABLE", "for example"),
    (["inc_clubs order by nmae"], "unknown_column", "has no column 'nmae'", "Columns"),
    (["inc_towns limit 1"], "invalid_argument", "'inc_towns' is one row", "Leave them out"),
    (["inc_towns order by code"], "invalid_argument", "'inc_towns' is one row", "Leave them out"),
    ([7], "invalid_argument", "'include[0]' takes a string, got 7", "for example"),
    ([None], "invalid_argument", "'include[0]' takes a string, got null", "for example"),
    ([""], "invalid_argument", "'include[0]' does not begin with a relationship: ''", "for example"),
    (["."], "invalid_argument", "'.' is no path of relationships", "for example"),
    (["inc_clubs."], "invalid_argument", "'inc_clubs.' is no path of relationships", "for example"),
    (["x" * 5_000], "invalid_argument", "'include[0]' is longer than 4000 characters", "for example"),
    (["\0", "\ud800"], "unknown_relationship", "table 'inc_people' has no relationship '", "Relationships of"),
]


async def test_what_cannot_be_included_is_refused_with_what_can(town: Place) -> None:
    async with inside(town.url, **SERVED) as program:
        for include, code, message, hint in REFUSED:
            error = await program.peer.error("query_inc_people", {"include": include})
            assert (error["code"], message in error["message"], hint in error["hint"]) == (code, True, True), error
        assert (await program.peer.error("query_inc_people", {"include": "inc_clubs"}))["message"] == (
            "'include' takes an array, got 'inc_clubs'"
        )
        many = [f"inc_letters_by_sender.{name}" for name in ("inc_people_by_sender", "inc_people_by_receiver")]
        many += [f"inc_members.{name}" for name in ("inc_people", "inc_clubs")]
        many += [f"inc_clubs.{name}" for name in ("inc_people", "inc_members", "inc_people_by_inc_members")]
        assert len(await program.peer.rows("query_inc_people", {"include": many})) == 5
        error = await program.peer.error("query_inc_people", {"include": [*many, "inc_towns"]})
        assert error["message"] == "'include' follows more than 10 relationships"
        assert (await program.peer.error("query_inc_people", {"include": ["a"] * 10_000}))["code"] == "invalid_argument"
