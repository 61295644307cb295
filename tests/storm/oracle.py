"""The judge of a storm: compares what clients saw with the journal, and says what cannot have been. Pure.

Each check gives its findings as sentences; nothing found is an empty list. Bounds are in seconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.storm.journal import Journal, Shown

#: What a call may meet without being wrong itself: somebody else holds what it needs.
PASSING = frozenset({"busy", "lock_timeout", "timeout"})
#: Further errors that a call may get while tables come, change and go.
TYPED = PASSING | {
    "stale_schema",
    "permission_denied",
    "unknown_tool",
    "unknown_table",
    "unknown_column",
    "invalid_value",
    "invalid_cursor",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One list, between its question and its answer."""

    asked: float
    answered: float
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a table's tool. `columns`: those that it named. `token`: what an insert wrote.

    `origins`: the marks of the rows that came back; `error`: the code of the error instead.
    """

    kind: str
    table: str
    started: float
    ended: float
    columns: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    error: str | None = None
    token: str | None = None


@dataclass(slots=True)
class Record:
    """What one client saw. `told`: when each notification arrived."""

    client: str
    lists: list[Seen] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


def torn(journal: Journal, record: Record, stale_s: float) -> list[str]:
    """Lists that the schema never was, within `stale_s` before they were asked for; or that went back in time."""
    findings, latest = [], 0
    for seen in record.lists:
        possible = list(journal.between(seen.asked - stale_s, seen.answered))
        equal = [number for number in possible if journal.entries[number].shown == seen.shown]
        if not equal:
            findings.append(f"{record.client}: {_nearest(journal, possible, seen.shown)}")
        elif equal[-1] < latest:
            findings.append(f"{record.client}: a list of state {equal[-1]} after one of state {latest}")
        else:
            latest = next(number for number in equal if number >= latest)
    return findings


def _nearest(journal: Journal, possible: Sequence[int], given: Shown) -> str:
    """What of a list is in no state, told by how it differs from the ones that are nearest to it."""

    def others(number: int) -> dict[str, object]:
        state = journal.entries[number].shown
        names = sorted({*state, *given})
        return {name: (given.get(name), state.get(name)) for name in names if given.get(name) != state.get(name)}

    near = sorted(possible, key=lambda number: len(others(number)))[:2]
    told = "; ".join(f"{number} by (list, state) {others(number)}" for number in sorted(near))
    return f"no state of {possible[:1]} to {possible[-1:]} is the list; it differs from {told}"


def unconverged(journal: Journal, record: Record) -> list[str]:
    """A last list that is not what the journal ends with."""
    if record.lists and record.lists[-1].shown == journal.entries[-1].shown:
        return []
    return [f"{record.client}: the last list is not that of the database"]


def missed(journal: Journal, record: Record, since: float, told_s: float) -> list[str]:
    """Changes of the list after `since` that were not told within `told_s`.

    One that was undone within that time may have been seen by nobody and needs no word.
    """
    findings = []
    for number, entry in enumerate(journal.entries[1:], start=1):
        before = journal.entries[number - 1].shown
        if entry.started < since or entry.shown == before:
            continue
        later = journal.between(entry.started, entry.ended + told_s)
        undone = any(journal.entries[index].shown == before for index in later if index > number)
        if not undone and not any(entry.started <= told <= entry.ended + told_s for told in record.told):
            findings.append(f"{record.client}: the change to state {number} was not told")
    return findings


def needless(record: Record, changes: Iterable[float], since: float) -> list[str]:
    """More notifications after `since` than there were changes of the list before them.

    `changes`: when each took place at the earliest. The first notification may be of a change before `since`.
    """
    left = sorted(change for change in changes if change >= since)
    findings = []
    for told in (told for told in record.told if told >= since):
        if left and left[0] <= told:
            left.pop(0)
        else:
            findings.append(f"{record.client}: a notification without a change, {told - since:.3f} s after it began")
    return findings


def list_changes(journal: Journal) -> list[float]:
    """When the list changed, at the earliest."""
    pairs = zip(journal.entries, journal.entries[1:], strict=False)
    return [after.started for before, after in pairs if before.shown != after.shown]


def misled(journal: Journal, calls: Sequence[Call], served: frozenset[str]) -> list[str]:
    """Answers of a table that did not have the name then, errors that have no place here, refusals of valid calls.

    `served`: tables that had a tool before the storm.
    """
    return [finding for call in calls for finding in _judge(journal, call, served)]


def _judge(journal: Journal, call: Call, served: frozenset[str]) -> Iterable[str]:
    what = f"{call.kind} of {call.table}"
    numbers = list(journal.between(call.started, call.ended))
    tables = [journal.entries[number].state.get(call.table) for number in numbers]
    bearers = {table.origin for table in tables if table is not None}
    if call.error is None:
        if len(call.origins) > 1 or not call.origins <= bearers or not bearers:
            yield f"{what}: rows of {sorted(call.origins)}, while the name was that of {sorted(bearers)}"
        return
    if call.error not in TYPED:
        yield f"{what}: the error {call.error}"
        return
    if call.error == "unknown_tool" and call.table in served:
        yield f"{what}: a tool that was served is unknown"
    one = tables[0]
    if call.error in PASSING or one is None or any(table != one for table in tables):
        return
    usable = one.readable if call.kind == "query" else one.insertable
    names = {column.partition(" ")[0] for column in usable}
    if call.columns <= names and usable and call.error != "invalid_cursor":
        yield f"{what}: {call.error}, though the call was valid in all of the states {numbers}"


def lost(journal: Journal, calls: Iterable[Call], found: Mapping[str, Sequence[str]]) -> list[str]:
    """Inserts that are not where they were told to be. `found`: the origins of the tables that hold a token."""
    findings = []
    for call in calls:
        if call.token is None:
            continue
        origins = Counter(found.get(call.token, ()))
        tables = [journal.entries[number].state.get(call.table) for number in journal.between(call.started, call.ended)]
        bearers = {table.origin for table in tables if table is not None}
        told = f"an insert into {call.table} that answered {call.error or 'committed'} is in {dict(origins)}"
        if call.error is not None and call.error != "outcome_unknown" and origins:
            findings.append(told)
        elif call.error is None and (origins.total() != 1 or not set(origins) <= bearers):
            findings.append(f"{told}, while the name was that of {sorted(bearers)}")
        elif origins.total() > 1:
            findings.append(told)
    return findings
