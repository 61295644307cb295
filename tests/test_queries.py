"""Named queries in `.sql` files."""

import pytest

from schema_mcp.dialects.queries import Query, parse

ONE = "-- name: one\n-- What comes back,\n-- in two lines.\nselect 1 -- the number\n"


def test_a_query_has_a_name_a_description_and_a_statement() -> None:
    assert parse("-- About the file.\n\n" + ONE) == {
        "one": Query(name="one", description="What comes back, in two lines.", sql="select 1 -- the number")
    }


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (ONE + ONE, "query 'one' is there twice"),
        ("-- name: one\nselect 1", "query 'one' has no description"),
        ("-- name: one\n-- Nothing.\n", "query 'one' has no statement"),
        ("-- name:\n-- Nameless.\nselect 1", "query '' has no name"),
    ],
)
def test_an_incomplete_query_is_a_mistake(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        parse(text)
