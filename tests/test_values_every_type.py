"""Every type of pg_type: what the tool inserts, what it reads back and what anybody else reads are one value.

The test walks the types of the server that it runs against, with those of the extensions that are there, and makes
domains, enums, composites, ranges and arrays of them. It fails with the names of types that it has no values for.

`SCHEMA_MCP_TEST_EXAMPLES` is the number of generated values a type (default 6, the same in every run).
"""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import count
from typing import Any

import asyncpg
import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.conftest import SERVERS, Place
from tests.literals import Generator
from tests.peers import Peer, inside
from tests.pg_types import NoInput, Types, read_types
from tests.postgres import Server

EXAMPLES = int(os.environ.get("SCHEMA_MCP_TEST_EXAMPLES", "6"))
EXTENSIONS = (
    *("citext", "hstore", "ltree", "cube", "earthdistance", "isn", "seg", "intarray", "lo", "btree_gist", "pg_trgm"),
    *("tablefunc", "vector", "postgis"),
)
MADE = """
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok", {so}', 'NULL', '');
CREATE DOMAIN code AS text;
CREATE DOMAIN long_code AS code CHECK (value IS NULL OR length(value) < 1000);
CREATE DOMAIN amount AS numeric;
CREATE DOMAIN feeling AS mood;
CREATE DOMAIN numbers AS integer[];
CREATE DOMAIN names AS text[];
CREATE DOMAIN blobs AS bytea[];
CREATE DOMAIN document AS jsonb;
CREATE DOMAIN span AS int4range;
CREATE DOMAIN spans AS int4multirange;
CREATE TYPE float_range AS RANGE (subtype = float8);
CREATE TYPE text_range AS RANGE (subtype = text);
CREATE TYPE pair AS (a integer, "b c" text);
CREATE DOMAIN couple AS pair;
CREATE TYPE nested AS (p pair, ps pair[], f feeling, n numbers, r float_range, j jsonb);
"""


def draw(name: str, generator: Generator) -> tuple[str, ...]:
    """The same values of the type of that name in every run, and on every server that has the same of it."""
    key = name, generator.edges
    if key not in _drawn:
        drawn: list[str] = []

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(generator.others)
        def collect(literal: str) -> None:
            drawn.append(literal)

        collect()
        _drawn[key] = tuple(dict.fromkeys((*generator.edges, *drawn)))
    return _drawn[key]


_drawn: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}


@pytest.fixture(scope="module")
def places(servers: Callable[[str], Server]) -> Iterator[Callable[[str], Place]]:
    """A database with types of every form and the extensions that its server has, by the server's name."""
    with ExitStack() as stack:

        @cache
        def open_place(server_name: str) -> Place:
            server, name = servers(server_name), f"test_{uuid.uuid4().hex}"
            place = Place("postgresql", server.create_database(name), lambda sql: server.execute(sql, name))
            stack.callback(server.drop_database, name)
            there = set(place.execute("SELECT name FROM pg_available_extensions").split())
            place.execute("".join(f"CREATE EXTENSION {each} CASCADE;" for each in EXTENSIONS if each in there) + MADE)
            return place

        yield open_place


