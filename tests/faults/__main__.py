"""`python -m tests.faults`: plays faults against the real program for a time, and prints what they showed.

Every fault is played once a turn, on one place and transport after the other; a run ends when its time is over and each
fault was played once (a long run: as often as it is to strike). Exit 1 with findings.
"""

import argparse
import asyncio
import random
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
from tests.faults.theatre import NotHere, Theatre

#: A run of so many seconds or more goes on until every fault has struck as often as it is to.
LONG_S = 600.0
PLACES = {"postgresql": ("18", "16"), "sqlite": ("sqlite", "sqlite-wal")}
TRANSPORTS = ("http", "stdio")


def settings_of(fault: Fault, turn: int) -> tuple[str, str]:
    """Place and transport of a fault in this turn: of each product every pair has its turn."""
    product = ("postgresql", "sqlite")[turn % 2] if fault.product == "any" else fault.product
    places = fault.places or PLACES[product]
    at = turn + FAULTS.index(fault)
    return places[at % len(places)], fault.transports[at // len(places) % len(fault.transports)]


async def run(seconds: float, seed: int, only: Sequence[str]) -> list[Round]:
    """Every round that was played."""
    chosen = [fault for fault in FAULTS if not only or any(word in fault.name for word in only)]
    rounds: list[Round] = []
    strikes: Counter[str] = Counter()
    calm = next(fault for fault in FAULTS if fault.name == CALM)
    began = time.monotonic()
    with TemporaryDirectory(prefix="schema-mcp-faults-") as directory:
        async with AsyncExitStack() as stack:
            theatre = Theatre(stack, Path(directory))
            turn = seed % 4

            def is_due(fault: Fault) -> bool:
                wanted = fault.least if seconds >= LONG_S else 1
                return time.monotonic() - began < seconds or strikes[fault.name] < wanted

            while due := [fault for fault in chosen if is_due(fault)]:
                for fault in random.Random(seed + turn).sample(due, len(due)):
                    if not is_due(fault):
                        continue
                    place, transport = settings_of(fault, turn)
                    try:
                        stage = await theatre.stage(place, transport, stepped=fault.stepped)
                    except NotHere as reason:
                        print(f"{fault.name:45} not played: {reason}", flush=True)
                        strikes[fault.name] += fault.least
                        continue
                    if stage.base is None and fault is not calm:
                        rounds.append(shown(await play(calm, stage, seed)))
                        strikes[CALM] += 1
                    if fault.needs is not None and fault.needs not in stage.tools:
                        strikes[fault.name] += fault.least
                        continue
                    rounds.append(shown(await play(fault, stage, seed)))
                    strikes[fault.name] += max(1, rounds[-1].strikes)
                turn += 1
    return rounds


def shown(played: Round) -> Round:
    """The round, told in a line, with its findings."""
    back = "never" if played.recovery_s is None else f"{played.recovery_s:.2f} s"
    codes = ", ".join(f"{count} {code}" for code, count in played.codes.most_common())
    print(
        f"{played.fault:45} {played.place:10} {played.transport:5} strikes {played.strikes:3} inside {played.inside:3} "
        f"back {back:7} {codes}",
        flush=True,
    )
    for finding in played.findings[:10]:
        print(f"    {finding}", flush=True)
    return played


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", nargs="*", default=[], help="faults whose name has one of these words in it")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    rounds = asyncio.run(run(given.seconds, given.seed, given.only))
    findings = [finding for each in rounds for finding in each.findings]
    print(f"seed {given.seed}: {len(rounds)} rounds, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
