"""Progress of calls: told to clients that ask for it, as often as is worth it, and to nobody else."""

import asyncio
from time import monotonic
from typing import Any, NamedTuple

import pytest

from schema_mcp.server.progress import run_telling
from schema_mcp.server.service import ToolAnswer
from schema_mcp.tools.options import Progress, Report
from tests.conftest import Place
from tests.peers import LEGACY, MODERN, Peer, inside, served
from tests.waiting import until_it_holds

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])

#: Rows of which each takes about a millisecond, on SQLite a quarter of it; and one that takes more than two seconds.
SLOWLY = {
    "postgresql": (
        "CREATE VIEW slowly AS SELECT n FROM generate_series(1, 9000) AS n WHERE pg_sleep(0.001)::text = ''",
        "CREATE VIEW one AS SELECT 1 AS n FROM pg_sleep(2.4)",
    ),
    "sqlite": (
        "CREATE TABLE numbers (n integer PRIMARY KEY)",
        "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 9000) "
        "INSERT INTO numbers SELECT n FROM s",
        "CREATE VIEW slowly AS SELECT n FROM numbers WHERE n + 1000 = (WITH RECURSIVE s (x) AS "
        "(SELECT numbers.n UNION ALL SELECT x + 1 FROM s WHERE x < numbers.n + 1000) SELECT max(x) FROM s)",
    ),
}
ROWS = [{"id": n, "name": f"cat {n}"} for n in range(2_000)]


class Told(NamedTuple):
    at: float
    progress: float
    total: float | None
    message: str | None


async def told(peer: Peer, name: str, arguments: dict[str, Any] | None = None) -> tuple[list[Told], dict[str, Any]]:
    """What a call was told of, and its answer's object; nothing comes after the answer."""
    heard: list[Told] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(Told(monotonic(), progress, total, message))

    # What is connected within one process is given no token with the callback.
    token: Any = {"progress_token": "here"}
    result = await peer.client.call_tool(name, arguments or {}, progress_callback=hear, meta=token)
    at_the_end = list(heard)
    await peer.names()
    assert heard == at_the_end
    assert result.structured_content is not None
    return heard, result.structured_content


def grows(heard: list[Told]) -> bool:
    values = [each.progress for each in heard]
    return values == sorted(set(values)) and all(each.total is None or each.total >= each.progress for each in heard)


@PLACES
@ERAS
async def test_rows_are_told_while_they_come(place: Place, era: str) -> None:
    for sql in SLOWLY[place.product]:
        place.execute(sql)
    async with inside(place.url, era=era) as program:
        heard, answer = await told(program.peer, "query_slowly", {"limit": 1500})
    assert answer["row_count"] == 1500
    assert grows(heard)
    assert {500.0, 1000.0, 1500.0} <= {each.progress for each in heard}
    assert heard[-1][1:] == (1500, 1500, "1500 rows")
    assert {each.total for each in heard} == {1500}


@pytest.mark.parametrize("place", ["18"], indirect=True)
async def test_a_statement_that_gives_nothing_yet_is_told_to_be_running(place: Place) -> None:
    for sql in SLOWLY[place.product]:
        place.execute(sql)
    async with inside(place.url) as program:
        heard, answer = await told(program.peer, "query_one", {"columns": ["n"]})
    assert answer["row_count"] == 1
    assert grows(heard)
    assert [each.message for each in heard][:2] == ["0 rows, running for 1 s", "0 rows, running for 2 s"]
    assert (heard[-1].progress, heard[-1].message) == (1, "1 row")
    assert all(each.progress < 1 for each in heard[:-1])


@PLACES
async def test_rows_that_are_written_are_told_of_as_many_as_there_are(place: Place) -> None:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY, name text)")
    async with inside(place.url, access__mode="write") as program:
        heard, answer = await told(program.peer, "insert_cats", {"rows": ROWS})
        assert answer["inserted"] == 2000
        assert grows(heard)
        assert heard[-1][1:] == (2000, 2000, "2000 rows")
        arguments: dict[str, Any] = {"set": {"name": "Tom"}, "filters": [{"column": "id", "op": "lt", "value": 900}]}
        heard, answer = await told(program.peer, "update_cats", arguments)
        assert answer["updated"] == 900
        assert heard[-1][1:] == (900, 900, "900 rows")


