"""Tables that take each other's names: no page goes on in another table, and no value is cast for another's columns."""

from typing import Any

import pytest

from schema_mcp.observe.events import CatalogReplaced
from tests.conftest import Place
from tests.peers import Inside, inside

#: Nothing is found out before somebody asks for it.
UNTOLD: dict[str, Any] = {"watch__poll_interval_s": 60.0}
ROWS = [{"id": n, "name": f"of the first {n}"} for n in (1, 2, 3)]


def run(place: Place, *statements: str) -> None:
    """In one transaction."""
    if place.product == "postgresql":
        place.execute("BEGIN;" + ";".join(statements) + ";COMMIT")
    else:
        for sql in statements:
            place.execute(sql)


def swap(place: Place, one: str, other: str) -> None:
    renames = [(one, "aside"), (other, one), ("aside", other)]
    run(place, *[f"ALTER TABLE {old} RENAME TO {new}" for old, new in renames])


def fill(place: Place) -> None:
    """Two tables that differ in nothing but their rows: a key would have a name of its own on PostgreSQL."""
    for table, words in (("cats", "of the first"), ("dogs", "of the second")):
        place.execute(f"CREATE TABLE {table} (id integer, name text)")
        values = ", ".join(f"({n}, '{words} {n}')" for n in (1, 2, 3))
        place.execute(f"INSERT INTO {table} VALUES {values}")


async def found_out(program: Inside) -> None:
    """The program has looked, as it would have done by itself."""
    assert (await program.peer.call("refresh_schema"))["refreshed"] is True


@pytest.mark.parametrize("known", [True, False], ids=["after a look", "before it"])
async def test_a_page_does_not_go_on_in_the_table_that_was_swapped_in(place: Place, known: bool) -> None:
    fill(place)
    async with inside(place.url, **UNTOLD) as program:
        first = await program.peer.call("query_cats", {"limit": 1})
        swap(place, "cats", "dogs")
        if known:
            await found_out(program)
        more = {"limit": 1, "cursor": first["next_cursor"]}
        assert (await program.peer.error("query_cats", more))["code"] == "invalid_cursor"
        assert (await program.peer.error("query_dogs", more))["code"] == "invalid_cursor"
        assert [row["name"] for row in await program.peer.rows("query_cats")] == [
            f"of the second {n}" for n in (1, 2, 3)
        ]


async def test_a_page_that_was_read_before_the_swap_was_known_is_not_taken_for_the_first_tables(place: Place) -> None:
    fill(place)
    async with inside(place.url, **UNTOLD) as program:
        await program.peer.names()
        swap(place, "cats", "dogs")
        page = await program.peer.call("query_cats", {"limit": 1})
        assert page["rows"] == [{"id": 1, "name": "of the second 1"}]
        swap(place, "cats", "dogs")
        more = {"limit": 1, "cursor": page["next_cursor"]}
        assert (await program.peer.error("query_cats", more))["code"] == "invalid_cursor"


async def test_pages_go_on_while_others_work_and_tables_come(place: Place) -> None:
    fill(place)
    async with inside(place.url, **UNTOLD) as program:
        page = await program.peer.call("query_cats", {"limit": 1})
        rows = list(page["rows"])
        for sql in ("CREATE TABLE birds (id integer)", "INSERT INTO cats VALUES (4, 'late')", "ANALYZE"):
            place.execute(sql)
            await found_out(program)
            page = await program.peer.call("query_cats", {"limit": 1, "cursor": page["next_cursor"]})
            rows += page["rows"]
        assert [row["id"] for row in rows] == [1, 2, 3, 4]


async def test_a_swap_of_equal_tables_tells_nobody(place: Place) -> None:
    fill(place)
    async with inside(place.url, **UNTOLD) as program:
        before = (await program.peer.client.list_tools()).model_dump_json()
        swap(place, "cats", "dogs")
        answer = await program.peer.call("refresh_schema")
        assert (answer["added"], answer["removed"], answer["changed"]) == ([], [], [])
        assert (await program.peer.client.list_tools()).model_dump_json() == before
        assert [type(item) for item in program.observed].count(CatalogReplaced) == 1
        # Had anybody been told, it would have been before this.
        place.execute("CREATE TABLE birds (id integer)")
        await found_out(program)
        await program.peer.hears()
        assert program.peer.told.qsize() == 0


