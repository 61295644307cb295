"""Names: legal, stable and told apart whatever tables and columns are called; and each works in every tool."""

import random
import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schema_mcp.schema.model import Column, Table, TableKind, TableName
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.tools.naming import MAX_SLUG, column_keys, display_name, near, slug, slugs
from tests.conftest import Place
from tests.peers import inside
from tests.test_schemas import offends

pytest_plugins = "tests.standing"

HOSTILE = [
    'quote"s',
    '""',
    '"a"',
    "apostrophe's",
    "semi;colon",
    "DROP TABLE x; --",
    "with space",
    " ",
    "trail ",
    "Größe",
]
HOSTILE += ["表", "e\u0301", "\u00e9", "\U0001f600", "ü" * 31, "x" * 63, "X" * 63, "x" * 62 + "y", "x" * 41, "x" * 40]
HOSTILE += [
    "select",
    "table",
    "user",
    "rows",
    "order",
    "%s",
    "%(x)s",
    "%",
    ":x",
    "::",
    "$1",
    "?",
    "@v",
    "\\",
    "/*",
    "--",
]
HOSTILE += [
    "a.b",
    "main.t",
    "public.t",
    '"a.b"',
    ".",
    "a",
    "A",
    "a_b",
    "a b",
    "a-b",
    "a__b",
    "_a",
    "1a",
    "a_",
    "a_deadbeef",
    "a_deadbeefcafe",
]
HOSTILE += [
    "tab\there",
    "new\nline",
    "carriage\rreturn",
    "x desc",
    "x desc nulls last",
    "nulls first",
    "desc",
    "\u202e",
    "[0]",
]
HOSTILE += ["row_", "given", "n", "c0", "f0", "k0", "row_limit", "u_", "e_", "schema_version", "table_1", "excluded"]

NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.from_regex(r"[ab_A1]{1,5}(_[0-9a-f]{8}([0-9a-f]{4})?)?", fullmatch=True),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=63),
)
SCHEMAS = st.sampled_from(["public", "a", "a_", "A", "rows", "public.a", '"', "Größe", "x" * 63])


def relation(schema: str, name: str) -> TableName:
    return TableName(source="s", schema=schema, name=name)


RELATIONS = st.lists(st.builds(relation, SCHEMAS, NAMES), unique=True, max_size=30)


@settings(max_examples=150, deadline=None, database=None)
@given(RELATIONS)
@example([relation("a", "deadbeefcafe"), relation("public", "a__deadbeefcafe")])
@example([relation(schema, name) for schema in ("public", "a") for name in HOSTILE])
def test_slugs_are_legal_told_apart_and_a_matter_of_the_relation_alone(tables: list[TableName]) -> None:
    found = slugs(tables, "public")
    assert len(set(found.values())) == len(tables)
    for name, text in found.items():
        assert re.fullmatch("[A-Za-z0-9_]{1,40}", text)
        assert text != "rows"
        assert text == slug(name, "public")
        hashed = re.fullmatch(r".+_[0-9a-f]{12}", text)
        assert hashed or text in (name.name, f"{name.schema}__{name.name}")


@settings(max_examples=100, deadline=None, database=None)
@given(RELATIONS, st.randoms(use_true_random=False))
def test_slugs_stay_whatever_comes_and_goes_and_in_any_order(tables: list[TableName], dice: random.Random) -> None:
    found = slugs(tables, "public")
    kept = [name for name in tables if dice.random() < 0.5]
    dice.shuffle(kept)
    assert slugs(kept, "public") == {name: found[name] for name in kept}


@settings(max_examples=100, deadline=None, database=None)
@given(RELATIONS)
@example([relation(schema, name) for schema in ("public", "a") for name in HOSTILE])
def test_with_several_sources_names_begin_with_the_source_and_are_told_apart(tables: list[TableName]) -> None:
    sources = ("a", "public", "shop1", "z" * 12)
    named = [replace(table, source=source) for source in sources for table in tables]
    found = {
        name: text
        for source in sources
        for name, text in slugs([name for name in named if name.source == source], "public", several=True).items()
    }
    assert len(set(found.values())) == len(named)
    for name, text in found.items():
        assert re.fullmatch(f"{name.source}_[A-Za-z0-9_]+", text)
        assert len(f"insert_{text}") <= 48
        assert text == slug(name, "public", several=True)
    shown = [display_name(name, "public", several=True) for name in named]
    assert len(set(shown)) == len(named)
    assert all(text.startswith(f"{name.source}.") for name, text in zip(named, shown, strict=True))