@pytest.fixture(params=SERVERS)
def typed(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Place:
    return places(request.param)


@pytest.fixture
async def connection(typed: Place) -> AsyncIterator[asyncpg.Connection]:
    """A connection that writes values as text in the same form as the program's."""
    settings = {"lc_monetary": "C", "TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres"}
    connection = await asyncpg.connect(typed.url, server_settings=settings)
    try:
        yield connection
    finally:
        connection.terminate()


async def everything(connection: asyncpg.Connection) -> Types:
    """The server's types, with a composite of every base type among them."""
    types = await read_types(connection)
    names = [
        row["native"]
        for oid, row in types.rows.items()
        if row["form"] == "b" and not row["item"] and oid not in types.without_input
    ]
    if all(row["name"] != "everything" for row in types.rows.values()):
        await connection.execute(
            f"CREATE TYPE everything AS ({', '.join(f'a{n} {name}' for n, name in enumerate(names))})"
        )
    return await read_types(connection)


def quote(literal: str | None) -> str:
    return "NULL" if literal is None else "'" + literal.replace("'", "''") + "'"


class Columns:
    """A table with a column for each of the types; the literals of a column are in the rows from the first on."""

    def __init__(self, types: Types, oids: Sequence[int]) -> None:
        self.types = types
        self.oids = {f"c{oid}": oid for oid in oids}
        self.literals = {name: draw(types.rows[oid]["native"], types.generator(oid)) for name, oid in self.oids.items()}
        self.height = max(map(len, self.literals.values()))

    async def create(self, connection: asyncpg.Connection, name: str) -> None:
        columns = ", ".join(f"{column} {self.types.rows[oid]['native']}" for column, oid in self.oids.items())
        await connection.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, {columns})")

    def literal(self, name: str, row: int) -> str | None:
        return self.literals[name][row] if row < len(self.literals[name]) else None

    def forms(self) -> list[dict[str, Any]]:
        """Rows as the tool takes them."""
        rows: list[dict[str, Any]] = []
        for index in range(self.height):
            row: dict[str, Any] = {"id": index}
            for name, oid in self.oids.items():
                literal = self.literal(name, index)
                row[name] = None if literal is None else self.types.form(oid, literal)
            rows.append(row)
        return rows

    async def insert_literals(self, connection: asyncpg.Connection, table: str) -> None:
        """By SQL text, which PostgreSQL reads by the input function of each column's type."""
        rows = [
            f"({index}, {', '.join(quote(self.literal(name, index)) for name in self.oids)})"
            for index in range(self.height)
        ]
        await connection.execute(f"INSERT INTO {table} VALUES {', '.join(rows)}")

    def told(self, name: str, row: int) -> str:
        return f"{self.types.rows[self.oids[name]]['native']} {self.literal(name, row)!r}"

    async def different(self, connection: asyncpg.Connection, first: str, second: str) -> list[str]:
        """Values that are not the same text in both tables; json is compared by what it says."""
        found = []
        for name, oid in self.oids.items():
            rows = await connection.fetch(
                f"SELECT a.id, a.{name}::text AS a, b.{name}::text AS b FROM {first} a JOIN {second} b USING (id) "
                f"WHERE a.{name}::text IS DISTINCT FROM b.{name}::text"
            )
            found += [
                f"{self.told(name, row['id'])}: {row['a']!r} became {row['b']!r}"
                for row in rows
                if not self.types.same(oid, row["a"], row["b"])
            ]
        return found


