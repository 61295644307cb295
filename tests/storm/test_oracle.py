"""The judge of the storm finds what is wrong: each check is shown a record that is right, and the same one spoilt."""

from dataclasses import replace

import pytest

from tests.storm import oracle
from tests.storm.journal import Journal, Table
from tests.storm.oracle import Call, Record, Seen

A = Table("a", ("id integer",), ("id integer",))
B = Table("b", ("id integer",), ("id integer",))
WIDE = Table("a", ("id integer", "more string"), ("id integer", "more string"))


def journal(*tables: dict[str, Table], seconds: float = 1.0) -> Journal:
    """These states one after the other, each committed within 0.1 s."""
    made = Journal(tables[0], 0.0)
    for number, state in enumerate(tables[1:], start=1):
        gone = {name: None for name in made.entries[-1].state if name not in state}
        made.add({**gone, **state}, number * seconds).ended = number * seconds + 0.1
    return made


def lists(of: Journal, *when: tuple[float, int]) -> Record:
    """A client that asked at these times and saw these states."""
    return Record("client", [Seen(asked, asked + 0.1, of.entries[number].shown) for asked, number in when])


GROWING = journal({}, {"t": A}, {"t": A, "u": B}, {"u": B})


def test_a_list_is_that_of_one_instant_not_long_ago() -> None:
    assert oracle.torn(GROWING, lists(GROWING, (0.5, 0), (1.05, 0), (1.5, 1), (2.2, 1), (3.5, 3)), 0.2) == []


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lists(GROWING, (2.5, 1)), "no state of [2] to [2] is the list; it differs from 2 by"),
        (lists(GROWING, (0.5, 1)), "no state of [0] to [0]"),
        (lists(GROWING, (3.0, 3), (3.1, 2)), "after one of state 3"),
        (Record("client", [Seen(3.05, 3.15, {"t": A.shown})]), "no state of [2] to [3]"),
        (
            Record("client", [Seen(2.5, 2.6, {"t": WIDE.shown, "u": B.shown})]),
            "no state of [2] to [2] is the list; it differs from 2 by",
        ),
    ],
)
def test_a_list_that_never_was_or_no_more_is_found(spoilt: Record, words: str) -> None:
    (finding,) = oracle.torn(GROWING, spoilt, 0.2)
    assert words in finding


def test_the_last_list_must_be_that_of_the_database() -> None:
    assert oracle.unconverged(GROWING, lists(GROWING, (9.0, 3))) == []
    assert oracle.unconverged(GROWING, lists(GROWING, (9.0, 2))) != []
    assert oracle.unconverged(GROWING, lists(GROWING)) != []


def test_every_change_is_told_in_time() -> None:
    assert oracle.missed(GROWING, Record("c", told=[1.5, 2.5, 3.5]), 0.0, 0.5) == []
    assert oracle.missed(GROWING, Record("c", told=[1.5, 3.5]), 0.0, 0.5) == ["c: the change to state 2 was not told"]
    assert oracle.missed(GROWING, Record("c", told=[1.5, 2.7, 3.5]), 0.0, 0.5) != []
    assert oracle.missed(GROWING, Record("c", told=[1.5, 2.5]), 0.0, 0.5) == ["c: the change to state 3 was not told"]


def test_what_is_undone_at_once_or_changes_no_list_needs_no_word() -> None:
    undone = journal({}, {"t": A}, {}, seconds=0.2)
    assert oracle.missed(undone, Record("c"), 0.0, 0.5) == ["c: the change to state 2 was not told"]
    assert oracle.missed(undone, Record("c", told=[0.9]), 0.0, 0.5) == []
    swapped = journal({"t": A, "u": B}, {"t": B, "u": A})
    assert oracle.missed(swapped, Record("c"), 0.0, 0.5) == []
    assert oracle.list_changes(swapped) == []


def test_a_notification_needs_a_change_of_its_own() -> None:
    changes = oracle.list_changes(GROWING)
    assert changes == [1.0, 2.0, 3.0]
    assert oracle.needless(Record("c", told=[1.2, 3.2, 3.4]), changes, 0.0) == []
    assert oracle.needless(Record("c", told=[0.9, 2.2]), changes, 0.0) != []
    assert oracle.needless(Record("c", told=[1.2, 1.3]), changes, 0.0) != []
    assert oracle.needless(Record("c", told=[1.2, 2.2, 3.2, 3.3]), changes, 0.0) != []


SWAPPED = journal({"t": A}, {"t": B}, {"t": WIDE})
QUERY = Call(kind="query", table="t", started=0.2, ended=0.4, origins=frozenset("a"), columns=frozenset({"id"}))
INSERT = replace(QUERY, kind="insert", origins=frozenset(), token="x")


def judged(*calls: Call, served: str = "") -> list[str]:
    return oracle.misled(SWAPPED, calls, frozenset(served))


def test_an_answer_is_of_a_table_that_had_the_name_during_the_call() -> None:
    during = replace(QUERY, started=0.9, ended=1.05, origins=frozenset("b"))
    assert judged(QUERY, replace(during, origins=frozenset("a")), during) == []
    for spoilt in (
        replace(QUERY, origins=frozenset("b")),
        replace(QUERY, origins=frozenset("ab")),
        replace(during, origins=frozenset("ab")),
        replace(QUERY, table="u"),
    ):
        assert len(judged(spoilt)) == 1


def test_an_error_has_a_reason() -> None:
    late = replace(QUERY, origins=frozenset(), started=0.9, ended=1.05)
    assert judged(replace(late, error="stale_schema"), replace(late, started=0.2, ended=0.3, error="busy")) == []
    assert judged(replace(late, started=1.5, ended=1.6, columns=frozenset({"more"}), error="unknown_column")) == []
    for spoilt in (
        replace(late, error="internal_error"),
        replace(late, error="-32603"),
        replace(late, started=0.2, ended=0.3, error="stale_schema"),
        replace(late, started=2.5, ended=2.6, columns=frozenset({"more"}), error="unknown_column"),
    ):
        assert len(judged(spoilt)) == 1
    assert judged(replace(late, error="unknown_tool"), served="t") != []


def test_an_insert_is_found_once_where_it_was_told_to_be() -> None:
    failed = replace(INSERT, error="stale_schema")
    unknown = replace(INSERT, error="outcome_unknown")
    assert oracle.lost(SWAPPED, [INSERT], {"x": ["a"]}) == []
    assert oracle.lost(SWAPPED, [failed, unknown], {}) == []
    assert oracle.lost(SWAPPED, [unknown], {"x": ["a"]}) == []
    for call, found in ((INSERT, []), (INSERT, ["b"]), (INSERT, ["a", "a"]), (failed, ["a"]), (unknown, ["a", "a"])):
        assert len(oracle.lost(SWAPPED, [call], {"x": found})) == 1
