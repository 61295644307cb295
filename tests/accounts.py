"""Accounts that tests pay from in transactions over several calls."""

from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import Inside, Peer

#: Where the version of PostgreSQL makes no difference.
PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("place", ["18"], indirect=True)
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def with_accounts(place: Place) -> Place:
    """Two of them."""
    place.execute("CREATE TABLE accounts (id integer PRIMARY KEY, balance integer NOT NULL CHECK (balance >= 0))")
    place.execute("INSERT INTO accounts VALUES (1, 100), (2, 50)")
    return place


def stored(place: Place) -> list[tuple[int, int]]:
    """The accounts as everybody else sees them."""
    found = place.execute("SELECT id, balance FROM accounts ORDER BY id")
    rows = [line.split("|") for line in found.splitlines()] if isinstance(found, str) else found
    return [(int(id_), int(balance)) for id_, balance in rows]


async def begun(peer: Peer, **arguments: Any) -> str:
    answer = await peer.call("begin_transaction", arguments)
    assert "transaction_id" in answer, answer
    id_: str = answer["transaction_id"]
    return id_


def pay(id_: str, account: int, balance: int) -> dict[str, Any]:
    return {"where": {"id": account}, "set": {"balance": balance}, "transaction_id": id_}


def held(program: Inside) -> int:
    """Connections that open transactions hold."""
    return sum(source.transaction_database.in_use for source in program.app.sources.values())
