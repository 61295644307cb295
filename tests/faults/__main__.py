"""`python -m tests.faults`: plays faults against the real program, prints what they showed, exits 1 with findings.

Turn after turn it plays each fault once, on one place and transport after the other as the seed has it begin, until its
time is over and each was played; in a long run, until each has struck as often as it is to. Those over SQLite and those
over PostgreSQL are played side by side.
"""

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.base import Fault
from tests.faults.round import CALM, Round, play
from tests.faults.suite import FAULTS
from tests.faults.table import PAGE, Run, page_with
from tests.faults.theatre import NotHere, Theatre

#: A run of so many seconds or more goes on until every fault has struck as often as it is to.
LONG_S = 300.0
PLACES = {"postgresql": ("18", "16"), "sqlite": ("sqlite", "sqlite-wal")}
TRANSPORTS = ("http", "stdio")


def settings_of(fault: Fault, turn: int) -> tuple[str, str]:
    """Place and transport of a fault in this turn.

    Within a turn each place has one transport, so that a short run starts few programs; the next turn has the other.
    """
    places = fault.places or [place for product, each in PLACES.items() for place in each if fault.is_for(product)]
    pairs = [(place, TRANSPORTS[(at + turn) % 2]) for at, place in enumerate(places)]
    fitting = [pair for pair in pairs if pair[1] in fault.transports] or [(places[0], fault.transports[0])]
    return fitting[(turn // 2 + FAULTS.index(fault)) % len(fitting)]


async def run(seconds: float, seed: int, only: Sequence[str]) -> Run:
    """Every round that was played."""
    chosen = [fault for fault in FAULTS if not only or any(word in fault.name for word in only)]
    rounds: list[Round] = []
    strikes: Counter[str] = Counter()
    not_played: dict[str, str] = {}
    calm = next(fault for fault in FAULTS if fault.name == CALM)
    began = time.monotonic()
    ended = asyncio.Event()
    # After the rounds that are being played: what was started and mounted is ended and unmounted.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    def is_due(fault: Fault) -> bool:
        wanted = fault.least if seconds >= LONG_S else 1
        if ended.is_set() or fault.name in not_played:
            return False
        return time.monotonic() - began < seconds or strikes[fault.name] < wanted

    async def visit(theatre: Theatre, turn: int, faults: Sequence[Fault]) -> None:
        """One turn of these, one after the other."""
        for fault in faults:
            if not is_due(fault):
                continue
            place, transport = settings_of(fault, turn)
            try:
                stage = await theatre.stage(place, transport, stepped=fault.stepped)
            except NotHere as reason:
                not_played[fault.name] = str(reason)
                continue
            if fault.needs is not None and fault.needs not in stage.tools:
                not_played[fault.name] = f"there is no tool {fault.needs}"
                continue
            for each in (calm, fault) if stage.base is None and fault is not calm else (fault,):
                rounds.append(shown(await play(each, stage, seed)))
                strikes[each.name] += max(1, rounds[-1].strikes)

    with TemporaryDirectory(prefix="schema-mcp-faults-") as directory:
        async with AsyncExitStack() as stack:
            theatre = Theatre(stack, Path(directory))
            turn = seed % 4
            while due := [fault for fault in chosen if is_due(fault)]:
                # What ends a program comes last: the next round over it begins with a calm one.
                order = sorted(random.Random(seed + turn).sample(due, len(due)), key=lambda fault: fault.ends_program)
                over_files = [fault for fault in order if settings_of(fault, turn)[0].startswith("sqlite")]
                over_servers = [fault for fault in order if fault not in over_files]
                async with asyncio.TaskGroup() as side_by_side:
                    side_by_side.create_task(visit(theatre, turn, over_files))
                    side_by_side.create_task(visit(theatre, turn, over_servers))
                turn += 1
            versions = theatre.versions()
    return Run(rounds=rounds, seed=seed, seconds=time.monotonic() - began, versions=versions, not_played=not_played)


def shown(played: Round) -> Round:
    """The round, told in a line, with its findings."""
    back = "never" if played.recovery_s is None else f"{played.recovery_s:.2f} s"
    codes = ", ".join(f"{count} {code}" for code, count in played.codes.most_common())
    print(
        f"{played.fault:40} {played.place:12} {played.transport:5} strikes {played.strikes:3} inside {played.inside:3} "
        f"back {back:7} {codes}",
        flush=True,
    )
    for finding in played.findings[:10]:
        print(f"    {finding}", flush=True)
    return played


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, and each fault once at least")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats what was chosen by chance")
    parser.add_argument("--only", nargs="*", default=[], help="faults whose name has one of these words in it")
    parser.add_argument("--write", action="store_true", help="writes the table into docs/reliability.md")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    done = asyncio.run(run(given.seconds, given.seed, given.only))
    for name, reason in done.not_played.items():
        print(f"{name:40} not played: {reason}")
    print(f"seed {given.seed}: {len(done.rounds)} rounds in {done.seconds:.0f} s, {done.findings} findings")
    if given.write:
        PAGE.write_text(page_with(PAGE.read_text(), done, FAULTS))
    return 1 if done.findings else 0


if __name__ == "__main__":
    sys.exit(main())
