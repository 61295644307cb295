"""What the writers of a fault run asked for, and what each of them was told: all that the oracle judges by.

A call has an id, which it writes with its rows, and says what it leaves in the database when it is done. It is told
once, or, where it is repeated with the same idempotency key, once an attempt.
"""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: What an answer with this code says of the call's rows: nothing.
UNKNOWN_CODES = frozenset({"outcome_unknown", "cancelled"})
#: Codes of ours for what the server did not say: its answer never came, or was not waited for.
NO_ANSWER, GIVEN_UP = "no_answer", "given_up"


class NoAnswer(Exception):
    """The connection to the server ended, or its answer did not come within any limit."""


class Outcome(StrEnum):
    """What an answer says of the call's rows: they are there, they are not, nobody can tell."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer, or that none came. `code`: of the error, empty without one; times are of the monotonic clock."""

    outcome: Outcome
    started: float
    ended: float
    code: str = ""
    message: str = ""


@dataclass(slots=True, kw_only=True)
class Call:
    """`rows`: how many rows with its id each table has once it is done; all of them, or none.

    `asked`: whether what makes it last was ever sent, which of a transaction is its commit.
    """

    id: str
    kind: str
    rows: Mapping[str, int]
    asked: bool = True
    told: list[Told] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """What the client knows in the end: of an attempt that succeeded everything, of one that is unknown nothing."""
        if not self.asked:
            return Outcome.REFUSED
        told = {each.outcome for each in self.told}
        if Outcome.OK in told:
            return Outcome.OK
        return Outcome.REFUSED if told == {Outcome.REFUSED} else Outcome.UNKNOWN


class Journal:
    """The calls of one round. `inside`: how many of those that write were sent and not answered at this moment."""

    def __init__(self, prefix: str) -> None:
        self.calls: list[Call] = []
        self.inside = 0
        #: What was told besides: to those that read, and to the statements of a transaction.
        self.aside: list[Told] = []
        self._prefix = prefix

    def call(self, kind: str, rows: Mapping[str, int], *, asked: bool = True) -> Call:
        """A call that is about to be made."""
        call = Call(id=f"{kind}.{self._prefix}.{len(self.calls)}", kind=kind, rows=rows, asked=asked)
        self.calls.append(call)
        return call

    async def ask(
        self, answer: Awaitable[dict[str, Any]], call: Call | None = None, *, last: bool = True
    ) -> dict[str, Any]:
        """The answer, noted; an empty object where none came. Raises: asyncio.CancelledError, noted too.

        `call`: that it is part of, None where it only reads; `last`: whether its answer is that of the call.
        """
        started = time.monotonic()
        note = self.aside if call is None or not last else call.told
        self.inside += call is not None
        try:
            given = await answer
            told = told_by(given, started)
        except NoAnswer as lost:
            given = {}
            told = Told(
                outcome=Outcome.UNKNOWN, started=started, ended=time.monotonic(), code=NO_ANSWER, message=str(lost)
            )
        except asyncio.CancelledError:
            told = Told(outcome=Outcome.UNKNOWN, started=started, ended=time.monotonic(), code=GIVEN_UP)
            note.append(told)
            raise
        finally:
            self.inside -= call is not None
        note.append(told)
        return given

    def count(self, outcome: Outcome) -> int:
        """How many calls ended so."""
        return sum(call.outcome is outcome for call in self.calls if call.told)

    def told(self) -> list[tuple[str, Told]]:
        """Every answer, by the name of its call."""
        return [
            *((call.id, each) for call in self.calls for each in call.told),
            *(("aside", each) for each in self.aside),
        ]

    def first_ok_after(self, moment: float) -> float | None:
        """When a write first succeeded that ended after this moment."""
        ended = [
            each.ended
            for call in self.calls
            for each in call.told
            if each.outcome is Outcome.OK and each.ended > moment
        ]
        return min(ended, default=None)


def told_by(answer: Mapping[str, Any], started: float) -> Told:
    """What the answer of a tool says of the call."""
    error = answer.get("error")
    if error is None:
        done = {"unknown": Outcome.UNKNOWN, "rolled_back": Outcome.REFUSED}.get(answer.get("outcome", ""), Outcome.OK)
        return Told(outcome=done, started=started, ended=time.monotonic())
    code = str(error["code"])
    outcome = Outcome.UNKNOWN if code in UNKNOWN_CODES else Outcome.REFUSED
    return Told(outcome=outcome, started=started, ended=time.monotonic(), code=code, message=str(error["message"]))
