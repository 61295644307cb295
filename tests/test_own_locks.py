"""A lock that the caller's own open transaction holds: the hint names it, and nobody else is told of it."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.accounts import PLACES, SQLITE, begun, pay, with_accounts
from tests.conftest import Place
from tests.peers import LEGACY, inside, join


@pytest.fixture
def accounts(place: Place) -> Place:
    return with_accounts(place)


SETTINGS: dict[str, Any] = {"access__mode": "write", "access__sql": "write", "limits__lock_timeout_s": 0.2}
UPDATE = {"where": {"id": 1}, "set": {"balance": 9}}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("update_accounts", UPDATE),
    ("update_rows", {"table": "accounts", **UPDATE}),
    ("execute_sql", {"sql": "UPDATE accounts SET balance = 3 WHERE id = 1"}),
    ("run_batch", {"calls": [{"tool": "update_accounts", "arguments": UPDATE}]}),
    ("run_batch", {"calls": [{"tool": "query_accounts"}, {"tool": "update_accounts", "arguments": UPDATE}]}),
]


def hint(name: str) -> str:
    return (
        f"Nothing was written. Your own open transaction ('{name}') may hold it, and then no retry helps: make the "
        "call in it (transaction_id), or commit it or roll it back first. A statement waits 0.2 s for a lock "
        "(limits.lock_timeout_s)."
    )


@PLACES
async def test_a_lock_of_ones_own_transaction_is_told(accounts: Place) -> None:
    async with inside(accounts.url, **SETTINGS) as program:
        reading = await begun(program.peer, read_only=True)
        for described in ("a payment", ""):
            id_ = await begun(program.peer, description=described)
            await program.peer.call("update_accounts", pay(id_, 1, 70))
            name = described or f"{id_[:8]}..."
            for tool, arguments in CALLS:
                answer = await program.peer.call(tool, arguments)
                assert (answer["error"]["code"], answer["error"]["hint"]) == ("lock_timeout", hint(name)), tool
                told = [result["error"] for result in answer.get("results", ()) if "error" in result]
                hints = {error["hint"] for error in told if error["code"] == "lock_timeout"}
                assert hints <= {hint(name)}
            calls = [{"tool": "update_accounts", "arguments": UPDATE}]
            apart = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
            assert apart["results"][0]["error"]["hint"] == hint(name)
            assert (await program.peer.call("update_accounts", {**UPDATE, "transaction_id": id_}))["updated"] == 1
            await program.peer.call("rollback_transaction", {"transaction_id": id_})
        await program.peer.call("rollback_transaction", {"transaction_id": reading})
        assert (await program.peer.call("update_accounts", UPDATE))["updated"] == 1


@SQLITE
async def test_beginning_another_waits_for_ones_own_too(accounts: Place) -> None:
    async with inside(accounts.url, **SETTINGS) as program:
        await begun(program.peer, description="first")
        error = await program.peer.error("begin_transaction")
        assert (error["code"], error["hint"]) == ("lock_timeout", hint("first"))


@PLACES
async def test_a_lock_of_somebody_elses_transaction_is_told_without_a_name(accounts: Place) -> None:
    async with inside(accounts.url, **SETTINGS) as program, AsyncExitStack() as stack:
        other = await join(stack, program.server, LEGACY)
        id_ = await begun(program.peer, description="secret")
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        error = await other.error("update_accounts", UPDATE)
        assert (error["code"], "secret" in str(error), id_[:8] in str(error)) == ("lock_timeout", False, False)
        assert "Your own" not in error["hint"]
