"""`schema-mcp demo`: the whole way in some seconds, narrated, on a bundled sample.

The real server as a subprocess over stdio, the SDK's client in front of it, and a table that is created behind the
server's back while the client is connected.
"""

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import ToolListChangedNotification

from schema_mcp.samples.shop import create

#: How long the notification may take before the demo calls it missing.
NOTICE_TIMEOUT_S = 10.0

Say = Callable[[str], None]


async def demo(say: Say) -> int:
    """Exit code 0 when every step did what it should, 1 otherwise."""
    with tempfile.TemporaryDirectory(prefix="schema-mcp-demo-") as folder:
        path = Path(folder) / "shop.sqlite"
        create(path)
        say("schema-mcp demo: a language model's view of a live database\n")
        say(f"A sample shop is made: {path.stat().st_size / 1000:.0f} kB of SQLite, {_size(path)}.")
        try:
            return await _Demo(path, say).run()
        except Exception as failure:  # noqa: BLE001 - the command's boundary: a person reads this, not a traceback
            say(f"\nThe demo could not finish: {_first(failure)}")
            return 1


def _first(failure: BaseException) -> str:
    """The innermost failure of a group, in a line."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return f"{type(failure).__name__}: {failure}"


class _Demo:
    def __init__(self, path: Path, say: Say) -> None:
        self.path = path
        self.say = say
        self.noticed = asyncio.Event()
        self.noticed_at = 0.0

    async def run(self) -> int:
        started = time.perf_counter()
        arguments = ["-m", "schema_mcp", "serve", str(self.path)]
        # Of the environment only what leads to this very program; the sample needs no history.
        environment = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        environment |= {"SCHEMA_MCP_LOG__LEVEL": "error", "SCHEMA_MCP_STATE__URL": "off"}
        parameters = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
        async with Client(parameters, mode="legacy", message_handler=self._notice) as client:
            self._step("1. The server starts over stdio and lists its tools")
            tools = (await client.list_tools()).tools
            size = sum(len(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in tools)
            self.say(
                f"   {len(tools)} tools, about {size // 4:,} tokens, {time.perf_counter() - started:.1f} s after start"
            )
            for tool in tools:
                if tool.name in ("query_products", "insert_reviews", "query_order_totals", "list_tables"):
                    self.say(f"   - {tool.name}: {tool.description}")
            ok = await self._questions(client)
            ok = await self._insert(client) and ok
            ok = await self._new_table(client) and ok
        self.say("\nEvery step went as it should." if ok else "\nA step failed, see above.")
        command = sys.argv[0] if Path(sys.argv[0]).name == "schema-mcp" else "schema-mcp"
        self.say(f"Next: {command} tools DATABASE, or the README for your client.")
        return 0 if ok else 1

    async def _questions(self, client: Client) -> bool:
        self._step('2. "Which products are low in stock?"')
        low = await self._call(
            client,
            "query_products",
            {
                "columns": ["sku", "name", "stock", "reorder_level"],
                "where": {"needs_reorder": True},
                "order_by": ["stock", "sku"],
                "limit": 4,
            },
        )
        self._rows(low)
        self._step('3. "Which delivered orders were never paid, oldest first?"')
        due = await self._call(
            client,
            "query_order_totals",
            {
                "columns": ["order_id", "customer_name", "country_code", "ordered_at", "due"],
                "where": {"status": "delivered"},
                "filters": [{"column": "due", "op": "gt", "value": "0"}],
                "order_by": ["ordered_at"],
                "limit": 3,
            },
        )
        self._rows(due)
        return bool(low.get("rows") and due.get("rows"))

    async def _insert(self, client: Client) -> bool:
        self._step("4. A row goes in; what the table does not allow is refused, by name")
        given = {"name": "Moon lamps"}
        stored = await self._call(client, "insert_categories", {"rows": [given], "returning": ["id", "name"]})
        refused = await self._call(client, "insert_categories", {"rows": [given]})
        return stored.get("outcome") == "committed" and "error" in refused

    async def _new_table(self, client: Client) -> bool:
        self._step("5. Behind the server's back another program runs CREATE TABLE gift_cards (...)")
        connection = sqlite3.connect(self.path)
        connection.execute(
            "CREATE TABLE gift_cards (code TEXT PRIMARY KEY, euro NUMERIC(8,2) NOT NULL CHECK (euro > 0), "
            "customer_id INTEGER REFERENCES customers (id))"
        )
        connection.commit()
        connection.close()
        committed_at = time.perf_counter()
        try:
            async with asyncio.timeout(NOTICE_TIMEOUT_S):
                await self.noticed.wait()
        except TimeoutError:
            self.say(f"   no notification within {NOTICE_TIMEOUT_S:g} s")
            return False
        delay_ms = (self.noticed_at - committed_at) * 1000
        self.say(f"   notifications/tools/list_changed arrived {delay_ms:.0f} ms later")
        names = [tool.name for tool in (await client.list_tools()).tools if tool.name.endswith("_gift_cards")]
        self.say(f"   new tools: {', '.join(names)}")
        await self._call(client, "insert_gift_cards", {"rows": [{"code": "MOON-25", "euro": 25, "customer_id": 1}]})
        answer = await self._call(client, "query_gift_cards", {})
        return len(names) == 2 and answer.get("row_count") == 1

    async def _notice(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification) and not self.noticed.is_set():
            self.noticed_at = time.perf_counter()
            self.noticed.set()

    async def _call(self, client: Client, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.say(f"   > {tool} {orjson.dumps(arguments).decode()}")
        started = time.perf_counter()
        result = await client.call_tool(tool, dict(arguments))
        took_ms = (time.perf_counter() - started) * 1000
        answer: dict[str, Any] = result.structured_content or {}
        if "error" in answer:
            error = answer["error"]
            self.say(f"   < {error['code']}: {error['message']} ({took_ms:.1f} ms)")
        elif "rows" in answer and "row_count" not in answer:
            self.say(f"   < {answer['outcome']}: {orjson.dumps(answer['rows']).decode()} ({took_ms:.1f} ms)")
        else:
            more = ", more behind next_cursor" if answer.get("truncated") else ""
            self.say(f"   < {answer.get('row_count')} rows{more} ({took_ms:.1f} ms)")
        return answer

    def _step(self, text: str) -> None:
        self.say(f"\n{text}")

    def _rows(self, answer: Mapping[str, Any]) -> None:
        rows: Sequence[Mapping[str, Any]] = answer.get("rows", ())
        if not rows:
            return
        cells = [list(rows[0]), *[["" if value is None else str(value) for value in row.values()] for row in rows]]
        widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
        for row in cells:
            self.say("     " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _size(path: Path) -> str:
    """How many tables and rows the sample holds."""
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    rows = sum(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names)  # noqa: S608
    connection.close()
    return f"{len(names)} tables, {rows:,} rows"