def test_plain_names_stand_for_themselves_after_the_source() -> None:
    names = [("public", "orders"), ("public", "rows"), ("sales", "orders"), ("public", "x" * 35), ("public", "x" * 36)]
    assert [slug(replace(relation(*name), source="shop"), "public", several=True) for name in names] == [
        "shop_orders",
        "shop_rows",
        "shop_sales__orders",
        "shop_" + "x" * 35,
        "shop_" + "x" * 22 + "_4dc58679f4c4",
    ]


def test_two_names_with_one_hash_get_longer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such pair is known."""
    monkeypatch.setattr(
        "schema_mcp.tools.naming._hash", lambda text, digits: f"{len(text) if digits > 12 else 0:0{digits}}"
    )
    rivals = [relation("public", "a b"), relation("public", "a  b"), relation("public", "c d")]
    assert list(slugs(rivals, "public").values()) == [
        "a_b_" + "0" * 18 + "10",
        "a_b_" + "0" * 18 + "11",
        "c_d_" + "0" * 12,
    ]


def test_plain_names_stand_for_themselves() -> None:
    for name in ("orders", "InvoiceLine", "order_items_2", "1a", "a_", "x" * MAX_SLUG, "row", "Rows", "table"):
        assert slug(relation("public", name), "public") == name
        if len(name) < 30:
            assert slug(relation("sales", name), "public") == f"sales__{name}"
    assert slug(relation("public", "rows"), "public") == "rows_b8ecc0acef0e"
    assert slug(relation("sales", "rows"), "public") == "sales__rows"
    assert slug(relation("public", "Größe (cm)"), "public") == "Gr_e_cm_fde123a6ec70"
    assert slug(relation("public", "表"), "public") == "t_9d816cd33715"
    # What a hashed name may look like is no plain name, with a schema or without.
    assert slug(relation("public", "t_deadbeefcafe"), "public") != "t_deadbeefcafe"
    assert slug(relation("a", "deadbeefcafe"), "public") != "a__deadbeefcafe"


@settings(max_examples=150, deadline=None, database=None)
@given(RELATIONS)
def test_names_in_arguments_are_told_apart(tables: list[TableName]) -> None:
    assert len({display_name(name, "public") for name in tables}) == len(tables)


def test_names_in_arguments_are_quoted_only_where_a_dot_would_mislead() -> None:
    shown = [
        display_name(relation(schema, name), "public")
        for schema in ("public", "a.b")
        for name in ("t", "a.b", '"', "ä b")
    ]
    assert shown == ["t", '"a.b"', '""""', "ä b", '"a.b".t', '"a.b"."a.b"', '"a.b".""""', '"a.b".ä b']


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(NAMES, unique=True, min_size=1, max_size=30))
@example(HOSTILE)
@example(["Größe", "Gr_e_0b5e4bd8"])
def test_property_keys_are_legal_and_told_apart(names: list[str]) -> None:
    text = SqlType(kind=TypeKind.TEXT, native="text")
    columns = [Column(name=name, position=position, type=text, nullable=True) for position, name in enumerate(names, 1)]
    keys = column_keys(Table(name=relation("public", "t"), kind=TableKind.TABLE, columns=tuple(columns)))
    assert list(keys) == names
    assert len(set(keys.values())) == len(names)
    for name, key in keys.items():
        assert re.fullmatch("[A-Za-z0-9_-]{1,64}", key)
        assert key == name or not re.fullmatch("[A-Za-z0-9_-]{1,64}", name)


def test_an_alias_gives_way_to_a_column_that_is_called_so() -> None:
    text = SqlType(kind=TypeKind.TEXT, native="text")

    def keys_of(*names: str) -> dict[str, str]:
        columns = tuple(Column(name=name, position=n, type=text, nullable=True) for n, name in enumerate(names, 1))
        return column_keys(Table(name=relation("public", "t"), kind=TableKind.TABLE, columns=columns))

    alias = keys_of("Größe")["Größe"]
    assert keys_of(alias, "Größe") == {alias: alias, "Größe": alias + keys_of(alias, "Größe")["Größe"][len(alias) :]}
    assert len(keys_of("Größe", alias)["Größe"]) == len(alias) + 2


def test_a_near_name_is_suggested_and_a_far_one_is_not() -> None:
    assert near("cutsomers", ["orders", "Customers"]) == " Did you mean 'Customers'?"
    assert near("x" * 10_000, ["customers"]) == ""
    assert near("", ["customers"]) == ""
    assert near("zebra", ["customers"]) == ""


def sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def test_every_table_and_column_whatever_it_is_called_works_in_every_tool(place: Place) -> None:
    names = HOSTILE
    if place.product == "sqlite":  # where names that differ in the case of ASCII letters are one
        names = list({name.lower(): name for name in HOSTILE}.values())
    made = [f'CREATE TABLE {sql(name)} ("id" integer PRIMARY KEY, {sql(name)} text)' for name in names]
    made.append(f"CREATE TABLE wide ({', '.join(f'{sql(name)} text' for name in names)})")
    for statement in [";\n".join(made)] if place.product == "postgresql" else made:
        place.execute(statement)
    async with inside(place.url, tools__surface="tables") as program:
        peer = program.peer
        for tool in (await peer.client.list_tools()).tools:
            assert list(offends(tool)) == [], tool.name
        listed = {entry["table"]: entry["tools"] for entry in (await peer.call("list_tables"))["tables"]}
        assert set(listed) == {display_name(relation("main", name), "main") for name in [*names, "wide"]}
        for number, name in enumerate(names):
            table = display_name(relation("main", name), "main")
            query, insert = listed[table]
            described = await peer.call("describe_table", {"table": table})
            assert (described["table"], described["tools"]) == (table, [query, insert])
            key = described["columns"][1]["name"]
            assert described["columns"][1].get("real_name", key) == name
            rows = [{"id": 1, key: name}, {"id": 2, key: None}]
            added = {"rows": [rows[0], {"id": 2, name: None}], "returning": ["id", name]}
            tool, more = [(insert, {}), ("insert_rows", {"table": table})][number % 2]
            assert await peer.rows(tool, added | more) == rows
            for called in {key, name}:
                equal = {"column": called, "op": "eq", "value": name}
                found = {"columns": ["id", called], "where": {called: name}, "filters": [equal], "order_by": [called]}
                assert await peer.rows(query, found) == rows[:1], name
            ordered = {"table": table, "order_by": [f"{key} desc nulls first"], "limit": 1}
            first = await peer.call("query_rows", ordered)
            second = await peer.call("query_rows", {**ordered, "cursor": first["next_cursor"]})
            assert (first["table"], first["rows"] + second["rows"]) == (table, rows[::-1])
        keys = [column["name"] for column in (await peer.call("describe_table", {"table": "wide"}))["columns"]]
        row = dict(zip(keys, names, strict=True))
        assert await peer.rows("insert_wide", {"rows": [row], "returning": names}) == [row]
        assert await peer.rows("query_wide", {"where": dict(zip(names, names, strict=True))}) == [row]
        assert await peer.rows("query_wide", {"columns": names[::-1], "order_by": keys[:20]}) == [row]


async def test_references_are_told_by_the_names_that_arguments_take(shared: Place) -> None:
    shared.execute('CREATE TABLE "odd.name" ("the key" integer PRIMARY KEY)')
    shared.execute('CREATE TABLE child (id integer PRIMARY KEY, "my parent" integer REFERENCES "odd.name" ("the key"))')
    async with inside(shared.url) as program:
        child = await program.peer.call("describe_table", {"table": "child"})
        parent = await program.peer.call("describe_table", {"table": '"odd.name"'})
        mine, key = child["columns"][1]["name"], parent["columns"][0]["name"]
        assert (mine, key) == ("my_parent_76173dd7", "the_key_cea529ed")
        named = {"name": "child_my parent_fkey"} if shared.product == "postgresql" else {}
        assert child["references"] == [{**named, "columns": [mine], "table": '"odd.name"', "table_columns": [key]}]
        assert parent["referenced_by"] == [{**named, "table": "child", "columns": [mine], "to": [key]}]
