"""What a batch says became of it: in a transaction, in one that ends meanwhile, and of what was only rehearsed."""

from typing import Any

import pytest

from tests.accounts import PLACES, POSTGRESQL, begun, stored, with_accounts
from tests.conftest import Place
from tests.peers import Peer, inside


@pytest.fixture
def accounts(place: Place) -> Place:
    return with_accounts(place)


def insert(id_: int, balance: int = 1, **options: Any) -> dict[str, Any]:
    return {"tool": "insert_accounts", "arguments": {"rows": [{"id": id_, "balance": balance}], **options}}


def update(id_: int, balance: int, **options: Any) -> dict[str, Any]:
    return {"tool": "update_accounts", "arguments": {"where": {"id": id_}, "set": {"balance": balance}, **options}}


READ = {"tool": "query_accounts", "arguments": {"limit": 1}}


async def outcome(peer: Peer, calls: list[dict[str, Any]], mode: str = "independent", **options: Any) -> str:
    answer = await peer.call("run_batch", {"calls": calls, "mode": mode, **options})
    assert len(answer["results"]) == len(calls)
    told: str = answer["outcome"]
    return told


@POSTGRESQL
@pytest.mark.parametrize("after", [[], [READ], [insert(4), insert(5)]])
async def test_a_batch_that_a_conflict_ends_is_rolled_back(accounts: Place, after: list[dict[str, Any]]) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        id_ = await begun(program.peer, isolation="repeatable read")
        await program.peer.call("query_accounts", {"transaction_id": id_})
        accounts.execute("UPDATE accounts SET balance = 77 WHERE id = 1")
        calls = [insert(3), update(1, 5), *after]
        assert await outcome(program.peer, calls, transaction_id=id_) == "rolled_back"
        assert stored(accounts) == [(1, 77), (2, 50)]
        assert await outcome(program.peer, [READ], transaction_id=id_) == "rolled_back"


@POSTGRESQL
@pytest.mark.parametrize(("text", "told"), [("COMMIT", "committed"), ("ROLLBACK", "rolled_back")])
async def test_a_batch_whose_statement_ends_the_transaction_says_how(accounts: Place, text: str, told: str) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        id_ = await begun(program.peer)
        calls = [insert(3), {"tool": "execute_sql", "arguments": {"sql": text}}]
        assert await outcome(program.peer, calls, transaction_id=id_) == told
        assert len(stored(accounts)) == (3 if told == "committed" else 2)
        assert await outcome(program.peer, [READ], transaction_id=id_) == "rolled_back"


@PLACES
async def test_a_batch_in_a_transaction_that_goes_on_says_so(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        for mode in ("transaction", "independent"):
            calls = [update(1, 5), READ]
            assert await outcome(program.peer, calls, mode, transaction_id=id_) == "in_transaction"
        ends = {"tool": "commit_transaction"}
        assert await outcome(program.peer, [update(1, 6), ends], transaction_id=id_) == "in_transaction"
        assert stored(accounts) == [(1, 100), (2, 50)]
        await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert stored(accounts) == [(1, 6), (2, 50)]


@PLACES
@pytest.mark.parametrize("mode", ["transaction", "independent"])
async def test_what_was_only_rehearsed_is_rolled_back(accounts: Place, mode: str) -> None:
    rehearsed = insert(3, dry_run=True), update(1, 5, dry_run=True)
    async with inside(accounts.url, access__mode="write") as program:
        for told, calls in (
            ("rolled_back", [*rehearsed]),
            ("rolled_back", [*rehearsed, READ]),
            ("committed", [READ]),
            ("committed", [*rehearsed, update(2, 51)]),
        ):
            assert await outcome(program.peer, calls, mode) == told
        assert stored(accounts) == [(1, 100), (2, 51)]
