"""Whatever the keys and the rows: what `include` answers is what separate queries answer, joined by hand."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"

TABLES = ("g0", "g1", "g2")


@dataclass(frozen=True)
class World:
    """`wide`: tables whose key has two columns. `keys`: for each table those that it refers to, itself perhaps.

    `rows`: of each table (key, value, for each reference the number of the row referred to or None).
    `joined`: pairs of rows of the first two tables that the junction `gj` joins.
    """

    wide: tuple[bool, ...]
    keys: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[tuple[int, int | None, tuple[int | None, ...]], ...], ...]
    joined: tuple[tuple[int, int], ...]

    def key(self, table: int, prefix: str = "") -> list[str]:
        return [f"{prefix}id", f"{prefix}part"] if self.wide[table] else [f"{prefix}id"]

    def key_values(self, table: int, row: int | None) -> list[int | None]:
        number = None if row is None or row >= len(self.rows[table]) else self.rows[table][row][0]
        return [number, None if number is None else number % 2] if self.wide[table] else [number]

    def statements(self) -> list[str]:
        """Tables and rows first, then PostgreSQL's references, which SQLite takes only with the table."""
        made = []
        for table, name in enumerate(TABLES):
            columns = [f"{column} integer" for column in self.key(table)] + ["v integer"]
            columns += [f"{c} integer" for n, to in enumerate(self.keys[table]) for c in self.key(to, f"f{n}_")]
            made.append((name, [*columns, f"PRIMARY KEY ({', '.join(self.key(table))})"], self.references(table)))
        ends = [*self.key(0, "x_"), *self.key(1, "y_")]
        columns = [*(f"{column} integer NOT NULL" for column in ends), f"PRIMARY KEY ({', '.join(ends)})"]
        made.append(("gj", columns, [reference(self, 0, "x_"), reference(self, 1, "y_")]))
        self_contained = [f"CREATE TABLE {name} ({', '.join([*c, *r])})" for name, c, r in made]
        apart = [f"CREATE TABLE {name} ({', '.join(c)})" for name, c, _ in made]
        return [*self_contained, *apart, *(f"ALTER TABLE {name} ADD {one}" for name, _, r in made for one in r)]

    def references(self, table: int) -> list[str]:
        return [reference(self, to, f"f{n}_") for n, to in enumerate(self.keys[table])]

    def inserts(self) -> list[str]:
        made = []
        for table, name in enumerate(TABLES):
            for row, (_, value, referred) in enumerate(self.rows[table]):
                values = [*self.key_values(table, row), value]
                for to, other in zip(self.keys[table], referred, strict=False):
                    values += self.key_values(to, other)
                made.append(insert(name, values))
        pairs = {(*self.key_values(0, x), *self.key_values(1, y)) for x, y in self.joined}
        return [*made, *(insert("gj", pair) for pair in sorted(pairs, key=repr) if None not in pair)]


def reference(world: World, to: int, prefix: str) -> str:
    columns, others = ", ".join(world.key(to, prefix)), ", ".join(world.key(to))
    return f"FOREIGN KEY ({columns}) REFERENCES {TABLES[to]} ({others})"


def insert(name: str, values: Sequence[int | None]) -> str:
    return f"INSERT INTO {name} VALUES ({', '.join('NULL' if v is None else str(v) for v in values)})"


@st.composite
def worlds(draw: st.DrawFn) -> World:
    wide = tuple(draw(st.booleans()) for _ in TABLES)
    keys = tuple(tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=2))) for _ in TABLES)
    rows = []
    for table in range(len(TABLES)):
        numbers = sorted(draw(st.sets(st.integers(0, 20), min_size=draw(st.sampled_from([0, 4])), max_size=6)))
        one = st.tuples(
            st.none() | st.integers(0, 2), st.tuples(*[st.sampled_from([None, 0, 0, 1, 2, 3]) for _ in keys[table]])
        )
        rows.append(tuple((number, *draw(one)) for number in numbers))
    joined = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=8))
    return World(wide, keys, tuple(rows), tuple(joined))


def build(place: Place, world: World) -> None:
    statements, names = world.statements(), (*TABLES, "gj")
    contained, apart = statements[: len(names)], statements[len(names) :]
    if place.product == "sqlite":
        drops = [f"DROP TABLE IF EXISTS {name}" for name in names]
        with closing(sqlite3.connect(place.url)) as connection:
            connection.executescript("; ".join(["BEGIN", *drops, *contained, *world.inserts(), "COMMIT"]))
        return
    drop = f"DROP TABLE IF EXISTS {', '.join(names)} CASCADE"
    place.execute("; ".join([drop, *apart[: len(names)], *world.inserts(), *apart[len(names) :]]))


