"""Faults of the network between the program and PostgreSQL, by the proxy between them."""

import asyncio

from tests.faults.base import Fault, Field
from tests.faults.program import CALL_TIMEOUT_S

#: Connections that break in one round, one after the other.
LOSSES = 10
SLOW_BYTES_PER_S = 500.0
#: Long enough for the program to ask what became of it.
LATE_S = 0.25


async def reset(on: Field) -> None:
    """Three times."""
    for _ in range(3):
        await on.crowd()
        on.struck()
        on.place.proxy.reset()


async def lose(on: Field, pattern: bytes, *, reply: bool = False, half: bool = False, late_s: float = 0.0) -> None:
    """A connection at a time, each when enough writers are inside."""
    proxy = on.place.proxy
    for _ in range(LOSSES):
        await on.crowd()
        lost = asyncio.Event()

        def struck(lost: asyncio.Event = lost) -> None:
            on.struck()
            lost.set()

        if late_s:
            proxy.delay(pattern, late_s, struck)
        else:
            proxy.lose(pattern, reply=reply, half=half, then=struck)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await lost.wait()


async def lose_commit_reply(on: Field) -> None:
    for _ in range(2):
        await lose(on, b"COMMIT", reply=True)


async def lose_commit(on: Field) -> None:
    await lose(on, b"COMMIT", reply=False)


async def delay_commit(on: Field) -> None:
    await lose(on, b"COMMIT", late_s=LATE_S)
    await asyncio.sleep(2 * LATE_S)


async def lose_insert_reply(on: Field) -> None:
    await lose(on, b"single.", reply=True)


async def lose_begin_reply(on: Field) -> None:
    await lose(on, b"BEGIN", reply=True)


async def halve_reply(on: Field) -> None:
    await lose(on, b"single.", half=True)


async def halve_commit_reply(on: Field) -> None:
    await lose(on, b"COMMIT", half=True)


async def slow_down(on: Field) -> None:
    """For two seconds."""
    await on.crowd()
    on.struck()
    on.place.proxy.slow(SLOW_BYTES_PER_S)
    await asyncio.sleep(2.0)
    on.place.proxy.slow(None)
    on.back()


async def stall(on: Field) -> None:
    """Longer than a call may take."""
    await on.crowd()
    on.struck()
    on.place.proxy.stall()
    await asyncio.sleep(CALL_TIMEOUT_S + 0.5)
    on.place.proxy.go_on()
    on.back()


async def stall_shortly(on: Field) -> None:
    """So short that calls may wait for its end."""
    await on.crowd()
    on.struck()
    on.place.proxy.stall()
    await asyncio.sleep(1.0)
    on.place.proxy.go_on()
    on.back()


NETWORK = (
    Fault(
        name="connections reset",
        what="every connection between the program and PostgreSQL breaks, three times",
        product="postgresql",
        strike=reset,
    ),
    Fault(
        name="reply of COMMIT lost",
        what="PostgreSQL commits; the reply does not arrive and the connection breaks",
        product="postgresql",
        strike=lose_commit_reply,
        least=200,
    ),
    Fault(
        name="COMMIT lost",
        what="a COMMIT does not arrive and its connection breaks",
        product="postgresql",
        strike=lose_commit,
    ),
    Fault(
        name="COMMIT late",
        what=f"the connection breaks, and its COMMIT reaches PostgreSQL {LATE_S:g} s later",
        product="postgresql",
        strike=delay_commit,
        least=100,
    ),
    Fault(
        name="reply of INSERT lost",
        what="PostgreSQL inserts; the reply does not arrive and the connection breaks before COMMIT",
        product="postgresql",
        strike=lose_insert_reply,
    ),
    Fault(
        name="reply of BEGIN lost",
        what="the reply of BEGIN does not arrive and the connection breaks",
        product="postgresql",
        strike=lose_begin_reply,
    ),
    Fault(
        name="half a reply of INSERT",
        what="half of the bytes of a reply arrive, then the connection breaks",
        product="postgresql",
        strike=halve_reply,
    ),
    Fault(
        name="half a reply of COMMIT",
        what="PostgreSQL commits; half of the bytes that say so arrive, then the connection breaks",
        product="postgresql",
        strike=halve_commit_reply,
    ),
    Fault(
        name="slow bytes",
        what=f"replies of PostgreSQL come at {SLOW_BYTES_PER_S:g} bytes a second, in small pieces, for 2 s",
        product="postgresql",
        strike=slow_down,
    ),
    Fault(
        name="network stalls for 1 s",
        what="nothing moves between the program and PostgreSQL for a second, and all of it arrives later",
        product="postgresql",
        strike=stall_shortly,
    ),
    Fault(
        name="network stalls for longer than a call",
        what=f"the same for {CALL_TIMEOUT_S + 0.5:g} s, which is more than a call may take ({CALL_TIMEOUT_S:g} s)",
        product="postgresql",
        strike=stall,
    ),
)
