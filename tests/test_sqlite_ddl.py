"""What SQLite's declared types and the text of its definitions mean: the pure parts of reading."""

from typing import Any

import pytest

from schema_mcp.dialects.sqlite import ddl
from schema_mcp.dialects.sqlite.types import sql_type
from schema_mcp.schema.types import TypeKind


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("TINYINT UNSIGNED", TypeKind.INTEGER),
        ("NATIVE CHARACTER(70)", TypeKind.TEXT),
        ("DOUBLE PRECISION", TypeKind.FLOAT),
        ("BLOB", TypeKind.BYTES),
        ("", TypeKind.OTHER),
        ("decimal(10,5)", TypeKind.NUMERIC),
        ("BOOLEAN", TypeKind.BOOLEAN),
        ("TIMESTAMP WITH TIME ZONE", TypeKind.TIMESTAMP),
        ("datetime", TypeKind.TIMESTAMP),
        ("TIME", TypeKind.TIME),
        ("JSONB", TypeKind.JSON),
        ("UUID", TypeKind.TEXT),
        ("INTERVAL", TypeKind.OTHER),
        ("STRING", TypeKind.OTHER),
    ],
)
def test_declared_types_fall_into_families(declared: str, kind: TypeKind) -> None:
    assert sql_type(declared, strict=False).kind is kind


def test_a_numeric_type_has_precision_and_scale() -> None:
    types = [sql_type(declared, strict=False) for declared in ("DECIMAL(10,2)", "NUMERIC( 7 )", "NUMERIC", "INT")]
    assert [(type_.precision, type_.scale) for type_ in types] == [(10, 2), (7, 0), (None, None), (64, None)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE t (a INT)", (None, {}, [])),
        ("CREATE TABLE t ( -- of the table\n a INT)", ("of the table", {}, [])),
        ("CREATE TABLE t (a INT, -- of a\n b INT /* no */ -- of b\n)", (None, {"a": "of a", "b": "of b"}, [])),
        ("CREATE TABLE t (a INT\n -- of nothing\n, b INT)", (None, {}, [])),
        ("CREATE TABLE t (a INT -- of a\n NOT NULL, -- more\n b)", (None, {"a": "of a more"}, [])),
        ("CREATE TABLE t (a, b -- of b\n, c)", (None, {"b": "of b"}, [])),
        ("CREATE TABLE t (a, -----\n PRIMARY KEY (a) -- of the key\n)", (None, {}, [])),
        ("CREATE TABLE t (a DEFAULT (')--') -- of a\n)", (None, {"a": "of a"}, [])),
        ("CREATE TABLE t ([a] -- of a\n, `b``c` -- of b\n, 'd''e' -- of d\n)",
         (None, {"a": "of a", "b`c": "of b", "d'e": "of d"}, [])),
        ("CREATE TABLE [check (] (a check(a>1)check(a<9), my_check INT)", (None, {}, [(None, "a>1"), (None, "a<9")])),
        ('CREATE TABLE t (a CONSTRAINT "n""1" CHECK (a\n  > /* x */ 1))', (None, {}, [('n"1', "a > 1")])),
        ("CREATE TABLE t (a CONSTRAINT n NOT NULL CHECK (a > 1))", (None, {}, [(None, "a > 1")])),
        ("CREATE TABLE t (a DEFAULT (1), CONSTRAINT n CHECK (f(a, ')') > 1))", (None, {}, [("n", "f(a, ')') > 1")])),
        ("CREATE TABLE t (a -- unfinished", (None, {}, [])),
        ("no table at all -- but check", (None, {}, [])),
    ],
)  # fmt: skip
def test_definitions_are_read_from_their_text(sql: str, expected: tuple[Any, ...]) -> None:
    said = ddl.read_table(sql)
    assert (said.comment, said.columns, [(check.name, check.expression) for check in said.checks]) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE INDEX i ON t (a)", (("a",), None)),
        (
            "CREATE UNIQUE INDEX \"i (x\" ON [t (] (lower(a), b COLLATE NOCASE DESC, coalesce(c, 'a,b)') asc)",
            (("lower(a)", "b COLLATE NOCASE", "coalesce(c, 'a,b)')"), None),
        ),
        (
            "CREATE INDEX i ON t (a -- , (\n, /* ) */ b + 1) \n where\n a > 0 AND (b) IN (1, 2)",
            (("a", "b + 1"), "a > 0 AND (b) IN (1, 2)"),
        ),
    ],
)
def test_the_text_of_an_index_tells_expressions_and_condition(sql: str, expected: object) -> None:
    assert ddl.read_index(sql) == expected


def test_the_collation_of_a_column_is_read_from_its_own_definition() -> None:
    said = ddl.read_table(
        'CREATE TABLE t (A TEXT COLLATE nocase, b TEXT CHECK (b COLLATE NOCASE > 1), "c d" COLLATE /* by */ "RTRIM",'
        " e DEFAULT 'x' collate rtrim COLLATE [NoCase] NOT NULL, collate_f, UNIQUE (b COLLATE NOCASE))"
    )
    assert said.collations == {"a": "NOCASE", "c d": "RTRIM", "e": "NOCASE"}
