"""`database.hide_columns`: a hidden column is as if it did not exist, whoever would tell of it."""

import json
from typing import Any

import pytest

from tests.conftest import Place, made_once
from tests.peers import inside

pytest_plugins = "tests.standing"

TABLES = {
    "postgresql": """
        CREATE TABLE masked_people (
            id integer PRIMARY KEY, zsecret text UNIQUE CHECK (zsecret <> 'bad'), nick text UNIQUE,
            twice text GENERATED ALWAYS AS (zsecret || zsecret) STORED,
            born integer CHECK (born > 1900),
            CONSTRAINT both_known CHECK (born IS NOT NULL OR zsecret IS NOT NULL),
            UNIQUE (zsecret, born)
        );
        CREATE TABLE masked_friends (
            id integer PRIMARY KEY, of text REFERENCES masked_people (zsecret), zsecret integer, UNIQUE (id, zsecret)
        );
        CREATE TABLE masked_codes (zsecret integer PRIMARY KEY, word text NOT NULL);
        CREATE TABLE masked_marks (zsecret integer NOT NULL DEFAULT 1, word text NOT NULL UNIQUE);
        CREATE TABLE masked_sealed (zsecret integer);
        CREATE FUNCTION betray() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.word = 'null' THEN new.zsecret := NULL; END IF;
            IF new.word = 'raise' THEN RAISE EXCEPTION 'zsecret is wrong' USING ERRCODE = '22023'; END IF;
            IF new.word = 'stale' THEN PERFORM zsecret2 FROM masked_marks; END IF;
            RETURN new; END $$;
        CREATE TRIGGER betray BEFORE INSERT ON masked_marks FOR EACH ROW EXECUTE FUNCTION betray()
    """,
    "sqlite": """
        CREATE TABLE masked_people (
            id integer PRIMARY KEY, Zsecret text UNIQUE CHECK (ZSECRET <> 'bad'), nick text UNIQUE,
            twice text GENERATED ALWAYS AS (zsecret || zsecret) STORED,
            born integer CHECK (born > 1900),
            CONSTRAINT both_known CHECK (born IS NOT NULL OR zsecret IS NOT NULL),
            UNIQUE (zsecret, born)
        );
        CREATE TABLE masked_friends (
            id integer PRIMARY KEY, of text REFERENCES masked_people (zsecret), zsecret integer, UNIQUE (id, zsecret)
        );
        CREATE TABLE masked_codes (zsecret integer PRIMARY KEY, word text NOT NULL);
        CREATE TABLE masked_marks (zsecret integer NOT NULL DEFAULT 1, word text NOT NULL UNIQUE);
        CREATE TABLE masked_sealed (zsecret integer);
        CREATE TRIGGER betray BEFORE INSERT ON masked_marks WHEN new.word = 'raise'
            BEGIN SELECT RAISE(ABORT, 'zsecret is wrong'); END;
        CREATE TRIGGER betray_null AFTER INSERT ON masked_marks WHEN new.word = 'null'
            BEGIN UPDATE masked_marks SET zsecret = NULL; END
    """,
}
SERVED = ["masked_people", "masked_friends", "masked_codes", "masked_marks", "masked_sealed"]
TOOLS = ["insert_masked_codes", "insert_masked_friends", "insert_masked_marks", "insert_masked_people",
         "query_masked_codes", "query_masked_friends", "query_masked_marks", "query_masked_people"]  # fmt: skip


@pytest.fixture(scope="module")
@made_once
def hiding(shared: Place) -> Place:
    if shared.product == "sqlite":
        *tables, one, two, three, four = TABLES["sqlite"].split(";")
        for statement in (*tables, f"{one};{two}", f"{three};{four}"):
            shared.execute(statement)
    else:
        shared.execute(TABLES["postgresql"])
    return shared


def settings(*patterns: str) -> dict[str, Any]:
    return {"database__include": SERVED, "database__hide_columns": list(patterns)}


