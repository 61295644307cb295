"""Reading SQLite again after a change: the same as reading everything, for the price of what changed."""

import sqlite3
import uuid
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from schema_mcp.dialects.base import Reading
from schema_mcp.schema.model import Schema, TableName
from schema_mcp.schema.select import Selection
from tests.peers import inside
from tests.sqlite import DIALECT, execute, opened

ALL = Selection()
PET = TableName(source="shop", schema="main", name="pet")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def same_objects(before: Schema, after: Schema) -> set[str]:
    """The tables that are not only equal in both."""
    return {name.name for name, table in after.tables.items() if before.tables.get(name) is table}


async def read_twice(path: Path, before: str, change: str, selection: Selection = ALL) -> tuple[Reading, Reading]:
    """The reading before the change and the one after it, which is checked against one from nothing."""
    execute(path, before)
    async with opened(path) as connection:
        first = await DIALECT.read(connection, "shop", selection, None)
        execute(path, change)
        second = await DIALECT.read(connection, "shop", selection, first)
        assert second == await DIALECT.read(connection, "shop", selection, None)
    return first, second


SHOP = """
    CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE pet (id INTEGER PRIMARY KEY, owner REFERENCES owner, name TEXT);
    CREATE TABLE toy (id INTEGER PRIMARY KEY, pet REFERENCES PET (id), name TEXT);
    CREATE TABLE apart (a TEXT);
    CREATE VIEW names AS SELECT name FROM pet;
    CREATE VIEW all_owners AS SELECT * FROM owner;
    CREATE VIRTUAL TABLE notes USING fts5 (title);
"""
EVERYTHING = {"owner", "pet", "toy", "apart", "names", "all_owners", "notes"}


@pytest.mark.parametrize(
    ("change", "made_anew"),
    [
        ("ALTER TABLE apart ADD COLUMN b", {"apart"}),
        ("ALTER TABLE owner ADD COLUMN b", {"owner", "all_owners"}),
        ("ALTER TABLE owner RENAME COLUMN id TO key", {"owner", "pet", "all_owners"}),
        ("ALTER TABLE pet RENAME TO Animal", {"Animal", "names", "toy"}),
        ("DROP VIEW all_owners; DROP TABLE owner", {"pet"}),
        ("CREATE UNIQUE INDEX by_name ON toy (name)", {"toy"}),
        ("CREATE INDEX by_name ON toy (name)", {"toy"}),
        ("CREATE TRIGGER t INSTEAD OF INSERT ON names BEGIN SELECT 1; END", {"names"}),
        ("CREATE TABLE fresh (toy REFERENCES toy)", {"fresh"}),
        ("DROP VIEW names; DROP TABLE notes", set()),
        ("BEGIN; CREATE TABLE passing (a); DROP TABLE passing; COMMIT", set()),
        ("VACUUM", set()),
        ("ANALYZE", set()),
    ],
)  # fmt: skip
async def test_only_what_a_change_touches_is_made_anew(path: Path, change: str, made_anew: set[str]) -> None:
    first, second = await read_twice(path, SHOP, change)
    assert first.gate != second.gate
    assert {name.name for name in first.schema.tables} == EVERYTHING
    assert {name.name for name in second.schema.tables} - same_objects(first.schema, second.schema) == made_anew


async def test_a_schema_that_did_not_change_is_the_same_object(path: Path) -> None:
    first, second = await read_twice(path, SHOP, "VACUUM")
    assert first.schema is second.schema


async def test_a_vacuum_opens_the_gate_and_changes_no_tool(path: Path) -> None:
    execute(path, SHOP)
    async with inside(str(path)) as program:
        execute(path, "VACUUM")
        assert (await program.peer.call("refresh_schema"))["changed"] == []
        kinds = [type(observation).__name__ for observation in program.observed]
    assert (kinds.count("CatalogReplaced"), program.peer.told.empty()) == (1, True)


