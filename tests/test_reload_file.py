"""The file of the settings while a server runs: when it is read, what of it is taken, and what is said of the rest."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mcp import StdioServerParameters

from schema_mcp.app_reload import FileWatch
from schema_mcp.config.model import AccessSettings, Settings
from schema_mcp.config.origin import Origin
from schema_mcp.config.reread import reread
from schema_mcp.errors import ConfigurationError
from schema_mcp.observe.events import Observation, SettingsRefused, SettingsReread
from tests.conftest import Place, sqlite_place
from tests.owner import owned, took
from tests.peers import COMMAND, LEGACY, MODERN, Inside, Peer, environment, inside, join
from tests.waiting import until


@pytest.fixture
def pets(tmp_path: Path) -> Place:
    place = sqlite_place(tmp_path / "pets.sqlite")
    place.execute("CREATE TABLE pets (id integer primary key, name text)")
    return place


def refused(folder: Path, *mistakes: str) -> SettingsRefused:
    return SettingsRefused(mistakes=tuple(f"{folder / 'config.toml'}: {mistake}" for mistake in mistakes))


async def test_a_wrong_file_leaves_the_last_good_one_and_every_mistake_is_told(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path, "[access]\nmode = 'read'") as owner:
        assert await owner.peer.table_tools() == ["query_pets"]
        before = owner.app.registry.current
        said = await owner.edit("[access]\nmode = 'all'\nrules = ['pets']\n[limits]\nrows = 1\n[server]\nsecret = 'x'")
        assert said == refused(
            tmp_path,
            "access.mode: takes one of read, insert, write, got 'all'",
            "access.rules: takes rules like 'orders: read' or 'users(ssn): none', got 'pets'",
            "limits.rows: unknown key; did you mean limits.insert_rows?",
            "server.secret: takes at least 16 characters",
        )
        assert await owner.edit("[access") == refused(
            tmp_path, "is not valid TOML: Expected ']' at the end of a table declaration (at end of document)"
        )
        assert owner.app.registry.current is before
        assert await owner.edit("[access]\nmode = 'insert'") == took("access.mode")
        await owner.peer.hears()
        assert await owner.peer.table_tools() == ["insert_pets", "query_pets"]


async def test_an_edit_that_means_nothing_new_is_no_change_for_anybody(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path, "[access]\nmode = 'read'") as owner:
        await owner.peer.names()
        before = owner.app.registry.current
        assert await owner.edit("# mine\n[access]\nmode = 'read'\n[limits]\nfilters = 100") == took()
        assert owner.app.registry.current is before
        assert await owner.edit("[access]\nmode = 'read'\n[limits]\nlock_timeout_s = 3") == took(
            "limits.lock_timeout_s"
        )
        assert owner.app.registry.current is before
        assert owner.peer.told.empty()


async def test_what_needs_a_restart_is_said_and_stays_as_it_is(pets: Place, tmp_path: Path) -> None:
    async with owned(None, tmp_path, f"[database]\nurl = {str(pets.url)!r}") as owner:
        text = "[database]\nurl = '/elsewhere'\nexclude = ['pets']\n[access]\nmode = 'read'\n[server]\nport = 1"
        later = ("database.url", "database.exclude", "server.port")
        assert await owner.edit(text) == took("access.mode", later=later)
        assert await owner.peer.table_tools() == ["query_pets"]


async def test_a_flag_wins_over_the_file_as_at_the_start(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path, access__mode="read") as owner:
        assert await owner.edit("[access]\nmode = 'write'") == took()
        assert await owner.peer.table_tools() == ["query_pets"]


async def test_of_several_sources_each_has_its_own_masks_and_another_source_waits(tmp_path: Path) -> None:
    text, sources = "", ("one", "two")
    for name in sources:
        place = sqlite_place(tmp_path / f"{name}.sqlite")
        place.execute("CREATE TABLE pets (id integer primary key, name text)")
        place.execute("INSERT INTO pets VALUES (1, 'Rex')")
        text += f"[[sources]]\nname = '{name}'\nurl = '{place.url}'\n"
    async with owned(None, tmp_path, text) as owner:
        await owner.peer.names()
        text += "mask_columns = ['name']\n[[sources]]\nname = 'three'\nurl = 'sample'"
        said = await owner.edit(text)
        assert isinstance(said, SettingsReread)
        assert said.changed == ("sources.two.mask_columns",)
        assert {key.rpartition(".")[0] for key in said.later} == {"sources.three"}
        assert await owner.peer.rows("query_one_pets") == [{"id": 1, "name": "Rex"}]
        assert await owner.peer.rows("query_two_pets") == [{"id": 1, "name": "***"}]


def test_what_would_not_go_together_until_the_next_start_is_refused() -> None:
    now = Settings()
    now = replace(now, database=replace(now.database, hide_columns=("ssn",)))
    found = replace(Settings(), access=AccessSettings(sql="read"))
    with pytest.raises(ConfigurationError) as error:
        reread(now, found)
    assert [mistake.partition(" so ")[0] for mistake in error.value.mistakes] == [
        "access.sql: SQL of a caller's own reads whatever the role may read,"
    ]


# When it is read


@asynccontextmanager
async def watched(place: Place, folder: Path) -> AsyncIterator[tuple[Inside, FileWatch, list[Observation]]]:
    """A server whose file is looked at only when the test says so."""
    flags = {"database.url": place.url, "state.url": "off", "watch.poll_interval_s": 0.1}  # as `inside` has them
    origin = Origin(file=None, environment={}, flags=flags, directory=folder)
    said: list[Observation] = []
    async with inside(place.url) as program:
        watch = FileWatch(origin, program.app.reload, said.append)
        await watch.look()
        await watch.look()
        said.clear()
        yield program, watch, said


async def test_a_file_is_read_once_two_looks_have_found_it_the_same(pets: Place, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[access]\nmode = 'read'")
    async with watched(pets, tmp_path) as (program, watch, said):
        assert await program.peer.table_tools() == ["query_pets"]
        for half in ("", "[access", "[access]\n"):
            file.write_text(half)
            await watch.look()
        file.write_text("[access]\nmode = 'read'\n# done")
        for _ in range(3):
            await watch.look()
        assert said == []
        file.write_text("[acc")
        for _ in range(3):
            await watch.look()
        assert len(said) == 1
        assert isinstance(said[0], SettingsRefused)
        file.write_text("[access]\nmode = 'insert'")
        for _ in range(3):
            await watch.look()
        assert [getattr(one, "changed", None) for one in said] == [None, ("access.mode",)]
        assert await program.peer.table_tools() == ["insert_pets", "query_pets"]


async def test_a_file_that_goes_or_is_emptied_does_not_set_everything_back(pets: Place, tmp_path: Path) -> None:
    async with owned(pets.url, tmp_path, "[access]\nmode = 'read'") as owner:
        owner.file.write_text("")
        assert await owner.ask() == refused(tmp_path, "is empty; the defaults hold after a restart")
        owner.file.unlink()
        assert await owner.ask() == refused(tmp_path, "is gone; the defaults hold after a restart")
        assert await owner.peer.table_tools() == ["query_pets"]


async def test_a_file_that_was_not_there_at_the_start_is_taken_when_it_is_asked_for(
    pets: Place, tmp_path: Path
) -> None:
    async with watched(pets, tmp_path) as (program, watch, said):
        (tmp_path / "config.toml").write_text("[access]\nmode = 'read'")
        await watch.look()
        await watch.look()
        assert said == []
        assert await program.peer.table_tools() == ["insert_pets", "query_pets"]
        watch.ask()
        await watch.look()
        assert [getattr(one, "changed", None) for one in said] == [("access.mode",)]
        assert await program.peer.table_tools() == ["query_pets"]


# As a process


@asynccontextmanager
async def process(pets: Place, folder: Path, era: str) -> AsyncIterator[Peer]:
    """`pid` and `log` are files of the folder."""
    words = " ".join([f"'{word}'" for word in (*COMMAND, "serve", pets.url)])
    server = StdioServerParameters(
        command="/bin/sh",
        args=["-c", f"echo $$ > pid; exec {words} 2> log"],
        env={**environment({"log__level": "info"}), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
    )
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        yield await join(stack, server, era)


async def test_a_server_follows_its_file_and_tells_its_clients(pets: Place, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[access]\nmode = 'insert'")
    async with process(pets, tmp_path, MODERN) as peer:
        assert await peer.table_tools() == ["insert_pets", "query_pets"]
        (tmp_path / "config.toml").write_text("[access]\nmode = 'read'")
        await peer.hears()
        assert await peer.table_tools() == ["query_pets"]
        (tmp_path / "config.toml").write_text("[access]\nmode = 'raed'\n[tools]\npin = 1")
        line = (
            "WARNING the configuration cannot be used, the last good one stays: "
            f"{tmp_path}/config.toml: access.mode: takes one of read, insert, write, got 'raed'; "
            f"{tmp_path}/config.toml: tools.pin: takes strings in [ ], got 1\n"
        )
        await until(lambda: line in (tmp_path / "log").read_text())
        assert await peer.table_tools() == ["query_pets"]


async def test_a_server_reads_its_file_again_on_sighup(pets: Place, tmp_path: Path) -> None:
    async with process(pets, tmp_path, LEGACY) as peer:
        await peer.names()
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGHUP)
        await until(lambda: "read the configuration again: nothing differs" in (tmp_path / "log").read_text())
        (tmp_path / "config.toml").write_text("[tools]\nsurface = 'generic'\npage_size = 2\n[pool]\nsize = 3")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGHUP)
        await peer.hears()
        line = "read the configuration again: changed: tools.surface, tools.page_size; at the next start: pool.size"
        assert line in (tmp_path / "log").read_text()
        assert len((await peer.client.list_tools()).tools) == 2
