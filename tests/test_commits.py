"""COMMIT hangs, is cancelled, or outlasts its call: what became of it is found out, told, and kept with its key."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schema_mcp.execute import commit
from tests.proxy import Proxy
from tests.test_outcomes import INSERT, Home, between
from tests.waiting import until

pytest_plugins = ("tests.test_outcomes",)

pytestmark = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)

#: At once, for tests that would wait for it.
SOON_S = 0.05
STOPPED = "the commit did not end in the time that the call's 1 s (timeout_s) left for it, and was stopped"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late answer to COMMIT is asked about sooner."""
    monkeypatch.setattr(commit, "ASK_AFTER_S", SOON_S)
    monkeypatch.setattr(commit, "GIVE_UP_AFTER_S", 2 * SOON_S)


async def _within(limit_s: float, call: Any) -> dict[str, Any]:
    started = time.monotonic()
    answer: dict[str, Any] = await call
    assert time.monotonic() - started < limit_s
    return answer


async def test_a_commit_whose_answer_does_not_come_is_asked_about_while_it_is_waited_for(home: Home) -> None:
    async with between(home) as (program, proxy):
        proxy.withhold(b"COMMIT")
        answer = await _within(5, program.peer.call(*INSERT))  # of the 60 s that the call has
        assert (answer["outcome"], proxy.lost, home.rows()) == ("committed", 1, 1)
        assert program.app.database.in_use == 0


@pytest.mark.usefixtures("soon")
async def test_a_commit_that_does_not_arrive_is_given_up_and_done_again(home: Home) -> None:
    async with between(home) as (program, proxy):
        proxy.swallow(b"COMMIT")
        answer = await _within(10, program.peer.call(*INSERT))
        assert (answer["outcome"], proxy.lost, home.rows()) == ("committed", 1, 1)


@pytest.mark.usefixtures("soon")
async def test_the_commit_of_a_transaction_and_of_a_callers_own_statement_are_asked_about_too(home: Home) -> None:
    async with between(home, access__sql="write") as (program, proxy):
        id_ = (await program.peer.call("begin_transaction"))["transaction_id"]
        await program.peer.call("insert_cats", {**INSERT[1], "transaction_id": id_})
        proxy.withhold(b"COMMIT")
        answer = await _within(10, program.peer.call("commit_transaction", {"transaction_id": id_}))
        assert (answer["outcome"], proxy.lost, home.rows()) == ("committed", 1, 1)
        proxy.withhold(b"COMMIT")
        answer = await _within(
            10, program.peer.call("execute_sql", {"sql": "INSERT INTO cats VALUES (2) RETURNING id"})
        )
        assert (answer["rows"], proxy.lost, home.rows()) == ([{"id": 2}], 2, 2)


@pytest.mark.usefixtures("soon")
async def test_a_commit_that_takes_its_time_and_is_refused_is_told_as_refused(home: Home) -> None:
    _slow_at_commit(home, 0.5, "RAISE check_violation")
    async with between(home) as (program, _):
        error = await program.peer.error(*INSERT)
        assert (error["code"], home.rows()) == ("check_violation", 0)


@pytest.mark.usefixtures("soon")
async def test_a_transaction_whose_own_statement_was_its_only_one_is_committed_within_its_time(home: Home) -> None:
    async with between(home, access__sql="write", limits__call_timeout_s=1) as (program, proxy):
        id_ = (await program.peer.call("begin_transaction"))["transaction_id"]
        await program.peer.call("execute_sql", {"sql": "INSERT INTO cats VALUES (1)", "transaction_id": id_})
        proxy.forget()
        error = (await _within(10, program.peer.call("commit_transaction", {"transaction_id": id_})))["error"]
        assert (error["code"], home.rows()) == ("database_unavailable", 0)


def _slow_at_commit(home: Home, seconds: float, then: str = "RETURN NULL") -> None:
    home.execute(
        f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); {then}; END'; "
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON cats DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW WHEN (new.id = 1) EXECUTE FUNCTION slow()"
    )


def _asleep(home: Home) -> bool:
    return home.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"


def _stop(proxy: Proxy, how: str) -> None:
    """The next COMMIT is not answered, and nobody can be asked for now."""
    proxy.lose(b"COMMIT", reply=how == "committed", then=proxy.stall)


@pytest.mark.parametrize("how", ["committed", "lost"])
async def test_a_key_in_the_store_is_settled_when_it_is_shown_again(home: Home, tmp_path: Path, how: str) -> None:
    call = {**INSERT[1], "returning": ["name"], "idempotency_key": "k", "timeout_s": 0.5}
    async with between(home, state__url=str(tmp_path / "state.sqlite")) as (program, proxy):
        _stop(proxy, how)
        error = await program.peer.error("insert_cats", call)
        assert (error["code"], "Repeat the call with the same idempotency_key" in error["hint"]) == (
            "outcome_unknown",
            True,
        )
        proxy.go_on()
        for replayed in (True if how == "committed" else None, True):
            answer = await program.peer.call("insert_cats", {**call, "timeout_s": 20})
            assert "error" not in answer, answer
            assert (answer["rows"], answer.get("replayed")) == ([{"name": "Tom"}], replayed)
        assert home.rows() == 1


