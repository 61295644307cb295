"""What transactions, operations, kept answers, waits and settings do to each other, and that nothing of it is left."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from sqlalchemy import make_url

from schema_mcp.config.model import Settings
from tests.accounts import PLACES, begun, held, pay, stored, with_accounts
from tests.conftest import Place
from tests.peers import LEGACY, Inside, Peer, inside, inside_several, join
from tests.test_running import idle
from tests.waiting import until


@pytest.fixture
def accounts(place: Place) -> Place:
    return with_accounts(place)


def only_reading(program: Inside) -> Settings:
    settings = program.app.reload.settings
    return replace(settings, access=replace(settings.access, mode="read", sql="off"))


@PLACES
async def test_nothing_is_committed_once_the_server_only_reads(accounts: Place) -> None:
    async with inside(accounts.url, access__mode="write", access__sql="write") as program:
        id_, reading = await begun(program.peer), ""
        await program.peer.call("update_accounts", pay(id_, 1, 70))
        if accounts.product == "postgresql":
            reading = await begun(program.peer, read_only=True)
        await program.app.reload.apply(only_reading(program))
        told = await program.peer.error("commit_transaction", {"transaction_id": id_})
        assert (told["code"], "access.mode" in told["message"]) == ("unknown_transaction", True)
        if reading:
            rows = await program.peer.rows("query_accounts", {"transaction_id": reading, "columns": ["balance"]})
            assert rows == [{"balance": 100}, {"balance": 50}]
            await program.peer.call("commit_transaction", {"transaction_id": reading})
        await until(lambda: held(program) == 0)
        later = await program.peer.call("begin_transaction")
        assert later["read_only"] is True
        started = {"tool": "update_accounts", "arguments": {"all_rows": True, "set": {"balance": 0}}}
        assert (await program.peer.error("start_operation", started))["code"] in ("unknown_tool", "stale_schema")
        assert stored(accounts) == [(1, 100), (2, 50)]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_result_that_was_read_before_a_column_was_masked_is_shown_no_more(
    accounts: Place, tmp_path: Path
) -> None:
    kept: dict[str, Any] = {"state__url": str(tmp_path / "state.sqlite")}
    async with inside(accounts.url, **kept) as program:
        started = await program.peer.call("start_operation", {"tool": "query_accounts"})
        asked = {"operation_id": started["operation_id"], "wait_s": 10}
        assert (await program.peer.call("check_operation", asked))["result"]["all_rows"] == 2
        settings = program.app.reload.settings
        masked = replace(settings, database=replace(settings.database, mask_columns=("balance",)))
        await program.app.reload.apply(masked)
        refused = await program.peer.error("check_operation", asked)
        assert (refused["code"], "may be read has changed" in refused["hint"]) == ("unknown_operation", True)
        await program.app.reload.apply(settings)
        assert (await program.peer.call("check_operation", asked))["result"]["all_rows"] == 2
    async with inside(accounts.url, **kept, database__hide_columns=["balance"]) as program:
        assert (await program.peer.error("check_operation", asked))["code"] == "unknown_operation"
    async with inside(accounts.url, **kept) as program:
        assert (await program.peer.call("check_operation", asked))["result"]["all_rows"] == 2


@PLACES
async def test_a_write_by_one_source_drops_what_another_one_of_the_same_database_has_kept(accounts: Place) -> None:
    both = {"shop": accounts.url, "desk": accounts.url}
    settings: dict[str, Any] = {"access__mode": "write", "cache__ttl_s": 60.0}
    async with inside_several(**both, **settings) as program:
        for _ in range(2):
            assert (await program.peer.rows("query_desk_accounts"))[0]["balance"] == 100
        await program.peer.call("update_shop_accounts", {"where": {"id": 1}, "set": {"balance": 7}})
        assert (await program.peer.rows("query_desk_accounts"))[0]["balance"] == 7


def other_names(place: Place, folder: Path) -> list[str]:
    """URLs that lead to the same database."""
    if place.product == "postgresql":
        url = make_url(place.url)
        where = {"host": "localhost", "port": str(url.port or 5432)}
        bare = url._replace(host=None, port=None).update_query_dict(where)
        return [bare.render_as_string(hide_password=False)]
    file = Path(place.url)
    (link := folder / "link.sqlite").symlink_to(file)
    return [str(link), str(file.parent / ".." / file.parent.name / file.name)]


@PLACES
async def test_a_write_drops_what_is_kept_of_its_database_under_another_name(accounts: Place, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"access__mode": "write", "cache__ttl_s": 60.0}
    for other in other_names(accounts, tmp_path):
        async with inside_several(shop=accounts.url, desk=other, **settings) as program:
            before = (await program.peer.rows("query_desk_accounts"))[0]["balance"]
            change = {"where": {"id": 1}, "set": {"balance": before + 1}}
            await program.peer.call("update_shop_accounts", change)
            assert (await program.peer.rows("query_desk_accounts"))[0]["balance"] == before + 1, other


async def _anything(peer: Peer, by_chance: random.Random) -> None:
    """A few calls of all kinds, none of which ends what it begins."""
    transaction: dict[str, Any] = {}
    for _ in range(6):
        change = {"where": {"id": by_chance.choice((1, 2))}, "set": {"balance": by_chance.randrange(100)}}
        read = {"tool": "query_accounts", "arguments": {}}
        mode = by_chance.choice(("transaction", "independent"))
        tool, arguments = by_chance.choice(
            [
                ("begin_transaction", {}),
                ("query_accounts", transaction),
                ("update_accounts", {**change, **transaction, "timeout_s": 0.3}),
                ("run_batch", {"calls": [read] * 3, "mode": mode, **transaction}),
                ("start_operation", read),
                ("start_operation", {"tool": "update_accounts", "arguments": change}),
                ("wait_for_change", {"table": "accounts", "timeout_s": 0.05}),
                ("set_context", {"filters": {"id": 1}, **transaction}),
                ("server_status", {}),
            ]
        )
        answer = await peer.client.call_tool(tool, arguments)
        if tool == "begin_transaction" and not answer.is_error and answer.structured_content is not None:
            transaction = {"transaction_id": answer.structured_content["transaction_id"]}


@PLACES
async def test_of_clients_that_do_everything_and_vanish_in_the_middle_nothing_is_left(
    accounts: Place, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "access__mode": "write",
        "cache__ttl_s": 60.0,
        "tools__groups": ["set_context", "wait_for_change"],
        "state__url": str(tmp_path / "state.sqlite"),
        "pool__acquire_timeout_s": 0.5,
        "limits__lock_timeout_s": 0.3,
    }
    async with inside(accounts.url, **settings) as program:
        source = program.app.sources["database"]
        await program.peer.rows("query_accounts")

        async def client(number: int) -> None:
            by_chance = random.Random(number)
            with suppress(MCPError):
                async with AsyncExitStack() as stack:
                    other = await join(stack, program.server, LEGACY)
                    calls = [asyncio.create_task(_anything(other, by_chance)) for _ in range(3)]
                    await asyncio.wait(calls, timeout=by_chance.uniform(0.05, 1.0))
                    for call in calls[:2]:
                        call.cancel()
                    await asyncio.wait(calls[:2])
            with suppress(MCPError, asyncio.CancelledError):
                await asyncio.gather(*calls)

        await asyncio.gather(*[client(number) for number in range(8)])
        databases = (source.database, source.transaction_database, source.sql.database, source.long.executor.database)
        await until(lambda: held(program) == 0 and not program.app.operations.running)
        await until(lambda: not source.rows.waiting)
        await idle(program, accounts)
        assert [database.in_use for database in databases] == [0, 0, 0, 0]
        assert len(program.app.service.contexts) == 0
        status = await program.peer.call("server_status")
        assert (status["transactions"]["open"], status["operations"]["running"]) == (0, 0)
        own = await begun(program.peer)  # and everything is there to be used
        await program.peer.call("update_accounts", pay(own, 1, 1))
        assert (await program.peer.call("commit_transaction", {"transaction_id": own}))["outcome"] == "committed"
        assert (1, 1) in stored(accounts)
    left = {task.get_name() for task in asyncio.all_tasks()} - {"anyio"}
    assert not [name for name in left if name.startswith(("operation", "end of", "transactions"))]
