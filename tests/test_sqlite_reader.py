"""Reading SQLite: what `gate` and `read` make of a database file."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from schema_mcp.dialects.sqlite.types import sql_type
from schema_mcp.errors import CatalogReadError
from schema_mcp.observe.events import RelationsLeftOut
from schema_mcp.schema.model import (
    Check,
    Column,
    ForeignKey,
    Generated,
    Index,
    IndexPart,
    Key,
    Privilege,
    Table,
    TableKind,
    TableName,
)
from schema_mcp.schema.select import Selection
from tests.peers import inside
from tests.sqlite import DIALECT, delete, execute, opened

READS = frozenset({Privilege.SELECT})


async def tables_of(path: Path, script: str, selection: Selection | None = None) -> Mapping[str, Table]:
    execute(path, script)
    async with opened(path) as connection:
        reading = await DIALECT.read(connection, "shop", selection or Selection(), None)
        assert reading.gate == await DIALECT.gate(connection)
        assert not connection.in_transaction
    return {name.name: table for name, table in reading.schema.tables.items()}


def name(table: str) -> TableName:
    return TableName(source="shop", schema="main", name=table)


def column(name: str, position: int, declared: str, *, strict: bool = False, **rest: Any) -> Column:
    return Column(name=name, position=position, type=sql_type(declared, strict=strict), **{"nullable": True} | rest)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


async def test_a_table_is_read_with_keys_checks_defaults_and_comments(path: Path) -> None:
    tables = await tables_of(
        path,
        """
        CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE pet (
            -- animals that live
            -- with somebody
            id INTEGER PRIMARY KEY, -- given at birth
            owner INTEGER NOT NULL REFERENCES OWNER, name VARCHAR(20) NOT NULL UNIQUE, -- as called
            kind TEXT DEFAULT 'cat' CONSTRAINT known CHECK (kind IN ('cat', -- meows
                'dog')),
            weight NUMERIC(5, 2) DEFAULT NULL,
            label TEXT GENERATED ALWAYS AS (name || '!'),
            CHECK (weight > 0)
        );
        CREATE UNIQUE INDEX by_name ON pet (owner, name);
        CREATE UNIQUE INDEX partial ON pet (owner) WHERE weight > 1;
        CREATE UNIQUE INDEX expression ON pet (lower(name));
        """,
    )
    assert tables["pet"] == Table(
        name=name("pet"),
        kind=TableKind.TABLE,
        columns=(
            column("id", 1, "INTEGER", nullable=False, generated=Generated.IDENTITY_DEFAULT, comment="given at birth"),
            column("owner", 2, "INTEGER", nullable=False),
            column("name", 3, "VARCHAR(20)", nullable=False, comment="as called"),
            column("kind", 4, "TEXT", default="'cat'", comment="meows"),
            column("weight", 5, "NUMERIC(5, 2)"),
            column("label", 6, "TEXT", generated=Generated.EXPRESSION),
        ),
        primary_key=Key(name=None, columns=("id",)),
        uniques=(Key(name=None, columns=("name",)), Key(name="by_name", columns=("owner", "name"))),
        foreign_keys=(ForeignKey(name=None, columns=("owner",), target=name("owner"), target_columns=("id",)),),
        checks=(
            Check(name="known", expression="kind IN ('cat', 'dog')"),
            Check(name=None, expression="weight > 0"),
        ),
        indexes=(
            Index(name="by_name", parts=(IndexPart(column="owner"), IndexPart(column="name")), unique=True),
            Index(name="expression", parts=(IndexPart(expression="lower(name)"),), unique=True),
            Index(name="partial", parts=(IndexPart(column="owner"),), unique=True, predicate="weight > 1"),
            Index(name="sqlite_autoindex_pet_1", parts=(IndexPart(column="name"),), unique=True),
        ),
        comment="animals that live with somebody",
        row_identity=("rowid",),
    )


async def test_which_key_columns_take_null_is_told_as_sqlite_has_it(path: Path) -> None:
    tables = await tables_of(
        path,
        """
        CREATE TABLE ordinary (a TEXT PRIMARY KEY);
        CREATE TABLE descending (a INTEGER PRIMARY KEY DESC);
        CREATE TABLE without (b INT, a INTEGER PRIMARY KEY) WITHOUT ROWID;
        CREATE TABLE strict (a TEXT, b ANY, rowid INT, PRIMARY KEY (b, a)) STRICT;
        """,
    )
    assert {name: table.columns for name, table in tables.items()} == {
        "ordinary": (column("a", 1, "TEXT"),),
        "descending": (column("a", 1, "INTEGER"),),
        "without": (column("b", 1, "INT"), column("a", 2, "INTEGER", nullable=False)),
        "strict": (
            column("a", 1, "TEXT", strict=True, nullable=False),
            column("b", 2, "ANY", strict=True, nullable=False),
            column("rowid", 3, "INT", strict=True),
        ),
    }
    assert {name: table.row_identity for name, table in tables.items()} == {
        "ordinary": ("rowid",),
        "descending": ("rowid",),
        "without": (),
        "strict": ("_rowid_",),
    }
    assert tables["strict"].primary_key == Key(name=None, columns=("b", "a"))


async def test_views_take_what_triggers_take_and_broken_ones_are_left_out(path: Path) -> None:
    tables = await tables_of(
        path,
        """
        CREATE TABLE t (a DATE, b TEXT);
        CREATE TABLE gone (x);
        CREATE VIEW broken AS SELECT x FROM gone;
        CREATE VIEW plain AS -- dates only
            -- nothing else
            SELECT a, b || '-- no' AS c FROM t;
        CREATE VIEW taking (p) AS SELECT a FROM t;
        CREATE TRIGGER instead_of_insert INSTEAD OF /* really */ INSERT ON taking BEGIN
            INSERT INTO t (a) VALUES (new.p);
        END;
        CREATE TRIGGER "instead of insert" INSTEAD OF DELETE ON plain BEGIN SELECT 1; END;
        CREATE VIEW changing (a, "b, c", [On]) AS SELECT a, b, 1 FROM t;
        CREATE TRIGGER now INSTEAD OF UPDATE OF "b, c", [on] ON changing BEGIN SELECT 1; END;
        DROP TABLE gone;
        """,
    )
    assert {name: table for name, table in tables.items() if name != "t"} == {
        "plain": Table(
            name=name("plain"),
            kind=TableKind.VIEW,
            returns_rows=False,
            returns_changes=False,
            columns=(column("a", 1, "DATE", privileges=READS), column("c", 2, "", privileges=READS)),
            comment="dates only nothing else",
            privileges=READS | {Privilege.DELETE},
        ),
        "taking": Table(
            name=name("taking"),
            kind=TableKind.VIEW,
            returns_rows=False,
            returns_changes=False,
            columns=(column("p", 1, "DATE", privileges=READS | {Privilege.INSERT}),),
            privileges=READS | {Privilege.INSERT},
        ),
        "changing": Table(
            name=name("changing"),
            kind=TableKind.VIEW,
            returns_rows=False,
            returns_changes=False,
            columns=(
                column("a", 1, "DATE", privileges=READS),
                column("b, c", 2, "TEXT", privileges=READS | {Privilege.UPDATE}),
                column("On", 3, "", privileges=READS | {Privilege.UPDATE}),
            ),
            privileges=READS | {Privilege.UPDATE},
        ),
    }


async def test_virtual_tables_show_their_columns_and_hide_their_shadows(path: Path) -> None:
    tables = await tables_of(path, "CREATE VIRTUAL TABLE notes USING fts5 (title, body); CREATE TABLE t (a)")
    assert tables == {
        "notes": Table(
            name=name("notes"),
            kind=TableKind.VIRTUAL,
            returns_rows=False,
            returns_changes=False,
            columns=(column("title", 1, ""), column("body", 2, "")),
            row_identity=("rowid",),
        ),
        "t": Table(name=name("t"), kind=TableKind.TABLE, columns=(column("a", 1, ""),), row_identity=("rowid",)),
    }


async def test_a_virtual_table_without_its_module_is_left_out(path: Path) -> None:
    execute(
        path,
        """
        CREATE VIRTUAL TABLE fine USING fts5 (a);
        PRAGMA writable_schema = ON;
        INSERT INTO sqlite_schema VALUES ('table', 'lost', 'lost', 0, 'CREATE VIRTUAL TABLE lost USING nothere (a)');
        """,
    )
    assert list(await tables_of(path, "")) == ["fine"]


async def test_foreign_keys_find_their_targets_as_sqlite_does(path: Path) -> None:
    tables = await tables_of(
        path,
        """
        CREATE TABLE Parent (X INT, Y INT, Z INT UNIQUE, PRIMARY KEY (Y, X));
        CREATE TABLE child (
            a INT, b INT, c INT REFERENCES parent (z), d INT REFERENCES nowhere,
            FOREIGN KEY (a, b) REFERENCES PARENT
        );
        """,
    )
    assert tables["child"].foreign_keys == (
        ForeignKey(name=None, columns=("c",), target=name("Parent"), target_columns=("Z",)),
        ForeignKey(name=None, columns=("a", "b"), target=name("Parent"), target_columns=("Y", "X")),
    )


async def test_hostile_names_are_read_as_they_are(path: Path) -> None:
    names = ['a"b', "a'b", "a b; --", "[a]", "`a`", "a%s:x?", "Größe (cm)", "名", "select", "a.b", "😀", "\t"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    columns = ", ".join(f"{name} TEXT CHECK ({name} <> ')') -- {n}\n" for n, name in enumerate(quoted))
    tables = await tables_of(path, "".join(f"CREATE TABLE {table} ({columns});" for table in quoted))
    assert sorted(tables) == sorted(names)
    expected = tuple(column(name, n + 1, "TEXT", comment=str(n)) for n, name in enumerate(names))
    assert all(table.columns == expected for table in tables.values())
    assert tables["select"].checks == tuple(Check(name=None, expression=f"{name} <> ')'") for name in quoted)


async def test_columns_added_later_keep_the_comments_of_the_others(path: Path) -> None:
    tables = await tables_of(
        path,
        """
        CREATE TABLE t (
            a INT, -- first
            b INT -- last
        );
        ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'x, -- y' CHECK (c <> '(');
        ALTER TABLE t RENAME COLUMN a TO "a, b";
        """,
    )
    assert tables["t"].columns == (
        column("a, b", 1, "INT", comment="first"),
        column("b", 2, "INT", comment="last"),
        column("c", 3, "TEXT", default="'x, -- y'"),
    )
    assert tables["t"].checks == (Check(name=None, expression="c <> '('"),)


async def test_text_in_another_encoding_hides_only_what_it_names(path: Path) -> None:
    execute(
        path, "CREATE TABLE fine (a TEXT CHECK (a > '~1') -- gr~n\n); CREATE TABLE [t~] (a); CREATE TABLE u (a, [b~])"
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for column in ("sql", "name", "tbl_name"):
            latin = f"CAST(replace(CAST({column} AS BLOB), '~', x'fc') AS TEXT)"
            connection.execute(f"UPDATE sqlite_schema SET {column} = {latin}")
        connection.commit()
    tables = await tables_of(path, "")
    assert {name: (table.columns[0].comment, table.checks) for name, table in tables.items()} == {
        "fine": ("gr\ufffdn", (Check(name=None, expression="a > '\ufffd1'"),))
    }
    async with inside(str(path)) as program:
        answer = await program.peer.call("insert_fine", {"rows": [{"a": None}]})
        assert answer["inserted"] == 1


async def test_only_selected_relations_are_read(path: Path) -> None:
    script = "CREATE TABLE a (x); CREATE TABLE b (x); CREATE VIEW c AS SELECT 1 AS x"
    assert list(await tables_of(path, script, Selection(exclude=("b",)))) == ["a", "c"]
    assert list(await tables_of(path, "", Selection(schemas=("main",), include=("main.a",)))) == ["a"]
    assert list(await tables_of(path, "", Selection(schemas=("public",)))) == []


async def test_the_gate_moves_with_the_schema_and_not_with_rows(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        before = await DIALECT.gate(connection)
        execute(path, "INSERT INTO t VALUES (1)")
        assert await DIALECT.gate(connection) == before
        execute(path, "BEGIN; CREATE TABLE u (a); ROLLBACK")
        assert await DIALECT.gate(connection) == before
        execute(path, "ALTER TABLE t ADD COLUMN b")
        after = await DIALECT.gate(connection)
        assert (after.identity == before.identity, after.version == before.version) == (True, False)


async def test_a_replaced_file_changes_the_identity_and_is_not_read_through_an_old_connection(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    other = path.with_name("other.db")
    execute(other, "CREATE TABLE u (a)")
    async with opened(path) as connection:
        before = await DIALECT.gate(connection)
        other.rename(path)
        assert (await DIALECT.gate(connection)).identity != before.identity
        with pytest.raises(CatalogReadError, match=r"source 'shop': database file .* was replaced") as caught:
            await DIALECT.read(connection, "shop", Selection(), None)
        assert caught.value.unavailable
    assert list(await tables_of(path, "")) == ["u"]


async def test_a_deleted_file_is_told_and_not_made_again(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        delete(path)
        for look in (DIALECT.gate(connection), DIALECT.read(connection, "shop", Selection(), None)):
            with pytest.raises(CatalogReadError, match=r"database file .*shop\.db' is gone") as caught:
                await look
            assert caught.value.unavailable
    assert os.listdir(path.parent) == []


async def test_a_locked_file_is_unavailable_to_the_reader(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    async with opened(path) as connection:
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN EXCLUSIVE")
            with pytest.raises(CatalogReadError, match="holds the database locked") as caught:
                await DIALECT.read(connection, "shop", Selection(), None)
            assert caught.value.unavailable
        reading = await DIALECT.read(connection, "shop", Selection(), None)
        assert list(reading.schema.tables) == [name("t")]


async def test_what_sqlite_cannot_describe_is_told_where_one_looks_for_it(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE cats (id integer); CREATE VIEW dead AS SELECT a FROM gone; CREATE VIEW live AS SELECT 1 AS x",
    )
    async with inside(str(path)) as program:
        assert await program.peer.table_tools() == ["insert_cats", "query_cats", "query_live"]
        (source,) = (await program.peer.call("server_status"))["sources"]
        assert source["left_out"] == ['"dead"']
        told = [event for event in program.observed if isinstance(event, RelationsLeftOut)]
        assert told == [RelationsLeftOut(source="database", relations=("dead",))]
        execute(path, "CREATE TABLE gone (a text)")
        await program.peer.hears()
        (source,) = (await program.peer.call("server_status"))["sources"]
        assert "left_out" not in source
