"""Steps of the wall clock of the machine that the program runs on; see `stepped/sitecustomize.py` for how."""

import asyncio
import os
import struct
from pathlib import Path

from tests.faults.base import Fault, Field

#: What makes a program's clock one that can be stepped.
STEPPED = Path(__file__).parent / "stepped"
DAY_S = 86_400.0
#: Forward, back, and what it should be.
STEPS_S = (2 * DAY_S, -2 * DAY_S, 0.0)


def clock_variables(path: Path) -> dict[str, str]:
    """The environment of a program whose clock is stepped by that file, which is made."""
    path.write_bytes(struct.pack("d", 0.0))
    return {"FAULTS_CLOCK": str(path), "PYTHONPATH": os.pathsep.join([str(STEPPED), os.environ.get("PYTHONPATH", "")])}


async def step(on: Field) -> None:
    """Two days forward, four back, and to what it should be."""
    path = Path(on.program.variables["FAULTS_CLOCK"])
    for offset_s in STEPS_S:
        await on.crowd()
        on.struck()
        await asyncio.to_thread(_write, path, offset_s)
        await asyncio.sleep(0.4)
    on.back()


def _write(path: Path, offset_s: float) -> None:
    with path.open("r+b") as file:
        file.write(struct.pack("d", offset_s))


CLOCK = (
    Fault(
        name="clock steps",
        what="the wall clock of the program jumps two days forward, four back, two forward; the database's stays",
        product="any",
        strike=step,
        stepped=True,
    ),
)
