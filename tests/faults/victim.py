"""A client on stdio that is there to be killed: `python -m tests.faults.victim URL LOG PREFIX`.

It starts a program of its own, as an IDE does, and has writers call it. What it sends and what it is told is in the log
at once, a JSON object a line, so that whoever kills it knows what was inside.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

import orjson

from tests.faults.journal import NO_ANSWER, Call, Journal, Outcome, Told
from tests.faults.program import Program
from tests.faults.writers import Writer

#: Kinds whose calls say from the start what they leave behind, and need nothing of the program.
KINDS = ("single", "many", "batch", "many") * 4


class LoggedJournal(Journal):
    """A journal that outlives its process."""

    def __init__(self, prefix: str, log: int) -> None:
        super().__init__(prefix)
        self._log = log

    def write(self, **words: Any) -> None:
        """A line of the log; in the kernel when this returns."""
        os.write(self._log, orjson.dumps(words) + b"\n")

    def call(self, kind: str, rows: Any, *, asked: bool = True) -> Call:
        """A call that is about to be made."""
        call = super().call(kind, rows, asked=asked)
        self.write(id=call.id, kind=kind, rows=rows)
        return call

    async def ask(self, answer: Any, call: Call | None = None, *, last: bool = True) -> dict[str, Any]:
        """The answer, noted and logged."""
        if call is not None:
            self.write(asked=call.id)
        given = await super().ask(answer, call, last=last)
        if call is not None:
            self.write(told=call.id, outcome=call.told[-1].outcome, code=call.told[-1].code)
        return given


def read(log: Path) -> tuple[list[Call], int]:
    """The calls in the log, and how many were inside: these are told that nobody knows."""
    calls: dict[str, Call] = {}
    inside: dict[str, Told] = {}
    for line in log.read_bytes().splitlines():
        words = orjson.loads(line)
        if "id" in words:
            calls[words["id"]] = Call(id=words["id"], kind=words["kind"], rows=words["rows"])
        elif "asked" in words:
            inside[words["asked"]] = Told(outcome=Outcome.UNKNOWN, started=0.0, ended=0.0, code=NO_ANSWER)
        elif "told" in words:
            del inside[words["told"]]
            told = Told(outcome=Outcome(words["outcome"]), started=0.0, ended=0.0, code=words["code"])
            calls[words["told"]].told.append(told)
    for id_, told in inside.items():
        calls[id_].told.append(told)
    return list(calls.values()), len(inside)


def program_of(log: Path) -> int:
    """The process id of the program that it started; 0 as long as there is none."""
    lines = log.read_bytes().splitlines() if log.exists() else []
    return int(orjson.loads(lines[0])["program"]) if lines else 0


async def main(url: str, log: str, prefix: str) -> None:
    journal = LoggedJournal(prefix, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    program = Program(url, "stdio")
    await program.start()
    journal.write(program=program.pid)
    never, chances = asyncio.Event(), random.Random(prefix)
    writers = [Writer(kind, at, journal, lambda: program.wire(0), chances) for at, kind in enumerate(KINDS)]
    await asyncio.gather(*[writer.run(never) for writer in writers])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
