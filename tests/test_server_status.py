"""`server_status`: what it tells of the server itself, of the pool, and of a database that is away."""

import asyncio
import os
from typing import Any

import pytest

from tests.conftest import Place
from tests.peers import inside
from tests.waiting import until, until_it_holds

SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


@SQLITE
async def test_it_tells_the_version_the_time_since_the_start_and_the_limits(place: Place) -> None:
    settings: dict[str, Any] = {"access__mode": "read", "results__max_rows": 50, "limits__call_timeout_s": 7.0}
    async with inside(place.url, **settings) as program:
        status = await program.peer.call("server_status")
        assert 0 < status["uptime_s"] + 0.1 < 60
        assert status["version"][0].isdigit()
        assert status["limits"] == {
            "mode": "read",
            "max_rows": 50,
            "call_timeout_s": 7.0,
            "statement_timeout_s": 30.0,
            "lock_timeout_s": 2.0,
        }


@SQLITE
async def test_it_tells_how_many_calls_wait_for_the_pool(place: Place) -> None:
    place.execute("CREATE TABLE wards (id integer PRIMARY KEY)")
    async with inside(place.url, pool__size=1) as program:
        await until(lambda: program.app.database.in_use == 0)
        async with program.app.database.connection():
            calls = [asyncio.create_task(program.peer.call("query_wards")) for _ in range(3)]
            await until(lambda: program.app.database.queue.waiting == 3)
            (source,) = (await program.peer.call("server_status"))["sources"]
            assert source["pool"] == {"size": 1, "in_use": 1, "waiting": 3}
        assert {(await call)["row_count"] for call in calls} == {0}
        (source,) = (await program.peer.call("server_status"))["sources"]
        assert source["pool"] == {"size": 1, "in_use": 0, "waiting": 0}


@SQLITE
async def test_it_tells_of_a_database_that_is_away_since_when_and_when_it_is_tried_again(place: Place) -> None:
    path = place.url.removeprefix("sqlite:///")
    async with inside(place.url) as program:
        await program.peer.names()
        os.rename(path, f"{path}.away")

        async def is_away() -> bool:
            (source,) = (await program.peer.call("server_status"))["sources"]
            return source["state"] == "unreachable" and 0 <= source["retry_in_s"] <= 30 and "since" in source

        await until_it_holds(is_away)
        os.rename(f"{path}.away", path)

        async def is_back() -> bool:
            (source,) = (await program.peer.call("server_status"))["sources"]
            return source["state"] == "confirmed" and "retry_in_s" not in source and "since" not in source

        await until_it_holds(is_back)
