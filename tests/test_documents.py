"""Documents of JSON columns have one form on every product."""

import json
from typing import Any

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"

#: As they are stored, and as they leave.
DOCUMENTS: dict[str, Any] = {
    "null": {"$json": "null"},
    "[null]": [None],
    '"7"': "7",
    '{"a": 9007199254740992}': {"a": 9007199254740992},
    '{"a": 9007199254740993}': {"$json": '{"a": 9007199254740993}'},
    '{"a": [1.10, 0.30000000000000004, 1e5]}': {"a": [1.1, 0.30000000000000004, 100000.0]},
    '{"a": 1.00000000000000001}': {"$json": '{"a": 1.00000000000000001}'},
    "[1e400]": {"$json": "[1e400]"},
    "[1E-0400]": {"$json": "[1E-0400]"},
    "[4.9406564584124654e-324, 5e-324]": {"$json": "[4.9406564584124654e-324, 5e-324]"},
    "[1e-300, 2.5e+300]": [1e-300, 2.5e300],
    '{"a": "12345678901234567890.5 1e400"}': {"a": "12345678901234567890.5 1e400"},
    '["\\u00e9999 \\ud83d\\ude00"]': ["\u00e9999 \U0001f600"],
    '["\\ud800"]': {"$json": '["\\ud800"]'},
    '{"$json": "null"}': {"$json": '{"$json": "null"}'},
    '{"\\u0024json": "1"}': {"$json": '{"\\u0024json": "1"}'},
    '{"$json": null}': {"$json": None},
    '{"a": {"$json": "1"}}': {"a": {"$json": "1"}},
}


async def test_a_document_leaves_in_the_same_form_whatever_the_product(shared: Place) -> None:
    for table in ("papers", "papers_again"):
        shared.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, j json)")
    values = ", ".join(f"({number}, '{text}')" for number, text in enumerate(DOCUMENTS))
    shared.execute(f"INSERT INTO papers VALUES {values}")
    carried = [text for text, left in DOCUMENTS.items() if left == {"$json": text}]
    async with inside(shared.url) as program:
        rows = await program.peer.rows("query_papers")
        assert [json.dumps(row["j"]) for row in rows] == [json.dumps(left) for left in DOCUMENTS.values()]
        await program.peer.rows("insert_papers_again", {"rows": rows})
        assert await program.peer.rows("query_papers_again") == rows
        for text in carried:
            where = f"id = {list(DOCUMENTS).index(text)}"
            stored = shared.execute(f"SELECT CAST(j AS text) FROM papers_again WHERE {where}")
            assert stored == (text if shared.product == "postgresql" else [(text,)])


async def test_null_for_a_column_that_takes_none_is_refused_with_the_form_of_jsons_own(shared: Place) -> None:
    shared.execute("CREATE TABLE letters (id integer PRIMARY KEY, j json NOT NULL, t text NOT NULL)")
    async with inside(shared.url) as program:
        error = await program.peer.error("insert_letters", {"rows": [{"id": 1, "j": None, "t": "x"}]})
        hint = 'Give it a value. JSON\'s own null is sent as {"$json":"null"}.'
        assert (error["code"], error["hint"]) == ("missing_value", hint)
        error = await program.peer.error("insert_letters", {"rows": [{"id": 1, "j": {}, "t": None}]})
        assert error["hint"] == "Give it a value."
        await program.peer.rows("insert_letters", {"rows": [{"id": 1, "j": {"$json": "null"}, "t": "x"}]})
        assert await program.peer.rows("query_letters", {"columns": ["j"]}) == [{"j": {"$json": "null"}}]
