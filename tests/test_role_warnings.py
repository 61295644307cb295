"""Rights of the role that a server of callers should not have: warned about once, by name; told by `server_status`."""

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from schema_mcp.observe.events import RoleExceeds
from schema_mcp.observe.log import _line
from tests.conftest import Place
from tests.peers import Inside, inside
from tests.waiting import until

pytest_plugins = "tests.standing"


@pytest.fixture
def role(shared_postgresql: Place) -> Iterator[str]:
    name = f"warned_{uuid.uuid4().hex}"
    shared_postgresql.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'word'")
    yield name
    shared_postgresql.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def url_of(place: Place, role: str) -> str:
    address = urlsplit(place.url)
    return address._replace(netloc=f"{role}:word@{address.netloc.rpartition('@')[2]}").geturl()


def found(program: Inside) -> list[RoleExceeds]:
    return [observation for observation in program.observed if isinstance(observation, RoleExceeds)]


async def warnings(program: Inside) -> list[str]:
    await until(program.app.sources["database"].role.asked.is_set)
    (source,) = (await program.peer.call("server_status"))["sources"]
    told: list[str] = source.get("warnings", [])
    return told


@pytest.mark.parametrize(
    ("grants", "rights"),
    [
        ("ALTER ROLE {r} SUPERUSER", ("SUPERUSER",)),
        ("ALTER ROLE {r} BYPASSRLS REPLICATION CREATEROLE", ("BYPASSRLS", "CREATEROLE", "REPLICATION")),
        (
            "GRANT pg_write_server_files, pg_execute_server_program, pg_read_server_files TO {r}",
            ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"),
        ),
        ("CREATE ROLE {r}_g BYPASSRLS; GRANT {r}_g TO {r}; ALTER ROLE {r} NOINHERIT", ("BYPASSRLS",)),
    ],
)
async def test_a_role_that_may_do_too_much_is_warned_about_by_the_names_of_its_rights(
    shared_postgresql: Place, role: str, grants: str, rights: tuple[str, ...]
) -> None:
    shared_postgresql.execute(grants.replace("{r}", role))
    async with inside(url_of(shared_postgresql, role)) as program:
        told = await warnings(program)
        await program.peer.call("refresh_schema")
        (observed,) = found(program)
        assert (observed.source, observed.rights, told) == ("database", rights, [observed.message])
        assert observed.message.startswith(f"the database role has {', '.join(rights)}: what callers do is bounded by")
        level, line = _line(observed)
        assert (level, line) == (30, f"'database': {observed.message}")
    if "_g" in grants:
        shared_postgresql.execute(f"DROP ROLE {role}_g")


async def test_of_a_role_with_rights_on_tables_alone_nothing_is_said(shared_postgresql: Place, role: str) -> None:
    async with inside(url_of(shared_postgresql, role)) as program:
        assert (await warnings(program), found(program)) == ([], [])


async def test_sqlite_has_no_roles(shared_sqlite: Place) -> None:
    async with inside(shared_sqlite.url) as program:
        assert (await warnings(program), found(program)) == ([], [])
