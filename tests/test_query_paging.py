"""Cursors: the pages joined are the whole, whatever the key, the order and the changes between; whose cursors are."""

import base64
import json
from contextlib import AsyncExitStack
from itertools import product
from typing import Any

from schema_mcp.caller import Caller
from tests.conftest import Place
from tests.peers import LEGACY, Inside, Peer, inside, join

pytest_plugins = "tests.standing"

#: How a table may tell its rows apart. `n` is 0, 1, 2 ...; `a` and `b` repeat themselves and have nulls.
KEYS = {
    "by_primary_key": "n integer PRIMARY KEY, a integer, b text",
    "by_two_columns": "n integer NOT NULL, a integer, b text, k text NOT NULL DEFAULT 'k', PRIMARY KEY (k, n)",
    "by_unique_key": "n numeric NOT NULL UNIQUE, a integer, b text",
    "by_place_alone": "n integer, a integer, b text, o integer UNIQUE",
}
ROWS = [(n, (None, 3, 1)[n % 3], (None, "x", "Y", "x")[n // 3 % 4]) for n in range(23)]
ORDERS = [
    [],
    ["n desc"],
    ["a"],
    ["a nulls first", "b desc nulls last"],
    ["b nulls last", "a desc nulls first", "n desc"],
    ["b desc", "a"],
    ["a desc nulls last", "n"],
]


def create(place: Place, name: str, columns: str, more: str = "") -> None:
    place.execute(f"CREATE TABLE {name} ({columns}) {more}")


def insert(place: Place, name: str, rows: list[tuple[Any, ...]]) -> None:
    values = ", ".join("(" + ", ".join("NULL" if value is None else repr(value) for value in row) + ")" for row in rows)
    place.execute(f"INSERT INTO {name} (n, a, b) VALUES {values}")


async def pages(peer: Peer, tool: str, limit: int, **arguments: Any) -> list[list[dict[str, Any]]]:
    """All pages; each but the last is full and has a cursor."""
    made: list[list[dict[str, Any]]] = []
    cursor = None
    while True:
        answer = await peer.call(tool, {**arguments, "limit": limit, "cursor": cursor})
        assert "error" not in answer, answer
        made.append(answer["rows"])
        cursor = answer["next_cursor"]
        assert answer["truncated"] == (cursor is not None)
        if cursor is None:
            return made
        assert len(answer["rows"]) == limit


async def test_the_pages_joined_are_the_whole_for_every_key_and_order(shared: Place) -> None:
    for name, key in KEYS.items():
        create(shared, name, key)
        insert(shared, name, ROWS)
    names = list(KEYS)
    if shared.product == "sqlite":
        create(shared, "without_rowid", "n integer PRIMARY KEY, a integer, b text COLLATE NOCASE", "WITHOUT ROWID")
        names.append("without_rowid")
    else:
        create(shared, "in_parts", "n integer, a integer, b text", "PARTITION BY LIST (a)")
        shared.execute("CREATE TABLE part_1 PARTITION OF in_parts FOR VALUES IN (1)")
        shared.execute("CREATE TABLE part_2 PARTITION OF in_parts DEFAULT")
        names.append("in_parts")
    insert(shared, names[-1], ROWS)
    async with inside(shared.url) as program:
        for name, order in product(names, ORDERS):
            whole = await program.peer.rows(f"query_{name}", {"order_by": order})
            assert sorted(int(row["n"]) for row in whole) == list(range(23))
            paged = await pages(program.peer, f"query_{name}", 4, order_by=order)
            assert [row for page in paged for row in page] == whole, (name, order)
            assert [len(page) for page in paged] == [4, 4, 4, 4, 4, 3]
        exact = await pages(program.peer, "query_by_primary_key", 23)
        assert [len(page) for page in exact] == [23]
        filtered = await pages(program.peer, "query_by_place_alone", 2, where={"a": 3}, columns=["n"])
        assert [[row["n"] for row in page] for page in filtered] == [[1, 4], [7, 10], [13, 16], [19, 22]]


#: Values in ascending order as they are answered, per type that may be ordered by.
TYPED: dict[str, list[Any]] = {
    "bigint": ["-9223372036854775808", -1, "9007199254740993"],
    "numeric": ["-Infinity", "0.1", "0.10000000000000000000000000001", "NaN"],
    "double precision": ["-Infinity", -0.5, 1e-300, "Infinity", "NaN"],
    "real": [0.1, 1e30],
    "boolean": [False, True],
    "text": ["", " ", "'", "a", "a\nb", "ä%s"],
    "char(3)": ["a  ", "ab "],
    "bytea": ["", "AA==", "/w=="],
    "date": ["-infinity", "0044-03-15 BC", "2024-02-29", "12000-01-01"],
    "time": ["00:00:00", "23:59:59.999999", "24:00:00"],
    "timetz": ["10:00:00+05:30", "10:00:00+00"],
    "timestamp": ["0044-03-15T00:00:00 BC", "2024-02-29T10:00:00.000001", "infinity"],
    "timestamptz": ["-infinity", "2024-02-29T10:00:00+00:00", "12000-01-01T00:00:00+00:00"],
    "interval": ["-00:00:01", "1 day 02:00:00"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "inet": ["10.0.0.1/8", "2001:db8::1/128"],
    "money": ["-$1.00", "$1,000.00"],
    "bigint[]": [[1], [1, None], ["2", "9007199254740993"]],
    "text[]": [["a,b", None], ["{", '"'], "[0:1]={~,~}"],
    "int4range": ["empty", "[1,2)"],
    "colour": ["red", "blue"],
}


async def test_a_page_goes_on_after_a_value_of_any_type(shared_postgresql: Place) -> None:
    place = shared_postgresql
    place.execute("CREATE TYPE colour AS ENUM ('red', 'blue')")
    columns = ", ".join(
        f'c{index} {type_} COLLATE "C"' if type_ == "text" else f"c{index} {type_}" for index, type_ in enumerate(TYPED)
    )
    create(place, "typed", f"id integer PRIMARY KEY, {columns}")
    async with inside(place.url) as program:
        height = max(map(len, TYPED.values()))
        rows = [
            {"id": number}
            | {f"c{index}": values[number] for index, values in enumerate(TYPED.values()) if number < len(values)}
            for number in range(height + 1)
        ]
        await program.peer.rows("insert_typed", {"rows": rows})
        for index, values in enumerate(TYPED.values()):
            for direction, nulls in [("asc", "first"), ("asc", "last"), ("desc", "first"), ("desc", "last")]:
                order = [f"c{index} {direction} nulls {nulls}", "id"]
                paged = await pages(program.peer, "query_typed", 2, order_by=order, columns=[f"c{index}"])
                absent = [None] * (height + 1 - len(values))
                ordered = values if direction == "asc" else values[::-1]
                found = [row[f"c{index}"] for page in paged for row in page]
                assert found == (absent + ordered if nulls == "first" else ordered + absent), order


async def test_a_key_of_a_table_with_children_does_not_tell_their_rows_apart(shared_postgresql: Place) -> None:
    create(shared_postgresql, "elders", "n integer PRIMARY KEY, a integer, b text")
    create(shared_postgresql, "youngsters", "LIKE elders", "INHERITS (elders)")
    for name, rows in (("elders", [1, 2, 3]), ("youngsters", [1, 1, 2])):
        insert(shared_postgresql, name, [(n, None, name) for n in rows])
    async with inside(shared_postgresql.url) as program:
        whole = await program.peer.rows("query_elders", {"columns": ["n", "b"]})
        assert [row["n"] for row in whole] == [1, 1, 1, 2, 2, 3]
        for order in ([], ["n"], ["b desc"], ["a", "n desc"]):
            whole = await program.peer.rows("query_elders", {"order_by": order})
            paged = await pages(program.peer, "query_elders", 1, order_by=order)
            assert [row for page in paged for row in page] == whole, order


async def test_a_page_goes_on_after_whatever_sqlite_lets_a_column_hold(shared_sqlite: Place) -> None:
    create(shared_sqlite, "mixed", "id integer PRIMARY KEY, v, r real, t text COLLATE NOCASE")
    values = ["NULL", "NULL", "-9e999", "-1", "2.5", "9007199254740993", "'10'", "'A'", "'a'", "''", "X'00'", "X''"]
    rows = ", ".join(f"({number}, {value}, {value}, {value})" for number, value in enumerate(values))
    shared_sqlite.execute(f"INSERT INTO mixed VALUES {rows}")
    async with inside(shared_sqlite.url) as program:
        for column, direction, nulls in product("vrt", ("asc", "desc"), ("first", "last")):
            order = [f"{column} {direction} nulls {nulls}"]
            whole = await program.peer.rows("query_mixed", {"order_by": order})
            assert [
                row for page in await pages(program.peer, "query_mixed", 1, order_by=order) for row in page
            ] == whole
            assert sorted(row["id"] for row in whole) == list(range(12))


async def test_no_standing_row_is_skipped_or_repeated_while_others_come_and_go(shared: Place) -> None:
    cases = list(product(KEYS, ([], ["a nulls first", "b desc nulls last"])))
    for index, (name, _) in enumerate(cases):
        create(shared, f"moving_{index}", KEYS[name])
        insert(shared, f"moving_{index}", ROWS)
    async with inside(shared.url) as program:
        for index, (name, order) in enumerate(cases):
            asked: dict[str, Any] = {"order_by": order, "columns": ["n"]}
            whole = [int(row["n"]) for row in await program.peer.rows(f"query_moving_{index}", asked)]
            seen: list[int] = []
            deleted: set[int] = set()
            cursor = None
            for turn in range(20):
                answer = await program.peer.call(f"query_moving_{index}", {**asked, "limit": 3, "cursor": cursor})
                seen += [int(row["n"]) for row in answer["rows"]]
                cursor = answer["next_cursor"]
                if cursor is None:
                    break
                if turn < 3:  # the row that the cursor stands on goes, and one that is still to come
                    gone = {seen[-1], [number for number in whole if number not in seen][1]}
                    deleted |= gone
                    shared.execute(f"DELETE FROM moving_{index} WHERE n IN ({', '.join(map(str, gone))})")
                    come = [(100 + turn, None, None), (-100 - turn, 2, "x"), (200 + turn, 1, "Y")]
                    insert(shared, f"moving_{index}", come)
            assert cursor is None
            assert len(seen) == len(set(seen))
            standing = [number for number in whole if number not in deleted]
            assert [number for number in seen if number in standing] == standing, (name, order)


async def test_a_cursor_with_any_byte_changed_is_refused(shared: Place) -> None:
    create(shared, "sealed", "n integer PRIMARY KEY, a integer, b text")
    insert(shared, "sealed", ROWS)
    async with inside(shared.url) as program:
        cursor = (await program.peer.call("query_sealed", {"limit": 1}))["next_cursor"]
        assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        altered = [
            f"{cursor[:index]}{'B' if letter == 'A' else 'A'}{cursor[index + 1 :]}"
            for index, letter in enumerate(cursor)
        ]
        altered += [
            cursor[:-1],
            cursor[1:],
            cursor + "A",
            cursor + "=",
            f" {cursor}",
            f"{cursor}\n",
            cursor * 2,
            cursor[:8],
        ]
        altered += ["", "x", "\0", "\u00e4", base64.urlsafe_b64encode(b"x" * 40).decode(), "A" * 100_000]
        for other in altered:
            error = await program.peer.error("query_sealed", {"limit": 1, "cursor": other})
            assert error == {
                "code": "invalid_cursor",
                "message": "'cursor' is not one that this server made",
                "hint": "Repeat the query without 'cursor' to begin at the first page.",
                "retryable": False,
            }, other
        assert await program.peer.rows("query_sealed", {"limit": 1, "cursor": cursor}) == [
            dict(zip("nab", ROWS[1], strict=True))
        ]


async def test_a_cursor_serves_one_query_of_one_table(shared: Place) -> None:
    for name in ("first", "second"):
        create(shared, name, "n integer PRIMARY KEY, a integer, b text")
        insert(shared, name, ROWS)
    asked: dict[str, Any] = {"where": {"a": 1}, "filters": [{"column": "n", "op": "gt", "value": 0}], "order_by": ["b"]}
    async with inside(shared.url) as program:
        cursor = (await program.peer.call("query_first", {**asked, "limit": 1}))["next_cursor"]
        cases: list[tuple[str, dict[str, Any] | None, str]] = [
            ("query_second", {}, "'cursor' belongs to another table, or the table has changed since"),
            ("query_first", {"where": {"a": 3}}, "'cursor' belongs to a query with other filters or another order"),
            ("query_first", {"where": {}}, "'cursor' belongs to a query with other filters or another order"),
            ("query_first", {"filters": []}, "'cursor' belongs to a query with other filters or another order"),
            (
                "query_first",
                {"order_by": ["b desc"]},
                "'cursor' belongs to a query with other filters or another order",
            ),
            ("query_first", {"order_by": []}, "'cursor' belongs to a query with other filters or another order"),
            ("list_tables", None, "'cursor' belongs to another table, or the table has changed since"),
        ]
        for tool, change, message in cases:
            arguments = {"cursor": cursor} if change is None else {**asked, **change, "cursor": cursor}
            error = await program.peer.error(tool, arguments)
            assert (error["code"], error["message"]) == ("invalid_cursor", message)
        whole = await program.peer.rows("query_first", {**asked, "columns": ["n"]})
        rest = await program.peer.rows(
            "query_rows", {"table": "first", **asked, "cursor": cursor, "columns": ["n"], "limit": 50}
        )
        assert rest == whole[1:]


async def test_a_cursor_ends_with_the_columns_that_it_was_made_for(shared: Place) -> None:
    create(shared, "growing", "n integer PRIMARY KEY, a integer, b text")
    insert(shared, "growing", ROWS)
    async with inside(shared.url) as program:
        cursor = (await program.peer.call("query_growing", {"limit": 1}))["next_cursor"]
        shared.execute("CREATE INDEX growing_by_a ON growing (a)")
        assert (await program.peer.call("refresh_schema"))["refreshed"]
        assert len(await program.peer.rows("query_growing", {"limit": 1, "cursor": cursor})) == 1
        shared.execute("ALTER TABLE growing ADD COLUMN c integer")
        assert (await program.peer.call("refresh_schema"))["refreshed"]
        error = await program.peer.error("query_growing", {"limit": 1, "cursor": cursor})
        assert (error["code"], error["message"]) == (
            "invalid_cursor",
            "'cursor' belongs to another table, or the table has changed since",
        )


async def test_a_cursor_of_another_session_is_as_one_that_never_was(shared: Place) -> None:
    create(shared, "owned", "n integer PRIMARY KEY, a integer, b text")
    insert(shared, "owned", ROWS)
    async with inside(shared.url) as program, AsyncExitStack() as stack:
        other = await join(stack, program.server, LEGACY)
        cursor = (await program.peer.call("query_owned", {"limit": 1}))["next_cursor"]
        foreign = await other.error("query_owned", {"limit": 1, "cursor": cursor})
        invented = await other.error("query_owned", {"limit": 1, "cursor": "A" * len(cursor)})
        assert foreign == invented
        assert (await program.peer.rows("query_owned", {"limit": 1, "cursor": cursor}))[0]["n"] == 1


async def test_a_cursor_outlives_a_restart_only_with_the_secret_it_was_signed_with(shared_sqlite: Place) -> None:
    create(shared_sqlite, "lasting", "n integer PRIMARY KEY, a integer, b text")
    insert(shared_sqlite, "lasting", ROWS)

    async def first_page(program: Inside, **more: str) -> dict[str, Any]:
        answer = await program.app.service.call("query_lasting", {"limit": 1, **more}, Caller())
        page: dict[str, Any] = json.loads(answer.json)
        return page

    async with inside(shared_sqlite.url, server__secret="s" * 32) as program:
        cursor = (await first_page(program))["next_cursor"]
    async with inside(shared_sqlite.url, server__secret="s" * 32) as program:
        assert (await first_page(program, cursor=cursor))["rows"][0]["n"] == 1
    async with inside(shared_sqlite.url, server__secret="t" * 32) as program:
        assert (await first_page(program, cursor=cursor))["error"]["code"] == "invalid_cursor"


async def test_list_tables_is_paged_by_name(shared: Place) -> None:
    for name in ("paged_b", "paged_a", '"paged ""x"""', '"paged.d"'):
        shared.execute(f"CREATE TABLE {name} (n integer PRIMARY KEY)")
    async with inside(shared.url, database__include=["paged*"]) as program:
        whole = (await program.peer.call("list_tables"))["tables"]
        assert [entry["table"] for entry in whole] == ['"paged ""x"""', '"paged.d"', "paged_a", "paged_b"]
        found: list[Any] = []
        cursor = None
        for left in (3, 2, 1, 0):
            answer = await program.peer.call("list_tables", {"limit": 1, "cursor": cursor})
            cursor = answer["next_cursor"]
            found += answer["tables"]
            assert (answer["row_count"], answer["truncated"], cursor is not None) == (1, left > 0, left > 0)
        assert found == whole
        cursor = (await program.peer.call("list_tables", {"limit": 1}))["next_cursor"]
        error = await program.peer.error("list_tables", {"limit": 1, "cursor": cursor, "search": "a"})
        assert error["code"] == "invalid_cursor"
