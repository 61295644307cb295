"""One round: writers at work, a fault, its end, silence; then the oracle judges what is there."""

import asyncio
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.faults import oracle
from tests.faults.base import LEAST_INSIDE, Fault, Field
from tests.faults.journal import Journal, Outcome
from tests.faults.oracle import Finding, Kind, Remains
from tests.faults.places import seeded
from tests.faults.postgres_place import PostgresPlace
from tests.faults.program import (
    CALL_TIMEOUT_S,
    LOCK_TIMEOUT_S,
    MOST_CONNECTIONS,
    POOL_SIZE,
    TRANSACTION_POOL_SIZE,
    Program,
)
from tests.faults.wires import Wire
from tests.faults.writers import crew, tools_of
from tests.waiting import until

#: Calls that succeed before a fault strikes.
WARM = 20
#: How long a program that does not come back is waited for; and everything of it to end afterwards.
PATIENCE_S = 12.0
QUIET_S = 4.0
STRIKE_LIMIT_S = 60.0
#: A call may take its limit, and this for the end of its statement and for a machine that others use too.
SLACK_S = 3.0
#: The round in which nothing strikes. What a program has open after it is what it may have open.
CALM = "nothing"
SETTLE_S = 0.2
#: asyncio's default pool makes threads when there is work for them, and keeps these.
SPARE_THREADS = 2 + min(32, (os.cpu_count() or 1) + 4)
#: Where there was none since the program was started.
UNKNOWN_BASE = Remains(files=1_000_000, threads=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round was and what it showed."""

    fault: str
    place: str
    transport: str
    strikes: int
    inside: int
    calls: int
    acknowledged: int
    refused: int
    unknown: int
    recovery_s: float | None
    findings: tuple[Finding, ...]
    codes: Counter[str]


@dataclass(kw_only=True)
class Stage:
    """A place with a program over it that stays from round to round. `base`: what it had when it was calm."""

    place: Any
    program: Program
    tools: frozenset[str] = frozenset()
    base: Remains | None = None
    pid: int = 0
    rounds: int = 0

    async def start(self) -> None:
        """The program serves, and its tools are known."""
        await self.program.start()
        self.pid = self.program.pid
        wire = self.program.wire(1)
        self.tools = await tools_of(wire)
        wire.close()
        self.base = None


async def play(fault: Fault, stage: Stage, seed: int) -> Round:
    """One round of the fault. Raises: what the harness itself cannot do."""
    place, program = stage.place, stage.program
    stage.rounds += 1
    chances = seeded(seed, place.name, program.transport, stage.rounds, fault.name)
    journal, over = Journal(f"{seed}-{place.name}-{program.transport}-{stage.rounds}"), asyncio.Event()
    await place.clear()
    on = Field(place=place, program=program, journal=journal, chances=chances)
    writers = crew(journal, program.wire, chances, stage.tools, fault.kinds)
    working = [asyncio.create_task(writer.run(over)) for writer in writers]
    findings: list[Finding] = []
    recovery_s = None
    try:
        await _until(lambda: journal.count(Outcome.OK) >= WARM, PATIENCE_S)
        try:
            async with asyncio.timeout(STRIKE_LIMIT_S):
                await fault.strike(on)
        except (OSError, sqlite3.Error, asyncpg.PostgresError) as error:  # a TimeoutError is an OSError
            on.noticed.append(f"the fault could not be played to its end: {error!r}")
        back_at = on.back_at or time.monotonic()
        await _until(lambda: journal.first_ok_after(back_at) is not None, PATIENCE_S)
        if (first := journal.first_ok_after(back_at)) is not None:
            recovery_s = first - back_at
        await _until(lambda: journal.first_ok_after(back_at + 0.3) is not None, 2.0)
    finally:
        over.set()
        await asyncio.wait(working, timeout=CALL_TIMEOUT_S + SLACK_S + PATIENCE_S)
        for task in working:
            if not task.done():
                findings.append(Finding(Kind.LATE, "a writer never got its answer"))
                task.cancel()
        for result in await asyncio.gather(*working, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    findings += oracle.slow_to_return(recovery_s, fault.back_s)
    findings += oracle.too_few(on.inside, LEAST_INSIDE)
    findings += [Finding(Kind.PROCESS, words) for words in on.noticed]
    findings += await _aftermath(fault, stage)
    findings += oracle.misapplied(journal.calls, await place.found())
    findings += oracle.unreasoned(journal.told(), fault.codes)
    findings += oracle.late(journal.told(), CALL_TIMEOUT_S + SLACK_S)
    return Round(
        fault=fault.name,
        place=place.name,
        transport=program.transport,
        strikes=len(on.inside),
        inside=min(on.inside, default=0),
        calls=len(journal.told()),
        acknowledged=journal.count(Outcome.OK),
        refused=journal.count(Outcome.REFUSED),
        unknown=journal.count(Outcome.UNKNOWN),
        recovery_s=recovery_s,
        findings=tuple(findings),
        codes=Counter(each.code or "ok" for _, each in journal.told()),
    )


async def _aftermath(fault: Fault, stage: Stage) -> list[Finding]:
    """What is wrong with the program when all is over."""
    place, program = stage.place, stage.program
    findings = [Finding(Kind.PROCESS, words) for words in program.tracebacks()]
    if not program.running:
        await stage.start()
        return [*findings, *([] if fault.ends_program else [Finding(Kind.PROCESS, "the program has ended")])]
    if program.pid != stage.pid and not fault.ends_program:
        findings.append(Finding(Kind.PROCESS, "the program is another process"))
    wire = program.wire(1)
    tools = await tools_of(wire)
    wire.close()
    if tools != stage.tools:
        findings.append(Finding(Kind.PROCESS, f"the tools are others: {sorted(tools ^ stage.tools)}"))
    if isinstance(place, PostgresPlace) and (held := await place.held_connections(program)):
        findings.append(Finding(Kind.LEFT_BEHIND, f"{held} connections of the pool that no call can have"))
    if fault.name == CALM:
        await _fill(stage)
        await asyncio.sleep(SETTLE_S)
        stage.base = await place.remains(program)
    elif fault.ends_program:
        stage.pid, stage.base = program.pid, None
    base = stage.base or UNKNOWN_BASE
    remains = await place.remains(program)
    deadline = time.monotonic() + QUIET_S
    while (
        left := list(oracle.left_behind(base, remains, threads=SPARE_THREADS, connections=MOST_CONNECTIONS))
    ) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        remains = await place.remains(program)
    return [*findings, *left]


async def _fill(stage: Stage) -> None:
    """Has the program open every connection that it may have: so many calls, and transactions, wait for one lock."""
    wires = [stage.program.wire(number) for number in range(POOL_SIZE + TRANSACTION_POOL_SIZE)]
    asked: list[asyncio.Task[Any]] = []
    async with stage.place.locked():
        for number, wire in enumerate(wires):
            if number < POOL_SIZE:
                asked.append(asyncio.create_task(wire.call("delete_rows", {"table": "gate", "where": {"id": 0}})))
            elif "begin_transaction" in stage.tools:
                asked.append(asyncio.create_task(_open_and_end(wire)))
        await asyncio.sleep(0.7 * LOCK_TIMEOUT_S)  # all of them wait by then, and none has given up
    await asyncio.gather(*asked, return_exceptions=True)
    for wire in wires:
        wire.close()


async def _open_and_end(wire: Wire) -> None:
    begun = await wire.call("begin_transaction", {})
    if "transaction_id" in begun:
        await asyncio.sleep(SETTLE_S)
        await wire.call("rollback_transaction", {"transaction_id": begun["transaction_id"]})


async def _until(holds: Callable[[], object], limit_s: float) -> None:
    """Returns once it holds, or the time is over."""
    with suppress(TimeoutError):
        await until(holds, limit_s)
