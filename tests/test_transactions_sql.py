"""A caller's own statements in a transaction over several calls: what they may do to it, and what they leave behind."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.accounts import PLACES, POSTGRESQL, begun, held, pay, stored, with_accounts
from tests.conftest import Place
from tests.peers import LEGACY, Peer, inside, join
from tests.test_running import SLOW
from tests.waiting import until


@pytest.fixture
def accounts(place: Place) -> Place:
    return with_accounts(place)


async def sql(peer: Peer, id_: str, text: str) -> list[dict[str, object]]:
    answer = await peer.call("execute_sql", {"sql": text, "transaction_id": id_})
    assert "error" not in answer, answer
    rows: list[dict[str, object]] = answer.get("rows", [])
    return rows


@PLACES
async def test_statements_see_and_make_what_the_transaction_holds(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        id_ = await begun(program.peer)
        rows = [{"id": 3, "balance": 5}]
        await program.peer.call("insert_accounts", {"rows": rows, "transaction_id": id_})
        for _ in range(2):
            assert await sql(program.peer, id_, "SELECT count(*) AS n FROM accounts") == [{"n": 3}]
        update = {"sql": "UPDATE accounts SET balance = balance + 1", "transaction_id": id_}
        done = await program.peer.call("execute_sql", update)
        assert (done["affected"], done["outcome"]) == (3, "in_transaction")
        failed = await program.peer.error("execute_sql", {**update, "sql": "UPDATE accounts SET balance = -1"})
        assert failed["code"] == "check_violation"
        asked = {"sql": "SELECT * FROM accounts", "transaction_id": id_}
        assert (await program.peer.call("explain_query", asked))["plan"]
        read = await program.peer.rows("query_accounts", {"order_by": ["id"], "transaction_id": id_})
        assert [row["balance"] for row in read] == [101, 51, 6]
        assert stored(accounts) == [(1, 100), (2, 50)]
        ended = await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert ended["rows"] == 4
        assert {"tool": "execute_sql", "calls": 3, "rows": 3} in ended["operations"]
        assert (held(program), stored(accounts)) == (0, [(1, 101), (2, 51), (3, 6)])


@PLACES
async def test_where_sql_may_only_read_it_does_so_in_a_transaction_that_writes(accounts: Place) -> None:
    if accounts.product == "postgresql":
        accounts.execute(
            "CREATE FUNCTION spend() RETURNS integer LANGUAGE sql AS "
            "'UPDATE accounts SET balance = 0 WHERE id = 1 RETURNING 1'"
        )
    async with inside(accounts.url, access__mode="write", access__sql="read") as program:
        id_ = await begun(program.peer)
        writing = ["UPDATE accounts SET balance = 0", "UPDATE accounts SET balance = 0 RETURNING id", "COMMIT"]
        if accounts.product == "postgresql":
            writing += ["SELECT spend()", "SET LOCAL transaction_read_only = off", "ROLLBACK TO SAVEPOINT call"]
        for text in writing:
            error = await program.peer.error("execute_sql", {"sql": text, "transaction_id": id_})
            assert error["code"] in ("not_allowed", "read_only"), text
        where = {"where": {"id": 2}, "set": {"balance": 1}, "transaction_id": id_}
        assert (await program.peer.call("update_accounts", where))["updated"] == 1
        await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert stored(accounts) == [(1, 100), (2, 1)]


@PLACES
async def test_a_read_only_one_says_that_it_is_to_a_statement_that_writes(accounts: Place) -> None:
    hint = "Begin another without read_only, where the server's access.mode lets it write."
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        id_ = await begun(program.peer, read_only=True)
        refused = await program.peer.error("update_accounts", pay(id_, 1, 0))
        for text in ("UPDATE accounts SET balance = 0", "UPDATE accounts SET balance = 0 RETURNING id"):
            error = await program.peer.error("execute_sql", {"sql": text, "transaction_id": id_})
            assert error["message"].startswith("the transaction is read-only"), error
            assert (error["code"], error["hint"]) == ("read_only", hint) == (refused["code"], refused["hint"])
        assert await sql(program.peer, id_, "SELECT 1 AS n") == [{"n": 1}]
    async with inside(accounts.url, access__mode="write", access__sql="read") as program:
        id_ = await begun(program.peer, read_only=True)
        error = await program.peer.error("execute_sql", {"sql": text, "transaction_id": id_})
        assert error["hint"].endswith("Writing is off here (access.sql).")


@POSTGRESQL
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("COMMIT", "(COMMIT): everything done in it is committed"),
        ("COMMIT AND CHAIN", "(COMMIT): everything done in it is committed"),
        ("ROLLBACK", "(ROLLBACK): everything done in it is undone"),
        ("ROLLBACK AND CHAIN", "(ROLLBACK): everything done in it is undone"),
        ("ROLLBACK TO SAVEPOINT call", "(ROLLBACK): everything done in it is undone"),
    ],
)
async def test_a_statement_that_ends_the_transaction_is_told(accounts: Place, text: str, told: str) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        id_ = await begun(program.peer)
        await sql(program.peer, id_, "UPDATE accounts SET balance = 1 WHERE id = 1")
        error = await program.peer.error("execute_sql", {"sql": text, "transaction_id": id_})
        assert (error["code"], error["message"]) == (
            "not_allowed",
            f"the statement has ended the transaction that it ran in {told}",
        )
        later = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert later["message"] == f"this transaction has ended: a statement of its own has ended it {told}"
        assert held(program) == 0
        assert stored(accounts) == [(1, 1 if "committed" in told else 100), (2, 50)]


@POSTGRESQL
@pytest.mark.parametrize("text", ["COMMIT", "END", "COMMIT AND CHAIN"])
async def test_kept_answers_and_those_who_wait_hear_of_a_commit_by_a_statement(accounts: Place, text: str) -> None:
    settings: dict[str, Any] = {
        "cache__ttl_s": 60.0,
        "tools__groups": ["wait_for_change"],
        "watch__poll_interval_s": 60,
    }
    async with (
        inside(accounts.url, access__mode="write", access__sql="write", **settings) as program,
        AsyncExitStack() as stack,
    ):
        other = await join(stack, program.server, LEGACY)
        asked = {"where": {"id": 1}}
        assert (await other.rows("query_accounts", asked))[0]["balance"] == 100
        id_ = await begun(program.peer)
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        await sql(program.peer, id_, "CREATE TABLE later (id integer PRIMARY KEY)")
        waiting = asyncio.create_task(other.call("wait_for_change", {"table": "accounts", "timeout_s": 15.0}))
        rows = program.app.sources["database"].rows
        await until(lambda: bool(rows.waiting) and all(wait.now is not None for wait in rows.waiting))
        assert (await other.call("query_accounts", asked))["rows"][0]["balance"] == 100
        error = await program.peer.error("execute_sql", {"sql": text, "transaction_id": id_})
        assert "everything done in it is committed" in error["message"]
        assert (await other.rows("query_accounts", asked))[0]["balance"] == 70
        assert (await waiting)["changed"] is True
        await other.hears()
        assert "query_later" in await other.names()


@PLACES
async def test_a_statement_that_would_end_the_transaction_is_refused_on_sqlite(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        id_ = await begun(program.peer)
        await sql(program.peer, id_, "UPDATE accounts SET balance = 1 WHERE id = 1")
        if accounts.product == "sqlite":
            for text in ("COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE call", "PRAGMA query_only = ON"):
                error = await program.peer.error("execute_sql", {"sql": text, "transaction_id": id_})
                assert error["code"] == "not_allowed", text
        await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert stored(accounts) == [(1, 1), (2, 50)]


SHOWN = "SELECT current_setting('statement_timeout') AS a, current_setting('lock_timeout') AS b"
COPIES = [
    "COPY accounts FROM STDIN",
    "/* COPY */ copy accounts from stdin (format binary)",
    "COPY accounts TO STDOUT",
    "COPY (SELECT repeat('x', 1000), generate_series(1, 100000000)) TO STDOUT",
    "COPY (UPDATE accounts SET balance = 0 RETURNING *) TO STDOUT",
]


@POSTGRESQL
@pytest.mark.parametrize("text", COPIES)
async def test_copy_from_and_to_the_client_is_refused_at_once_and_nothing_is_done(accounts: Place, text: str) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        id_ = await begun(program.peer)
        await sql(program.peer, id_, "UPDATE accounts SET balance = 1 WHERE id = 1")
        for within in ({"transaction_id": id_}, {}):
            async with asyncio.timeout(3):
                error = await program.peer.error("execute_sql", {"sql": text, "limit": 1, **within})
            assert (error["code"], error["message"], error["hint"]) == (
                "not_allowed",
                "COPY from and to the client cannot be used here",
                "Nothing was done. Insert rows with insert_<table> or insert_rows, and read them with SELECT.",
            )
        assert await sql(program.peer, id_, "SELECT balance FROM accounts ORDER BY id") == [
            {"balance": 1},
            {"balance": 50},
        ]
        await program.peer.call("commit_transaction", {"transaction_id": id_})
        assert stored(accounts) == [(1, 1), (2, 50)]


@POSTGRESQL
async def test_copy_of_the_servers_own_programs_is_what_the_role_may(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        answer = await program.peer.call("execute_sql", {"sql": "COPY accounts FROM PROGRAM 'echo \"3\t7\"'"})
        assert answer["affected"] == 1
        answer = await program.peer.call("execute_sql", {"sql": "COPY accounts TO PROGRAM 'cat > /dev/null'"})
        assert answer["affected"] == 3


@POSTGRESQL
@pytest.mark.parametrize("word", ["SET", "SET LOCAL"])
async def test_a_statement_lifts_the_limits_of_no_call_after_it(accounts: Place, word: str) -> None:
    for text in SLOW["postgresql"]:
        accounts.execute(text)
    async with inside(
        accounts.url,
        access__mode="write",
        access__sql="write",
        limits__statement_timeout_s=1,
        limits__lock_timeout_s=0.3,
        limits__call_timeout_s=10,
    ) as program:
        other, id_ = await begun(program.peer), await begun(program.peer)
        update = {"where": {"id": 1}, "set": {"balance": 7}}
        await program.peer.call("update_accounts", {**update, "transaction_id": other})
        for setting in ("statement_timeout", "lock_timeout"):
            await sql(program.peer, id_, f"{word} {setting} = 0")
        async with asyncio.timeout(5):
            for _ in range(2):  # the first is undone to its savepoint, and what was set with it
                late = await program.peer.error("update_accounts", {**update, "transaction_id": id_})
                assert late["code"] == "lock_timeout"
            late = await program.peer.error("query_slow", {"transaction_id": id_})
        assert (late["code"], late["message"]) == (
            "timeout",
            "the statement took longer than 1 s (limits.statement_timeout_s) and was stopped",
        )
        assert await sql(program.peer, id_, SHOWN) == [{"a": "1s", "b": "300ms"}]


@POSTGRESQL
async def test_what_a_statement_sets_is_met_by_nobody_else(accounts: Place) -> None:
    async with inside(
        accounts.url, access__mode="write", access__sql="write", pool__transaction_size=1, pool__size=1
    ) as program:
        for end in ("commit_transaction", "rollback_transaction"):
            id_ = await begun(program.peer)
            for text in (
                "SET statement_timeout = 29000",
                "SET DateStyle = 'German'",
                "CREATE TEMP TABLE mine (id int)",
            ):
                await sql(program.peer, id_, text)
            await program.peer.call(end, {"transaction_id": id_})
        id_ = await begun(program.peer)
        shown = await sql(
            program.peer,
            id_,
            "SELECT current_setting('statement_timeout') AS a, current_setting('DateStyle') AS b, "
            "to_regclass('t') AS c",
        )
        assert shown == [{"a": "30s", "b": "ISO, YMD", "c": None}]
