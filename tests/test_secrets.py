"""No secret leaves the program: not in an answer, not in a notification, not in the log, whatever goes wrong."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import asyncpg
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from tests.peers import COMMAND, LEGACY, LIMIT_S, MODERN
from tests.postgres import PostgresServer
from tests.waiting import until

ON_18 = pytest.mark.parametrize("own_server_session", ["18"], indirect=True)

#: In whatever way the password is quoted, this part of it stays as it is.
CANARY = "tr0ub4dor"
PASSWORD = f"{CANARY}&3/:@ ü%41"
VALUE = "a row of its own, told to nobody"

SCHEMA = """
    CREATE TABLE parents (id integer PRIMARY KEY);
    CREATE TABLE cats (id integer PRIMARY KEY, name text NOT NULL, age integer CHECK (age > 0),
        parent integer REFERENCES parents (id));
    CREATE TABLE hidden (id integer);
    CREATE TABLE doomed (id integer);
    CREATE VIEW slow AS SELECT 1 AS n FROM pg_sleep(60);
    CREATE VIEW broken AS SELECT 1 / (count(*) - count(*)) AS n FROM parents;
    GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role};
    REVOKE ALL ON hidden FROM {role};
"""

#: Calls that fail while all is well, and how. None: a protocol error.
MISTAKES: tuple[tuple[str, Mapping[str, Any], str | None], ...] = (
    ("query_dogs", {}, None),
    ("query_rows", {"table": "hidden"}, "unknown_table"),
    ("query_cats", {"wher": {}}, "unknown_argument"),
    ("query_cats", {"where": {"nam": "Tom"}}, "unknown_column"),
    ("query_cats", {"where": {"age": "old"}}, "invalid_value"),
    ("query_cats", {"cursor": "AAAA"}, "invalid_cursor"),
    ("query_cats", {"filters": [{"column": "age", "op": "like", "value": "x"}]}, "invalid_operator"),
    ("insert_cats", {"rows": [{"id": 1}]}, "missing_value"),
    ("insert_cats", {"rows": [{"id": 1, "name": VALUE}]}, "unique_violation"),
    ("insert_cats", {"rows": [{"id": 2, "name": VALUE, "age": 0}]}, "check_violation"),
    ("insert_cats", {"rows": [{"id": 2, "name": VALUE, "parent": 9}]}, "foreign_key_violation"),
    ("query_slow", {}, "timeout"),
    ("query_broken", {}, "invalid_value"),
)


@dataclass
class Witness:
    """A client that keeps every word it gets, and the server's standard error."""

    client: Client
    words: list[str]
    log: Path

    async def fails(self, tool: str, arguments: Mapping[str, Any] | None = None) -> str | None:
        """The code of a call that must fail."""
        try:
            result = await self.client.call_tool(tool, dict(arguments or {}))
        except MCPError as error:
            self.words.append(f"{error!r} {error.error.model_dump_json()}")
            return None
        self.words.append(result.model_dump_json())
        assert result.is_error, result
        assert result.structured_content is not None
        code = result.structured_content["error"]["code"]
        assert isinstance(code, str)
        return code

    async def refresh(self) -> bool:
        """Whether the schema could be read."""
        result = await self.client.call_tool("refresh_schema", {})
        self.words.append(result.model_dump_json())
        assert result.structured_content is not None
        return bool(result.structured_content["refreshed"])

    async def lists(self) -> list[str]:
        """The names of the tools."""
        tools = await self.client.list_tools()
        self.words.append(tools.model_dump_json())
        return [tool.name for tool in tools.tools]


@asynccontextmanager
async def witness(url: str, transport: str, era: str, log: Path) -> AsyncIterator[Witness]:
    variables = {
        "DATABASE_URL": url,
        "SCHEMA_MCP_LOG__LEVEL": "debug",
        "SCHEMA_MCP_WATCH__POLL_INTERVAL_S": "0.05",
        "SCHEMA_MCP_LIMITS__STATEMENT_TIMEOUT_S": "0.3",
        "SCHEMA_MCP_LIMITS__LOCK_TIMEOUT_S": "0.2",
        "SCHEMA_MCP_STATE__URL": str(log.with_suffix(".sqlite")),
    }
    words: list[str] = []

    async def keep(message: Any) -> None:
        words.append(repr(message))

    async with asyncio.timeout(60), AsyncExitStack() as stack:
        file = stack.enter_context(log.open("w"))
        target: Any
        if transport == "http":
            arguments = [*COMMAND, "serve", "--transport", "http", "--port", "0"]
            process = await anyio.open_process(
                arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **variables}
            )
            stack.push_async_callback(process.wait)
            stack.callback(process.terminate)
            await until(lambda: address(log))
            target = address(log)
        else:
            target = stdio_client(
                StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "serve"], env=variables), errlog=file
            )
        client = Client(target, mode=era, cache=None, message_handler=keep)
        yield Witness(await stack.enter_async_context(client), words, log)


def address(log: Path) -> str | None:
    """Where the server says that it serves."""
    found = re.search(r"serving on http at (\S+)", log.read_text())
    return found and found[1]


@dataclass
class Vault:
    """A database, and a role that gets in by a password."""

    server: PostgresServer
    name: str
    role: str
    url: str

    def execute(self, sql: str) -> str:
        return self.server.execute(sql, self.name)