async def test_reading_everything_again_keeps_equal_tables(path: Path) -> None:
    execute(path, SHOP)
    async with opened(path) as connection:
        first = await DIALECT.read(connection, "shop", ALL, None)
        again = await DIALECT.read(connection, "shop", ALL, replace(first, mark=None))
        assert again.schema is first.schema
        execute(path, "ALTER TABLE apart ADD COLUMN b")
        third = await DIALECT.read(connection, "shop", ALL, replace(again, mark=None))
        assert same_objects(first.schema, third.schema) == EVERYTHING - {"apart"}


async def test_keys_to_a_table_that_is_not_there_yet_are_found_once_it_is(path: Path) -> None:
    first, second = await read_twice(path, "CREATE TABLE a (b REFERENCES B)", "CREATE TABLE b (id INTEGER PRIMARY KEY)")
    assert [len(table.foreign_keys) for table in first.schema.tables.values()] == [0]
    assert [len(table.foreign_keys) for table in second.schema.tables.values()] == [1, 0]


async def test_a_table_becomes_a_shadow_of_a_virtual_table_that_comes_later(path: Path) -> None:
    first, second = await read_twice(
        path, "CREATE TABLE ft_content (a)", "CREATE VIRTUAL TABLE ft USING fts5 (b, content='')"
    )
    names = [[name.name for name in reading.schema.tables] for reading in (first, second)]
    assert names == [["ft_content"], ["ft"]]


async def test_a_selection_is_kept_to(path: Path) -> None:
    change = "CREATE TABLE pot (a); CREATE TABLE pen (a); ALTER TABLE owner RENAME COLUMN id TO key"
    first, second = await read_twice(path, SHOP, change, Selection(include=("p*",), exclude=("pen",)))
    names = [[name.name for name in reading.schema.tables] for reading in (first, second)]
    assert names == [["pet"], ["pet", "pot"]]
    assert [key.target_columns for key in second.schema.tables[PET].foreign_keys] == [("key",)]
    assert second.schema.tables[PET] is not first.schema.tables[PET]