@dataclass
class Reader:
    """Every table whole, by a query of its own, and its relationships by name."""

    call: Callable[[str, dict[str, Any]], dict[str, Any]]

    def __post_init__(self) -> None:
        self.ways: dict[str, dict[str, Mapping[str, Any]]] = {}
        self.read: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
        for name in (*TABLES, "gj"):
            described = self.call("describe_table", {"table": name})["relationships"]
            self.ways[name] = {way["name"]: way for way in described}

    def rows(self, table: str, order: str | None = None) -> list[dict[str, Any]]:
        if (table, order) not in self.read:
            arguments = {"table": table, **({"order_by": [order]} if order else {})}
            self.read[table, order] = self.call("query_rows", arguments)["rows"]
        return self.read[table, order]

    def joined(self, way: Mapping[str, Any], row: Mapping[str, Any], order: str | None) -> list[dict[str, Any]]:
        """The rows that the relationship joins with `row`."""
        others = self.rows(way["table"], order)
        if "through" not in way:
            wanted = [row[column] for column in way["columns"]]
            return [one for one in others if matches(one, way["table_columns"], wanted)]
        between, wanted = way["through"], [row[column] for column in way["columns"]]
        found = [one for one in self.rows(between["table"]) if matches(one, between["columns"], wanted)]
        ends = [[one[column] for column in between["table_columns"]] for one in found]
        return [one for one in others if any(matches(one, way["table_columns"], end) for end in ends)]

    def expected(self, row: dict[str, Any], asked: Sequence["Asked"]) -> dict[str, Any]:
        """The row with what it includes."""
        made = dict(row)
        for one in asked:
            found = [self.expected(other, one.inner) for other in self.joined(one.way, row, one.order)]
            if one.way["rows"] == "one":
                assert len(found) <= 1
                made[one.way["name"]] = found[0] if found else None
                continue
            made[one.way["name"]] = found[: one.limit]
            if len(found) > one.limit:
                made[f"{one.way['name']}_truncated"] = True
        return made


@dataclass(frozen=True)
class Asked:
    """One entry of `include` and those below it."""

    way: Mapping[str, Any]
    order: str | None
    limit: int
    inner: tuple["Asked", ...] = ()

    def texts(self, path: str = "") -> list[str]:
        own = f"{path}{self.way['name']}"
        if self.way["rows"] == "many":
            text = f"{own}{f' order by {self.order}' if self.order else ''} limit {self.limit}"
        else:
            text = own
        return [text, *(one for inner in self.inner for one in inner.texts(f"{own}."))]


def matches(row: Mapping[str, Any], columns: Sequence[str], wanted: Sequence[Any]) -> bool:
    return None not in wanted and [row[column] for column in columns] == list(wanted)


def asked(reader: Reader, table: str, data: st.DataObject, depth: int) -> tuple[Asked, ...]:
    ways = list(reader.ways[table].values())
    if not ways:
        return ()
    most = 3 if depth == 0 else 2
    chosen = data.draw(
        st.lists(st.sampled_from(ways), min_size=1 - depth, max_size=most, unique_by=lambda way: way["name"])
    )
    made = []
    for way in chosen:
        order = data.draw(st.sampled_from([None, "v desc nulls last"])) if way["table"] != "gj" else None
        limit = data.draw(st.sampled_from([1, 2, 20]))
        inner = asked(reader, way["table"], data, depth + 1) if depth == 0 else ()
        made.append(Asked(way, order if way["rows"] == "many" else None, limit, inner))
    return tuple(made)


@pytest.mark.parametrize("shared", ["18", "sqlite"], indirect=True)
def test_an_include_is_what_separate_queries_are(shared: Place) -> None:
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(inside(shared.url, database__include=["g?"])) as program,
    ):

        def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = portal.call(program.peer.call, tool, arguments)
            return answer

        @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(worlds(), st.data())
        def holds(world: World, data: st.DataObject) -> None:
            build(shared, world)
            call("refresh_schema", {})
            reader = Reader(call)
            for table in (*TABLES, "gj"):
                wanted = asked(reader, table, data, 0)
                include = [text for one in wanted for text in one.texts()]
                found = call("query_rows", {"table": table, "include": include})
                assert found["rows"] == [reader.expected(row, wanted) for row in reader.rows(table)], include

        holds()
