"""What a role is offered is what PostgreSQL allows it, no more and no less; and it follows GRANT and REVOKE."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import urlsplit

import asyncpg
import pytest

from schema_mcp.catalog.build import BuildSettings, build
from schema_mcp.catalog.surface import Surface
from schema_mcp.dialects.postgresql import reader
from schema_mcp.dialects.postgresql.dialect import PostgresqlDialect
from schema_mcp.schema.select import Selection
from schema_mcp.security.policy import AccessMode, Policy
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.target import ToolLimits
from tests.conftest import Place
from tests.peers import inside
from tests.reading import connected

pytest_plugins = "tests.standing"

#: The schema of these tests within the standing database.
SCHEMA = "rights"
#: Relations whose permissions a statement on each of their columns tells.
RELATIONS = """
    CREATE SCHEMA rights;
    SET search_path = rights;
    CREATE TABLE plain (id integer PRIMARY KEY, a text, b text NOT NULL DEFAULT '');
    CREATE TABLE numbered (
        id integer GENERATED ALWAYS AS IDENTITY, a text, twice text GENERATED ALWAYS AS (a || a) STORED
    );
    CREATE TABLE guarded (id integer PRIMARY KEY, who name DEFAULT current_user);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON guarded FOR SELECT USING (who = current_user);
    CREATE POLICY anyone ON guarded FOR INSERT WITH CHECK (id > 0);
    CREATE TABLE parted (id integer PRIMARY KEY, a text) PARTITION BY LIST (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
    CREATE TABLE parent (id integer PRIMARY KEY, a text);
    CREATE TABLE child () INHERITS (parent);
    CREATE VIEW simple AS SELECT id, a FROM plain;
    CREATE VIEW counted AS SELECT count(*) AS n FROM plain;
    CREATE MATERIALIZED VIEW stored AS SELECT id FROM plain;
"""
#: Since 15 a view may look with the rights of whoever asks.
INVOKERS = """
    CREATE VIEW rights.invoker WITH (security_invoker) AS SELECT id, a FROM rights.plain;
    CREATE VIEW rights.twice_invoker WITH (security_invoker = on) AS SELECT id FROM rights.invoker;
    CREATE VIEW rights.lone_invoker WITH (security_invoker) AS SELECT count(*) AS n FROM rights.guarded;
"""
ALL = "SELECT, INSERT ON ALL TABLES IN SCHEMA rights"
#: What is granted to each role, `{r}`; the role itself is `CREATE ROLE {r}` and what stands before the bar.
ROLES: Mapping[str, str] = {
    "nothing": "|",
    "no_usage": f"|GRANT {ALL} TO {{r}}; REVOKE USAGE ON SCHEMA rights FROM {{r}}",
    "all": f"|GRANT {ALL} TO {{r}}",
    "reader": "|GRANT SELECT ON ALL TABLES IN SCHEMA rights TO {r}",
    "inserter": "|GRANT INSERT ON ALL TABLES IN SCHEMA rights TO {r}",
    "some_columns": "|GRANT SELECT (id), INSERT (id, a) ON rights.plain, rights.parted, rights.parent TO {r}; "
    "GRANT SELECT (a) ON rights.numbered, rights.simple TO {r}; GRANT INSERT (id) ON rights.simple TO {r}",
    "one_given": "|GRANT INSERT (b) ON rights.plain TO {r}",
    "guest": "|GRANT SELECT, INSERT ON rights.guarded TO {r}",
    "member": "|CREATE ROLE {r}_group; GRANT SELECT ON rights.plain TO {r}_group; GRANT {r}_group TO {r}",
    "not_inheriting": "NOINHERIT|CREATE ROLE {r}_group; GRANT SELECT ON rights.plain TO {r}_group; "
    "GRANT {r}_group TO {r}",
    "owner": "|ALTER TABLE rights.numbered OWNER TO {r}",
    "above_rows": "BYPASSRLS|GRANT SELECT, INSERT ON rights.guarded TO {r}",
    "superuser": "SUPERUSER|",
}
INVOKER_ROLES: Mapping[str, str] = {
    "view_alone": "|GRANT SELECT, INSERT ON rights.invoker, rights.twice_invoker, rights.lone_invoker TO {r}",
    "view_and_columns": "|GRANT SELECT ON rights.invoker, rights.twice_invoker TO {r}; "
    "GRANT SELECT (id, a) ON rights.plain TO {r}",
    "view_and_too_few": "|GRANT SELECT ON rights.invoker, rights.twice_invoker TO {r}; "
    "GRANT SELECT (id) ON rights.plain TO {r}",
    "view_and_insert": "|GRANT INSERT ON rights.invoker TO {r}; GRANT INSERT ON rights.plain TO {r}",
    "counter": "|GRANT SELECT ON rights.lone_invoker TO {r}; GRANT SELECT (who) ON rights.guarded TO {r}",
}

#: By relation: the columns that may be read, and those that may be given.
_Rights = dict[str, tuple[set[str], set[str]]]


@pytest.fixture(scope="module")
def roles(shared_postgresql: Place) -> Iterator[Mapping[str, str]]:
    """The roles by what they are, on a server where every name is theirs alone."""
    place, mark = shared_postgresql, uuid.uuid4().hex
    chosen = dict(ROLES)
    place.execute(RELATIONS)
    if int(place.execute("SHOW server_version_num")) >= 150_000:
        place.execute(INVOKERS)
        chosen |= INVOKER_ROLES
    made = {kind: f"{kind}_{mark}" for kind in chosen}
    place.execute("GRANT SELECT ON rights.child TO PUBLIC")
    for kind, role in made.items():
        options, _, grants = chosen[kind].partition("|")
        place.execute(
            f"CREATE ROLE {role} {options} LOGIN PASSWORD 'word'; GRANT USAGE ON SCHEMA rights TO {role}; "
            + grants.format(r=role)
        )
    yield made
    place.execute("DROP SCHEMA rights CASCADE")
    groups = [f"{made[kind]}_group" for kind in ("member", "not_inheriting")]
    for role in [*made.values(), *groups]:
        place.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def served_to(connection: asyncpg.Connection) -> _Rights:
    """By the names of the tools and the properties of their schemas, as the catalog has them for the role."""
    reading = await reader.read(connection, "main", Selection(schemas=(SCHEMA,)), None)
    assert reading.postponed == frozenset()
    settings = BuildSettings(
        policy=Policy(mode=AccessMode.INSERT),
        surface=Surface(kind="tables"),
        limits=ToolLimits(),
        dialects=MappingProxyType({"main": PostgresqlDialect()}),
        cursor_secret=CursorSecret(b"secret"),
    )
    catalog = build(settings, {"main": reading.schema}, None)
    found: _Rights = {}
    for spec in catalog.listed:
        if spec.table is not None:
            readable, insertable = found.setdefault(spec.table.name, (set(), set()))
            properties = spec.input_schema["properties"]
            if spec.kind == "query":
                readable.update(properties["where"]["properties"])
            else:
                insertable.update(properties["rows"]["items"]["properties"])
    return found


async def allowed_to(connection: asyncpg.Connection) -> _Rights:
    """By trying: each column of each relation is selected, and given to an INSERT that inserts nothing."""
    found: _Rights = {}
    for relation, column in await connection.fetch(
        "select c.relname, a.attname from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid "
        "where c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = 'rights') "
        "and a.attnum > 0 and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition"
    ):
        readable, insertable = found.setdefault(relation, (set(), set()))
        attempts = (
            (readable, f"select {column} from rights.{relation}"),
            (insertable, f"insert into rights.{relation} ({column}) select null where false"),
        )
        for columns, attempt in attempts:
            transaction = connection.transaction()
            await transaction.start()
            # Not permitted; not for this kind of relation; made by the database.
            refusals = (
                asyncpg.InsufficientPrivilegeError,
                asyncpg.WrongObjectTypeError,
                asyncpg.ObjectNotInPrerequisiteStateError,
                asyncpg.FeatureNotSupportedError,
                asyncpg.GeneratedAlwaysError,
            )
            with suppress(*refusals):
                await connection.execute(attempt)
                columns.add(column)
            await transaction.rollback()
    return {relation: rights for relation, rights in found.items() if any(rights)}


async def test_each_role_is_offered_what_postgresql_allows_it(
    shared_postgresql: Place, roles: Mapping[str, str]
) -> None:
    async with connected(shared_postgresql.url) as connection:
        for kind, role in roles.items():
            await connection.execute(f"set role {role}")
            assert await served_to(connection) == await allowed_to(connection), kind
            await connection.execute("reset role")


def url_of(place: Place, role: str) -> str:
    address = urlsplit(place.url)
    return address._replace(netloc=f"{role}:word@{address.netloc.rpartition('@')[2]}").geturl()


async def test_what_may_be_inserted_and_not_read_is_inserted(
    shared_postgresql: Place, roles: Mapping[str, str]
) -> None:
    async with inside(url_of(shared_postgresql, roles["inserter"]), database__schemas=["rights"]) as program:
        answer = await program.peer.call("insert_rights__plain", {"rows": [{"id": 1}]})
        assert (answer["inserted"], answer["rows"]) == (1, [])
        error = await program.peer.error("insert_rights__plain", {"rows": [{"id": 2}], "returning": ["id"]})
        assert error["code"] == "unknown_column"
    async with inside(url_of(shared_postgresql, roles["guest"]), database__schemas=["rights"]) as program:
        insert = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}["insert_rights__guarded"]
        assert (insert.description or "").endswith("Row-level security applies.")
        rows = [{"id": 1, "who": "somebody"}]
        assert (await program.peer.call("insert_rights__guarded", {"rows": rows}))["inserted"] == 1
        own = await program.peer.call("insert_rights__guarded", {"rows": [{"id": 2}], "returning": ["id"]})
        assert own["rows"] == [{"id": 2}]
        assert await program.peer.rows("query_rights__guarded", {"columns": ["id"]}) == [{"id": 2}]
        for row in ({"id": 3, "who": "somebody"}, {"id": -1}):
            error = await program.peer.error("insert_rights__guarded", {"rows": [row], "returning": ["id"]})
            assert error["code"] == "permission_denied"
    shared_postgresql.execute("TRUNCATE rights.plain, rights.guarded")


async def test_rows_of_children_are_not_paged_by_the_parents_key(
    shared_postgresql: Place, roles: Mapping[str, str]
) -> None:
    """Without the right to the system columns nothing tells them apart."""
    shared_postgresql.execute("INSERT INTO rights.parent VALUES (1); INSERT INTO rights.child VALUES (1), (1), (2)")
    async with inside(url_of(shared_postgresql, roles["some_columns"]), database__schemas=["rights"]) as program:
        page = await program.peer.call("query_rights__parent", {"limit": 2})
        assert (page["truncated"], page["next_cursor"], "hint" in page) == (True, None, True)
        page = await program.peer.call("query_rights__parent", {"limit": 4, "order_by": ["id"]})
        assert [row["id"] for row in page["rows"]] == [1, 1, 1, 2]


async def test_grants_of_every_kind_are_followed_and_told(shared_postgresql: Place, roles: Mapping[str, str]) -> None:
    role = roles["nothing"]
    both = ["insert_rights__plain", "query_rights__plain"]
    child = ["query_rights__child"]  # granted to PUBLIC
    steps = [
        (f"GRANT SELECT (id) ON rights.plain TO {role}", [*child, both[1]], {"id"}),
        (f"GRANT SELECT (a) ON rights.plain TO {role}", [*child, both[1]], {"id", "a"}),
        (f"REVOKE SELECT (id) ON rights.plain FROM {role}", [*child, both[1]], {"a"}),
        (f"GRANT {roles['all']} TO {role}", None, {"id", "a", "b"}),
        (f"REVOKE {roles['all']} FROM {role}", [*child, both[1]], {"a"}),
        (f"GRANT INSERT ON rights.plain TO {role}", [*child[:0], both[0], *child, both[1]], {"a"}),
        (f"REVOKE USAGE ON SCHEMA rights FROM {role}", [], None),
        (f"GRANT USAGE ON SCHEMA rights TO {role}", [both[0], *child, both[1]], {"a"}),
    ]
    async with inside(url_of(shared_postgresql, role), database__schemas=["rights"]) as program:
        assert await program.peer.table_tools() == child
        for statement, tools, readable in steps:
            shared_postgresql.execute(statement)
            await program.peer.hears()
            listed = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
            if tools is not None:
                assert [name for name in listed if "rights__" in name] == tools, statement
            if readable is not None:
                where = listed[both[1]].input_schema["properties"]["where"]
                assert set(where["properties"]) == readable, statement
