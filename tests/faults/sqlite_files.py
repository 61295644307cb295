"""Faults of a SQLite file: locked, its disk full, its writes failing, taken away, replaced by another."""

import asyncio
import resource
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults.base import Fault, Field
from tests.faults.journal import Outcome
from tests.faults.program import LOCK_TIMEOUT_S

HELD_S = LOCK_TIMEOUT_S + 0.5
#: How long the fault lasts once it has struck.
LASTS_S = 1.0
#: Writers that a replaced file would contradict: their rows and counters of before are in the file of before.
INSERTING = frozenset({"single", "many", "keyed", "batch", "transaction"})


async def lock(on: Field) -> None:
    """Longer than calls wait for a lock."""
    async with on.place.locked():
        await on.crowd()
        on.struck()
        await asyncio.sleep(HELD_S)
    on.back()


async def fill(on: Field) -> None:
    """Another file takes what is left of the disk."""
    filler = on.place.path.with_name("filler")
    await on.crowd()
    on.struck()
    await asyncio.to_thread(_fill, filler)
    await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(filler.unlink)
    on.back()


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (65_536, 4_096, 512, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)


async def fail_writes(on: Field) -> None:
    """The kernel refuses the program's writes beyond the beginning of any file (RLIMIT_FSIZE): EFBIG."""
    process = psutil.Process(on.program.pid)
    limits = process.rlimit(resource.RLIMIT_FSIZE)
    await on.crowd()
    on.struck()
    process.rlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    await asyncio.sleep(LASTS_S)
    process.rlimit(resource.RLIMIT_FSIZE, limits)
    on.back()


async def take_away(on: Field) -> None:
    """The file is renamed while nobody is writing and everybody waits to, and comes back later."""
    aside = on.place.path.with_name("aside.sqlite")
    async with on.place.locked():
        await on.crowd()
        on.struck()
        on.place.path.rename(aside)
    await asyncio.sleep(LASTS_S)
    aside.rename(on.place.path)
    on.back()


async def replace(on: Field) -> None:
    """Another file takes the place."""
    old, new = await _aside(on)
    async with on.place.locked():
        before = await _copied(on, old)
        on.struck()
        new.replace(on.place.path)
    on.back()
    on.place.keep_of(old, before)


async def delete(on: Field) -> None:
    """The file is deleted, and another is there a second later."""
    old, new = await _aside(on)
    async with on.place.locked():
        before = await _copied(on, old)
        on.struck()
        on.place.path.unlink()
    await asyncio.sleep(LASTS_S)
    if on.place.path.exists():
        on.noticed.append("the program has made a file in the place of the one that was deleted")
    new.replace(on.place.path)
    on.back()
    on.place.keep_of(old, before)


async def _aside(on: Field) -> tuple[Path, Path]:
    """Where the file of before is to be kept, and another with the same tables."""
    old, new = on.place.path.with_name("old.sqlite"), on.place.path.with_name("new.sqlite")
    await asyncio.to_thread(on.place.make, new)
    return old, new


async def _copied(on: Field, old: Path) -> set[str]:
    """The ids of the calls that were done before the file is taken: nobody writes, and enough writers wait.

    A copy is kept and no link: SQLite itself damages a file that is renamed or replaced while somebody waits for it,
    with the journal of the one that is there now (sqlite.org/howtocorrupt.html, 2.4). By another process: a file that
    ours closes loses the locks that ours has on it.
    """
    await asyncio.sleep(0.1)  # until the answers to what was committed have arrived
    await (await asyncio.create_subprocess_exec("cp", on.place.path, old)).wait()
    await on.crowd()
    return {call.id for call in on.journal.calls if call.told and call.outcome is Outcome.OK}


DELETE_MODE = ("sqlite",)
SQLITE_FILES = (
    Fault(
        name="file locked",
        what=f"another program holds the file for {HELD_S:g} s, longer than a call waits for a lock",
        product="sqlite",
        strike=lock,
    ),
    Fault(
        name="disk full",
        what=f"another file takes what is left of a small disk (a tmpfs, which root may mount), for {LASTS_S:g} s",
        product="sqlite",
        strike=fill,
        places=("sqlite-small",),
    ),
    Fault(
        name="writes fail",
        what=f"the kernel refuses every write of the program to a file (RLIMIT_FSIZE), for {LASTS_S:g} s",
        product="sqlite",
        strike=fail_writes,
    ),
    Fault(
        name="file away",
        what=f"the file is renamed while writers wait for it, and is back after {LASTS_S:g} s",
        product="sqlite",
        strike=take_away,
        places=DELETE_MODE,
    ),
    Fault(
        name="file replaced",
        what="another file with the same tables takes its place while writers wait for it",
        product="sqlite",
        strike=replace,
        places=DELETE_MODE,
        kinds=INSERTING,
    ),
    Fault(
        name="file deleted",
        what=f"the file is deleted while writers wait for it; another is there after {LASTS_S:g} s",
        product="sqlite",
        strike=delete,
        places=DELETE_MODE,
        kinds=INSERTING,
    ),
)
