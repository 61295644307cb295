"""Filters by properties, over generated tables and rows: what Python finds, both products find, and nothing else.

`PROPERTY_EXAMPLES` raises the number of generated tables.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import SERVERS, Place
from tests.peers import Inside, inside

pytest_plugins = "tests.standing"

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "6"))
#: All properties together, on a busy machine.
LIMIT_S = 60.0 + 10 * EXAMPLES
NUMBERS = count()


@dataclass(frozen=True)
class Family:
    """Its types on PostgreSQL and SQLite, its values as they are sent, and what Python compares for them."""

    postgresql: str
    sqlite: str
    values: st.SearchStrategy[Any]
    compared: Callable[[Any], Any]
    operators: Sequence[str]


def same(value: Any) -> Any:
    return value


EQUALITY = ("eq", "ne", "in", "not_in", "is_null", "not_null")
ORDERED = (*EQUALITY, "lt", "lte", "gt", "gte", "between")
TEXT = st.text(st.sampled_from("aAbBéÉ%_\\ *?[x]жЖ'\""), max_size=4)
DATES = st.dates().filter(lambda day: day.year >= 1000).map(lambda day: day.isoformat())
FAMILIES = {
    "i": Family("bigint", "bigint", st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1), same, ORDERED),
    "f": Family(
        "double precision",
        "real",
        st.sampled_from([0.1, 0.5, -2.0]) | st.floats(allow_nan=False, allow_infinity=False).map(lambda n: n + 0.0),
        same,
        ORDERED,
    ),
    "n": Family(
        "numeric",
        "numeric",
        st.decimals(-(10**9), 10**9, places=2).map(str) | st.sampled_from(["1", "1.00", "-0.5"]),
        Decimal,
        ORDERED,
    ),
    "b": Family("boolean", "boolean", st.booleans(), same, EQUALITY),
    "t": Family('text COLLATE "C"', "text", TEXT, same, (*ORDERED, "like", "ilike", "starts_with", "contains")),
    "d": Family("date", "date", DATES, same, ORDERED),
}
#: The operator for which exactly the other rows that are not null hold.
COMPLEMENT = {"eq": "ne", "lt": "gte", "lte": "gt", "in": "not_in", "is_null": "not_null"}


def matches(pattern: str, text: str) -> bool:
    """LIKE, with a backslash before what is meant as it is."""
    parts, letters = "", iter(pattern)
    for letter in letters:
        parts += {"%": ".*", "_": "."}.get(letter) or re.escape(next(letters) if letter == "\\" else letter)
    return re.fullmatch(parts, text, re.DOTALL) is not None


HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, other: value == other,
    "ne": lambda value, other: value != other,
    "lt": lambda value, other: value < other,
    "lte": lambda value, other: value <= other,
    "gt": lambda value, other: value > other,
    "gte": lambda value, other: value >= other,
    "in": lambda value, others: value in others,
    "not_in": lambda value, others: value not in others,
    "between": lambda value, others: others[0] <= value <= others[1],
    "like": lambda value, pattern: matches(pattern, value),
    "ilike": lambda value, pattern: matches(pattern.lower(), value.lower()),
    "starts_with": lambda value, text: value.startswith(text),
    "contains": lambda value, text: text in value,
}


def holds(condition: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """What the condition says of the row in Python; null as no."""
    family, value = FAMILIES[condition["column"][0]], row[condition["column"]]
    if condition["op"] in ("is_null", "not_null"):
        return bool((value is None) == (condition["op"] == "is_null"))
    if value is None:
        return False
    if "values" in condition:
        given = [family.compared(other) for other in condition["values"]]
    else:
        given = family.compared(condition["value"])
    return bool(HOLDS[condition["op"]](family.compared(value), given))


@st.composite
def conditions(draw: st.DrawFn, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A condition of some operator, often about values that are there."""
    column = draw(st.sampled_from(columns))
    family = FAMILIES[column[0]]
    there = [row[column] for row in rows if row[column] is not None]
    values = st.sampled_from(there) | family.values if there else family.values
    operator = draw(st.sampled_from(family.operators))
    made: dict[str, Any] = {"column": column, "op": operator}
    if operator in ("in", "not_in"):
        made["values"] = draw(st.lists(values, min_size=1, max_size=4))
    elif operator == "between":
        made["values"] = [draw(values), draw(values)]
    elif operator in ("like", "ilike"):
        made["value"] = draw(TEXT.filter(lambda text: re.fullmatch(r"(?:[^\\]|\\.)*", text, re.DOTALL)))
    elif operator not in ("is_null", "not_null"):
        made["value"] = draw(values)
    return made


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]:
    """Columns (the first letter is the family), rows, conditions."""
    letters = draw(st.lists(st.sampled_from(sorted(FAMILIES)), min_size=1, max_size=5))
    columns = [f"{letter}{number}" for number, letter in enumerate(letters)]
    row = st.fixed_dictionaries({column: st.none() | FAMILIES[column[0]].values for column in columns})
    rows = draw(st.lists(row, min_size=1, max_size=8))
    return columns, rows, draw(st.lists(conditions(columns, rows), min_size=1, max_size=8))


