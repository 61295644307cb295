"""COMMIT on SQLite: into the file that is served, and with an outcome that is known."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import begun, held, pay, stored, with_accounts
from tests.conftest import Place
from tests.peers import Inside, inside
from tests.waiting import until

pytestmark = pytest.mark.parametrize("place", ["sqlite"], indirect=True)

ENDED = "with it the transaction has ended, and everything in it was rolled back"
BEFORE = [(1, 100), (2, 50)]
PAID = {"where": {"id": 1}, "set": {"balance": 70}}
UPDATE = "UPDATE accounts SET balance = 70 WHERE id = 1"
WRITES: dict[str, dict[str, Any]] = {
    "update_accounts": PAID,
    "execute_sql": {"sql": UPDATE},
    "run_batch": {"calls": [{"tool": "update_accounts", "arguments": PAID}]},
}


@pytest.fixture
def accounts(place: Place) -> Place:
    return with_accounts(place)


@pytest.fixture(params=["delete", "wal"])
def journalled(request: pytest.FixtureRequest, accounts: Place) -> Place:
    accounts.execute(f"PRAGMA journal_mode = {request.param}")
    return accounts


@contextmanager
def read_by_another(place: Place) -> Iterator[None]:
    """Somebody else reads, and COMMIT has to wait."""
    reader = sqlite3.connect(place.url, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM accounts").fetchall()
    try:
        yield
    finally:
        reader.close()


def commit_waits(place: Place) -> bool:
    """No new reader is let in (SQLite's PENDING lock)."""
    other = sqlite3.connect(place.url, timeout=0)
    try:
        other.execute("SELECT * FROM accounts").fetchall()
    except sqlite3.OperationalError:
        return True
    finally:
        other.close()
    return False


def replaced(path: str) -> None:
    os.replace(f"{path}.other", path)


def gone(path: str) -> None:
    Path(path).unlink()


# The file


@pytest.mark.parametrize("lose", [replaced, gone])
@pytest.mark.parametrize("told", [True, False], ids=["told before", "told by it"])
async def test_a_transaction_ends_with_its_file(journalled: Place, lose: Callable[[str], None], told: bool) -> None:
    shutil.copy(journalled.url, f"{journalled.url}.other")
    async with inside(journalled.url, access__mode="write") as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        lose(journalled.url)
        tool = "query_accounts" if told else "commit_transaction"
        error = await program.peer.error(tool, {"transaction_id": id_})
        assert (error["code"], error["retryable"]) == ("database_unavailable", False)
        assert error["message"].endswith(ENDED)
        error = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert error["message"] == (
            "this transaction has ended: it was rolled back because of an error (database_unavailable)"
        )
        assert held(program) == 0
        if lose is replaced:
            assert stored(journalled) == BEFORE


@pytest.mark.parametrize("tool", [*WRITES, "commit_transaction"])
async def test_a_file_that_is_replaced_while_a_commit_waits_leaves_it_unknown(accounts: Place, tool: str) -> None:
    shutil.copy(accounts.url, f"{accounts.url}.other")
    options: dict[str, Any] = {"access__mode": "write", "access__sql": "write", "limits__lock_timeout_s": 20.0}
    async with inside(accounts.url, **options) as program:
        arguments = WRITES.get(tool)
        if arguments is None:
            arguments = {"transaction_id": await begun(program.peer)}
            await program.peer.call("update_accounts", {**PAID, **arguments})
        with read_by_another(accounts):
            writing = asyncio.create_task(program.peer.error(tool, arguments))
            await until(lambda: commit_waits(accounts))
            replaced(accounts.url)
        error = await writing
        assert (error["code"], error["retryable"]) == ("outcome_unknown", False)
        assert stored(accounts) == BEFORE
        assert _idle(program)


@pytest.mark.parametrize("tool", WRITES)
async def test_a_file_that_was_replaced_before_the_call_is_written(accounts: Place, tool: str) -> None:
    shutil.copy(accounts.url, f"{accounts.url}.other")
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        await program.peer.rows("query_accounts")
        replaced(accounts.url)
        assert "error" not in await program.peer.call(tool, WRITES[tool])
        assert stored(accounts) == [(1, 70), (2, 50)]


# Cut short


@pytest.mark.parametrize("tool", WRITES)
async def test_a_commit_that_is_out_of_time_while_another_reads_is_told_as_not_done(accounts: Place, tool: str) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        with read_by_another(accounts):
            error = await program.peer.error(tool, {**WRITES[tool], "timeout_s": 0.3})
        assert (error["code"], stored(accounts)) == ("timeout", BEFORE)
        assert _idle(program)
        assert "error" not in await program.peer.call(tool, WRITES[tool])
        assert stored(accounts) == [(1, 70), (2, 50)]


async def test_a_transactions_commit_that_is_out_of_time_is_rolled_back_and_told(accounts: Place) -> None:
    async with inside(
        accounts.url, access__mode="write", limits__call_timeout_s=0.5, limits__lock_timeout_s=20.0
    ) as program:
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        with read_by_another(accounts):
            error = await program.peer.error("commit_transaction", {"transaction_id": id_})
            assert (error["code"], error["retryable"]) == ("timeout", False)
            assert error["message"] == (
                f"the call took longer than 0.5 s (limits.call_timeout_s) and was stopped; {ENDED}"
            )
            assert not commit_waits(accounts)
        assert (held(program), stored(accounts)) == (0, BEFORE)


@pytest.mark.parametrize("tool", [*WRITES, "commit_transaction"])
async def test_a_commit_that_is_cancelled_while_another_reads_is_not_done(accounts: Place, tool: str) -> None:
    options: dict[str, Any] = {"access__mode": "write", "access__sql": "write", "limits__lock_timeout_s": 20.0}
    async with inside(accounts.url, **options) as program:
        arguments = WRITES.get(tool)
        if arguments is None:
            arguments = {"transaction_id": await begun(program.peer)}
            await program.peer.call("update_accounts", {**PAID, **arguments})
        with read_by_another(accounts):
            writing = asyncio.create_task(program.peer.call(tool, arguments))
            await until(lambda: commit_waits(accounts))
            writing.cancel()
            await asyncio.wait({writing})
            await until(lambda: _idle(program) and not commit_waits(accounts))
        assert stored(accounts) == BEFORE
        if tool == "commit_transaction":
            error = await program.peer.error(tool, arguments)
            assert error["message"] == (
                "this transaction has ended: it was rolled back because a call in it was cancelled"
            )


# Refused


@pytest.mark.parametrize("within", [True, False], ids=["in a transaction", "by itself"])
async def test_a_trigger_that_rolls_everything_back_is_told_and_names_no_wrong_call(
    accounts: Place, within: bool
) -> None:
    accounts.execute("CREATE TABLE trials (id integer PRIMARY KEY)")
    accounts.execute(
        "CREATE TRIGGER unlucky BEFORE INSERT ON trials WHEN new.id = 13 BEGIN SELECT RAISE(ROLLBACK, 'unlucky'); END"
    )
    calls = [{"tool": "insert_trials", "arguments": {"rows": [{"id": id_}]}} for id_ in (1, 13)]
    async with inside(accounts.url) as program:
        more = {"transaction_id": await begun(program.peer)} if within else {}
        error = await program.peer.error("run_batch", {"calls": calls, **more})
        assert error["code"] == "constraint_violation"
        assert "table 'trials' refused the row: unlucky" in error["message"]
        assert error["message"].endswith(ENDED) is within
        assert "call" not in error.get("details", {})
        alone = await program.peer.error("insert_trials", {"rows": [{"id": 13}]})
        assert alone["hint"] == "A trigger or a rule of the table refused it; the message says why."
        assert accounts.execute("SELECT id FROM trials") == []
        assert _idle(program)


def _idle(program: Inside) -> bool:
    return held(program) == 0 and program.app.database.in_use == 0
