"""docs/reliability.md says what the suite plays; the table is made of rounds."""

from collections import Counter

import pytest

from tests.faults.oracle import Finding, Kind
from tests.faults.round import Round
from tests.faults.suite import FAULTS
from tests.faults.table import BEGIN, END, PAGE, Run, explained, page_with

ROUND = Round(
    fault=FAULTS[1].name,
    place="18",
    transport="http",
    strikes=3,
    inside=14,
    calls=1_200,
    acknowledged=1_000,
    refused=150,
    unknown=50,
    recovery_s=0.25,
    findings=(),
    codes=Counter(ok=1_000),
)


def run(*rounds: Round) -> Run:
    not_played = {FAULTS[0].name: "not today"}
    return Run(rounds=rounds, seed=7, seconds=60.0, versions={"18": "18.1"}, not_played=not_played)


def test_every_fault_stands_in_the_table_of_the_page_and_is_explained() -> None:
    made = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line.split("|")[1].strip() for line in made.splitlines() if line.startswith("|")]
    assert rows[2:] == [fault.name for fault in FAULTS]
    assert explained(FAULTS) in made


def test_a_page_gets_the_table_of_a_run() -> None:
    worse = Finding(Kind.LOST, "a row")
    later = Round(**{name: getattr(ROUND, name) for name in Round.__slots__} | {"inside": 11, "findings": (worse,)})
    page = page_with(f"before\n{BEGIN}\nlast year\n{END}\nafter\n", run(ROUND, later), FAULTS)
    assert page.startswith(f"before\n{BEGIN}\n")
    assert page.endswith(f"{END}\nafter\n")
    assert "last year" not in page
    assert f"| {FAULTS[0].name} | not today |" in page
    assert f"| {ROUND.fault} | 18 http | 2 | 6 | 11 | 2,400 | 2,000 | 300 | 100 | 1 | 0.25 s |" in page
    assert f"`{ROUND.fault}` on 18 over http: lost: a row" in page
    assert page_with(page, run(ROUND, later), FAULTS) == page


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        page_with("a page", run(ROUND), FAULTS)
