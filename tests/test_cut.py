"""A row that alone breaks the byte cap is shortened, and all else of it stays as it was written."""

import json

from schema_mcp.execute.cut import cut


def test_the_longest_values_are_shortened_and_the_others_keep_every_digit() -> None:
    row = b'{"id":1180591620717411303424,"price":1.10,"odd":{"n":1e400},"half":"\\ud800","text":"' + b"x" * 5000 + b'"}'
    shortened, names = cut(row, 300)
    assert names == ("text",)
    assert len(shortened) <= 300
    assert shortened.startswith(
        b'{"id":1180591620717411303424,"price":1.10,"odd":{"n":1e400},"half":"\\ud800","text":"xxx'
    )
    assert len(json.loads(shortened)["text"]) > 150


def test_a_value_that_is_no_string_becomes_the_beginning_of_its_text() -> None:
    shortened, names = cut(json.dumps({"id": 1, "tags": list(range(1000))}).encode(), 200)
    assert names == ("tags",)
    assert json.loads(shortened)["tags"].startswith("[0, 1, 2")
    assert len(shortened) <= 200


def test_several_values_are_shortened_where_one_is_not_enough() -> None:
    shortened, names = cut(json.dumps({"a": "é" * 500, "b": '"' * 500, "c": "z" * 10}).encode(), 250)
    assert names == ("a", "b")
    assert len(shortened) <= 250
    assert json.loads(shortened)["c"] == "z" * 10
