"""The end of the server while a call runs in the database: quick, clean, and nothing is left running."""

import asyncio
import os
import re
from contextlib import AsyncExitStack, suppress
from time import monotonic

import anyio
import pytest
from anyio.abc import Process

from tests.conftest import Place
from tests.notes_server import opening, request
from tests.peers import COMMAND, LEGACY, LIMIT_S, environment, join
from tests.test_running import SLOW, busy, count
from tests.waiting import until

#: It takes a tenth of that; the machine may be busy.
STOP_LIMIT_S = 5.0
ROW = {"rows": [{"id": 1}]}

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)


async def until_serving(process: Process) -> str:
    """What the server has written by the time it serves."""
    assert process.stderr is not None
    words = b""
    while b"serving on" not in words or not words.endswith(b"\n"):
        words += await process.stderr.receive()
    return words.decode()


async def ended(process: Process, began: float) -> None:
    assert process.stderr is not None
    words = b""
    with suppress(anyio.EndOfStream):
        while True:
            words += await process.stderr.receive()
    assert await process.wait() == 0, words
    assert monotonic() - began < STOP_LIMIT_S
    assert b"Traceback" not in words


@PLACES
@pytest.mark.parametrize("end", ["signal", "end of input"])
async def test_on_stdio(place: Place, end: str) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    variables = {**os.environ, **environment({})}
    async with asyncio.timeout(LIMIT_S), await anyio.open_process([*COMMAND, place.url], env=variables) as process:
        assert process.stdin is not None
        await until_serving(process)
        await process.stdin.send(
            opening(LEGACY) + request(1, "tools/call", LEGACY, name="insert_slow_rows", arguments=ROW)
        )
        await until(lambda: busy(place))
        began = monotonic()
        if end == "signal":
            process.terminate()
        else:
            await process.stdin.aclose()
        await ended(process, began)
        await until(lambda: not busy(place), STOP_LIMIT_S)
        assert count(place, "slow_rows") == 0


@PLACES
async def test_on_http(place: Place) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    variables = {**os.environ, **environment({})}
    arguments = [*COMMAND, place.url, "--transport", "http", "--port", "0"]
    async with AsyncExitStack() as stack, asyncio.timeout(LIMIT_S):
        process = await stack.enter_async_context(await anyio.open_process(arguments, env=variables))
        found = re.search(r"serving on http at (\S+)", await until_serving(process))
        assert found is not None
        client_stack = AsyncExitStack()
        peer = await join(client_stack, found[1], LEGACY)
        call = asyncio.create_task(peer.client.call_tool("insert_slow_rows", ROW))
        await until(lambda: busy(place))
        began = monotonic()
        process.terminate()
        await ended(process, began)
        await until(lambda: not busy(place), STOP_LIMIT_S)
        assert count(place, "slow_rows") == 0
        assert (await call).is_error
        with suppress(Exception):
            await client_stack.aclose()