async def test_a_reading_of_another_file_source_or_selection_is_no_help(path: Path, tmp_path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        first = await DIALECT.read(connection, "shop", ALL, None)
        renamed = await DIALECT.read(connection, "store", ALL, first)
        assert renamed == await DIALECT.read(connection, "store", ALL, None)
        fewer = await DIALECT.read(connection, "shop", Selection(exclude=("t",)), first)
        assert fewer.schema.tables == {}
    other = tmp_path / "other.db"
    execute(other, "CREATE TABLE t (b)")
    other.rename(path)
    async with opened(path) as connection:
        second = await DIALECT.read(connection, "shop", ALL, first)
        assert second == await DIALECT.read(connection, "shop", ALL, None)
        assert same_objects(first.schema, second.schema) == set()


TABLES = ("a", "B", '"q""x"')
COLUMNS = ("id", "x", "y", '"Z z"')
BODIES = (
    "id INTEGER PRIMARY KEY, x TEXT, y INT REFERENCES {other}",
    'x TEXT NOT NULL UNIQUE, y CHECK (y > 1), "Z z" AS (x || y), FOREIGN KEY (x, y) REFERENCES {other}',
    "-- about it\n id INT, x REAL, y REFERENCES {other} (Y), -- of y\n PRIMARY KEY (y, x)",
)
OPTIONS = ("", "", "WITHOUT ROWID", "STRICT")
START = """
    CREATE TABLE A (id INTEGER PRIMARY KEY, x TEXT, y INT REFERENCES b);
    CREATE TABLE b (id INTEGER PRIMARY KEY, x TEXT, y INT REFERENCES "q""x");
    CREATE TABLE "q""x" (id INTEGER PRIMARY KEY, x TEXT, y INT REFERENCES a);
    CREATE VIEW v2 AS SELECT * FROM a;
"""
TEMPLATES = (
    "CREATE TABLE {table} ({body}) {options}",
    "CREATE TABLE {table} AS SELECT * FROM {other}",
    "DROP TABLE {table}",
    "ALTER TABLE {table} RENAME TO {other}",
    "ALTER TABLE {table} RENAME COLUMN {column} TO {column2}",
    "ALTER TABLE {table} ADD COLUMN {column} INTEGER REFERENCES {other}",
    "ALTER TABLE {table} DROP COLUMN {column}",
    "CREATE UNIQUE INDEX i{n} ON {table} ({column}, {column2})",
    "CREATE UNIQUE INDEX i{n} ON {table} ({column})",
    "CREATE INDEX i{n} ON {table} ({column})",
    "DROP INDEX i{n}",
    "DROP INDEX i{n}; CREATE UNIQUE INDEX i{n} ON {table} ({column})",
    "CREATE VIEW v{n} AS SELECT * FROM {table}",
    "CREATE VIEW v1 AS SELECT {column} AS k FROM v2",
    "DROP VIEW v{n}",
    "CREATE TRIGGER t{n} INSTEAD OF INSERT ON v{n} BEGIN SELECT 1; END",
    "CREATE TRIGGER t{n} AFTER INSERT ON {table} BEGIN DELETE FROM {other}; END",
    "DROP TRIGGER t{n}",
    "CREATE VIRTUAL TABLE ft USING fts5 (x, y, content='')",
    "CREATE VIRTUAL TABLE ft USING fts4 (content={other})",
    "ALTER TABLE ft RENAME TO ft2",
    "DROP TABLE ft",
    "CREATE TABLE ft_content (a)",
    "BEGIN; DROP TABLE {table}; CREATE TABLE {table} ({body}); COMMIT",
    "BEGIN; DROP TABLE {table}; ROLLBACK",
    "VACUUM",
    "ANALYZE",
)


@st.composite
def statements(draw: st.DrawFn) -> str:
    """A change of the schema, which may be refused."""
    other = draw(st.sampled_from(TABLES))
    return draw(st.sampled_from(TEMPLATES)).format(
        table=draw(st.sampled_from(TABLES)),
        other=other,
        body=draw(st.sampled_from(BODIES)).format(other=other),
        options=draw(st.sampled_from(OPTIONS)),
        column=draw(st.sampled_from(COLUMNS)),
        column2=draw(st.sampled_from(COLUMNS)),
        n=draw(st.integers(1, 2)),
    )


def run(connection: sqlite3.Connection, script: str) -> None:
    """What SQLite refuses does nothing."""
    with suppress(sqlite3.Error):
        connection.executescript(script)
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def test_reading_again_gives_what_reading_from_nothing_gives(path: Path) -> None:
    """After each of many random changes; and whatever did not change is the same object."""
    with start_blocking_portal("asyncio") as portal:

        @settings(max_examples=30, deadline=None, database=None)
        @given(st.lists(st.lists(statements(), min_size=1, max_size=3), min_size=5, max_size=12))
        def holds(changes: list[list[str]]) -> None:
            file = path.with_name(f"{uuid.uuid4()}.db")
            execute(file, f"PRAGMA synchronous = OFF; {START}")
            with (
                portal.wrap_async_context_manager(opened(file)) as connection,
                closing(sqlite3.connect(file, isolation_level=None)) as other,
            ):
                other.execute("PRAGMA synchronous = OFF")
                before = portal.call(DIALECT.read, connection, "shop", ALL, None)
                for step in changes:
                    for change in step:
                        run(other, change)
                    after = portal.call(DIALECT.read, connection, "shop", ALL, before)
                    assert after == portal.call(DIALECT.read, connection, "shop", ALL, None)
                    equal = {
                        name.name
                        for name, table in after.schema.tables.items()
                        if (known := before.schema.tables.get(name)) == table and known.identity == table.identity
                    }
                    assert same_objects(before.schema, after.schema) == equal
                    before = after
            file.unlink()

        holds()
