"""The opt-in trigger on rows: commits are told at once and exactly, and where some may go untold the counters tell."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from schema_mcp.cli import main
from schema_mcp.commands.trigger import script
from tests.accounts import POSTGRESQL
from tests.conftest import Place
from tests.peers import Inside, inside
from tests.waiting import until

GROUP: dict[str, Any] = {"tools__groups": ["wait_for_change"]}
FLUSHED = "SELECT pg_stat_force_next_flush()"
TARGETS = Path(__file__).parent.parent / "migrations" / "targets" / "postgresql"
LEFT = (
    "SELECT count(*) FROM pg_trigger WHERE tgname = 'schema_mcp_rows'",
    "SELECT count(*) FROM pg_namespace WHERE nspname = 'schema_mcp'",
)

pytestmark = POSTGRESQL


@pytest.fixture
def wards(place: Place) -> Place:
    place.execute("CREATE TABLE wards (id integer PRIMARY KEY, name text)")
    return place


async def begun(program: Inside, **arguments: Any) -> "asyncio.Task[dict[str, Any]]":
    """A wait that has seen how things stand."""
    rows = program.app.sources["database"].rows
    task = asyncio.create_task(program.peer.call("wait_for_change", {"timeout_s": 20, **arguments}))
    await until(lambda: task.done() or (bool(rows.waiting) and all(wait.now is not None for wait in rows.waiting)))
    return task


async def told(program: Inside, timeout_s: float = 20, **arguments: Any) -> dict[str, Any]:
    return await program.peer.call("wait_for_change", {"timeout_s": timeout_s, **arguments})


async def nothing(program: Inside, **arguments: Any) -> str:
    """Nothing is told for longer than the counters are read again; the next `since`."""
    answer = await told(program, 0.8, **arguments)
    assert (answer["changed"], answer.get("told_by")) == (False, None), answer
    since: str = answer["since"]
    return since


async def test_a_commit_is_told_at_once_and_what_was_rolled_back_is_not(wards: Place) -> None:
    async with inside(wards.url, **GROUP) as program:
        tools = await program.peer.names()
        wards.execute(script("install", ["wards"]))
        since = await nothing(program, table="wards")
        for sql in (
            "INSERT INTO wards VALUES (1, 'a'), (2, 'b')",
            "UPDATE wards SET name = 'c' WHERE id = 1",
            "DELETE FROM wards WHERE id = 2",
            "TRUNCATE wards",
        ):
            waiting = await begun(program, table="wards", since=since)
            assert not waiting.done()
            wards.execute(sql)
            answer = await waiting
            assert (answer["changed"], answer["told_by"], "rows" in answer) == (True, "trigger", False)
            since = answer["since"]
        wards.execute(f"BEGIN; INSERT INTO wards VALUES (3, 'd'); ROLLBACK; {FLUSHED}")
        since = await nothing(program, table="wards", since=since)
        await program.peer.call("insert_wards", {"rows": [{"id": 4}]})
        answer = await told(program, table="wards", since=since)
        assert (answer["changed"], answer["told_by"]) == (True, "trigger")
        await nothing(program, table="wards", since=answer["since"])
        assert await program.peer.names() == tools
        assert program.peer.told.empty()
        assert program.app.listener is not None
        assert not program.app.listener.listening.is_set()


async def test_what_was_written_while_nobody_listened_is_found_by_the_counters(wards: Place) -> None:
    wards.execute(script("install", ["wards"]))
    async with inside(wards.url, **GROUP) as program:
        since = await nothing(program, table="wards")
        wards.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'schema-mcp';"
            "INSERT INTO wards VALUES (1, 'a')"
        )
        answer = await told(program, table="wards", since=since)
        assert (answer["changed"], answer["told_by"], answer["rows"]["inserted"]) == (True, "counters", 1)
        waiting = await begun(program, table="wards", since=answer["since"])
        wards.execute("INSERT INTO wards VALUES (2, 'b')")
        assert (await waiting)["told_by"] == "trigger"


async def test_what_was_written_while_the_trigger_was_off_is_found_however_late_it_is_counted(wards: Place) -> None:
    wards.execute(script("install", ["wards"]))
    wards.execute("CREATE TABLE beds (id integer)")
    async with inside(wards.url, **GROUP) as program:
        since = await nothing(program, table="wards")
        wards.execute("ALTER TABLE wards DISABLE TRIGGER ALL")
        session = await asyncpg.connect(wards.url)
        # Whoever has just handed numbers in does not do it again before its end, or 10 s.
        await session.execute(f"INSERT INTO beds VALUES (1); {FLUSHED}")
        await session.execute("INSERT INTO wards VALUES (1, 'a')")
        wards.execute("ALTER TABLE wards ENABLE ALWAYS TRIGGER schema_mcp_rows")
        since = await nothing(program, table="wards", since=since)
        await session.close()
        answer = await told(program, table="wards", since=since)
        assert (answer["changed"], answer["told_by"]) == (True, "counters")
        await nothing(program, table="wards", since=answer["since"])


async def test_partitions_are_told_of_and_one_that_has_no_trigger_is_counted(wards: Place) -> None:
    wards.execute(
        'CREATE TABLE "Be ""ds\'" (id integer) PARTITION BY RANGE (id);'
        'CREATE TABLE few PARTITION OF "Be ""ds\'" FOR VALUES FROM (0) TO (10);'
        "CREATE TABLE heirs () INHERITS (wards); INSERT INTO heirs VALUES (1, 'a')"
    )
    wards.execute(script("install", ['"Be ""ds\'"', "wards"]))
    async with inside(wards.url, **GROUP) as program:
        (name,) = [t["table"] for t in (await program.peer.call("list_tables", {"search": "ds'"}))["tables"]]
        for sql in ("INSERT INTO few VALUES (1)", 'INSERT INTO "Be ""ds\'" VALUES (2)'):
            waiting = await begun(program, table=name)
            wards.execute(sql)
            answer = await waiting
            assert (answer.get("told_by"), answer.get("error")) == ("trigger", None)
        # For a statement that names the parent its trigger fires, and none of the heir's.
        waiting = await begun(program, table="heirs")
        wards.execute(f"UPDATE wards SET name = 'b'; {FLUSHED}")
        assert (await waiting)["told_by"] == "counters"
        wards.execute('CREATE TABLE many PARTITION OF "Be ""ds\'" FOR VALUES FROM (10) TO (99)')
        waiting = await begun(program, table=name)
        wards.execute(f"INSERT INTO many VALUES (11); {FLUSHED}")
        assert (await waiting)["told_by"] == "counters"


async def test_with_listening_turned_off_the_counters_tell(wards: Place) -> None:
    wards.execute(script("install", ["wards"]))
    async with inside(wards.url, watch__listen="off", **GROUP) as program:
        waiting = await begun(program, table="wards")
        wards.execute(f"INSERT INTO wards VALUES (1, 'a'); {FLUSHED}")
        answer = await waiting
        assert (answer["told_by"], answer["rows"]["inserted"]) == ("counters", 1)


def test_the_command_installs_for_the_tables_that_were_named_and_takes_it_away(
    wards: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    wards.execute("CREATE TABLE beds (id integer); CREATE VIEW seen AS SELECT 1 AS n")
    both = ["--rows", "wards", "--rows", "public.beds"]
    assert main(["trigger", "show", *both]) == 0
    assert 'SET schema_mcp.tables = \'{"wards","public.beds"}\';' in capsys.readouterr().out
    assert [wards.execute(sql) for sql in LEFT] == ["0", "0"]
    assert main(["trigger", "install", wards.url, *both]) == 0
    assert capsys.readouterr().out == "installed: writes to wards, public.beds are told at their commit\n"
    assert main(["trigger", "install", wards.url, "--rows", "wards"]) == 0  # once more is no harm
    assert [wards.execute(sql) for sql in LEFT] == ["2", "1"]
    capsys.readouterr()
    for wrong, word in (("seen", "seen is no table"), ("nowhere", 'relation "nowhere" does not exist')):
        assert main(["trigger", "install", wards.url, "--rows", wrong]) == 1
        assert word in capsys.readouterr().err
    # The other trigger is apart, and the schema that they share stays for the one that is left.
    assert main(["trigger", "install", wards.url]) == 0
    assert main(["trigger", "uninstall", wards.url]) == 0
    assert main(["trigger", "uninstall", wards.url, "--rows", "wards"]) == 0
    assert [wards.execute(sql) for sql in LEFT] == ["1", "1"]
    assert main(["trigger", "uninstall", wards.url, *both]) == 0
    assert [wards.execute(sql) for sql in LEFT] == ["0", "0"]


async def test_a_role_that_may_not_install_it_is_told_what_it_takes_and_hears_of_it_as_others_do(
    wards: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    role = f"clerk_{uuid.uuid4().hex[:8]}"
    wards.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'a good one'; GRANT SELECT, INSERT ON wards TO {role}")
    try:
        url = wards.url.replace("//postgres@", f"//{role}:a%20good%20one@")
        assert await asyncio.to_thread(main, ["trigger", "install", url, "--rows", "wards"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert "permission denied" in said.err
        assert "It takes the owner of the table" in said.err
        assert "a good one" not in said.err
        assert [wards.execute(sql) for sql in LEFT] == ["0", "0"]
        wards.execute(script("install", ["wards"]))
        async with inside(url, **GROUP) as program:
            since = (await told(program, 0.1, table="wards"))["since"]
            await program.peer.call("insert_wards", {"rows": [{"id": 1}]})
            assert (await told(program, table="wards", since=since))["told_by"] == "trigger"
    finally:
        wards.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_sql_is_for_psql_as_well(wards: Place) -> None:
    for name, left in (("row_trigger.sql", ["1", "1"]), ("row_trigger_uninstall.sql", ["0", "0"])):
        wards.execute(f"\\set tables '{{public.wards}}'\n{(TARGETS / name).read_text()}")
        assert [wards.execute(sql) for sql in LEFT] == left
