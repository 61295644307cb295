"""The oracle of the fault runs finds each kind of defect in a journal that has one, and none in one that has none."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.faults import oracle
from tests.faults.journal import Call, Journal, NoAnswer, Outcome, Told
from tests.faults.oracle import Finding, Kind, Remains


def told(outcome: Outcome, code: str = "", *, seconds: float = 0.1) -> Told:
    return Told(outcome=outcome, started=1.0, ended=1.0 + seconds, code=code)


OK = told(Outcome.OK)
REFUSED = told(Outcome.REFUSED, "busy")
UNKNOWN = told(Outcome.UNKNOWN, "outcome_unknown")


def call(*answers: Told, asked: bool = True, **rows: int) -> Call:
    return Call(id="a", kind="insert", rows=rows or {"cats": 1}, asked=asked, told=list(answers))


def kinds(of: Call, **found: int) -> list[Kind]:
    return [finding.kind for finding in oracle.misapplied([of], {name: Counter(a=n) for name, n in found.items()})]


@pytest.mark.parametrize(
    ("judged", "cats"),
    [
        (call(OK), 1),
        (call(REFUSED), 0),
        (call(UNKNOWN), 0),
        (call(UNKNOWN), 1),
        (call(UNKNOWN, OK), 1),
        (call(REFUSED, REFUSED), 0),
        (call(UNKNOWN, REFUSED), 1),  # the second attempt cannot speak for the first
        (call(UNKNOWN, REFUSED), 0),
        (call(asked=False), 0),
        (call(OK, asked=False), 0),
        (call(OK, cats=5), 5),
    ],
)
def test_what_was_told_truly_is_no_finding(judged: Call, cats: int) -> None:
    assert kinds(judged, cats=cats) == []


@pytest.mark.parametrize(
    ("judged", "cats", "kind"),
    [
        (call(OK), 0, Kind.LOST),
        (call(UNKNOWN, OK), 0, Kind.LOST),
        (call(OK, cats=5), 0, Kind.LOST),
        (call(OK), 2, Kind.DOUBLED),
        (call(UNKNOWN), 2, Kind.DOUBLED),
        (call(UNKNOWN, OK), 2, Kind.DOUBLED),
        (call(REFUSED), 2, Kind.DOUBLED),
        (call(OK, cats=5), 6, Kind.DOUBLED),
        (call(OK, cats=5), 4, Kind.TORN),
        (call(UNKNOWN, cats=5), 1, Kind.TORN),
        (call(REFUSED, cats=5), 2, Kind.TORN),
        (call(REFUSED), 1, Kind.WRONGLY_TOLD),
        (call(REFUSED, REFUSED), 1, Kind.WRONGLY_TOLD),
        (call(OK, asked=False), 1, Kind.WRONGLY_TOLD),
        (call(UNKNOWN, asked=False), 1, Kind.WRONGLY_TOLD),
    ],
)
def test_what_was_told_wrongly_is_found(judged: Call, cats: int, kind: Kind) -> None:
    assert kinds(judged, cats=cats) == [kind]


def test_a_call_that_writes_two_tables_is_in_both_or_in_none() -> None:
    both = call(UNKNOWN, cats=1, dogs=1)
    assert kinds(both, cats=1, dogs=1) == kinds(both, cats=0, dogs=0) == kinds(both) == []
    assert kinds(both, cats=1, dogs=0) == kinds(both, dogs=1) == [Kind.TORN]
    assert kinds(call(OK, cats=1, dogs=1), cats=2, dogs=1) == [Kind.DOUBLED]


def test_rows_of_no_call_are_found() -> None:
    (finding,) = oracle.misapplied([call(OK)], {"cats": Counter(a=1, b=2)})
    assert str(finding) == "stray: table cats has 2 rows of 'b', which is no call of this round"


def test_errors_without_a_reason_are_found() -> None:
    answers = [("insert", OK), ("insert", REFUSED), ("insert", told(Outcome.REFUSED, "internal_error"))]
    assert [each.kind for each in oracle.unreasoned(answers)] == [Kind.NO_REASON]
    assert list(oracle.unreasoned(answers, frozenset({"internal_error"}))) == []


def test_calls_that_outlast_their_limit_are_found() -> None:
    assert list(oracle.late([("insert", OK)], 1.0)) == []
    (finding,) = oracle.late([("insert", told(Outcome.OK, seconds=2.0))], 1.0)
    assert finding == Finding(Kind.LATE, "insert took 2.0 s of at most 1 s")


BASE = Remains(files=30, threads=4)


@pytest.mark.parametrize(
    "remains",
    [
        Remains(files=30, threads=4, transactions=1),
        Remains(files=30, threads=4, locks=1),
        Remains(files=30, threads=4, held_connections=1),
        Remains(files=30, threads=4, connections=26),
        Remains(files=33, threads=4),
        Remains(files=30, threads=7),
    ],
)
def test_whatever_is_left_behind_is_found(remains: Remains) -> None:
    assert [each.kind for each in oracle.left_behind(BASE, remains)] == [Kind.LEFT_BEHIND]


def test_what_was_there_before_is_not_left_behind() -> None:
    for remains in (
        BASE,
        Remains(files=32, threads=6, connections=25),
        Remains(files=9, threads=1, held_connections=None),
    ):
        assert list(oracle.left_behind(BASE, remains)) == []


def test_a_program_that_comes_back_late_or_never_is_found() -> None:
    assert list(oracle.slow_to_return(0.4, 2.0)) == []
    assert [each.kind for each in oracle.slow_to_return(2.5, 2.0)] == [Kind.NOT_BACK]
    assert [each.kind for each in oracle.slow_to_return(None, 2.0)] == [Kind.NOT_BACK]


def test_a_strike_that_hits_too_few_or_nobody_is_found() -> None:
    assert list(oracle.too_few([10, 14], 10)) == []
    assert [each.kind for each in oracle.too_few([14, 9], 10)] == [Kind.TOO_FEW]
    assert [each.kind for each in oracle.too_few([], 10)] == [Kind.TOO_FEW]


async def answered(answer: dict[str, Any]) -> dict[str, Any]:
    return answer


async def lost() -> dict[str, Any]:
    raise NoAnswer("the connection was closed")


async def test_the_journal_notes_what_was_told_and_who_is_inside() -> None:
    journal = Journal("1")
    await journal.ask(answered({"inserted": 1}), journal.call("ok", {"cats": 1}))
    await journal.ask(answered({"error": {"code": "busy", "message": ""}}), journal.call("busy", {"cats": 1}))
    await journal.ask(answered({"error": {"code": "cancelled", "message": ""}}), journal.call("stop", {"cats": 1}))
    assert await journal.ask(lost(), journal.call("lost", {"cats": 1})) == {}
    never = asyncio.create_task(journal.ask(asyncio.Future(), journal.call("given up", {"cats": 1})))
    await asyncio.sleep(0)
    assert journal.inside == 1
    never.cancel()
    with pytest.raises(asyncio.CancelledError):
        await never
    assert journal.inside == 0
    assert [(each.id, each.outcome) for each in journal.calls] == [
        ("ok.1.0", Outcome.OK),
        ("busy.1.1", Outcome.REFUSED),
        ("stop.1.2", Outcome.UNKNOWN),
        ("lost.1.3", Outcome.UNKNOWN),
        ("given up.1.4", Outcome.UNKNOWN),
    ]
    ended = journal.calls[0].told[0].ended
    assert journal.first_ok_after(0.0) == ended
    assert journal.first_ok_after(ended) is None