@dataclass(frozen=True)
class Pair:
    """The program over a database of each product."""

    portal: BlockingPortal
    programs: Sequence[tuple[Place, Inside]]

    def fill(self, table: str, columns: Mapping[str, tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> None:
        """Makes the table, by its columns' types on PostgreSQL and SQLite, on both."""
        for place, program in self.programs:
            types = {name: types[place.product == "sqlite"] for name, types in columns.items()}
            declared = ", ".join(f"{name} {type_}" for name, type_ in types.items())
            place.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, {declared})")
            self.portal.call(program.peer.call, "refresh_schema")
            given = [{"id": number, **row} for number, row in enumerate(rows)]
            self.portal.call(program.peer.rows, f"insert_{table}", {"rows": given})

    def ids(self, table: str, *filters: Mapping[str, Any]) -> list[int]:
        """Of the rows that both find, which must be the same."""
        answers = []
        for _, program in self.programs:
            rows = self.portal.call(program.peer.rows, f"query_{table}", {"filters": list(filters), "columns": ["id"]})
            answers.append([row["id"] for row in rows])
        assert answers[0] == answers[1], filters
        return answers[0]

    def drop(self, table: str) -> None:
        for place, _ in self.programs:
            place.execute(f"DROP TABLE {table}")


@pytest.fixture(scope="module")
def pair(standing: Callable[[str], Place]) -> Iterator[Pair]:
    with start_blocking_portal("asyncio") as portal, ExitStack() as stack:
        places = [standing(SERVERS[0]), standing("sqlite")]
        yield Pair(
            portal,
            [
                (place, stack.enter_context(portal.wrap_async_context_manager(inside(place.url, limit_s=LIMIT_S))))
                for place in places
            ],
        )


def property_of(strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Checks the property for generated cases, always the same ones unless more are asked for."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    limits = settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES == 6, suppress_health_check=quiet
    )
    limits(given(strategy)(check))()


def test_both_products_find_what_python_finds_and_each_row_is_in_one_part(pair: Pair) -> None:
    def check(case: tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]) -> None:
        columns, rows, wanted = case
        table = f"parts_{next(NUMBERS)}"
        types = {name: (FAMILIES[name[0]].postgresql, FAMILIES[name[0]].sqlite) for name in columns}
        pair.fill(table, types, rows)
        numbered = list(enumerate(rows))
        for condition in wanted:
            found = pair.ids(table, condition)
            assert found == [number for number, row in numbered if holds(condition, row)], condition
            if other := COMPLEMENT.get(condition["op"]):
                rest = pair.ids(table, {**condition, "op": other})
                null = (
                    []
                    if condition["op"] == "is_null"
                    else pair.ids(table, {"column": condition["column"], "op": "is_null"})
                )
                assert sorted([*found, *rest, *null]) == [number for number, _ in numbered], condition
        every = [number for number, row in numbered if all(holds(condition, row) for condition in wanted)]
        assert pair.ids(table, *wanted) == every
        some = [number for number, row in numbered if any(holds(condition, row) for condition in wanted)]
        assert pair.ids(table, *({**condition, "or": "any"} for condition in wanted)) == some
        pair.drop(table)

    property_of(cases(), check)


SCALARS = st.none() | st.booleans() | st.sampled_from([0, 1, 1.0, -1, 0.5, 2**53 - 1, "", "a", "b", "1", "é"])
KEYS = st.sampled_from(["a", "b", "", "é", 'a "b"', "x.y"])
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
STEPS = KEYS.map(lambda key: f"[{json.dumps(key)}]") | st.sampled_from([".a", ".b", "[0]", "[1]", "[last]", "[*]"])
COMPARED = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


@st.composite
def document_conditions(draw: st.DrawFn, documents: Sequence[Any]) -> dict[str, Any]:
    operator = draw(st.sampled_from(["contains", "has", "has_any", "has_all", "path", "path"]))
    made: dict[str, Any] = {"column": "body", "op": operator}
    match operator:
        case "contains":
            made["value"] = draw((st.sampled_from(documents) | DOCUMENTS).filter(lambda value: value is not None))
        case "has":
            made["value"] = draw(KEYS)
        case "path":
            path = "$" + "".join(draw(st.lists(STEPS, max_size=3)))
            comparison = f" {draw(COMPARED)} {json.dumps(draw(SCALARS), ensure_ascii=False)}"
            made["value"] = path + draw(st.just("") | st.just(comparison))
        case _:
            made["values"] = draw(st.lists(KEYS, min_size=1, max_size=3))
    return made


@st.composite
def papers(draw: st.DrawFn) -> tuple[list[Any], list[dict[str, Any]]]:
    documents = draw(st.lists(DOCUMENTS, min_size=1, max_size=8))
    return documents, draw(st.lists(document_conditions(documents), min_size=4, max_size=12))


@pytest.mark.parametrize("type_", ["json", "jsonb"])
def test_both_products_find_the_same_documents(pair: Pair, type_: str) -> None:
    def check(case: tuple[list[Any], list[dict[str, Any]]]) -> None:
        documents, wanted = case
        table = f"papers_{next(NUMBERS)}"
        pair.fill(table, {"body": (type_, "json")}, [{"body": document} for document in documents])
        for condition in wanted:
            found = pair.ids(table, condition)
            if condition["op"] == "contains":  # every document contains itself
                assert {
                    number
                    for number, document in enumerate(documents)
                    if json.dumps(document) == json.dumps(condition["value"])
                } <= set(found)
        pair.drop(table)

    property_of(papers(), check)