@pytest.mark.parametrize("takes_s", [0.1, 20])
async def test_a_key_of_a_call_that_was_cancelled_in_commit_is_settled(
    home: Home, tmp_path: Path, takes_s: float
) -> None:
    _slow_at_commit(home, takes_s)
    call = {**INSERT[1], "idempotency_key": "k"}
    async with between(home, state__url=str(tmp_path / "state.sqlite")) as (program, _):
        calling = asyncio.create_task(program.peer.call("insert_cats", call))
        await until(lambda: _asleep(home))
        calling.cancel()
        await asyncio.wait({calling})
        await until(lambda: not _asleep(home))
        committed = home.rows() == 1
        home.execute("DROP TRIGGER slow ON cats")
        answer = await program.peer.call("insert_cats", call)
        assert "error" not in answer, answer
        assert (answer["inserted"], answer.get("replayed")) == (1, True if committed else None)
        assert (home.rows(), program.app.database.in_use) == (1, 0)
        if takes_s > 1:
            assert not committed


INTO = {"sql": "INSERT INTO cats VALUES (1)"}
TOO_LATE = {
    "insert": INSERT,
    "sql": ("execute_sql", INTO),
    "batch": ("run_batch", {"calls": [{"tool": INSERT[0], "arguments": INSERT[1]}]}),
    "batch of two": (
        "run_batch",
        {"calls": [{"tool": INSERT[0], "arguments": {"rows": [{"id": id_}]}} for id_ in (1, 2)]},
    ),
}


@pytest.mark.parametrize("call", TOO_LATE.values(), ids=TOO_LATE)
async def test_a_commit_that_outlasts_its_call_is_stopped_and_leaves_nothing(
    home: Home, call: tuple[str, dict[str, Any]]
) -> None:
    _slow_at_commit(home, 20)
    async with between(home, access__sql="write") as (program, _):
        answer = await _within(1.5, program.peer.call(call[0], {**call[1], "timeout_s": 1}))
        assert (answer["error"]["code"], answer["error"]["message"].endswith(STOPPED)) == ("timeout", True)
        assert answer["error"]["hint"].startswith("Nothing was written.")
        assert (_asleep(home), home.rows(), program.app.database.in_use) == (False, 0, 0)


async def test_a_commit_is_stopped_also_where_its_own_network_stands_still(home: Home) -> None:
    _slow_at_commit(home, 20)
    async with between(home) as (program, proxy):
        calling = asyncio.create_task(program.peer.error(INSERT[0], {**INSERT[1], "timeout_s": 1}))
        await until(lambda: _asleep(home))
        proxy.forget()
        assert (await calling)["code"] == "timeout"
        assert (_asleep(home), home.rows()) == (False, 0)


async def test_the_commit_of_a_transaction_that_outlasts_its_time_is_stopped(home: Home) -> None:
    _slow_at_commit(home, 20)
    async with between(home, limits__call_timeout_s=1) as (program, _):
        id_ = (await program.peer.call("begin_transaction"))["transaction_id"]
        await program.peer.call("insert_cats", {**INSERT[1], "transaction_id": id_})
        error = (await _within(1.5, program.peer.call("commit_transaction", {"transaction_id": id_})))["error"]
        assert (error["code"], error["retryable"], error["message"]) == (
            "timeout",
            False,
            "the commit did not end in the time that the call's 1 s (limits.call_timeout_s) left for it, and was "
            "stopped; with it the transaction has ended, and everything in it was rolled back",
        )
        assert (_asleep(home), home.rows()) == (False, 0)


@pytest.mark.parametrize("call", ["insert", "sql", "batch of two"])
async def test_a_commit_that_waits_for_a_standby_is_told_to_be_still_running(home: Home, call: str) -> None:
    tool, arguments = TOO_LATE[call]
    async with between(home, access__sql="write") as (program, _):
        async with _without_its_standby(home):
            error = await program.peer.error(tool, {**arguments, "timeout_s": 1})
            assert (error["code"], home.rows()) == ("outcome_unknown", 0)
            assert error["message"].endswith("is still being committed: it may be done later")
            assert error["hint"].startswith("Do not repeat it now. Look again after a while")
        await until(lambda: home.rows() > 0)


@pytest.mark.parametrize("ends", ["cancelled", "too late"])
async def test_a_commit_by_a_statement_that_is_given_up_is_told_as_what_became_of_it(home: Home, ends: str) -> None:
    async with between(home, access__sql="write") as (program, _):
        peer = program.peer
        id_ = (await peer.call("begin_transaction"))["transaction_id"]
        await peer.call("execute_sql", {"sql": "INSERT INTO cats VALUES (1, 'Tom')", "transaction_id": id_})
        asked: dict[str, Any] = {"sql": "COMMIT", "transaction_id": id_}
        async with _without_its_standby(home):
            if ends == "cancelled":
                call = asyncio.create_task(peer.call("execute_sql", asked))
                await until(lambda: _waits_for_its_standby(home))
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            else:  # a cancel ends the wait, and not what is committed
                error = await peer.error("execute_sql", {**asked, "timeout_s": 1})
                assert error["code"] == "not_allowed"
                assert "everything done in it is committed" in error["message"]
            await until(lambda: not _waits_for_its_standby(home))
            error = await peer.error("commit_transaction", {"transaction_id": id_})
            assert error["code"] == "unknown_transaction"
            # Who has cancelled is not kept for as long as it may take a busy machine to find out.
            told = {"too late": ["is committed"], "cancelled": ["is committed", "it may have been done"]}[ends]
            assert any(error["message"].endswith(each) for each in told), error["message"]
            assert home.rows() == 1


@asynccontextmanager
async def _without_its_standby(home: Home) -> AsyncIterator[None]:
    """COMMIT waits for a standby that there is not."""
    home.execute("ALTER SYSTEM SET synchronous_commit = on")
    home.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()")
    try:
        await until(lambda: home.execute("SHOW synchronous_standby_names") == "nobody")
        yield
    finally:
        home.execute("ALTER SYSTEM RESET synchronous_standby_names")
        home.execute("ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf()")


def _waits_for_its_standby(home: Home) -> bool:
    return home.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") != "0"
