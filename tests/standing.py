"""Fixtures: databases that stand for the whole run, for tests that need none of their own.

To make a database takes up to a second, to make a table 20 ms: such tests make tables with names of their own. A test
module asks for these fixtures by `pytest_plugins`.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.conftest import SERVERS, Place, sqlite_place
from tests.postgres import Server


@pytest.fixture(scope="session")
def standing(
    servers: Callable[[str], Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Place]]:
    """A database by the name of its server, or "sqlite", made when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def open_place(name: str) -> Place:
            if name == "sqlite":
                return sqlite_place(tmp_path_factory.mktemp("standing") / "standing.sqlite")
            server, database = servers(name), f"test_{uuid.uuid4().hex}"
            url = server.create_database(database)
            stack.callback(server.drop_database, database)
            return Place("postgresql", url, lambda sql: server.execute(sql, database))

        yield open_place


@pytest.fixture(scope="session", params=[*SERVERS, "sqlite"])
def shared(request: pytest.FixtureRequest, standing: Callable[[str], Place]) -> Place:
    """One standing database a product and version."""
    return standing(request.param)


@pytest.fixture(scope="session", params=SERVERS)
def shared_postgresql(request: pytest.FixtureRequest, standing: Callable[[str], Place]) -> Place:
    """The same databases, PostgreSQL's alone."""
    return standing(request.param)


@pytest.fixture(scope="session")
def shared_sqlite(standing: Callable[[str], Place]) -> Place:
    """The same file of SQLite."""
    return standing("sqlite")
