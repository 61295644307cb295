"""Fixtures: real PostgreSQL servers, started once by the suite, and databases of a test's own."""

import os
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import PostgresServer, Server, available_servers, open_server
from tests.reading import Live

SERVERS = available_servers()

# Whatever a test forgets: no history goes into the user's own data folder.
os.environ["XDG_DATA_HOME"] = os.path.join(tempfile.gettempdir(), f"schema-mcp-tests-{os.getpid()}")
os.environ["SCHEMA_MCP_STATE__URL"] = "off"


#: `make test` runs on every server what is about its catalog, and all else on the newest alone and on SQLite; `make
#: servers` runs what is left.
ON_EVERY_SERVER = (
    *("test_information_schema", "test_read_postgresql", "test_read_postgresql_types", "test_relations", "test_rights"),
    "test_storm",
)
#: On SQLite alone: no database makes much of a difference to these.
ON_SQLITE = (
    *("test_access_rules", "test_batch", "test_canary", "test_hostile_calls", "test_reload", "test_reload_file"),
    *("test_sources_away", "test_stopping", "test_surface", "test_together", "test_twins_property"),
    *("test_across_parts", "test_operations_kept", "test_tasks", "test_context", "test_context_across"),
    *("test_batch_outcome", "test_operations_batches"),
)
_NEWEST = "18"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the others out; with TEST_SERVERS=others, all but these; with TEST_SERVERS=all, nothing."""
    wanted = os.environ.get("TEST_SERVERS", "")

    def is_left_out(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        used = [value for value in callspec.params.values() if value in SERVERS] if callspec is not None else []
        module = item.path.stem
        once = module not in ON_EVERY_SERVER and any(module in ON_SQLITE or server != _NEWEST for server in used)
        return once if not wanted else wanted == "others" and not once

    left_out = [item for item in items if is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_left_out(item)]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Opens a server by its name, once; all are closed at the end."""
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(open_server(name)))


@pytest.fixture(params=SERVERS, ids="postgresql-{}".format)
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """Every PostgreSQL there is: 16 and 18 out of the wheel, the one of this machine, the one of the environment."""
    return servers(request.param)


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of an empty database of this test's own, on every server."""
    name = f"test_{uuid.uuid4().hex}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture(scope="session", params=("16", "18"), ids="own-{}".format)
def own_server_session(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with open_server(request.param) as server:
        assert isinstance(server, PostgresServer)
        yield server


@pytest.fixture
def own_server(own_server_session: PostgresServer) -> Iterator[PostgresServer]:
    """A server that the test may stop, kill, and whose log it may read."""
    yield own_server_session
    if not own_server_session.running:
        own_server_session.start_again()


@pytest.fixture
def own_database(own_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database on `own_server`."""
    name = f"test_{uuid.uuid4().hex}"
    yield own_server.create_database(name)
    if not own_server.running:
        own_server.start_again()
    own_server.drop_database(name)


@dataclass(frozen=True)
class Place:
    """An empty database and a connection to it that is not the server's. `product`: postgresql or sqlite."""

    product: str
    url: str
    execute: Callable[[str], Any]


def made_once(make: Callable[[Place], Place]) -> Callable[[Place], Place]:
    """A fixture's function, for what it makes in a database that stands (`tests/standing.py`): where tests are handed
    from worker to worker, a module's may come in parts, and its fixtures are set up for each.
    """
    return wraps(make)(cache(make))


#: Leaves nothing of a test in its database, in a tenth of the time that another would take to make.
EMPTY = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    DO $$ DECLARE found record; BEGIN
        FOR found IN SELECT evtname AS name FROM pg_event_trigger LOOP
            EXECUTE format('DROP EVENT TRIGGER %I', found.name); END LOOP;
        FOR found IN SELECT fdwname AS name FROM pg_foreign_data_wrapper LOOP
            EXECUTE format('DROP FOREIGN DATA WRAPPER IF EXISTS %I CASCADE', found.name); END LOOP;
        FOR found IN SELECT extname AS name FROM pg_extension WHERE extname <> 'plpgsql' LOOP
            EXECUTE format('DROP EXTENSION IF EXISTS %I CASCADE', found.name); END LOOP;
        FOR found IN
            SELECT nspname AS name FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
            EXECUTE format('DROP SCHEMA %I CASCADE', found.name); END LOOP;
        EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
        CREATE SCHEMA public;
        IF current_setting('server_version_num')::int >= 150000 THEN
            ALTER SCHEMA public OWNER TO pg_database_owner; GRANT USAGE ON SCHEMA public TO public;
        ELSE GRANT ALL ON SCHEMA public TO public; END IF;
    END $$
"""


@pytest.fixture(scope="session")
def used_databases(servers: Callable[[str], Server]) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Name and URL of a database by its server's name: the same for all tests of a worker, empty for each."""
    with ExitStack() as stack:

        @cache
        def made(server_name: str) -> tuple[str, str]:
            server, name = servers(server_name), f"test_{uuid.uuid4().hex}"
            stack.callback(server.drop_database, name)
            return name, server.create_database(name)

        yield made


@pytest.fixture(params=[*SERVERS, "sqlite"])
def place(
    request: pytest.FixtureRequest,
    servers: Callable[[str], Server],
    used_databases: Callable[[str], tuple[str, str]],
    tmp_path: Path,
) -> Iterator[Place]:
    """The same test on every database product."""
    if request.param == "sqlite":
        yield sqlite_place(tmp_path / "place.sqlite")
        return
    server, (name, url) = servers(request.param), used_databases(request.param)
    yield Place("postgresql", url, lambda sql: server.execute(sql, name))
    server.execute(EMPTY, name)


def sqlite_place(path: Path) -> Place:
    """An empty SQLite file."""

    def execute(sql: str) -> list[Any]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    execute("VACUUM")  # writes the file's header
    return Place("sqlite", str(path), execute)


@pytest.fixture
def live(server: Server, database: str) -> Live:
    """The same database for the tests of the readers."""
    return Live(server, database)


@pytest.fixture
def role(live: Live) -> Iterator[str]:
    """A role that may see the schema `public` and nothing in it."""
    name = f"reader_{uuid.uuid4().hex}"
    live.execute(f"create role {name}; grant usage on schema public to {name}")
    yield name
    live.execute(f"drop owned by {name}; drop role {name}")
