"""Operations over restarts: what ended is still told, what a server left behind is interrupted, and nothing is lost."""

import asyncio
import json
import os
import resource
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import MCPError

from schema_mcp.execute import operations as operations_module
from schema_mcp.execute.spool import ResultFolder
from tests.conftest import Place
from tests.notes_server import Lines, opening, request
from tests.peers import COMMAND, LEGACY, LIMIT_S, MODERN, environment, inside
from tests.test_operations import NOTES, ended, files, start
from tests.test_running import SLOW, busy
from tests.test_tasks import joined
from tests.waiting import until, until_it_holds

PLACES = pytest.mark.parametrize("place", ["18", "sqlite"], indirect=True)
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "state.sqlite"


@SQLITE
async def test_the_end_and_its_rows_can_be_asked_for_after_a_restart_by_another_session(
    place: Place, state: Path
) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, state__url=str(state)) as program:
        query = await start(program.peer, "query_notes")
        before = await ended(program.peer, query, limit=3)
        insert = await start(program.peer, "insert_notes", {"rows": [{"id": 9}]})
        failed = await start(program.peer, "insert_notes", {"rows": [{"id": 1}]})
        told = [await ended(program.peer, id_) for id_ in (insert, failed)]
    for era in (LEGACY, MODERN):
        async with inside(place.url, state__url=str(state), era=era) as program:
            assert before == await ended(program.peer, query, limit=3) | {"result": before["result"]}
            after = await ended(program.peer, query, limit=3)
            assert after["result"]["rows"] == before["result"]["rows"]
            assert told == [await ended(program.peer, id_) for id_ in (insert, failed)]


@PLACES
async def test_what_a_stopping_server_runs_is_interrupted_and_its_statement_stopped(place: Place, state: Path) -> None:
    for sql in SLOW[place.product]:
        place.execute(sql)
    async with inside(place.url, state__url=str(state)) as program:
        id_ = await start(program.peer, "insert_slow_rows", {"rows": [{"id": 1}]})
        await until(lambda: busy(place))
    assert not busy(place)
    async with inside(place.url, state__url=str(state)) as program:
        told = await ended(program.peer, id_)
        assert (told["status"], told["stage"], "result" in told) == ("interrupted", "ended", False)
        assert await program.peer.rows("query_slow_rows") == []


async def call(process: Any, lines: Lines, tool: str, arguments: Any) -> dict[str, Any]:
    """A call over the stdio of a server that runs as a process."""
    await process.stdin.send(request(1, "tools/call", LEGACY, name=tool, arguments=arguments))
    while "result" not in (answer := json.loads(await lines.next())) or "content" not in answer["result"]:
        continue
    told: dict[str, Any] = json.loads(answer["result"]["content"][0]["text"])
    return told


@SQLITE
async def test_after_kill_9_what_ran_is_interrupted_and_its_files_are_gone(place: Place, state: Path) -> None:
    for sql in SLOW["sqlite"]:
        place.execute(sql)
    for sql in NOTES:
        place.execute(sql)
    variables = {**os.environ, **environment({"state__url": str(state)})}
    async with asyncio.timeout(LIMIT_S), await anyio.open_process([*COMMAND, place.url], env=variables) as process:
        assert process.stdin is not None
        lines = Lines(process.stdout)
        await process.stdin.send(opening(LEGACY))
        done = await call(process, lines, "start_operation", {"tool": "query_notes"})
        done = await call(process, lines, "check_operation", {"operation_id": done["operation_id"], "wait_s": 20})
        ran = await call(process, lines, "start_operation", {"tool": "query_slow"})
        assert (done["status"], ran["status"], ran["kept"]) == ("succeeded", "running", True)
        await until(lambda: len(files(state)) == 3)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with inside(place.url, state__url=str(state)) as program:
        assert (await ended(program.peer, ran["operation_id"]))["status"] == "interrupted"
        assert (await ended(program.peer, done["operation_id"]))["result"]["all_rows"] == 5
        await until(lambda: [path.stem for path in files(state)] == [done["operation_id"]] * 2)


@SQLITE
async def test_a_server_that_lives_is_left_alone_by_another_one_of_the_store(place: Place, state: Path) -> None:
    for sql in (*NOTES, *SLOW["sqlite"]):
        place.execute(sql)
    async with inside(place.url, state__url=str(state)) as program:
        id_ = await start(program.peer, "query_slow")
        await until(lambda: len(files(state)) == 1)
        async with inside(place.url, state__url=str(state)) as other:
            await ended(other.peer, await start(other.peer, "query_notes"))
            await other.app.operations.kept.sweep((), 60)
            told = await other.peer.call("check_operation", {"operation_id": id_})
            assert (told["status"], told["stage"]) == ("running", "running")
            assert len(files(state)) == 3
        assert (await program.peer.call("cancel_operation", {"operation_id": id_}))["status"] == "cancelled"