async def test_nothing_tells_of_a_hidden_column(hiding: Place) -> None:
    async with inside(hiding.url, **settings("zSecret", "masked_codes.none")) as program:
        peer = program.peer
        told: list[Any] = [tool.model_dump() for tool in (await peer.client.list_tools()).tools]
        # A key that must be given: on SQLite the rowid is given by the database.
        expected = TOOLS if hiding.product == "sqlite" else TOOLS[1:]
        assert await peer.table_tools() == expected
        described = {
            name: await peer.call("describe_table", {"table": name})
            for name in ("masked_people", "masked_friends", "masked_codes")
        }
        told += [*described.values(), await peer.call("list_tables")]
        people = described["masked_people"]
        assert [column["name"] for column in people["columns"]] == ["id", "nick", "born"]
        assert (people["primary_key"], people["unique_keys"], people["referenced_by"]) == (["id"], [["nick"]], [])
        assert [check["expression"] for check in people["checks"]] == (
            ['"born > 1900"'] if hiding.product == "sqlite" else ['"(born > 1900)"']
        )
        assert (described["masked_friends"]["references"], described["masked_codes"]["primary_key"]) == ([], None)
        assert (await peer.error("describe_table", {"table": "masked_sealed"}))["code"] == "unknown_table"
        for arguments in (
            {"columns": ["zsecret"]},
            {"where": {"zsecret": "x"}},
            {"filters": [{"column": "zsecret", "op": "not_null"}]},
            {"order_by": ["zsecret"]},
        ):
            error = await peer.error("query_masked_people", arguments)
            assert (error["code"], error["hint"]) == ("unknown_column", "Columns: id, nick, born.")
        error = await peer.error("insert_masked_friends", {"rows": [{"id": 1, "zsecret": 5}]})
        assert error["code"] == "unknown_column"
        assert "zsecret" not in json.dumps(told).lower()


async def test_no_error_names_a_hidden_column(hiding: Place) -> None:
    hiding.execute("INSERT INTO masked_marks (word) VALUES ('there')")
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("insert_masked_people", {"id": 1}, "check_violation"),
        ("insert_masked_people", {"id": 1, "born": 1}, "check_violation"),
        ("insert_masked_marks", {"word": "there"}, "unique_violation"),
        ("insert_masked_marks", {"word": "null"}, "not_null_violation"),
        (
            "insert_masked_marks",
            {"word": "raise"},
            "constraint_violation" if hiding.product == "sqlite" else "invalid_value",
        ),
    ]
    if hiding.product == "postgresql":
        cases.append(("insert_masked_marks", {"word": "stale"}, "stale_schema"))
    async with inside(hiding.url, **settings("masked_people.zsecret", "*.masked_marks.z*")) as program:
        for tool, row, code in cases:
            error = await program.peer.error(tool, {"rows": [row]})
            assert error["code"] == code, error
            assert "zsecret" not in json.dumps(error).lower(), error
            seen = row in ({"id": 1, "born": 1}, {"word": "there"})
            assert ("born" in json.dumps(error) or "word" in json.dumps(error)) == seen, error
        assert (await program.peer.call("insert_masked_marks", {"rows": [{"word": "fine"}]}))["inserted"] == 1
        # Where the pattern names other tables the column is there.
        described = await program.peer.call("describe_table", {"table": "masked_codes"})
        assert described["primary_key"] == ["zsecret"]


async def test_pages_go_on_by_what_is_left_to_tell_rows_apart(hiding: Place) -> None:
    hiding.execute("DELETE FROM masked_codes")
    hiding.execute("INSERT INTO masked_codes VALUES (987654321, 'a'), (987654322, 'b'), (987654323, 'c')")
    async with inside(hiding.url, **settings("masked_codes.zsecret")) as program:
        page = await program.peer.call("query_masked_codes", {"limit": 2})
        assert (page["truncated"], len(page["rows"])) == (True, 2)
        if hiding.product == "sqlite":  # a rowid would be the hidden value
            assert page["next_cursor"] is None
        else:
            rest = await program.peer.call("query_masked_codes", {"limit": 2, "cursor": page["next_cursor"]})
            assert [*page["rows"], *rest["rows"]] == [{"word": "a"}, {"word": "b"}, {"word": "c"}]


async def test_the_portable_reader_hides_the_same(hiding: Place) -> None:
    if hiding.product == "sqlite":
        pytest.skip("it reads information_schema")
    async with inside(hiding.url, **settings("zsecret"), watch__reader="information_schema") as program:
        described = await program.peer.call("describe_table", {"table": "masked_people"})
        assert "zsecret" not in json.dumps(described)
        assert [column["name"] for column in described["columns"]] == ["id", "nick", "born"]
