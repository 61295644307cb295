"""Differences in words, and schemas as JSON: both pure."""

from dataclasses import replace

import pytest

from schema_mcp.schema.codec import dumps, loads
from schema_mcp.schema.model import (
    OF_COLUMNS,
    Check,
    Column,
    ForeignKey,
    Generated,
    Key,
    Privilege,
    Table,
    TableKind,
    TableName,
)
from schema_mcp.schema.sentences import describe
from schema_mcp.schema.types import SqlType, TypeKind

NAME = TableName(source="main", schema="public", name="orders")
INTEGER = SqlType(kind=TypeKind.INTEGER, native="integer", cast="integer", precision=32)
SHORT = SqlType(kind=TypeKind.TEXT, native="varchar(50)", cast="varchar", length=50)
LONG = SqlType(kind=TypeKind.TEXT, native="varchar(80)", cast="varchar", length=80)
STATE = SqlType(kind=TypeKind.ENUM, native="state", cast="state", enum=("new", "paid"))
MONEY = SqlType(kind=TypeKind.NUMERIC, native="numeric(10,2)", cast="numeric", precision=10, scale=2)
ID = Column(name="id", position=1, type=INTEGER, nullable=False)
EMAIL = Column(name="email", position=2, type=SHORT, nullable=True)
ORDERS = Table(name=NAME, kind=TableKind.TABLE, columns=(ID, EMAIL), primary_key=Key(name="pk", columns=("id",)))
TO_CUSTOMERS = ForeignKey(
    name="fk",
    columns=("id",),
    target=TableName(source="main", schema="public", name="customers"),
    target_columns=("id",),
)


def with_email(**changes: object) -> Table:
    return replace(ORDERS, columns=(ID, replace(EMAIL, **changes)))  # type: ignore[arg-type]


TOTAL = Column(name="total", position=3, type=MONEY, nullable=False, default="0")

CHANGES: dict[str, tuple[Table | None, Table | None]] = {
    "table added with 2 columns: id (integer, not null), email (varchar(50))": (None, ORDERS),
    "table removed: dropped, renamed, or the role may no longer use it": (ORDERS, None),
    "column email varchar(50) became varchar(80)": (ORDERS, with_email(type=LONG)),
    "column total added (numeric(10,2), not null, default 0)": (ORDERS, replace(ORDERS, columns=(ID, EMAIL, TOTAL))),
    "column email removed": (ORDERS, replace(ORDERS, columns=(ID,))),
    "column email may no longer be null": (ORDERS, with_email(nullable=False)),
    "column email may be null now": (with_email(nullable=False), ORDERS),
    "the default of column email is 'x' now": (ORDERS, with_email(default="'x'")),
    "the default of column email is gone, it was 'x'": (with_email(default="'x'"), ORDERS),
    "column email is generated now": (ORDERS, with_email(generated=Generated.EXPRESSION)),
    "the comment of column email a became b": (with_email(comment="a"), with_email(comment="b")),
    "column email may no longer be read": (ORDERS, with_email(privileges=OF_COLUMNS - {Privilege.SELECT})),
    "it may no longer be inserted into": (
        ORDERS,
        replace(ORDERS, privileges=frozenset(Privilege) - {Privilege.INSERT}),
    ),
    "it may be deleted from now": (replace(ORDERS, privileges=OF_COLUMNS), ORDERS),
    "column email takes 'sent' too (state)": (
        with_email(type=STATE),
        with_email(type=replace(STATE, enum=("new", "paid", "sent"))),
    ),
    "the columns are in another order: email, id": (
        ORDERS,
        replace(ORDERS, columns=(replace(EMAIL, position=1), replace(ID, position=2))),
    ),
    "primary key (id) became (id, email)": (
        ORDERS,
        replace(ORDERS, primary_key=Key(name="pk", columns=("id", "email"))),
    ),
    "unique key (email) added": (ORDERS, replace(ORDERS, uniques=(Key(name=None, columns=("email",)),))),
    "foreign key (id) to public.customers (id) added": (ORDERS, replace(ORDERS, foreign_keys=(TO_CUSTOMERS,))),
    "check id > 0 removed": (replace(ORDERS, checks=(Check(name="c", expression="id > 0"),)), ORDERS),
    "the table became a partitioned table": (ORDERS, replace(ORDERS, kind=TableKind.PARTITIONED)),
    "row-level security applies now": (ORDERS, replace(ORDERS, row_security=True)),
    "the comment is sold things now": (ORDERS, replace(ORDERS, comment="sold things")),
}


@pytest.mark.parametrize(("sentence", "tables"), CHANGES.items(), ids=CHANGES)
def test_a_change_is_told_in_a_sentence(sentence: str, tables: tuple[Table | None, Table | None]) -> None:
    assert describe(*tables) == (sentence,)


def test_a_renamed_column_is_told_as_removed_and_added() -> None:
    renamed = with_email(name="mail")
    assert describe(ORDERS, renamed) == ("column mail added (varchar(50))", "column email removed")


def test_equal_tables_give_no_sentence_and_unequal_ones_always_do() -> None:
    assert describe(ORDERS, replace(ORDERS)) == ()
    assert describe(ORDERS, replace(ORDERS, row_identity=("ctid",))) == ("rows are told apart in another way now",)


EVERYTHING = replace(
    ORDERS,
    columns=(
        ID,
        with_email(type=STATE, comment="it's \ud800 \0", privileges=frozenset()).columns[1],
        replace(
            TOTAL, type=SqlType(kind=TypeKind.ARRAY, native="integer[]", item=INTEGER), generated=Generated.EXPRESSION
        ),
    ),
    foreign_keys=(TO_CUSTOMERS,),
    checks=(Check(name=None, expression="id > 0"),),
    privileges=frozenset({Privilege.SELECT}),
    row_identity=("ctid", "tableoid"),
)


@pytest.mark.parametrize("table", [ORDERS, EVERYTHING])
def test_a_table_comes_back_from_json_as_it_was(table: Table) -> None:
    text = dumps(table)
    assert loads(Table, text) == table
    assert dumps(loads(Table, text)) == text
    assert text.isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        dumps(ORDERS).replace('"kind":"table"', '"kind":"heap"'),
        dumps(ORDERS).replace('"kind":"table"', '"kind":"table","later":1'),
        dumps(ORDERS).replace('"position":1', '"position":"1"'),
    ],
)
def test_json_of_another_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no Table of format"):
        loads(Table, text)
