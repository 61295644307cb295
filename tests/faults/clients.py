"""Clients that give up, vanish, or come in a crowd."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.faults.base import Fault, Field
from tests.faults.journal import Journal, NoAnswer
from tests.faults.program import IDLE_IN_TRANSACTION_S
from tests.faults.wires import HttpWire, Wire
from tests.notes_server import LEGACY, MODERN

#: Calls that are given up in a round, by so many clients.
CANCELS, CANCELLERS = 150, 10
#: A call is given up so many seconds after it was sent, at most.
CANCELLED_WITHIN_S = 0.04
#: Clients that vanish at once.
VANISHING = 12
#: Those that have a transaction open, and how long they may take to begin it.
ABANDONED = 4
BEGUN_WITHIN_S = 8.0
CROWD = 500


def write_of(journal: Journal, number: int) -> tuple[Any, str, dict[str, Any]]:
    """A call that writes, of one kind after the other: what is noted, the tool and the arguments."""
    match number % 3:
        case 0:
            call = journal.call("single", {"singles": 1})
            return call, "insert_rows", {"table": "singles", "rows": [{"call": call.id}]}
        case 1:
            call = journal.call("many", {"many": 5})
            return call, "insert_rows", {"table": "many", "rows": [{"call": call.id}] * 5}
    call = journal.call("batch", {"lefts": 1, "rights": 1})
    calls = [
        {"tool": "insert_rows", "arguments": {"table": table, "rows": [{"call": call.id}]}}
        for table in ("lefts", "rights")
    ]
    return call, "run_batch", {"calls": calls}


async def cancel(on: Field) -> None:
    """Calls that are given up at random moments, some of them in COMMIT."""

    async def give_up(number: int) -> None:
        wire: Wire = on.program.wire(number)
        try:
            for _ in range(CANCELS // CANCELLERS):
                call, tool, arguments = write_of(on.journal, on.chances.randrange(3))
                asking = asyncio.create_task(on.journal.ask(wire.call(tool, arguments), call))
                await asyncio.sleep(on.chances.uniform(0, CANCELLED_WITHIN_S))
                on.struck()
                asking.cancel()
                await asyncio.wait({asking})
        finally:
            wire.close()

    await on.crowd()
    await asyncio.gather(*[give_up(number) for number in range(CANCELLERS)])
    on.back()


async def vanish(on: Field, leave: Callable[[HttpWire], None]) -> None:
    """Clients over HTTP, of both eras, that send a call and are gone."""

    async def go(wire: HttpWire, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        await wire.send(tool, arguments)
        await asyncio.sleep(on.chances.uniform(0, 0.02))
        on.struck()
        leave(wire)
        raise NoAnswer("the client has vanished")

    wires = [on.program.http_wire((LEGACY, MODERN)[number % 2]) for number in range(VANISHING)]
    for wire in wires:
        await wire.open()
    await on.crowd()
    gone: list[Awaitable[Any]] = []
    for number, wire in enumerate(wires):
        call, tool, arguments = write_of(on.journal, number)
        gone.append(on.journal.ask(go(wire, tool, arguments), call))
    await asyncio.gather(*gone)
    on.back()


async def vanish_by_fin(on: Field) -> None:
    await vanish(on, HttpWire.close)


async def vanish_by_reset(on: Field) -> None:
    await vanish(on, HttpWire.reset)


async def vanish_in_a_stream(on: Field) -> None:
    """Clients that have read the beginning of a large answer."""

    async def go(wire: HttpWire) -> None:
        await wire.send("query_rows", {"table": "big", "limit": 10_000})
        await wire.read_some(500)
        await on.crowd()
        on.struck()
        wire.reset()

    wires = [on.program.http_wire((LEGACY, MODERN)[number % 2]) for number in range(VANISHING)]
    await asyncio.gather(*[go(wire) for wire in wires])
    on.back()


async def vanish_in_a_transaction(on: Field) -> None:
    """Clients that have begun a transaction and written in it. On SQLite one after the other: it has one writer."""
    deadline = time.monotonic() + BEGUN_WITHIN_S

    async def go(wire: HttpWire, leave: Callable[[HttpWire], None]) -> None:
        call = on.journal.call("abandoned", {"singles": 1}, asked=False)
        begun: dict[str, Any] = {}
        while "transaction_id" not in begun and time.monotonic() < deadline:
            begun = await on.journal.ask(wire.call("begin_transaction", {}), call, last=False)
        if "transaction_id" in begun:
            row = {"table": "singles", "rows": [{"call": call.id}], "transaction_id": begun["transaction_id"]}
            await on.journal.ask(wire.call("insert_rows", row), call, last=False)
            await on.crowd()
            on.struck()
        leave(wire)

    wires = [on.program.http_wire((LEGACY, MODERN)[number % 2]) for number in range(ABANDONED)]
    ways = (HttpWire.close, HttpWire.reset)
    await asyncio.gather(*[go(wire, ways[at // 2 % 2]) for at, wire in enumerate(wires)])
    await asyncio.sleep(IDLE_IN_TRANSACTION_S + 0.5)
    on.back()


async def crowd_in(on: Field) -> None:
    """Calls that are sent at once, each by a client of its own."""
    wires = [
        on.program.http_wire(MODERN) if on.program.transport == "http" else on.program.wire(number)
        for number in range(CROWD)
    ]
    await on.crowd()
    asked = []
    for wire in wires:
        call = on.journal.call("crowd", {"singles": 1})
        row = {"table": "singles", "rows": [{"call": call.id}]}
        asked.append(asyncio.create_task(on.journal.ask(wire.call("insert_rows", row), call)))
    await asyncio.sleep(0)
    on.struck()
    await asyncio.gather(*asked)
    for wire in wires:
        wire.close()
    on.back()


HTTP = ("http",)
CLIENTS = (
    Fault(
        name="calls given up",
        what=f"{CANCELS} calls a round are cancelled within {CANCELLED_WITHIN_S * 1000:g} ms, some of them in COMMIT",
        product="any",
        strike=cancel,
        least=2_000,
    ),
    Fault(
        name="clients vanish (FIN)",
        what=f"{VANISHING} clients over HTTP, of both eras, close their connections inside a call",
        product="any",
        strike=vanish_by_fin,
        transports=HTTP,
        least=100,
    ),
    Fault(
        name="clients vanish (RST)",
        what="the same by RST, as of a machine that was switched off and on",
        product="any",
        strike=vanish_by_reset,
        transports=HTTP,
        least=100,
    ),
    Fault(
        name="clients vanish in a stream",
        what=f"{VANISHING} clients have read the beginning of an answer of a megabyte, progress and all, and reset",
        product="any",
        strike=vanish_in_a_stream,
        transports=HTTP,
        least=100,
    ),
    Fault(
        name="clients vanish in a transaction",
        what="four clients have begun a transaction and written in it, and vanish by FIN and RST",
        product="any",
        strike=vanish_in_a_transaction,
        transports=HTTP,
        needs="begin_transaction",
        least=20,
    ),
    Fault(
        name="500 calls at once",
        what=f"{CROWD} clients write at once; the pool has 16 connections",
        product="any",
        strike=crowd_in,
    ),
)
