"""Values of any kind: whatever is inserted is read again, can be sent back in, and is so for everybody."""

import base64
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Place
from tests.peers import inside

pytest_plugins = "tests.standing"

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NUMERIC = (
    st.decimals(allow_nan=False, allow_infinity=False, places=None)
    .map(lambda number: f"{number:f}")
    .filter(lambda text: len(text) < 200)
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.decimals(-(10**6), 10**6, places=4).map(float)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ROW = st.fixed_dictionaries(
    {
        "i": st.integers(-(2**63), 2**63 - 1),
        "n": NUMERIC,
        "f": st.floats(allow_nan=False, allow_infinity=False),
        "t": TEXT,
        "b": st.binary().map(lambda data: base64.b64encode(data).decode()),
        "j": JSON.filter(lambda value: value is not None),
        "jb": JSON.filter(lambda value: value is not None),
        "ts": st.lists(st.none() | TEXT),
        "ns": st.lists(st.none() | NUMERIC),
        "ints": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
        "at": st.datetimes().map(datetime.isoformat),
    }
)


def integers(values: list[Any]) -> list[int | None]:
    return [None if value is None else int(value) for value in values]


def moment(text: str) -> str:
    """PostgreSQL leaves out zeros at the end of a second."""
    return datetime.fromisoformat(text).isoformat()


def test_whatever_is_inserted_is_read_again_and_seen_by_others(shared_postgresql: Place) -> None:
    shared_postgresql.execute(
        "CREATE TABLE anything (i bigint, n numeric, f double precision, t text, b bytea, j json, jb jsonb, ts text[], "
        "ns numeric[], ints bigint[], at timestamp)"
    )
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(inside(shared_postgresql.url)) as program,
    ):
        connection = portal.call(asyncpg.connect, shared_postgresql.url)

        @settings(max_examples=40, deadline=None, database=None)
        @given(ROW)
        def holds(row: dict[str, Any]) -> None:
            portal.call(connection.execute, "DELETE FROM anything")
            inserted = portal.call(program.peer.rows, "insert_anything", {"rows": [row], "returning": list(row)})
            again = portal.call(program.peer.rows, "insert_anything", {"rows": inserted, "returning": list(row)})
            assert again == inserted
            (out,) = inserted
            assert out | {"i": int(out["i"]), "ints": integers(out["ints"]), "at": moment(out["at"])} == row
            first, second = portal.call(connection.fetch, "SELECT * FROM anything")
            assert [repr(value) for value in first.values()] == [repr(value) for value in second.values()]
            assert (first["i"], first["f"], first["t"], first["ts"], first["ints"]) == (
                row["i"],
                row["f"],
                row["t"],
                row["ts"],
                row["ints"],
            )
            assert base64.b64encode(first["b"]).decode() == row["b"]
            assert f"{first['n']:f}" == row["n"]
            assert first["ns"] == [None if number is None else Decimal(number) for number in row["ns"]]
            assert (json.loads(first["j"]), json.loads(first["jb"])) == (row["j"], row["jb"])
            assert first["at"] == datetime.fromisoformat(row["at"])

        holds()
        portal.call(connection.close)
