"""Connections are handed out in turns: nobody waits behind all the calls of another, and not more wait than may."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median

import pytest

from schema_mcp.caller import Caller
from schema_mcp.errors import Unavailable
from schema_mcp.execute.queue import FairQueue, QueueLimits
from tests.conftest import Place
from tests.peers import LEGACY, Inside, inside, join
from tests.test_running import PLACES, answers, begin, idle
from tests.waiting import until


def queue(places: int, *, concurrent: int = 0, queued: int = 1_000, wait_limit_s: float = 20) -> FairQueue:
    limits = QueueLimits(concurrent_calls=concurrent, queued_calls=queued)
    return FairQueue("places", places, limits, wait_limit_s=wait_limit_s)


class Callers:
    """Calls that hold a place until they are told to end. `begun`: whose calls got one, in order."""

    def __init__(self, places: FairQueue) -> None:
        self.places = places
        self.begun: list[str] = []
        self.ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, client: str, calls: int = 1) -> None:
        for _ in range(calls):
            self.tasks.append(asyncio.create_task(self._call(client)))
            await asyncio.sleep(0)

    async def _call(self, client: str) -> None:
        async with self.places.place(client):
            self.begun.append(client)
            self.ends.append(asyncio.Event())
            await self.ends[-1].wait()

    async def end(self) -> None:
        """Ends all calls, one after the other, as they come to their place."""
        for n in range(len(self.tasks)):
            await until(partial(self._has_begun, n))
            self.ends[n].set()
        await asyncio.gather(*self.tasks)

    def _has_begun(self, n: int) -> bool:
        return len(self.ends) > n


@asynccontextmanager
async def calling(places: FairQueue) -> AsyncIterator[Callers]:
    callers = Callers(places)
    yield callers
    async with asyncio.timeout(20):
        await callers.end()
    assert (places.taken, places.waiting) == (0, 0)


async def test_clients_take_turns_and_the_calls_of_one_keep_their_order() -> None:
    async with calling(queue(1)) as callers:
        await callers.add("many", 5)
        await callers.add("few", 2)
        await callers.add("one")
    assert callers.begun == ["many", "many", "few", "one", "many", "few", "many", "many"]


async def test_a_client_has_no_more_places_than_one_may_while_others_are_free_for_others() -> None:
    async with calling(places := queue(4, concurrent=2)) as callers:
        await callers.add("many", 5)
        assert (places.taken, places.waiting) == (2, 3)
        await callers.add("one")
        assert callers.begun == ["many", "many", "one"]


async def test_more_calls_than_may_wait_are_told_at_once_and_when_to_come_again() -> None:
    async with calling(places := queue(1, queued=2)) as callers:
        await callers.add("many", 3)
        with pytest.raises(Unavailable) as caught:
            async with places.place("one"):
                raise AssertionError("there is no place")
        assert caught.value.code == "busy"
        assert caught.value.message == "2 calls wait already for places, as many as may (limits.queued_calls)"
        assert caught.value.details is not None
        assert isinstance(caught.value.details["retry_after_s"], float)


async def test_a_wait_that_is_cancelled_in_whatever_moment_leaves_no_trace() -> None:
    places, seed = queue(2), random.randrange(2**32)
    chance = random.Random(seed)

    async def call(client: int) -> None:
        async with places.place(client):
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    for n in range(2_000):
        tasks.append(asyncio.create_task(call(n % 7)))
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
    async with asyncio.timeout(20):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in ended} == {type(None), asyncio.CancelledError}, seed
    assert (places.taken, places.waiting, places._turns, places._taken_by) == (0, 0, {}, {}), seed


async def test_a_wait_that_takes_too_long_leaves_its_place_in_the_queue_to_others() -> None:
    places = queue(1, wait_limit_s=0.01)
    async with places.place("holder"):
        with pytest.raises(Unavailable) as caught:
            async with places.place("late"):
                raise AssertionError("there is no place")
        assert caught.value.message == "none of the 1 places became free within 0.01 s (pool.acquire_timeout_s)"
    async with places.place("late"):
        assert (places.taken, places.waiting) == (1, 0)


async def test_when_to_come_again_is_told_by_the_pace_of_the_calls_before() -> None:
    places = queue(1)
    assert places.retry_after_s == 0.1
    places._hold_s = 2.0
    async with calling(places) as callers:
        await callers.add("many", 4)
        assert 7.9 <= places.retry_after_s <= 8.1
    assert places.retry_after_s == 0.1


# In the program


@PLACES
async def test_a_call_over_the_bound_of_the_queue_is_told_busy_at_once(place: Place) -> None:
    begin(place)
    async with inside(place.url, pool__size=1, limits__queued_calls=1) as program:
        places = program.app.database.queue
        calls = [asyncio.create_task(program.peer.client.call_tool("query_slow"))]
        await until(lambda: places.taken == 1)
        calls.append(asyncio.create_task(program.peer.client.call_tool("query_cats")))
        await until(lambda: places.waiting == 1)
        error = await program.peer.error("query_cats")
        assert (error["code"], error["retryable"]) == ("busy", True)
        assert "limits.queued_calls" in error["message"]
        assert error["details"]["queued_calls"] == 1
        assert error["details"]["retry_after_s"] >= 0.1
        calls[0].cancel()
        await asyncio.wait(calls)
        await answers(program.peer)
        await idle(program, place)
        assert (places.taken, places.waiting) == (0, 0)


@PLACES
async def test_a_call_that_waits_too_long_is_told_when_to_come_again(place: Place) -> None:
    begin(place)
    async with inside(place.url, pool__size=1, pool__acquire_timeout_s=0.1) as program:
        call = asyncio.create_task(program.peer.client.call_tool("query_slow"))
        await until(lambda: program.app.database.queue.taken == 1)
        error = await program.peer.error("query_cats")
        assert error["code"] == "busy"
        assert "within 0.1 s (pool.acquire_timeout_s)" in error["message"]
        assert error["details"]["retry_after_s"] >= 0.1
        call.cancel()
        await asyncio.wait({call})


@PLACES
async def test_a_batch_call_by_call_needs_no_second_connection_for_its_calls(place: Place) -> None:
    begin(place)
    calls = [{"tool": "query_cats", "arguments": {}}] * 3
    async with inside(place.url, pool__size=1, limits__concurrent_calls=1) as program:
        answer = await program.peer.call("run_batch", {"calls": calls, "mode": "independent"})
        assert [each["result"]["rows"] for each in answer["results"]] == [[], [], []]


async def waits(program: Inside, session: str, calls: int, note: Callable[[str, float], None]) -> None:
    async def call() -> None:
        began = time.perf_counter()
        answer = await program.app.service.call("query_cats", {}, Caller(session=session))
        assert not answer.is_error, answer
        note(session, time.perf_counter() - began)

    await asyncio.gather(*[call() for _ in range(calls)])


@PLACES
async def test_of_five_hundred_calls_at_once_those_of_no_client_wait_for_those_of_another(place: Place) -> None:
    begin(place)
    async with inside(place.url, pool__size=3, pool__acquire_timeout_s=30) as program:
        await answers(program.peer)
        times: dict[str, list[float]] = {}

        def note(session: str, wait_s: float) -> None:
            times.setdefault(session, []).append(wait_s)

        async with asyncio.timeout(30):
            # The one that sends most is there first; all calls are sent before the first of them has ended.
            await asyncio.gather(
                waits(program, "many", 410, note), *[waits(program, f"few {n}", 10, note) for n in range(9)]
            )
        whole = [wait_s for each in times.values() for wait_s in each]
        assert len(whole) == 500
        slowest_of_few = max(max(each) for session, each in times.items() if session != "many")
        assert slowest_of_few < max(times["many"]) / 2
        assert max(median(each) for each in times.values()) < 3 * median(whole)
        await idle(program, place)


async def test_sessions_of_the_handshake_era_are_clients_of_their_own(tmp_path: object) -> None:
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(inside("sample", pool__size=1))
        other = await join(stack, program.server, LEGACY)
        seen: list[object] = []
        places = program.app.database.queue
        take = places._take

        def taken(client: object) -> None:
            seen.append(client)
            take(client)

        places._take = taken  # type: ignore[method-assign]
        await program.peer.call("query_orders", {"limit": 1})
        await other.call("query_orders", {"limit": 1})
        assert len(seen) == 2
        assert len(set(seen)) == 2
        assert None not in seen
