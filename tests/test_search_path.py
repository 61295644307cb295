"""The default schema: it follows from the search path alone, so that no CREATE SCHEMA renames a tool."""

import pytest

from schema_mcp.dialects.postgresql.search_path import default_schema
from tests.conftest import Place
from tests.peers import inside
from tests.postgres import quote_name


@pytest.mark.parametrize(
    ("search_path", "expected"),
    [
        ('"$user", public', "public"),
        ("public", "public"),
        ("", "public"),
        ('""', "public"),
        ('"$user"', "public"),
        ("app, public", "app"),
        ('pg_catalog, "$user", App', "app"),
        ('"My, ""App""", public', 'My, "App"'),
    ],
)
def test_the_default_schema_is_the_first_that_the_search_path_names(search_path: str, expected: str) -> None:
    assert default_schema(search_path) == expected


@pytest.mark.parametrize("place", ["18"], indirect=True)
async def test_a_schema_that_is_created_renames_no_tool(place: Place) -> None:
    user = str(place.execute("SELECT current_user")).strip()
    place.execute("CREATE TABLE cats (id integer)")
    async with inside(place.url) as program:
        before = await program.peer.table_tools()
        place.execute(f"CREATE SCHEMA {quote_name(user)}; CREATE TABLE {quote_name(user)}.dogs (id integer)")
        await program.peer.hears()
        assert await program.peer.table_tools() == sorted([*before, f"insert_{user}__dogs", f"query_{user}__dogs"])
