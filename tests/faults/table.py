"""The tables of docs/reliability.md: what each fault is, and what a run has shown of it. Made by the run itself."""

import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.base import Fault
from tests.faults.round import Round

PAGE = Path(__file__).parent.parent.parent / "docs/reliability.md"
BEGIN, END = "<!-- made by make faults -->", "<!-- end of what make faults made -->"
HEAD = (
    "| fault | on | rounds | strikes | writers inside, at least | calls | acknowledged | refused | unknown | findings "
    "| slowest recovery |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Rounds, and under what they were played. `versions`: of each place that is no file, as it tells it."""

    rounds: Sequence[Round]
    seed: int
    seconds: float
    versions: Mapping[str, str]
    not_played: Mapping[str, str]

    @property
    def findings(self) -> int:
        return sum(len(each.findings) for each in self.rounds)


def page_with(page: str, run: Run, faults: Sequence[Fault]) -> str:
    """The page with what this run has shown in the place of what it had. Raises: ValueError without such a place."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no place for the table: '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n\n{told(run, faults)}\n\n## The faults\n\n{explained(faults)}\n\n{END}{after}"


def told(run: Run, faults: Sequence[Fault]) -> str:
    """What the run was, and its table."""
    versions = ", ".join(
        [*(f"PostgreSQL {each}" for each in run.versions.values()), f"SQLite {sqlite3.sqlite_version}"]
    )
    rounds = sum(1 for _ in run.rounds)
    calls = sum(each.calls for each in run.rounds)
    words = (
        f"{datetime.now(UTC):%Y-%m-%d}, {run.seconds / 60:.0f} minutes, seed {run.seed}; {versions}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores: {rounds:,} rounds, {calls:,} answers, "
        f"**{run.findings} findings**."
    )
    rows = [_row(fault, run) for fault in faults]
    return "\n".join([words, "", HEAD, *rows, *_found(run)])


def explained(faults: Sequence[Fault]) -> str:
    """A list of the faults and what each of them is."""
    return "\n".join(f"- **{fault.name}**: {fault.what}." for fault in faults)


def _row(fault: Fault, run: Run) -> str:
    rounds = [each for each in run.rounds if each.fault == fault.name]
    if not rounds:
        return f"| {fault.name} | {run.not_played.get(fault.name, 'not played')} |" + " |" * 9
    places = ", ".join(sorted({f"{each.place} {each.transport}" for each in rounds}))
    recovered = [each.recovery_s for each in rounds if each.recovery_s is not None]
    numbers = [
        len(rounds),
        sum(each.strikes for each in rounds),
        min(each.inside for each in rounds),
        sum(each.calls for each in rounds),
        sum(each.acknowledged for each in rounds),
        sum(each.refused for each in rounds),
        sum(each.unknown for each in rounds),
        sum(len(each.findings) for each in rounds),
    ]
    slowest = f"{max(recovered):.2f} s" if len(recovered) == len(rounds) else "never"
    return f"| {fault.name} | {places} | {' | '.join(f'{number:,}' for number in numbers)} | {slowest} |"


def _found(run: Run) -> Iterator[str]:
    for each in run.rounds:
        for finding in each.findings:
            yield f"\n`{each.fault}` on {each.place} over {each.transport}: {finding}"
