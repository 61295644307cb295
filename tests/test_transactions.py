"""Transactions over several calls: what lasts, what is undone, what is told; one call after the other."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.accounts import PLACES, POSTGRESQL, begun, held, pay, stored, with_accounts
from tests.conftest import Place
from tests.peers import LEGACY, MODERN, inside, join
from tests.waiting import until


@pytest.fixture
def accounts(place: Place) -> Place:
    return with_accounts(place)


ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])


@PLACES
@ERAS
async def test_what_was_done_lasts_once_it_is_committed_and_is_told(accounts: Place, era: str) -> None:
    async with inside(accounts.url, era=era, access__mode="write") as program:
        opened = await program.peer.call("begin_transaction", {"description": "a payment"})
        id_ = opened.pop("transaction_id")
        expires = opened.pop("expires_at")
        isolation = "serializable" if accounts.product == "sqlite" else "read committed"
        assert opened == {
            "source": "database",
            "isolation": isolation,
            "read_only": False,
            "idle_timeout_s": 60.0,
            "max_age_s": 600.0,
        }
        assert expires.endswith("Z")
        paid = await program.peer.call("update_accounts", pay(id_, 1, 70))
        assert (paid["updated"], paid["outcome"]) == (1, "in_transaction")
        await program.peer.call("update_accounts", pay(id_, 2, 80))
        rows = [{"id": 3, "balance": 5}]
        inserted = await program.peer.call("insert_accounts", {"rows": rows, "transaction_id": id_})
        assert (inserted["inserted"], inserted["outcome"]) == (1, "in_transaction")
        seen = await program.peer.rows("query_accounts", {"where": {"id": 1}, "transaction_id": id_})
        assert seen == [{"id": 1, "balance": 70}]
        assert stored(accounts) == [(1, 100), (2, 50)]
        status = (await program.peer.call("server_status"))["transactions"]
        assert (status["open"], status["size"]) == (1, 5)
        (own,) = status["own"]
        operations = [
            {"tool": "update", "table": "accounts", "calls": 2, "rows": 2},
            {"tool": "insert", "table": "accounts", "calls": 1, "rows": 1},
            {"tool": "query", "table": "accounts", "calls": 1, "rows": 0},
        ]
        assert (own["transaction_id"], own["description"], own["operations"]) == (id_, "a payment", operations)
        ended = await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert ended.pop("duration_ms") > 0
        assert ended == {
            "transaction_id": id_,
            "outcome": "committed",
            "operations": operations,
            "calls": 4,
            "rows": 3,
        }
        assert stored(accounts) == [(1, 70), (2, 80), (3, 5)]
        again = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert (again["code"], again["message"]) == (
            "unknown_transaction",
            "this transaction has ended: it was committed",
        )
        assert (await program.peer.call("server_status"))["transactions"] == {"open": 0, "size": 5, "own": []}


@PLACES
async def test_what_was_done_is_undone_by_a_rollback(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("delete_accounts", {"where": {"id": 1}, "transaction_id": id_})
        await program.peer.call("query_accounts", {"transaction_id": id_})
        ended = await program.peer.call("rollback_transaction", {"transaction_id": id_})
        assert (ended["outcome"], ended["rows"]) == ("rolled_back", 1)
        assert stored(accounts) == [(1, 100), (2, 50)]
        gone = await program.peer.error("query_accounts", {"transaction_id": id_})
        assert gone["message"] == "this transaction has ended: it was rolled back"


@PLACES
async def test_a_call_that_fails_undoes_itself_alone(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        failed = await program.peer.error("update_accounts", pay(id_, 2, -1))
        assert failed["code"] == "check_violation"
        rows = [{"id": 9, "balance": 1}, {"id": 1, "balance": 1}]
        failed = await program.peer.error("insert_accounts", {"rows": rows, "transaction_id": id_})
        assert failed["code"] == "unique_violation"
        rehearsed = await program.peer.call("update_accounts", {**pay(id_, 2, 1), "dry_run": True})
        assert (rehearsed["updated"], rehearsed["outcome"]) == (1, "rolled_back")
        await program.peer.call("update_accounts", pay(id_, 2, 80))
        ended = await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert ended["operations"] == [{"tool": "update", "table": "accounts", "calls": 2, "rows": 2}]
        assert stored(accounts) == [(1, 70), (2, 80)]


@PLACES
async def test_a_handle_of_somebody_else_is_answered_like_one_that_never_was(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program, AsyncExitStack() as stack:
        other = await join(stack, program.server, LEGACY)
        id_ = await begun(program.peer)
        ended = await begun(program.peer, read_only=True)
        await program.peer.call("rollback_transaction", {"transaction_id": ended})
        calls: list[tuple[str, dict[str, Any]]] = [
            ("query_accounts", {}),
            ("update_accounts", {"where": {"id": 1}, "set": {"balance": 0}}),
            ("run_batch", {"calls": [{"tool": "query_accounts"}]}),
            ("commit_transaction", {}),
            ("rollback_transaction", {}),
        ]
        for tool, arguments in calls:
            answers = [
                (await other.client.call_tool(tool, {**arguments, "transaction_id": shown})).model_dump()
                for shown in ("x" * len(id_), id_, ended)
            ]
            assert answers[0] == answers[1] == answers[2]
            assert "there is no such transaction" in str(answers[0])
        assert (await other.call("server_status"))["transactions"] == {"open": 1, "size": 5, "own": []}
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert stored(accounts) == [(1, 70), (2, 50)]


@PLACES
async def test_one_ends_with_its_session(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        async with AsyncExitStack() as stack:
            other = await join(stack, program.server, LEGACY)
            id_ = await begun(other)
            await other.call("update_accounts", pay(id_, 1, 70))
        await until(lambda: held(program) == 0)
        assert stored(accounts) == [(1, 100), (2, 50)]
        await program.peer.call("update_accounts", {"where": {"id": 1}, "set": {"balance": 1}})


@PLACES
async def test_one_that_nobody_uses_is_rolled_back_and_its_owner_is_told(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", transactions__idle_timeout_s=0.3) as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        await until(lambda: held(program) == 0)
        error = await program.peer.error("update_accounts", pay(id_, 1, 60))
        assert error["message"] == (
            "this transaction has ended: it was rolled back after 0.3 s in which nothing was called in it "
            "(transactions.idle_timeout_s)"
        )
        assert (error["code"], error["retryable"]) == ("unknown_transaction", False)
        assert stored(accounts) == [(1, 100), (2, 50)]


@PLACES
async def test_no_call_makes_one_older_than_it_may_be(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", transactions__max_age_s=0.6) as program:
        id_ = await begun(program.peer)
        answer: dict[str, Any] = {}
        while "error" not in answer:
            answer = await program.peer.call("update_accounts", pay(id_, 1, 70))
        assert "0.6 s after it had begun (transactions.max_age_s)" in answer["error"]["message"]
        await until(lambda: held(program) == 0)
        assert stored(accounts) == [(1, 100), (2, 50)]


@PLACES
async def test_twenty_calls_at_once_on_one_run_in_the_order_they_came(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", limits__call_timeout_s=30.0) as program:
        id_ = await begun(program.peer)
        for_all = [program.peer.call("update_accounts", pay(id_, 1, number)) for number in range(20)]
        commit = program.peer.call("commit_transaction", {"transaction_id": id_})
        *answers, ended = await asyncio.gather(*for_all, commit)
        assert {answer["outcome"] for answer in answers} == {"in_transaction"}
        assert ended["operations"] == [{"tool": "update", "table": "accounts", "calls": 20, "rows": 20}]
        assert stored(accounts) == [(1, 19), (2, 50)]


@PLACES
async def test_a_batch_runs_in_one_whole_or_each_call_by_itself(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        wrong = {"tool": "update_accounts", "arguments": {"where": {"id": 1}, "set": {"balance": -1}}}
        right = {"tool": "update_accounts", "arguments": {"where": {"id": 2}, "set": {"balance": 80}}}
        rows = [{"tool": "insert_accounts", "arguments": {"rows": [{"id": id_, "balance": 0}]}} for id_ in (3, 4)]
        together = await program.peer.call("run_batch", {"calls": [right, wrong], "transaction_id": id_})
        assert (together["error"]["code"], together["outcome"]) == ("check_violation", "rolled_back")
        apart = await program.peer.call(
            "run_batch", {"calls": [wrong, right, *rows], "mode": "independent", "transaction_id": id_}
        )
        assert apart["outcome"] == "in_transaction"
        assert ["error" in result for result in apart["results"]] == [True, False, False, False]
        whole = await program.peer.call("run_batch", {"calls": [right], "transaction_id": id_})
        assert (whole["outcome"], whole["results"][0]["result"]["outcome"]) == ("in_transaction", "in_transaction")
        assert stored(accounts) == [(1, 100), (2, 50)]
        await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert stored(accounts) == [(1, 100), (2, 80), (3, 0), (4, 0)]


@PLACES
async def test_a_read_only_one_reads_one_state_of_the_database_and_writes_nothing(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        opened = await program.peer.call("begin_transaction", {"isolation": "repeatable read", "read_only": True})
        assert opened["read_only"] is True
        id_ = opened["transaction_id"]
        asked = {"where": {"id": 1}, "transaction_id": id_}
        before = await program.peer.rows("query_accounts", asked)
        if accounts.product == "postgresql":
            accounts.execute("UPDATE accounts SET balance = 1")
        assert await program.peer.rows("query_accounts", asked) == before
        refused = await program.peer.error("update_accounts", pay(id_, 1, 0))
        assert (refused["code"], refused["message"]) == ("read_only", "the transaction is read-only")
        assert (await program.peer.call("commit_transaction", {"transaction_id": id_}))["rows"] == 0
    async with inside(accounts.url, access__mode="read") as program:
        opened = await program.peer.call("begin_transaction", {"read_only": False})
        assert opened["read_only"] is True


@PLACES
async def test_what_does_not_go_in_one_is_refused(accounts: Place) -> None:
    async with inside(accounts.url, transactions__per_session=1) as program:
        id_ = await begun(program.peer, read_only=True)
        rows = [{"id": 3, "balance": 0}]
        error = await program.peer.error(
            "insert_accounts", {"rows": rows, "idempotency_key": "k", "transaction_id": id_}
        )
        assert error["message"].startswith("'idempotency_key' does not go with 'transaction_id'")
        error = await program.peer.error("begin_transaction")
        assert (error["code"], error["retryable"]) == ("busy", True)
        assert "1 transactions are open already in this session" in error["message"]
        assert 30 < error["details"]["retry_after_s"] <= 60
        error = await program.peer.error("begin_transaction", {"isolation": "snapshot"})
        assert "'isolation' takes one of read committed, repeatable read, serializable" in error["message"]
        error = await program.peer.error("begin_transaction", {"description": "x" * 201})
        assert "'description' has 201 characters" in error["message"]
        error = await program.peer.error("commit_transaction")
        assert error["code"] == "missing_argument"


@POSTGRESQL
async def test_open_ones_starve_no_single_call(accounts: Place) -> None:
    async with (
        inside(accounts.url, pool__size=1, pool__transaction_size=2, access__mode="write") as program,
        AsyncExitStack() as stack,
    ):
        others = [await join(stack, program.server, LEGACY) for _ in range(3)]
        opened = [await begun(other) for other in others[:2]]
        error = await others[2].error("begin_transaction")
        assert (error["code"], error["retryable"]) == ("busy", True)
        assert error["message"] == (
            "2 transactions are open already on database 'database', and there may be no more (pool.transaction_size)"
        )
        assert "one that nobody uses ends after 60 s" in error["hint"]
        assert 30 < error["details"]["retry_after_s"] <= 60
        await others[0].call("update_accounts", pay(opened[0], 1, 70))
        assert len(await others[2].rows("query_accounts")) == 2
        await others[0].call("rollback_transaction", {"transaction_id": opened[0]})
        await begun(others[2])


@PLACES
async def test_one_that_finds_no_place_has_it_when_it_was_told(accounts: Place) -> None:
    settings: dict[str, Any] = {"transactions__idle_timeout_s": 1.0, "transactions__per_session": 1}
    async with inside(accounts.url, access__mode="write", **settings) as program:
        id_ = await begun(program.peer, read_only=True)
        error = await program.peer.error("begin_transaction", {"read_only": True})
        assert 0 < error["details"]["retry_after_s"] <= 1
        await until(lambda: held(program) == 0)
        told = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert told["message"].startswith("this transaction has ended: it was rolled back after 1 s")
        await begun(program.peer, read_only=True)


@PLACES
async def test_the_end_of_the_server_rolls_back_what_is_open(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        assert held(program) == 1
    assert held(program) == 0
    accounts.execute("UPDATE accounts SET balance = balance + 1")
    assert stored(accounts) == [(1, 101), (2, 51)]


@PLACES
async def test_kept_answers_and_those_who_wait_hear_of_a_commit(accounts: Place) -> None:
    settings: dict[str, Any] = {"access__mode": "write", "cache__ttl_s": 60.0, "tools__groups": ["wait_for_change"]}
    async with inside(accounts.url, **settings) as program, AsyncExitStack() as stack:
        other = await join(stack, program.server, LEGACY)
        asked = {"where": {"id": 1}}
        assert (await other.rows("query_accounts", asked))[0]["balance"] == 100
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        wait = {"table": "accounts", "timeout_s": 15.0}
        waiting = asyncio.create_task(other.call("wait_for_change", wait))
        rows = program.app.sources["database"].rows
        await until(lambda: bool(rows.waiting) and all(wait.now is not None for wait in rows.waiting))
        assert (await other.rows("query_accounts", asked))[0]["balance"] == 100
        await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert (await other.rows("query_accounts", asked))[0]["balance"] == 70
        assert (await waiting)["changed"] is True
