"""Calls that have failed and left nothing behind are tried again, as often as the settings say, and no others."""

from collections.abc import Sequence

import pytest

from schema_mcp.errors import ErrorCode, Unavailable
from schema_mcp.execute.retry import tried
from schema_mcp.observe.events import CallRetried
from schema_mcp.observe.log import log
from tests.conftest import SERVERS, Place
from tests.peers import Inside, inside

#: SQLite has one writer at a time: nobody is in its way.
ON_POSTGRESQL = pytest.mark.parametrize("place", SERVERS, indirect=True)

INSERT = ("insert_cats", {"rows": [{"id": 1}]})


@pytest.fixture
def cats(place: Place) -> Place:
    """A table whose inserts fail as often as `fail` says."""
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY); CREATE SEQUENCE tries")
    return place


def fail(cats: Place, times: int, sqlstate: str) -> None:
    cats.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'in the way' USING ERRCODE = '{sqlstate}'; END IF; "
        "RETURN new; END $$; "
        "CREATE TRIGGER fail BEFORE INSERT ON cats FOR EACH ROW EXECUTE FUNCTION fail()"
    )


def tries(cats: Place) -> int:
    return int(cats.execute("SELECT last_value FROM tries"))


def retried(program: Inside) -> Sequence[CallRetried]:
    return [event for event in program.observed if isinstance(event, CallRetried)]


@ON_POSTGRESQL
@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_a_call_that_others_were_in_the_way_of_is_tried_three_times(cats: Place, sqlstate: str) -> None:
    fail(cats, 2, sqlstate)
    async with inside(cats.url) as program:
        assert (await program.peer.call(*INSERT))["outcome"] == "committed"
        assert tries(cats) == 3
        events = retried(program)
        assert [(one.attempt, one.code, one.sqlstate) for one in events] == [
            (1, "busy", sqlstate),
            (2, "busy", sqlstate),
        ]
        assert 0 <= events[0].wait_ms <= 50 < 101 > events[1].wait_ms


@ON_POSTGRESQL
async def test_the_last_failure_is_told_when_all_tries_have_failed(cats: Place) -> None:
    fail(cats, 9, "40001")
    async with inside(cats.url, retry__attempts=2) as program:
        error = await program.peer.error(*INSERT)
        assert (error["code"], error["retryable"], error["sqlstate"]) == ("busy", True, "40001")
        assert tries(cats) == 2


@ON_POSTGRESQL
async def test_with_one_attempt_nothing_is_tried_again(cats: Place) -> None:
    fail(cats, 1, "40001")
    async with inside(cats.url, retry__attempts=1) as program:
        assert (await program.peer.error(*INSERT))["code"] == "busy"
        assert (tries(cats), retried(program)) == (1, [])


@ON_POSTGRESQL
async def test_a_batch_is_tried_again_as_a_whole(cats: Place) -> None:
    fail(cats, 1, "40P01")
    calls = [{"tool": "insert_cats", "arguments": {"rows": [{"id": id_}]}} for id_ in (1, 2)]
    async with inside(cats.url) as program:
        assert (await program.peer.call("run_batch", {"calls": calls}))["outcome"] == "committed"
        assert cats.execute("SELECT string_agg(id::text, ',' ORDER BY id) FROM cats") == "1,2"


@ON_POSTGRESQL
async def test_what_the_database_refuses_is_not_tried_again(cats: Place) -> None:
    fail(cats, 9, "23514")
    async with inside(cats.url) as program:
        assert (await program.peer.error(*INSERT))["code"] == "check_violation"
        assert (tries(cats), retried(program)) == (1, [])


@ON_POSTGRESQL
async def test_tries_end_with_the_time_of_the_call(cats: Place) -> None:
    fail(cats, 10, "40001")
    async with inside(cats.url, retry__attempts=10) as program:
        error = await program.peer.error("insert_cats", {**INSERT[1], "timeout_s": 0.5})
        # The last try may be under way when the time is over.
        assert (error["code"], error["retryable"]) in {("busy", True), ("timeout", True)}
        assert 2 <= tries(cats) < 10


@pytest.mark.parametrize(("left_s", "expected"), [(0.0, 1), (60.0, 3)])
async def test_a_try_that_the_time_does_not_suffice_for_is_not_begun(left_s: float, expected: int) -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        raise Unavailable(ErrorCode.BUSY, "others are in the way", "Try again.")

    with pytest.raises(Unavailable):
        await tried(work, lambda _: True, attempts=3, left_s=lambda: left_s, told=lambda *_: None)
    assert begun == expected


def test_a_retry_is_a_line_of_the_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "schema_mcp"):
        log(CallRetried(source="shop", attempt=1, code="busy", sqlstate="40001", wait_ms=12.3))
    assert caplog.messages == ["'shop': try 1 of a call failed (busy, 40001), the next one in 12 ms"]