@pytest.mark.parametrize("tool", ["insert_cats", "insert_rows"])
async def test_a_row_is_not_cast_for_columns_that_are_no_longer_there(place: Place, tool: str) -> None:
    """PostgreSQL would round 1.5 to the integer 2, SQLite would make the number 7 of the text 007."""
    old, new, value = ("numeric", "integer", 1.5) if place.product == "postgresql" else ("text", "integer", "007")
    place.execute(f"CREATE TABLE cats (x {old})")
    place.execute(f"CREATE TABLE dogs (x {new})")
    more = {"table": "cats"} if tool == "insert_rows" else {}
    async with inside(place.url, **UNTOLD) as program:
        await program.peer.names()
        assert (await program.peer.call(tool, {**more, "rows": [{"x": value}]}))["inserted"] == 1
        swap(place, "cats", "dogs")
        answer = await program.peer.call(tool, {**more, "rows": [{"x": value}]})
        if place.product == "postgresql":
            assert answer["error"]["code"] == "invalid_value"
            assert "integer" in answer["error"]["message"]
            assert await program.peer.rows("query_cats") == []
        # What is valid today runs, with the types of today.
        assert (await program.peer.call(tool, {**more, "rows": [{"x": 7}]}))["inserted"] == 1
        assert (await program.peer.rows("query_cats"))[-1] == {"x": 7}


async def test_rows_of_the_table_that_has_the_name_now_are_changed(place: Place) -> None:
    fill(place)
    async with inside(place.url, access__mode="write", **UNTOLD) as program:
        await program.peer.names()
        swap(place, "cats", "dogs")
        answer = await program.peer.call("update_cats", {"where": {"id": 1}, "set": {"name": "new"}})
        assert answer["updated"] == 1
        assert (await program.peer.call("delete_cats", {"where": {"id": 2}}))["deleted"] == 1
        found = await program.peer.rows("query_cats", {"order_by": ["id"]})
        assert found == [{"id": 1, "name": "new"}, {"id": 3, "name": "of the second 3"}]
        assert await program.peer.rows("query_dogs") == ROWS


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_value_is_not_cast_for_a_column_that_is_no_longer_there(place: Place, dry_run: bool) -> None:
    if place.product != "postgresql":
        pytest.skip("SQLite casts to no type")
    place.execute("CREATE TABLE cats (x numeric); CREATE TABLE dogs (x integer); INSERT INTO dogs VALUES (1)")
    async with inside(place.url, access__mode="write", **UNTOLD) as program:
        await program.peer.names()
        swap(place, "cats", "dogs")
        error = await program.peer.error("update_cats", {"all_rows": True, "set": {"x": 1.5}, "dry_run": dry_run})
        assert error["code"] == "invalid_value"
        assert await program.peer.rows("query_cats") == [{"x": 1}]


async def test_an_insert_into_a_table_that_was_swapped_in_goes_to_it_at_once(place: Place) -> None:
    fill(place)
    async with inside(place.url, **UNTOLD) as program:
        await program.peer.names()
        swap(place, "cats", "dogs")
        assert (await program.peer.call("insert_cats", {"rows": [{"id": 9, "name": "new"}]}))["inserted"] == 1
        assert {"id": 9, "name": "new"} in await program.peer.rows("query_cats")
        assert await program.peer.rows("query_dogs") == ROWS


async def test_a_page_of_many_rows_goes_on_too(place: Place) -> None:
    """More rows than are taken at once."""
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY)")
    place.execute(f"INSERT INTO cats VALUES {', '.join(f'({n})' for n in range(1300))}")
    async with inside(place.url, **UNTOLD) as program:
        found, cursor = [], None
        for _ in range(3):
            page = await program.peer.call("query_cats", {"limit": 600} | ({"cursor": cursor} if cursor else {}))
            found += [row["id"] for row in page["rows"]]
            cursor = page["next_cursor"]
        assert (found, cursor) == (list(range(1300)), None)


async def test_storing_a_table_anew_refuses_no_row(place: Place) -> None:
    """VACUUM moves what SQLite tells tables apart by."""
    fill(place)
    place.execute("CREATE TABLE birds (id integer)")
    async with inside(place.url, **UNTOLD) as program:
        await program.peer.names()
        place.execute("DROP TABLE birds")
        place.execute("VACUUM FULL" if place.product == "postgresql" else "VACUUM")
        assert (await program.peer.call("insert_cats", {"rows": [{"id": 9}]}))["inserted"] == 1
        assert [item for item in program.observed if isinstance(item, CatalogReplaced)][-1].changed == ()
