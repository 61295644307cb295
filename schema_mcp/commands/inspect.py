"""`schema-mcp tools`, `schema` and `call`: one look at a database, without a transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import orjson

from schema_mcp.app import App, running
from schema_mcp.caller import Caller
from schema_mcp.commands.pretty import pretty
from schema_mcp.config.model import Settings, StateSettings
from schema_mcp.errors import CatalogReadError, SchemaMcpError, UsageError
from schema_mcp.observe.log import configure, log
from schema_mcp.schema.mermaid import as_mermaid
from schema_mcp.schema.render import as_json, as_text
from schema_mcp.server.service import UnknownToolError
from schema_mcp.state.place import OFF

#: How long `call` waits for the server's own store.
STORE_LIMIT_S = 2.0
#: Who the person at the terminal is to the tools.
TERMINAL = Caller(session="terminal")


async def tools(settings: Settings, *, as_json: bool) -> tuple[str, str]:
    """What a client would be offered, for stdout, and a note for stderr. Raises: CatalogReadError."""
    async with _looked_at(settings) as app:
        specs = await app.service.tools(TERMINAL)
        catalog = app.registry.current
        costs = catalog.costs()
    size = sum(len(spec.as_json()) for spec in specs) + max(0, len(specs) - 1)
    total = f"{len(specs)} tools, {size:,} bytes, about {size // 4:,} tokens"
    if as_json:
        return orjson.dumps([spec.as_dict() for spec in specs], option=orjson.OPT_INDENT_2).decode(), total
    width = max((len(spec.name) for spec in specs), default=0)
    lines = [f"{spec.name:<{width}}  {len(spec.as_json()):>6} bytes  {spec.description}" for spec in specs]
    unlisted = len(catalog.table_tools) - sum(spec.table is not None for spec in specs)
    if unlisted:
        lines.append(
            f"{unlisted} tools of {len(catalog.targets)} tables are not listed (tools.surface, tools.max_listed); "
            "they answer when called, and query_rows reaches every table"
        )
    lines += ["", f"What a model pays for the list, by tools.surface (now {catalog.surface.kind}):"]
    for cost in costs:
        about = "" if cost.exact else "about "
        price = f"{cost.tools:,} tools, {about}{cost.bytes:,} bytes, about {cost.bytes // 4:,} tokens"
        lines.append(f"  {cost.surface:<12} {price}")
    return "\n".join([*lines, "", total]), ""


async def schema(settings: Settings, format_: str) -> tuple[str, str]:
    """The schema as text, JSON or a Mermaid diagram. Raises: CatalogReadError."""
    async with _looked_at(settings) as app:
        schemas = tuple(app.registry.current.schemas.values())
    render = {"text": as_text, "json": as_json, "mermaid": as_mermaid}[format_]
    return "\n".join(render(schema) for schema in schemas), ""


async def call(settings: Settings, tool: str, arguments: str) -> tuple[str, bool]:
    """The tool's answer as JSON, and whether it is an error. Raises: UsageError, CatalogReadError."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the arguments are not valid JSON: {error}") from None
    async with _looked_at(settings, keep=True) as app:
        # A cursor of an earlier call is signed with the key of the store, and the tool may be one about the history.
        with suppress(TimeoutError):
            async with asyncio.timeout(STORE_LIMIT_S):
                await app.keeper.settled.wait()
        try:
            answer = await app.service.call(tool, given, TERMINAL)
        except UnknownToolError:
            raise SchemaMcpError(f"there is no tool '{tool}'; 'schema-mcp tools' shows those there are") from None
    return pretty(answer.json.decode()), answer.is_error


@asynccontextmanager
async def _looked_at(settings: Settings, *, keep: bool = False) -> AsyncIterator[App]:
    """The program after its first look at the database; `keep`: with its store.

    Raises: CatalogReadError with the reason it failed.
    """
    if not keep:
        settings = replace(settings, state=StateSettings(url=OFF))
    configure("error" if settings.log.level == "info" else settings.log.level)
    async with running(settings, log) as app:
        await app.watcher.first_look.wait()
        if app.watcher.errors:
            raise CatalogReadError("; ".join(app.watcher.errors.values()))
        yield app