@pytest.fixture
def broken(state: Path) -> str:
    """A file that is no store."""
    state.parent.mkdir()
    state.write_text("this is no database")
    return str(state)


@SQLITE
async def test_without_a_store_it_works_in_memory_and_says_so(place: Place, broken: str) -> None:
    for sql in NOTES:
        place.execute(sql)
    folder = Path(tempfile.gettempdir()) / f"schema-mcp-{os.getuid()}" / "operations"
    for url in ("off", broken):
        async with inside(place.url, state__url=url) as program:
            id_ = await start(program.peer, "query_notes")
            told = await ended(program.peer, id_)
            assert (told["kept"], told["result"]["all_rows"]) == (False, 5)
            instance = program.app.operations.kept.folder.instance
            assert (folder / instance).is_dir() == (url == "off")
        assert not (folder / instance).exists()
        assert list((Path(broken).parent / "operations").glob("*")) == []
        async with inside(place.url, state__url=url) as program:
            told = await program.peer.error("check_operation", {"operation_id": id_})
            assert (told["code"], told["retryable"]) == ("unknown_operation" if url == "off" else "busy", False)


@pytest.fixture
def full(state: Path) -> Path:
    """A store beside which there can be no folder."""
    state.parent.mkdir()
    (state.parent / "operations").write_text("no folder")
    return state


@SQLITE
async def test_results_that_cannot_be_kept_start_nothing(place: Place, full: Path) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, state__url=str(full)) as program:
        told = await program.peer.error("start_operation", {"tool": "query_notes"})
        assert told["code"] == "busy"
        assert str(full.parent) not in told["message"]
        assert (await program.peer.call("server_status"))["operations"]["running"] == 0


@pytest.mark.parametrize("place", ["18"], indirect=True)
async def test_a_store_on_postgresql_keeps_them_too(place: Place) -> None:
    for sql in (*NOTES, *SLOW["postgresql"]):
        place.execute(sql)
    async with inside(place.url, state__url=place.url) as program:
        done = await start(program.peer, "query_notes")
        before = await ended(program.peer, done)
        ran = await start(program.peer, "query_slow")
        await until(lambda: busy(place))
    async with inside(place.url, state__url=place.url) as program:
        assert await ended(program.peer, done) == before
        assert (await ended(program.peer, ran))["status"] == "interrupted"


@asynccontextmanager
async def locked(state: Path) -> AsyncIterator[None]:
    """The store, held by another program."""
    with closing(sqlite3.connect(state, isolation_level=None, check_same_thread=False)) as connection:
        # In a thread: the server under test may have it locked now, and needs the event loop to go on.
        await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@SQLITE
async def test_while_the_store_cannot_be_asked_no_operation_is_told_as_one_that_never_was(
    place: Place, state: Path
) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, state__url=str(state)) as program:
        id_ = await start(program.peer, "insert_notes", {"rows": [{"id": 9}]})
        before = await ended(program.peer, id_)
    async with inside(place.url, state__url=str(state), state__lock_timeout_s=0.1, era=MODERN) as program:
        await until(program.app.keeper.opened.is_set)
        async with locked(state):
            for tool in ("check_operation", "cancel_operation"):
                told = await program.peer.error(tool, {"operation_id": id_})
                assert (told["code"], told["retryable"]) == ("busy", True)
                assert "do not start it again" in told["hint"]
            async with joined(program.server) as tasks:
                with pytest.raises(MCPError) as refused:
                    await tasks.ask("tasks/get", id_)
                assert refused.value.code == types.INTERNAL_ERROR
        assert await ended(program.peer, id_) == before


@SQLITE
async def test_what_is_cancelled_before_it_starts_does_nothing(place: Place, state: Path) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, state__url=str(state)) as program:
        await ended(program.peer, await start(program.peer, "query_notes"))
        async with locked(state):
            insert = {"tool": "insert_notes", "arguments": {"rows": [{"id": 9}]}}
            starting = asyncio.create_task(program.peer.call("start_operation", insert))
            await until(lambda: program.app.operations.running)
            (own,) = (await program.peer.call("server_status"))["operations"]["yours"]
            cancel = {"operation_id": own["operation_id"]}
            cancelling = asyncio.create_task(program.peer.call("cancel_operation", cancel))
            await until(lambda: not program.app.operations.running)
        assert [told["status"] for told in (await starting, await cancelling)] == ["cancelled", "cancelled"]
        assert (await ended(program.peer, own["operation_id"]))["status"] == "cancelled"
        assert 9 not in [row["id"] for row in await program.peer.rows("query_notes")]


