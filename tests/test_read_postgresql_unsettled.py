"""Reading PostgreSQL while others change it, lock it or end the connection; and the gate."""

from dataclasses import replace

import anyio
import pytest

from schema_mcp.dialects.base import Gate, Reading
from schema_mcp.dialects.postgresql import reader
from schema_mcp.errors import CatalogReadError
from schema_mcp.schema.select import Selection
from tests.postgres import PostgresServer
from tests.reading import LOCK_LIMIT_S, LOCKED, SELECT, Live, connected, name, read, transaction, until


async def test_a_locked_table_stays_as_it_was_and_hides_no_other(live: Live) -> None:
    live.execute(LOCKED)
    before = await read(live)
    live.execute("alter table busy drop constraint busy_a_check; alter table free drop constraint free_a_check")

    async with transaction(live, "alter table busy add d integer; alter table plain add d integer"):
        with anyio.fail_after(LOCK_LIMIT_S):
            reading = await read(live, previous=replace(before, mark=None))

    free = replace(before.schema.tables[name("free")], checks=())
    assert reading.postponed == {name("busy"), name("over_busy"), name("over_that")}
    assert reading.schema == replace(before.schema, tables={**before.schema.tables, free.name: free})


async def test_a_locked_table_that_was_never_read_is_there_without_its_expressions(live: Live) -> None:
    live.execute(LOCKED)
    complete = (await read(live)).schema

    async with transaction(live, "lock table busy in access exclusive mode"):
        with anyio.fail_after(LOCK_LIMIT_S):
            reading = await read(live)

    busy = complete.tables[name("busy")]
    busy = replace(
        busy,
        columns=tuple(
            replace(column, default="(not readable now)") if column.name == "b" else column for column in busy.columns
        ),
        checks=(),
    )
    unsure = [
        replace(view, columns=(replace(view.columns[0], privileges=SELECT),), privileges=SELECT)
        for view in (complete.tables[name("over_busy")], complete.tables[name("over_that")])
    ]
    assert reading.postponed == {name("busy"), name("over_busy"), name("over_that")}
    assert reading.schema.tables == {**complete.tables, busy.name: busy} | {view.name: view for view in unsure}
    assert (await read(live, previous=reading)).schema == complete


async def test_who_only_waits_to_lock_a_table_postpones_it_too(live: Live) -> None:
    live.execute(LOCKED)
    complete = await read(live)

    async with (
        transaction(live, "select from busy"),
        connected(live.url) as waiting,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(waiting.execute, "alter table busy add d integer")
        await until(live, "select count(*) from pg_locks where not granted")
        with anyio.fail_after(LOCK_LIMIT_S):
            reading = await read(live, previous=replace(complete, mark=None))
        tasks.cancel_scope.cancel()

    assert reading.schema == complete.schema
    assert reading.postponed == {name("busy"), name("over_busy"), name("over_that")}


async def test_a_table_that_is_dropped_in_mid_read_is_gone(live: Live) -> None:
    live.execute(LOCKED + "create table doomed (a integer check (a > 0))")
    before = await read(live)
    found: list[Reading] = []

    async def reading() -> None:
        found.append(await read(live, previous=replace(before, mark=None)))

    async with transaction(live, "drop table doomed") as dropping, anyio.create_task_group() as tasks:
        tasks.start_soon(reading)
        await until(live, "select count(*) from pg_locks where not granted")
        await dropping.execute("commit")

    remaining = {key: table for key, table in before.schema.tables.items() if key.name != "doomed"}
    assert [one.schema for one in found] == [replace(before.schema, tables=remaining)]
    assert found[0].postponed == frozenset()


async def test_a_cancelled_reading_leaves_no_transaction(live: Live) -> None:
    live.execute(LOCKED)
    async with transaction(live, "lock table busy in access exclusive mode"), connected(live.url) as connection:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.read, connection, "main", Selection(), None)
            await until(live, "select count(*) from pg_locks where not granted")
            tasks.cancel_scope.cancel()

        assert not connection.is_in_transaction()
        assert await connection.fetchval("select current_setting('search_path')") == '"$user", public'


async def test_the_session_is_as_it_was_after_a_reading(live: Live) -> None:
    settings = "select name, setting from pg_settings order by name"
    async with connected(live.url) as connection:
        before = await connection.fetch(settings)
        await reader.read(connection, "main", Selection(), None)
        await reader.read_portably(connection, "main", Selection())

        assert await connection.fetch(settings) == before
        assert not connection.is_in_transaction()


async def test_a_lost_connection_is_an_unavailable_database(live: Live) -> None:
    async with connected(live.url) as connection:
        pid = await connection.fetchval("select pg_backend_pid()")
        live.execute(f"select pg_terminate_backend({pid}, 10000)")

        with pytest.raises(CatalogReadError, match="cannot read the schema of 'main': ") as caught:
            await reader.read(connection, "main", Selection(), None)

    assert caught.value.unavailable
    assert live.url not in str(caught.value)


async def test_a_locked_catalog_is_an_error_that_comes_soon(live: Live) -> None:
    async with (
        connected(live.url) as connection,
        transaction(live, "lock table pg_catalog.pg_class in access exclusive mode"),
    ):
        with (
            anyio.fail_after(LOCK_LIMIT_S),
            pytest.raises(CatalogReadError, match="cannot read the schema of 'main': ") as caught,
        ):
            await reader.read(connection, "main", Selection(), None)

        assert not caught.value.unavailable
        assert not connection.is_in_transaction()


async def test_the_gate_is_one_statement_and_moves_with_every_change(live: Live) -> None:
    async with connected(live.url) as connection:
        await reader.gate(connection)
        log_bytes = live.server.log_bytes() if isinstance(live.server, PostgresServer) else 0
        first = await reader.gate(connection)
        if isinstance(live.server, PostgresServer):
            statements = [line for line in live.server.log_text(log_bytes).splitlines() if " LOG: " in line]
            assert len(statements) == 1, statements
        await connection.execute("create table t (a integer)")
        second = await reader.gate(connection)
        reading = await reader.read(connection, "main", Selection(), None)

    assert isinstance(first, Gate)
    assert first != second
    assert second.identity == first.identity == reading.gate.identity


async def test_a_reading_takes_the_same_few_statements_for_many_tables(live: Live) -> None:
    if not isinstance(live.server, PostgresServer):
        pytest.skip("no log of our own")
    live.execute("".join(f"create table t{n} (a integer primary key check (a > 0), b text[]);" for n in range(30)))
    taken = []
    async with connected(live.url) as connection:
        reading = None
        for change in ("", "insert into t1 values (1, null)"):
            live.execute(change)
            log_bytes = live.server.log_bytes()
            reading = await reader.read(connection, "main", Selection(), reading)
            statements = [line for line in live.server.log_text(log_bytes).splitlines() if " LOG: " in line]
            queries = [line for line in statements if "execute " in line]
            taken.append((len(queries), len(statements) - len(queries)))

    assert taken == [(10, 4), (2, 3)]
