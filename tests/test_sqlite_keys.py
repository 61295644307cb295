"""What tells SQLite's rows apart, so that a page can begin behind one: keys by the collation of their columns."""

from typing import Any

import pytest

from schema_mcp.schema.model import Key
from schema_mcp.schema.select import Selection
from tests.conftest import Place, sqlite_place
from tests.peers import Peer, inside
from tests.sqlite import DIALECT, opened

pytest_plugins = "tests.standing"


@pytest.mark.parametrize(
    ("definition", "primary_key", "uniques"),
    [
        ("a TEXT NOT NULL UNIQUE", None, [("a",)]),
        ("a TEXT COLLATE NOCASE NOT NULL UNIQUE", None, [("a",)]),
        ("a TEXT NOT NULL, UNIQUE (a COLLATE NOCASE)", None, []),
        ("a TEXT COLLATE NOCASE NOT NULL, UNIQUE (a COLLATE BINARY)", None, []),
        ("a TEXT COLLATE NOCASE NOT NULL, b, UNIQUE (b, a COLLATE BINARY), UNIQUE (b)", None, [("b",)]),
        ("a TEXT NOT NULL, PRIMARY KEY (a COLLATE NOCASE)", ("a",), []),
        ("a TEXT COLLATE NOCASE NOT NULL, PRIMARY KEY (a COLLATE BINARY)", None, []),
    ],
)  # fmt: skip
async def test_a_key_is_one_only_by_the_collation_of_its_columns(
    tmp_path: Any, definition: str, primary_key: tuple[str, ...] | None, uniques: list[tuple[str, ...]]
) -> None:
    path = tmp_path / "keys.db"
    sqlite_place(path).execute(f"CREATE TABLE t ({definition})")
    async with opened(path) as connection:
        (table,) = (await DIALECT.read(connection, "s", Selection(), None)).schema.tables.values()
    assert table.primary_key == (Key(name=None, columns=primary_key) if primary_key else None)
    assert [key.columns for key in table.uniques] == uniques


async def pages(peer: Peer, tool: str, **arguments: Any) -> list[Any]:
    """The first values of all rows, two rows a page."""
    found: list[Any] = []
    cursor = None
    while True:
        answer = await peer.call(tool, {**arguments, "limit": 2} | ({"cursor": cursor} if cursor else {}))
        found += [next(iter(row.values())) for row in answer["rows"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


async def test_pages_skip_and_repeat_no_row_whatever_the_collation(shared_sqlite: Place) -> None:
    definitions = [
        "a TEXT COLLATE NOCASE NOT NULL, UNIQUE (a COLLATE BINARY)",
        "a TEXT COLLATE NOCASE NOT NULL, PRIMARY KEY (a COLLATE BINARY)",
        "a TEXT COLLATE RTRIM NOT NULL, n INTEGER PRIMARY KEY",
    ]
    texts = ["a", "A", "b", "B", "b ", "B  ", "c"]
    for number, definition in enumerate(definitions):
        shared_sqlite.execute(f"CREATE TABLE collated_{number} ({definition})")
        shared_sqlite.execute(f"INSERT INTO collated_{number} (a) VALUES {', '.join(f'({text!r})' for text in texts)}")
    async with inside(shared_sqlite.url) as program:
        for number in range(len(definitions)):
            for order in ([], ["a"], ["a desc"]):
                found = await pages(program.peer, f"query_collated_{number}", order_by=order)
                assert sorted(found) == sorted(texts), (definitions[number], order)


async def test_pages_go_on_behind_values_of_every_class(shared_sqlite: Place) -> None:
    values = ["9e999", "-9e999", "-0.0", "0.5", "9223372036854775807", "'x'", "''", "'5'", "x'00ff'", "x''", "NULL"]
    shared_sqlite.execute("CREATE TABLE of_all_classes (a, i integer, t text, n INTEGER PRIMARY KEY)")
    shared_sqlite.execute(
        f"INSERT INTO of_all_classes (a, i, t) VALUES {', '.join(f'({v}, {v}, {v})' for v in values * 2)}"
    )
    async with inside(shared_sqlite.url) as program:
        for column in ("a", "i", "t"):
            for direction in ("", " desc", " nulls last", " desc nulls first"):
                found = await pages(program.peer, "query_of_all_classes", columns=["n"], order_by=[column + direction])
                assert sorted(found) == list(range(1, 2 * len(values) + 1)), (column, direction)
