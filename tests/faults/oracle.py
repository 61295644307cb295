"""Judges a round by its journal and by what the database holds afterwards. Pure; every finding is a defect.

What was acknowledged is there; what is there was acknowledged or told unknown; what was refused is not there; each call
is there once at most, and whole or not at all. Afterwards nothing of the program's is left behind.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tests.faults.journal import GIVEN_UP, NO_ANSWER, Call, Outcome, Told

#: Of each table, how many rows have each id.
Found = Mapping[str, Counter[str]]

#: What a call may be told while a fault strikes. Everything else is an answer without a reason.
REASONS = frozenset(
    {
        *("database_unavailable", "database_full", "busy", "lock_timeout", "timeout", "read_only"),
        *("outcome_unknown", "rolled_back", "unknown_transaction", NO_ANSWER, GIVEN_UP),
    }
)


class Kind(StrEnum):
    """What is wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    TORN = "half applied"
    WRONGLY_TOLD = "wrongly told"
    STRAY = "stray"
    NO_REASON = "no reason"
    LATE = "late"
    LEFT_BEHIND = "left behind"
    NOT_BACK = "not back"
    PROCESS = "process"
    TOO_FEW = "too few inside"


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect, in words."""

    kind: Kind
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What of the program is left when nobody calls any more. `held_connections`: of the pool, that no call can have;
    None where nothing tells. `connections`: to the database, each one file or more, which `files` leaves out."""

    transactions: int = 0
    locks: int = 0
    files: int = 0
    threads: int = 0
    connections: int = 0
    held_connections: int | None = 0
    words: Sequence[str] = field(default_factory=tuple)


def misapplied(calls: Iterable[Call], found: Found) -> Iterator[Finding]:
    """Calls that the database does not hold as they were told, and rows of no call."""
    known: set[str] = set()
    for call in calls:
        known.add(call.id)
        if call.told or not call.asked:
            yield from _judged(call, {table: found.get(table, Counter())[call.id] for table in call.rows})
    for table, ids in found.items():
        for stray in sorted(ids.keys() - known):
            yield Finding(
                Kind.STRAY, f"table {table} has {ids[stray]} rows of '{stray}', which is no call of this round"
            )


def _judged(call: Call, there: Mapping[str, int]) -> Iterator[Finding]:
    told = ", then ".join(f"{each.outcome} {each.code} {each.message}".strip() for each in call.told)
    words = f"{call.id} was told [{told}]{'' if call.asked else ' and never asked to commit'}; there: {dict(there)}"
    if any(there[table] > count for table, count in call.rows.items()):
        yield Finding(Kind.DOUBLED, words)
    elif all(there[table] == count for table, count in call.rows.items()):
        if call.outcome is Outcome.REFUSED:
            yield Finding(Kind.WRONGLY_TOLD, words)
    elif any(there.values()):
        yield Finding(Kind.TORN, words)
    elif call.outcome is Outcome.OK:
        yield Finding(Kind.LOST, words)


def unreasoned(told: Iterable[tuple[str, Told]], more: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Errors with a code that no fault explains. `told`: by the call's name; `more`: codes that this fault explains."""
    for name, each in told:
        if each.code and each.code not in REASONS | more:
            yield Finding(Kind.NO_REASON, f"{name} was told '{each.code}': {each.message}")


def late(told: Iterable[tuple[str, Told]], limit_s: float) -> Iterator[Finding]:
    """Calls that took longer than a call may."""
    for name, each in told:
        if each.ended - each.started > limit_s:
            yield Finding(Kind.LATE, f"{name} took {each.ended - each.started:.1f} s of at most {limit_s:g} s")


def left_behind(
    base: Remains, now: Remains, *, files: int = 2, threads: int = 2, connections: int = 25
) -> Iterator[Finding]:
    """What is there now and was not before. `files`, `threads`: how many more than before are nobody's fault;
    `connections`: how many the pools may have in all."""
    if now.transactions:
        yield Finding(Kind.LEFT_BEHIND, f"{now.transactions} transactions {' '.join(now.words)}".strip())
    if now.locks:
        yield Finding(Kind.LEFT_BEHIND, f"{now.locks} locks {' '.join(now.words)}".strip())
    if now.held_connections:
        yield Finding(Kind.LEFT_BEHIND, f"{now.held_connections} connections of the pool that no call can have")
    if now.connections > connections:
        yield Finding(Kind.LEFT_BEHIND, f"{now.connections} connections, and the pools have {connections} at most")
    if now.files > base.files + files:
        yield Finding(Kind.LEFT_BEHIND, f"{now.files} open files, {base.files} before")
    if now.threads > base.threads + threads:
        yield Finding(Kind.LEFT_BEHIND, f"{now.threads} threads, {base.threads} before")


def slow_to_return(recovery_s: float | None, limit_s: float) -> Iterator[Finding]:
    """A program that does not write again soon after its database is back. `recovery_s`: None if it never did."""
    if recovery_s is None:
        yield Finding(Kind.NOT_BACK, "no call succeeded after the fault was over")
    elif recovery_s > limit_s:
        yield Finding(Kind.NOT_BACK, f"the first call succeeded after {recovery_s:.1f} s of at most {limit_s:g} s")


def too_few(inside: Sequence[int], least: int) -> Iterator[Finding]:
    """Strikes that hit too few writers to show anything. `inside`: of each strike, the writers inside a call."""
    if not inside:
        yield Finding(Kind.TOO_FEW, "the fault did not strike")
    elif min(inside) < least:
        yield Finding(Kind.TOO_FEW, f"{min(inside)} writers were inside a call, not {least}")
