"""What goes wrong in a transaction over several calls: what is left of it, what is told; nothing stays behind."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from tests.accounts import PLACES, POSTGRESQL, SQLITE, begun, held, pay, stored, with_accounts
from tests.conftest import Place
from tests.notes_server import opening, request
from tests.peers import COMMAND, LEGACY, LIMIT_S, MODERN, Peer, environment, inside, inside_several, join, served
from tests.proxy import proxied
from tests.test_running import SLOW, busy
from tests.test_stopping import until_serving
from tests.waiting import until


@pytest.fixture
def accounts(place: Place) -> Place:
    return with_accounts(place)


ENDED = "with it the transaction has ended, and everything in it was rolled back"
IN_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'schema-mcp' AND state LIKE 'idle in%'"
)


@pytest.fixture
def slow(accounts: Place) -> Place:
    for sql in SLOW[accounts.product]:
        accounts.execute(sql)
    return accounts


async def commit(peer: Peer, id_: str) -> dict[str, Any]:
    return await peer.call("commit_transaction", {"transaction_id": id_})


# Cut short


@PLACES
async def test_a_reading_that_is_cancelled_or_too_long_leaves_what_was_done_before_it(slow: Place) -> None:
    async with inside(slow.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        late = await program.peer.error("query_slow", {"transaction_id": id_, "timeout_s": 0.2})
        assert (late["code"], late["message"]) == (
            "timeout",
            "the call took longer than 0.2 s (timeout_s) and was stopped",
        )
        call = asyncio.create_task(program.peer.call("query_slow", {"transaction_id": id_}))
        await until(lambda: busy(slow))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await program.peer.call("update_accounts", pay(id_, 2, 80))
        assert (await commit(program.peer, id_))["rows"] == 2
        assert stored(slow) == [(1, 70), (2, 80)]


@PLACES
async def test_a_write_that_takes_too_long_is_undone_alone_where_the_database_can(slow: Place) -> None:
    async with inside(slow.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        rows = {"rows": [{"id": 1}], "transaction_id": id_, "timeout_s": 0.2}
        late = await program.peer.error("insert_slow_rows", rows)
        assert (late["code"], late["retryable"]) == ("timeout", slow.product == "postgresql")
        if slow.product == "sqlite":  # it rolls back everything where a write is interrupted
            assert ENDED in late["message"]
            assert held(program) == 0
            assert stored(slow) == [(1, 100), (2, 50)]
        else:
            await commit(program.peer, id_)
            assert stored(slow) == [(1, 70), (2, 50)]


@PLACES
async def test_a_call_waits_for_its_turn_no_longer_than_for_a_connection(slow: Place) -> None:
    async with inside(slow.url, pool__acquire_timeout_s=0.2, transactions__max_age_s=1.5) as program:
        id_ = await begun(program.peer, read_only=True)
        running = asyncio.create_task(program.peer.error("query_slow", {"transaction_id": id_}))
        await until(lambda: busy(slow))
        error = await program.peer.error("query_accounts", {"transaction_id": id_})
        assert (error["code"], error["retryable"]) == ("busy", True)
        assert error["message"] == "another call in the transaction takes longer than 0.2 s"
        told = await running  # it is stopped when the transaction is too old
        assert (told["code"], "1.5 s after it had begun" in told["message"]) == ("unknown_transaction", True)
        await until(lambda: held(program) == 0 and not busy(slow))


# The database


@POSTGRESQL
async def test_a_conflict_with_another_transaction_ends_it(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        id_ = await begun(program.peer, isolation="repeatable read")
        await program.peer.call("update_accounts", pay(id_, 2, 1))
        accounts.execute("UPDATE accounts SET balance = 5 WHERE id = 1")
        error = await program.peer.error("update_accounts", pay(id_, 1, 70))
        assert (error["sqlstate"], error["retryable"]) == ("40001", False)
        assert error["message"].endswith(ENDED)
        assert error["hint"] == "Begin another with begin_transaction, and repeat in it all that is still wanted."
        assert (await program.peer.error("commit_transaction", {"transaction_id": id_}))["message"] == (
            "this transaction has ended: it was rolled back because of an error (busy)"
        )
        assert (held(program), stored(accounts)) == (0, [(1, 5), (2, 50)])


def pay_in_a_batch(id_: str, account: int, balance: int) -> dict[str, Any]:
    one = {"where": {"id": account}, "set": {"balance": balance}}
    calls = [{"tool": "update_accounts", "arguments": one}, {"tool": "query_accounts", "arguments": {}}]
    return {"calls": calls, "transaction_id": id_}


@POSTGRESQL
@pytest.mark.parametrize(("tool", "arguments"), [("update_accounts", pay), ("run_batch", pay_in_a_batch)])
async def test_of_two_that_wait_for_each_other_one_ends_and_the_other_goes_on(
    accounts: Place, tool: str, arguments: Callable[[str, int, int], dict[str, Any]]
) -> None:
    async with inside(accounts.url, access__mode="write", limits__lock_timeout_s=10) as program:
        one, other = await begun(program.peer), await begun(program.peer)
        await program.peer.call("update_accounts", pay(one, 1, 11))
        await program.peer.call("update_accounts", pay(other, 2, 22))
        answers = await asyncio.gather(
            program.peer.call(tool, arguments(one, 2, 12)), program.peer.call(tool, arguments(other, 1, 21))
        )
        (victim,) = [place for place, answer in enumerate(answers) if "error" in answer]
        error = answers[victim]["error"]
        assert (error["sqlstate"], error["retryable"], ENDED in error["message"]) == ("40P01", False, True)
        assert held(program) == 1
        await commit(program.peer, (other, one)[victim])
        assert stored(accounts) == ([(1, 21), (2, 22)], [(1, 11), (2, 12)])[victim]


@POSTGRESQL
async def test_a_lock_that_cannot_be_had_leaves_what_was_done_before(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", limits__lock_timeout_s=0.2) as program:
        one, other = await begun(program.peer), await begun(program.peer)
        await program.peer.call("update_accounts", pay(one, 1, 70))
        await program.peer.call("update_accounts", pay(other, 2, 80))
        error = await program.peer.error("update_accounts", pay(other, 1, 0))
        assert (error["code"], error["retryable"]) == ("lock_timeout", True)
        await commit(program.peer, one)
        await program.peer.call("update_accounts", pay(other, 1, 60))
        await commit(program.peer, other)
        assert stored(accounts) == [(1, 60), (2, 80)]


@POSTGRESQL
async def test_a_connection_that_is_lost_ends_it_and_is_told(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write") as program:
        first, second = await begun(program.peer), await begun(program.peer)
        await program.peer.call("update_accounts", pay(first, 1, 70))
        accounts.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'schema-mcp' "
            "AND state LIKE 'idle in%'"
        )
        error = await program.peer.error("update_accounts", pay(first, 2, 80))
        assert (error["code"], error["retryable"]) == ("database_unavailable", False)
        assert error["message"].endswith(ENDED)
        assert (await program.peer.error("commit_transaction", {"transaction_id": second}))["code"] == (
            "database_unavailable"
        )
        assert (held(program), stored(accounts)) == (0, [(1, 100), (2, 50)])
        third = await begun(program.peer)
        await program.peer.call("update_accounts", pay(third, 1, 70))
        await commit(program.peer, third)
        assert stored(accounts) == [(1, 70), (2, 50)]


@POSTGRESQL
async def test_a_call_keeps_to_its_time_where_nobody_answers(accounts: Place) -> None:
    async with proxied(accounts.url) as proxy, inside(proxy.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        proxy.forget()
        async with asyncio.timeout(1.5):
            error = await program.peer.error("query_accounts", {"transaction_id": id_, "timeout_s": 0.5})
        assert (error["code"], error["retryable"], error["message"]) == (
            "timeout",
            False,
            f"the call took longer than 0.5 s (timeout_s) and was stopped; {ENDED}",
        )
        ended = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert ended["message"] == "this transaction has ended: it was rolled back because of an error (timeout)"
        assert held(program) == 0


@POSTGRESQL
async def test_a_cancelled_call_is_not_waited_for_where_nobody_answers(accounts: Place) -> None:
    async with proxied(accounts.url) as proxy, inside(proxy.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        proxy.forget()
        call = asyncio.create_task(program.peer.call("query_accounts", {"transaction_id": id_}))
        await until(lambda: proxy.held)
        call.cancel()
        await until(lambda: held(program) == 0, 1.5)
        error = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert error["code"] == "unknown_transaction"


@POSTGRESQL
async def test_a_commit_whose_answer_is_lost_is_told_as_it_was(accounts: Place) -> None:
    async with proxied(accounts.url) as proxy, inside(proxy.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        proxy.lose(b"COMMIT", reply=True)
        assert (await commit(program.peer, id_))["outcome"] == "committed"
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 60))
        proxy.lose(b"COMMIT")
        error = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert (error["code"], error["retryable"]) == ("database_unavailable", False)
        assert error["message"] == (
            "the transaction could not be committed, and the database has rolled back everything in it"
        )
        assert proxy.lost == 2
        assert (held(program), stored(accounts)) == (0, [(1, 70), (2, 50)])


@PLACES
async def test_what_is_put_off_to_the_commit_ends_it_there(accounts: Place) -> None:
    accounts.execute(
        "CREATE TABLE cards (id integer PRIMARY KEY, account_id integer REFERENCES accounts (id) "
        "DEFERRABLE INITIALLY DEFERRED)"
    )
    async with inside(accounts.url) as program:
        id_ = await begun(program.peer)
        row = {"id": 1, "account_id": 9}
        await program.peer.call("insert_cards", {"rows": [row], "transaction_id": id_})
        error = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert (error["code"], error["retryable"]) == ("foreign_key_violation", False)
        assert ENDED in error["message"]
        assert held(program) == 0


@SQLITE
async def test_there_is_one_writer_on_sqlite_and_others_wait_no_longer_than_for_a_lock(
    accounts: Place,
) -> None:
    async with inside(accounts.url, access__mode="write", limits__lock_timeout_s=0.2) as program:
        id_ = await begun(program.peer)
        for tool, arguments in (
            ("begin_transaction", {}),
            ("update_accounts", {"where": {"id": 1}, "set": {"balance": 0}}),
        ):
            error = await program.peer.error(tool, arguments)
            assert (error["code"], error["retryable"]) == ("lock_timeout", True)
        reader = await begun(program.peer, read_only=True)
        assert len(await program.peer.rows("query_accounts", {"transaction_id": reader})) == 2
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        blocked = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert (blocked["code"], blocked["retryable"]) == ("lock_timeout", False)
        assert blocked["message"] == f"Another connection holds the database locked; {ENDED}"
        assert "one that only reads" in blocked["hint"]
        assert len(await program.peer.rows("query_accounts")) == 2  # nobody is kept out by what was refused
        assert stored(accounts) == [(1, 100), (2, 50)]
        await program.peer.call("rollback_transaction", {"transaction_id": reader})
        again = await begun(program.peer)
        await program.peer.call("update_accounts", pay(again, 1, 70))
        assert (await commit(program.peer, again))["outcome"] == "committed"
        assert stored(accounts) == [(1, 70), (2, 50)]


# The schema


@POSTGRESQL
async def test_a_table_that_changes_meanwhile_is_told_and_the_rest_stays(accounts: Place) -> None:
    accounts.execute("CREATE TABLE notes (id integer PRIMARY KEY, body text)")
    async with inside(accounts.url, access__mode="write", watch__poll_interval_s=60.0) as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        old = {"rows": [{"id": 1, "words": "x"}], "transaction_id": id_}
        assert (await program.peer.error("insert_notes", old))["code"] == "unknown_column"
        accounts.execute("ALTER TABLE notes RENAME COLUMN body TO words")
        assert (await program.peer.call("insert_notes", old))["outcome"] == "in_transaction"
        assert (await commit(program.peer, id_))["rows"] == 2


@POSTGRESQL
async def test_a_table_that_took_anothers_name_is_not_written_in_an_old_snapshot(accounts: Place) -> None:
    accounts.execute("CREATE TABLE drafts (id integer PRIMARY KEY, balance integer NOT NULL CHECK (balance >= 0))")
    accounts.execute("CREATE TABLE ticks (id integer PRIMARY KEY)")
    async with inside(accounts.url, access__mode="write", watch__poll_interval_s=60.0) as program:
        id_ = await begun(program.peer, isolation="repeatable read")
        await program.peer.call("query_ticks", {"transaction_id": id_})
        accounts.execute(
            "BEGIN; ALTER TABLE accounts RENAME TO kept; ALTER TABLE drafts RENAME TO accounts; "
            "ALTER TABLE kept RENAME TO drafts; COMMIT"
        )
        rows = [{"id": 7, "balance": 7}]
        error = await program.peer.error("insert_accounts", {"rows": rows, "transaction_id": id_})
        assert error["code"] == "stale_schema"
        await commit(program.peer, id_)
        assert accounts.execute("SELECT count(*) FROM accounts") == "0"


@PLACES
async def test_a_call_for_another_database_is_refused_by_its_name(accounts: Place) -> None:
    async with inside_several(bank=accounts.url, shop="sample") as program:
        error = await program.peer.error("begin_transaction")
        assert error["code"] == "missing_argument"
        id_ = await begun(program.peer, source="bank")
        error = await program.peer.error("query_shop_orders", {"transaction_id": id_})
        assert error["message"] == "the transaction is one of source 'bank', and the call is for source 'shop'"
        assert len(await program.peer.rows("query_bank_accounts", {"transaction_id": id_})) == 2


# The server


@PLACES
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_of_one_outlives_the_server(accounts: Place, end: signal.Signals) -> None:
    variables = {**os.environ, **environment({"access__mode": "write"})}
    async with asyncio.timeout(LIMIT_S), await anyio.open_process([*COMMAND, accounts.url], env=variables) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await until_serving(process)
        await process.stdin.send(opening(LEGACY) + request(1, "tools/call", LEGACY, name="begin_transaction"))
        words = b""
        while b"transaction_id" not in words:
            words += await process.stdout.receive()
        process.send_signal(end)
        await process.wait()
    if accounts.product == "postgresql":
        await until(lambda: accounts.execute(IN_TRANSACTION) == "0")
    accounts.execute("UPDATE accounts SET balance = 1")


@POSTGRESQL
async def test_the_database_itself_is_told_the_limits(accounts: Place) -> None:
    async with inside(accounts.url, access__sql="read", transactions__idle_timeout_s=7.0) as program:
        id_ = await begun(program.peer)
        limits = ("idle_in_transaction_session_timeout", "transaction_timeout")
        sql = f"SELECT {', '.join(f'current_setting({name!r})' for name in limits)}"
        answer = await program.peer.call("execute_sql", {"sql": sql, "transaction_id": id_})
        assert [list(row.values()) for row in answer["rows"]] == [["12s", "605s"]]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_over_http_the_handle_alone_is_enough_where_nobody_signs_in(accounts: Place) -> None:
    async with served(accounts.url, "http", access__mode="write") as scene:
        first, second, legacy = [await scene.join(era) for era in (MODERN, MODERN, LEGACY)]
        id_ = await begun(first)
        assert (await second.call("server_status"))["transactions"]["own"] == []
        await second.call("update_accounts", pay(id_, 1, 70))
        error = await legacy.error("update_accounts", pay(id_, 1, 0))
        assert error["message"] == "there is no such transaction"
        async with AsyncExitStack() as stack:
            another = await join(stack, scene.target, LEGACY)
            lost = await begun(another, read_only=True)
        assert (await first.error("query_accounts", {"transaction_id": lost}))["message"] == error["message"]
        assert (await commit(first, id_))["rows"] == 1
        assert stored(accounts) == [(1, 70), (2, 50)]