@SQLITE
async def test_a_query_is_told_of_as_many_rows_as_the_table_has_at_most(place: Place) -> None:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY, name text)")
    async with inside(place.url) as program:
        await program.peer.call("insert_cats", {"rows": ROWS})
        place.execute("ANALYZE")
        await until_it_holds(lambda: estimated(program.peer, 2000))
        heard, _ = await told(program.peer, "query_cats", {"limit": 10_000, "columns": ["id"]})
        assert heard[0].total == 2000
        heard, _ = await told(
            program.peer, "query_cats", {"limit": 10_000, "filters": [{"column": "id", "op": "gt", "value": 9}]}
        )
        assert heard[0].total == 10_000
        assert heard[-1][1:] == (1990, 1990, "1990 rows")


async def estimated(peer: Peer, rows: int) -> bool:
    return bool((await peer.call("describe_table", {"table": "cats"}))["row_estimate"] == rows)


@SQLITE
@pytest.mark.parametrize("mode", ["transaction", "independent"])
async def test_a_batch_is_told_in_calls(place: Place, mode: str) -> None:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY, name text)")
    place.execute("CREATE TABLE dogs (id integer PRIMARY KEY, name text)")
    calls = [{"tool": f"insert_{'cats' if n % 2 else 'dogs'}", "arguments": {"rows": [{"id": n}]}} for n in range(20)]
    async with inside(place.url) as program:
        heard, answer = await told(program.peer, "run_batch", {"calls": calls, "mode": mode})
    assert len(answer["results"]) == 20
    assert grows(heard)
    assert heard[-1][1:] == (20, 20, "20 of 20 calls")


@SQLITE
async def test_nothing_is_told_of_a_call_that_is_over_at_once_or_that_failed(place: Place) -> None:
    place.execute("CREATE TABLE cats (id integer PRIMARY KEY, name text)")
    async with inside(place.url) as program:
        assert (await told(program.peer, "insert_cats", {"rows": ROWS[:9]}))[0] == []
        assert (await told(program.peer, "query_cats"))[0] == []
        heard, answer = await told(program.peer, "insert_cats", {"rows": ROWS})
    assert answer["error"]["code"] == "unique_violation"
    assert heard == []


@SQLITE
async def test_rows_of_a_statement_of_the_callers_own_are_told(place: Place) -> None:
    for sql in SLOWLY[place.product]:
        place.execute(sql)
    async with inside(place.url, access__sql="read") as program:
        heard, answer = await told(program.peer, "execute_sql", {"sql": "SELECT n FROM numbers", "limit": 1500})
    assert answer["row_count"] == 1500
    assert grows(heard)
    assert heard[-1][1:] == (1500, 1500, "1500 rows")


@SQLITE
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_both_eras_are_told_over_both_transports(place: Place, transport: str) -> None:
    for sql in SLOWLY[place.product]:
        place.execute(sql)
    async with served(place.url, transport) as scene:
        for era in (LEGACY, MODERN):
            peer = await scene.join(era)
            heard, _ = await told(peer, "query_slowly", {"limit": 1000})
            assert grows(heard), era
            assert heard[-1][1:] == (1000, 1000, "1000 rows"), era
            assert {each.progress for each in heard} >= {500.0, 1000.0}, era


async def test_it_is_told_ten_times_a_second_at_most_and_nothing_after_the_answer() -> None:
    heard: list[Told] = []

    async def send(progress: float, total: float | None = None, message: str | None = None) -> None:
        heard.append(Told(monotonic(), progress, total, message))

    async def call(report: Report) -> ToolAnswer:
        ends = monotonic() + 1.2
        done = 0
        while monotonic() < ends:
            done += 1
            report(Progress(done=done, message=f"{done} rows"))
            await asyncio.sleep(0)
        return ToolAnswer(json=b"{}", is_error=False)

    await run_telling(send, call)
    told_by_then = len(heard)
    await asyncio.sleep(0)
    assert len(heard) == told_by_then > 2
    assert grows(heard)
    assert all(later.at - one.at >= 0.99 for one, later in zip(heard, heard[10:], strict=False))
    assert heard[-1].total == heard[-1].progress


async def test_a_client_that_does_not_read_holds_up_no_call() -> None:
    async def never(progress: float, total: float | None = None, message: str | None = None) -> None:
        await asyncio.Event().wait()

    async def call(report: Report) -> ToolAnswer:
        for done in range(1, 1000):
            report(Progress(done=done))
            await asyncio.sleep(0)
        return ToolAnswer(json=b"{}", is_error=False)

    async with asyncio.timeout(5):
        assert await run_telling(never, call) == ToolAnswer(json=b"{}", is_error=False)