@pytest.fixture
def vault(own_server: PostgresServer, own_database: str) -> Iterator[Vault]:
    name = own_database.rpartition("/")[2]
    role = f"role_{name}"
    own_server.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    own_server.execute(SCHEMA.format(role=role), name)
    own_server.execute(f"INSERT INTO cats VALUES (1, '{VALUE}')", name)
    yield Vault(own_server, name, role, own_server.url(name, role, PASSWORD))
    if not own_server.running:
        own_server.start_again()
    own_server.execute(f"DROP OWNED BY {role}", name)
    own_server.execute(f"REVOKE ALL ON DATABASE {name} FROM {role}; DROP ROLE {role}")


def told(text: str, vault: Vault) -> list[str]:
    """What of the password and the URL stands in the text."""
    secrets = (CANARY, "postgresql://", "+asyncpg", f"{vault.role}@", f"{vault.role}:", f":{vault.server.port}")
    return [secret for secret in secrets if secret in text]


@ON_18
@pytest.mark.parametrize(("transport", "era"), [("stdio", LEGACY), ("http", MODERN)])
async def test_no_error_tells_the_password_or_the_url(vault: Vault, tmp_path: Path, transport: str, era: str) -> None:
    log = tmp_path / "log"
    async with witness(vault.url, transport, era, log) as client:
        assert "query_cats" in await client.lists()
        for tool, arguments, code in MISTAKES:
            assert await client.fails(tool, arguments) == code, tool
        vault.execute("DROP TABLE doomed")
        assert await client.fails("query_doomed") == "stale_schema"
        async with locked(vault, "cats"):
            assert await client.fails("query_cats") == "lock_timeout"
        vault.execute(f"REVOKE INSERT ON parents FROM {vault.role}")
        assert await client.fails("insert_parents", {"rows": [{"id": 1}]}) in ("permission_denied", "stale_schema")

        vault.execute(f"ALTER ROLE {vault.role} PASSWORD 'another'")
        await turned_out(vault, client)
        assert await client.fails("query_cats") == "database_unavailable"
        vault.execute(
            f"ALTER ROLE {vault.role} PASSWORD '{PASSWORD}'; REVOKE CONNECT ON DATABASE {vault.name} FROM public"
        )
        await turned_out(vault, client)
        assert await client.fails("query_cats") in ("permission_denied", "database_unavailable")
        vault.server.stop()
        assert await client.fails("query_cats") == "database_unavailable"
        assert not await client.refresh()
        vault.server.start_again()
        vault.execute(f"GRANT CONNECT ON DATABASE {vault.name} TO public; CREATE TABLE dogs (id integer)")
        async with asyncio.timeout(LIMIT_S):
            while not await client.refresh():
                pass
        await client.lists()
    said = log.read_text()
    assert any("password authentication failed" in text for text in (said, *client.words))
    assert "Traceback" not in said
    for text in (said, *client.words):
        assert told(text, vault) == [], text
    assert VALUE not in said


async def turned_out(vault: Vault, client: Witness) -> None:
    """Ends the role's connections; returns when none of the program's looks succeeds any more."""
    vault.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{vault.role}'")
    async with asyncio.timeout(LIMIT_S):
        while await client.refresh():
            pass


@asynccontextmanager
async def locked(vault: Vault, table: str) -> AsyncIterator[None]:
    holder = await asyncpg.connect(vault.server.url(vault.name))
    try:
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await holder.close()


@ON_18
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_start_that_cannot_reach_or_enter_the_database_tells_neither(
    vault: Vault, tmp_path: Path, transport: str
) -> None:
    log = tmp_path / "log"
    vault.execute(f"ALTER ROLE {vault.role} PASSWORD 'another'")
    async with witness(vault.url, transport, LEGACY, log) as client:
        assert "query_cats" not in await client.lists()
        assert await client.fails("list_tables") == "database_unavailable"
        vault.server.stop()
        assert not await client.refresh()
        assert await client.fails("query_cats") == "database_unavailable"
    said = log.read_text()
    assert any("password authentication failed" in text for text in (said, *client.words))
    assert "Traceback" not in said
    for text in (said, *client.words):
        assert told(text, vault) == [], text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:{}@127.0.0.1:1/d",
        "postgresql://u:{}@127.0.0.1:port/d",
        "postgresql://u:{}@127.0.0.1:99999/d",
        "postgresql://u:{}@host.invalid/d",
        "postgresql://u:{}@127.0.0.1:1/d?sslmode=nonsense",
        "postgresql://u@127.0.0.1:1/d?password={}&nonsense=1",
        "mysql://u:{}@127.0.0.1/d",
        "nonsense://{}",
    ],
)
async def test_a_url_that_leads_nowhere_is_not_repeated(url: str, tmp_path: Path) -> None:
    secret = quote("hunter2&hunter3", safe="")
    command = [*COMMAND, "call", "list_tables"]
    variables = {**os.environ, "DATABASE_URL": url.format(secret), "SCHEMA_MCP_LOG__LEVEL": "debug"}
    with anyio.fail_after(LIMIT_S):
        result = await anyio.run_process(command, env=variables, check=False, stderr=subprocess.STDOUT, cwd=tmp_path)
    said = result.stdout.decode()
    assert result.returncode in (1, 2), said
    assert len(said) > 40
    assert "hunter2" not in said
    assert "Traceback" not in said