async def insert(peer: Peer, table: str, columns: Columns, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows at once, answered whole. Where that fails, every value by itself, to tell which."""
    answer = await peer.call(f"insert_{table}", {"rows": rows, "returning": ["id", *columns.oids]})
    if "error" not in answer:
        return list(answer["rows"])
    refused = []
    ids = count(10**6)
    for row in rows:
        for name in columns.oids:
            if row[name] is not None:
                one = await peer.call(f"insert_{table}", {"rows": [{"id": next(ids), name: row[name]}]})
                if "error" in one:
                    refused.append(f"{columns.told(name, row['id'])} as {row[name]!r}: {one['error']['message']}")
    raise AssertionError("\n".join(refused) or str(answer))


@pytest.mark.parametrize("part", ["alone", "arrays"])
async def test_every_type_is_exact_both_ways(typed: Place, connection: asyncpg.Connection, part: str) -> None:
    types = await everything(connection)
    columns = Columns(
        types,
        [
            oid
            for oid in types.tested()
            if bool(types.rows[oid]["item"]) == (part == "arrays") and has_values(types, oid)
        ],
    )
    for table in ("truth", "sent", "again"):
        await columns.create(connection, f"{table}_{part}")
    await columns.insert_literals(connection, f"truth_{part}")
    async with inside(typed.url, results__max_bytes=100_000_000) as program:
        peer = program.peer
        given = columns.forms()
        answered = await insert(peer, f"sent_{part}", columns, given)
        assert await columns.different(connection, f"truth_{part}", f"sent_{part}") == []
        assert await peer.rows(f"query_sent_{part}", {"limit": 10_000}) == answered
        seen = await connection.fetch(
            f"SELECT {', '.join(f'{name}::text' for name in columns.oids)} FROM sent_{part} ORDER BY id"
        )
        wrong = [
            f"{columns.told(name, row['id'])} is answered as {row[name]!r}"
            for row, record in zip(answered, seen, strict=True)
            for name, oid in columns.oids.items()
            if not (row[name] is None and record[name] is None)
            and (row[name] is None or record[name] is None or not types.agree(oid, row[name], record[name]))
        ]
        assert wrong == []
        assert await insert(peer, f"again_{part}", columns, answered) == answered
        assert await columns.different(connection, f"sent_{part}", f"again_{part}") == []
        assert await not_found(connection, peer, f"sent_{part}", columns, answered) == []


#: Types whose `=` compares areas or numbers of points (manual 9.11), so that it is not offered.
BY_SIZE = ("box", "circle", "path")


async def not_found(
    connection: asyncpg.Connection, peer: Peer, table: str, columns: Columns, answered: list[dict[str, Any]]
) -> list[str]:
    """Values that a filter with what came out does not find, though they are equal to themselves."""
    missing = []
    for name in columns.oids:
        try:
            equal = {row["id"] for row in await connection.fetch(f"SELECT id FROM {table} WHERE {name} = {name}")}
        except asyncpg.UndefinedFunctionError:
            continue
        ids = [row["id"] for row in answered if row["id"] in equal]
        for index in {*ids[:2], *ids[-1:]}:
            found = await peer.call(f"query_{table}", {"columns": ["id"], "where": {name: answered[index][name]}})
            if columns.types.rows[columns.oids[name]]["native"] in BY_SIZE:
                assert found["error"]["code"] == "invalid_operator"
                continue
            if {"id": index} not in found.get("rows", ()):
                missing.append(f"{columns.told(name, index)} as {answered[index][name]!r}: {found}")
    return missing


def has_values(types: Types, oid: int) -> bool:
    try:
        types.generator(oid)
    except NoInput:
        return False
    return True


async def test_there_are_values_for_every_type(connection: asyncpg.Connection) -> None:
    types = await everything(connection)
    unknown = []
    for oid in types.tested():
        try:
            has_values(types, oid)
        except KeyError as name:
            unknown.append(f"{types.rows[oid]['native']} ({name})")
    assert unknown == []


async def test_the_advertised_form_of_every_type_is_the_plainest_and_takes_its_values(
    typed: Place, connection: asyncpg.Connection
) -> None:
    types = await everything(connection)
    columns = Columns(types, [oid for oid in types.tested() if has_values(types, oid)])
    await columns.create(connection, "advertised")
    async with inside(typed.url) as program:
        listed = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
    properties = listed["insert_advertised"].input_schema["properties"]["rows"]["items"]["properties"]
    assert list(properties) == ["id", *columns.oids]
    wrong = []
    for name, oid in columns.oids.items():
        advertised = {key: value for key, value in properties[name].items() if key != "description"}
        if without_checks(advertised, types, oid) != types.advertised(oid):
            wrong.append(f"{types.rows[oid]['native']}: {advertised}")
        forms = [types.form(oid, literal) for literal in columns.literals[name]]
        taken = [jsonschema.Draft202012Validator(advertised).is_valid(form) for form in forms]
        wrong += [
            f"{types.rows[oid]['native']}: {advertised} does not take {form!r}"
            for form, is_taken in zip(forms, taken, strict=True)
            if not (is_taken or is_wider(advertised, form))
        ]
        if not any(taken):
            wrong.append(f"{types.rows[oid]['native']}: {advertised} takes none of {forms}")
    assert wrong == []


def without_checks(advertised: dict[str, Any], types: Types, oid: int) -> dict[str, Any]:
    """Without what the checks of a domain add to the form of its type."""
    row = types.rows[oid]
    if row["item"]:
        return {**advertised, "items": without_checks(advertised["items"], types, row["item"])}
    if row["form"] != "d" or types.base(oid)["form"] == "e":
        return advertised
    return {name: value for name, value in advertised.items() if name in ("type", "items")}


def is_wider(advertised: dict[str, Any], form: Any) -> bool:
    """Taken, though the advertised form is plainer: strings for whatever is no string, null and further dimensions in
    arrays, any JSON value for a document.
    """
    match advertised["type"]:
        case "number" | "integer":
            return isinstance(form, str)
        case "object":
            return True
        case "array":
            items = advertised["items"]
            return isinstance(form, str) or all(
                element is None
                or jsonschema.Draft202012Validator(items).is_valid(element)
                or is_wider(advertised if items["type"] != "array" and isinstance(element, list) else items, element)
                for element in form
            )
    return False
