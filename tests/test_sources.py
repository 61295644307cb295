"""Several databases in one server: names, and calls that reach each of them."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from mcp import StdioServerParameters

from tests.conftest import Place, sqlite_place
from tests.peers import COMMAND, FIXED, LEGACY, MODERN, environment, inside, inside_several, join

pytest_plugins = "tests.standing"

ORDERS = "CREATE TABLE orders (id integer PRIMARY KEY, item text)"


@pytest.fixture
def shop(tmp_path: Path) -> Place:
    """A SQLite file."""
    place = sqlite_place(tmp_path / "shop.sqlite")
    place.execute(ORDERS)
    place.execute("INSERT INTO orders VALUES (1, 'tea'), (2, 'milk'), (3, 'salt')")
    return place


@pytest.fixture
def crm(tmp_path: Path) -> Place:
    """Another one, with a table that is equal in name and structure, and one that is not."""
    place = sqlite_place(tmp_path / "crm.sqlite")
    place.execute(ORDERS)
    place.execute("INSERT INTO orders VALUES (1, 'call'), (2, 'visit')")
    place.execute("CREATE TABLE people (id integer PRIMARY KEY, name text, order_id integer REFERENCES orders)")
    return place


@pytest.fixture
def sales(shared_postgresql: Place) -> Iterator[Place]:
    """A PostgreSQL database, with a table outside the schema that needs no qualifier."""
    shared_postgresql.execute(
        "CREATE TABLE orders (id integer PRIMARY KEY, total numeric); INSERT INTO orders VALUES (1, 12.50);"
        "CREATE SCHEMA archive; CREATE TABLE archive.orders (id integer PRIMARY KEY, old_id integer REFERENCES orders)"
    )
    yield shared_postgresql
    shared_postgresql.execute("DROP SCHEMA archive CASCADE; DROP TABLE orders")


async def test_tools_and_tables_carry_the_source_first_on_both_products(shop: Place, crm: Place, sales: Place) -> None:
    urls = {"shop": shop.url, "crm": crm.url, "sales": sales.url}
    async with inside_several(
        **urls, sources__sales__schemas="public,archive", sources__sales__include="orders"
    ) as program:
        names = await program.peer.names()
        listed = await program.peer.call("list_tables")
        status = await program.peer.call("server_status")
        assert await program.peer.rows("query_sales_orders") == [{"id": 1, "total": "12.50"}]
        assert await program.peer.rows("query_shop_orders", {"where": {"id": 1}}) == [{"id": 1, "item": "tea"}]
        inserted = await program.peer.call("insert_rows", {"table": "sales.archive.orders", "rows": [{"id": 7}]})
        described = await program.peer.call("describe_table", {"table": "sales.archive.orders"})
    tables = ["crm_orders", "crm_people", "sales_archive__orders", "sales_orders", "shop_orders"]
    assert names == [*FIXED, *(f"insert_{table}" for table in tables), *(f"query_{table}" for table in tables)]
    assert [(table["table"], table["tools"]) for table in listed["tables"]] == [
        ("crm.orders", ["query_crm_orders", "insert_crm_orders"]),
        ("crm.people", ["query_crm_people", "insert_crm_people"]),
        ("sales.archive.orders", ["query_sales_archive__orders", "insert_sales_archive__orders"]),
        ("sales.orders", ["query_sales_orders", "insert_sales_orders"]),
        ("shop.orders", ["query_shop_orders", "insert_shop_orders"]),
    ]
    assert listed["sources"] == [
        {"source": "crm", "state": "confirmed", "confirmed": True, "tables": 2},
        {"source": "sales", "state": "confirmed", "confirmed": True, "tables": 2},
        {"source": "shop", "state": "confirmed", "confirmed": True, "tables": 1},
    ]
    assert "hint" not in listed
    assert (inserted["table"], inserted["inserted"]) == ("sales.archive.orders", 1)
    assert described["references"][0]["table"] == "sales.orders"
    assert [(one["source"], one["product"]) for one in status["sources"]] == [
        ("crm", "sqlite"),
        ("sales", "postgresql"),
        ("shop", "sqlite"),
    ]
    assert "history" not in status
    assert [one["history"]["kept"] for one in status["sources"]] == [False] * 3


async def test_a_name_without_its_source_is_taken_where_one_table_has_it(shop: Place, crm: Place) -> None:
    async with inside_several(shop=shop.url, crm=crm.url) as program:
        for name in ("people", "main.people", "crm.people", "crm.main.people", "crm_people"):
            answer = await program.peer.call("query_rows", {"table": name})
            assert (answer["table"], answer["rows"]) == ("crm.people", [])
        for name in ("orders", "main.orders"):
            assert await program.peer.error("query_rows", {"table": name}) == {
                "code": "ambiguous_table",
                "message": f"there are several tables '{name}': 'crm.orders' or 'shop.orders'",
                "hint": "Give one of these.",
                "retryable": False,
            }
        shop.execute("CREATE TABLE people (id integer PRIMARY KEY)")
        await program.peer.hears()
        assert "query_crm_people" in await program.peer.names()
        assert (await program.peer.error("query_rows", {"table": "people"}))["code"] == "ambiguous_table"
        shop.execute("DROP TABLE people")
        shop.execute("DROP TABLE orders")
        assert await program.peer.rows("query_rows", {"table": "orders", "limit": 1}) == [{"id": 1, "item": "call"}]


async def test_a_cursor_of_one_source_is_none_of_another_with_an_equal_table(shop: Place, tmp_path: Path) -> None:
    twin = tmp_path / "twin.sqlite"
    shutil.copy(shop.url, twin)
    async with inside_several(shop=shop.url, twin=str(twin)) as program:
        page = await program.peer.call("query_shop_orders", {"limit": 1})
        error = await program.peer.error("query_twin_orders", {"limit": 1, "cursor": page["next_cursor"]})
        rest = await program.peer.rows("query_rows", {"table": "shop.orders", "cursor": page["next_cursor"]})
        tables = await program.peer.call("list_tables", {"source": "shop", "limit": 1})
    assert (error["code"], error["message"]) == (
        "invalid_cursor",
        "'cursor' belongs to another table, or the table has changed since",
    )
    assert [row["id"] for row in rest] == [2, 3]
    assert [table["table"] for table in tables["tables"]] == ["shop.orders"]


async def test_tools_that_take_no_table_take_a_source(shop: Place, crm: Place) -> None:
    async with inside_several(shop=shop.url, crm=crm.url) as program:
        listed = await program.peer.call("list_tables", {"source": "shop"})
        assert [table["table"] for table in listed["tables"]] == ["shop.orders"]
        assert [one["source"] for one in listed["sources"]] == ["shop"]
        schemas = {tool.name: tool.input_schema for tool in (await program.peer.client.list_tools()).tools}
        for tool in ("list_tables", "refresh_schema", "schema_changes"):
            assert schemas[tool]["properties"]["source"] == {"type": "string", "enum": ["crm", "shop"]}
            assert await program.peer.error(tool, {"source": "shpo"}) == {
                "code": "unknown_source",
                "message": "there is no source 'shpo'. Did you mean 'shop'?",
                "hint": "Sources: crm, shop.",
                "retryable": False,
            }
        everything = await program.peer.call("refresh_schema")
        assert (everything["tables"], everything["refreshed"]) == (3, True)
        shop.execute("CREATE TABLE mugs (id integer)")
        refreshed = await program.peer.call("refresh_schema", {"source": "shop"})
        assert (refreshed["tables"], refreshed["refreshed"]) == (2, True)
        assert "query_shop_mugs" in await program.peer.names()


async def test_with_one_source_nothing_carries_its_name(shop: Place) -> None:
    async with inside(shop.url) as program:
        plain = [tool.model_dump() for tool in (await program.peer.client.list_tools()).tools]
        tables = await program.peer.call("list_tables")
        instructions = program.peer.client.instructions
    async with inside_several(shop=shop.url) as program:
        assert [tool.model_dump() for tool in (await program.peer.client.list_tools()).tools] == plain
        assert await program.peer.call("list_tables") == tables
        assert program.peer.client.instructions == instructions
        assert (await program.peer.error("refresh_schema", {"source": "shop"}))["code"] == "unknown_argument"
    assert [tool["name"] for tool in plain] == [*FIXED, "insert_orders", "query_orders"]
    assert "sources" not in tables


async def test_instructions_say_how_tables_and_tools_of_several_sources_are_called(shop: Place, crm: Place) -> None:
    async with inside_several(shop=shop.url, crm=crm.url) as program:
        instructions = program.peer.client.instructions or ""
    assert instructions.endswith(
        "Several databases are served: crm, shop. The name of each comes first in those of its tables and tools: "
        "crm.<table>, query_crm_<table>. One call reaches one of them."
    )


async def test_changes_are_told_by_source(shop: Place, crm: Place, tmp_path: Path) -> None:
    async with inside_several(shop=shop.url, crm=crm.url, state__url=str(tmp_path / "state.sqlite")) as program:
        await program.peer.names()
        for source in program.app.sources.values():
            await source.keeper.settled.wait()
        shop.execute("CREATE TABLE mugs (id integer)")
        await program.peer.hears()
        crm.execute("ALTER TABLE orders ADD COLUMN at text")
        await program.peer.hears()

        async def changed(**arguments: str) -> list[tuple[str, str]]:
            for source in program.app.sources.values():
                await source.keeper.finish()
            answer = await program.peer.call("schema_changes", arguments)
            assert all(history["kept"] for history in answer["history"])
            return [(change["table"], change["kind"]) for change in answer["changes"]]

        mugs, orders = ("shop.mugs", "added"), ("crm.orders", "changed")
        assert await changed() == [orders, mugs]
        assert await changed(source="shop") == [mugs]
        assert await changed(table="orders") == [orders]
        assert await changed(table="crm.orders") == [orders]
        assert await changed(table="shop.orders") == []
        assert await changed(table="orders", source="crm") == [orders]
        assert await changed(table="mugs") == [mugs]
        assert (await program.peer.error("schema_changes", {"table": "crm.mugs"}))["code"] == "unknown_table"
        page = await program.peer.call("schema_changes", {"limit": 1})
        assert ([change["table"] for change in page["changes"]], page["truncated"]) == (["crm.orders"], True)
        assert [history["source"] for history in page["history"]] == ["crm", "shop"]


@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_server_that_a_file_configures_tells_clients_of_each_source(shop: Place, crm: Place, era: str) -> None:
    file = Path(shop.url).with_name("config.toml")
    file.write_text(f'[[sources]]\nname = "shop"\nurl = "{shop.url}"\n[[sources]]\nname = "crm"\n')
    variables = environment({"sources__crm__url": crm.url})
    target = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "--config", str(file)], env=variables)
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        peer = await join(stack, target, era)
        tables = ["crm_orders", "crm_people", "shop_orders"]
        assert [name for name in await peer.table_tools() if "query" in name] == [f"query_{name}" for name in tables]
        for place, tool in ((shop, "query_shop_mugs"), (crm, "query_crm_mugs")):
            place.execute("CREATE TABLE mugs (id integer)")
            await peer.hears()
            assert tool in await peer.names()
