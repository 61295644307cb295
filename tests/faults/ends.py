"""The end of the program, asked for or not, and of the client that started it."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.faults import victim
from tests.faults.base import Fault, Field
from tests.faults.postgres_place import PostgresPlace
from tests.waiting import until, until_it_holds

#: How long the program may take to end, and to be served again after it was killed.
END_S = 10.0
AGAIN_S = 10.0
#: Calls of a client that succeed before it is killed.
VICTIMS_CALLS = 40
#: The database's end of a connection whose client was killed.
FORGOTTEN_S = 2.0


async def kill_client(on: Field) -> None:
    """kill -9 of a client on stdio, whose program notices by the end of its input."""
    with TemporaryDirectory(prefix="schema-mcp-victim-") as directory:
        log = Path(directory) / "log"
        prefix = f"victim-{on.chances.randrange(10**9)}"
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.victim", on.place.url, str(log), prefix), env=os.environ
        )
        try:
            await until(lambda: log.exists() and log.read_bytes().count(b'"ok"') >= VICTIMS_CALLS, 4 * END_S)
            await on.crowd()
        finally:
            client.kill()
            await client.wait()
        calls, inside = victim.read(log)
        on.inside.append(inside)
        on.journal.calls += calls
        program = victim.program_of(log)
        try:
            await until(lambda: not _lives(program), END_S)
        except TimeoutError:
            on.noticed.append(f"the program is there {END_S:g} s after its client was killed")
            os.kill(program, signal.SIGKILL)
    on.back()


async def end_input(on: Field) -> None:
    """The client closes its end of the pipes."""
    await on.crowd()
    on.struck()
    on.program.pipes.end()
    await _ended_well(on)


async def terminate(on: Field) -> None:
    """SIGTERM."""
    await on.crowd()
    on.struck()
    on.program.process.send_signal(signal.SIGTERM)
    await _ended_well(on)


async def kill(on: Field) -> None:
    """kill -9 of the program."""
    await on.crowd()
    on.struck()
    await on.program.killed()
    if isinstance(on.place, PostgresPlace):
        place = on.place

        async def forgotten() -> bool:
            return await place.backends() == 0

        with suppress(TimeoutError):
            await until_it_holds(forgotten, FORGOTTEN_S)
        if left := await place.backends():
            on.noticed.append(f"PostgreSQL has {left} connections of it {FORGOTTEN_S:g} s after it was killed")
    await _start_again(on)


async def _ended_well(on: Field) -> None:
    try:
        if code := await on.program.gone(END_S):
            on.noticed.append(f"the program ended with exit code {code}")
    except TimeoutError:
        on.noticed.append(f"the program has not ended within {END_S:g} s")
        await on.program.killed()
    await _start_again(on)


def _lives(pid: int) -> bool:
    """Whether the process is there, and no zombie that nobody has looked at."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


async def _start_again(on: Field) -> None:
    began = time.monotonic()
    await on.program.start()
    on.back()
    if on.back_at - began > AGAIN_S:
        on.noticed.append(f"the program serves again after {on.back_at - began:.1f} s of at most {AGAIN_S:g} s")


STDIO = ("stdio",)
#: What a call may be told that the program's end cut short.
STOPPING = frozenset({"cancelled"})
ENDS = (
    Fault(
        name="kill -9 of the client",
        what="a client on stdio with 16 writers is killed; its program ends by itself",
        product="any",
        strike=kill_client,
    ),
    Fault(
        name="end of input",
        what="the client on stdio closes its end; the program ends, and is started again",
        product="any",
        strike=end_input,
        transports=STDIO,
        ends_program=True,
        codes=STOPPING,
    ),
    Fault(
        name="SIGTERM",
        what="the program is told to end, and is started again",
        product="any",
        strike=terminate,
        ends_program=True,
        codes=STOPPING,
    ),
    Fault(
        name="kill -9 of the program",
        what="the program is killed and started again",
        product="any",
        strike=kill,
        ends_program=True,
        least=20,
    ),
)