@PLACES
async def test_what_another_server_of_the_store_runs_is_stopped_by_that_server(
    place: Place, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations_module, "BEAT_S", 0.05)
    for sql in SLOW[place.product]:
        place.execute(sql)
    url = place.url if place.product == "postgresql" else str(state)
    async with inside(place.url, state__url=url) as program, inside(place.url, state__url=url, era=MODERN) as other:
        for how in ("cancel_operation", "tasks/cancel"):
            id_ = await start(program.peer, "query_slow")
            await until(lambda: busy(place))
            if how == "cancel_operation":
                told = await other.peer.call(how, {"operation_id": id_})
                assert (told["status"], told["message"]) == (
                    "running",
                    "it runs in another server, which stops it within about 0.05 s",
                )
            else:
                async with joined(other.server) as tasks:
                    await tasks.ask(how, id_)
            assert (await ended(program.peer, id_))["status"] == "cancelled"
            assert not busy(place)
            told = await other.peer.call("cancel_operation", {"operation_id": id_})
            assert (told["status"], told["message"]) == (
                "cancelled",
                "stopped at its caller's wish; look whether its writes were done",
            )


@SQLITE
async def test_a_folder_of_results_that_somebody_removes_is_made_again(place: Place, state: Path) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, state__url=str(state), access__sql="read") as program:
        first = await start(program.peer, "query_notes")
        assert (await ended(program.peer, first))["result"]["all_rows"] == 5
        for removed in ("operations/*", "operations", "operations/*/lock"):
            for found in list(state.parent.glob(removed)):
                shutil.rmtree(found) if found.is_dir() else found.unlink()
            for tool, arguments in (("query_notes", {}), ("execute_sql", {"sql": "SELECT id FROM notes"})):
                told = await ended(program.peer, await start(program.peer, tool, arguments))
                assert (told["status"], told["kept"]) == ("succeeded", True), told
                assert told["result"]["all_rows"] == 5
            folder = program.app.operations.kept.folder
            assert ResultFolder(folder.base, "another").dead() == []
        assert "no longer here" in (await program.peer.error("check_operation", {"operation_id": first}))["message"]


@SQLITE
async def test_rows_that_have_no_folder_to_go_to_are_told_so(place: Place, state: Path) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, state__url=str(state), access__sql="read") as program:
        await ended(program.peer, await start(program.peer, "query_notes"))
        for tool, arguments in (("query_notes", {}), ("execute_sql", {"sql": "SELECT id FROM notes"})):
            async with locked(state):
                started = {"tool": tool, "arguments": arguments}
                starting = asyncio.create_task(program.peer.call("start_operation", started))
                await until(lambda: program.app.operations.running)
                shutil.rmtree(state.parent / "operations")
            told = await ended(program.peer, (await starting)["operation_id"])
            assert (told["error"]["code"], told["error"]["retryable"]) == ("busy", True)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """A disk that has no room for larger ones."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@SQLITE
async def test_an_answer_that_finds_no_room_is_not_kept_until_there_is_some(
    place: Place, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sql in (*NOTES, f"UPDATE notes SET text = '{'x' * 20_000}'"):
        place.execute(sql)
    given = {"calls": [{"tool": "query_notes", "arguments": {}}] * 4}
    async with inside(place.url, state__url=str(state)) as program:
        await ended(program.peer, await start(program.peer, "query_notes"))
        with small_files(200_000):
            lost = await start(program.peer, "run_batch", given)
            told = await ended(program.peer, lost)
        assert (told["status"], told["kept"]) == ("succeeded", False)
        assert [path for path in files(state) if lost in path.name] == []
    async with inside(place.url, state__url=str(state)) as program:
        assert "no longer here" in (await program.peer.error("check_operation", {"operation_id": lost}))["message"]
        monkeypatch.setattr(operations_module, "BEAT_S", 0.05)
    async with inside(place.url, state__url=str(state)) as program:
        with small_files(200_000):
            id_ = await start(program.peer, "run_batch", given)
            before = await ended(program.peer, id_)

        async def is_kept() -> bool:
            return bool((await program.peer.call("check_operation", {"operation_id": id_}))["kept"])

        assert not before["kept"]
        await until_it_holds(is_kept)
    async with inside(place.url, state__url=str(state)) as program:
        assert (await ended(program.peer, id_))["result"] == before["result"]


@SQLITE
async def test_a_result_of_which_a_part_is_gone_is_told_as_gone(place: Place, state: Path) -> None:
    for sql in NOTES:
        place.execute(sql)
    async with inside(place.url, state__url=str(state)) as program:
        query = await start(program.peer, "query_notes")
        insert = await start(program.peer, "insert_notes", {"rows": [{"id": 9}]})
        before = [await ended(program.peer, id_) for id_ in (query, insert)]
        assert [told["kept"] for told in before] == [True, True]
        for path in files(state):
            content = path.read_bytes()
            for part in (content[:-5], content[: content.find(b"\n") + 1], b""):
                path.write_bytes(part)
                id_ = path.stem
                assert (
                    "no longer here" in (await program.peer.error("check_operation", {"operation_id": id_}))["message"]
                )
            path.write_bytes(content)
        assert [await ended(program.peer, id_) for id_ in (query, insert)] == before
