"""The floor that calls are measured against: a server by hand for one table, without SDK, validation, limits or errors.

asyncio pipes, orjson, asyncpg; rows as JSON made by PostgreSQL and spliced into the answer as they come. It answers
the wire's requests as far as the benchmark sends them, with the same members as the real server. No program to use.

    python floor_server.py postgresql://...
"""

import asyncio
import os
import sys
from typing import Any

import asyncpg
import orjson

ONE = "SELECT row_to_json(items)::text FROM items WHERE id = $1 ORDER BY id LIMIT $2"
MANY = "SELECT row_to_json(items)::text FROM items ORDER BY id LIMIT $1"
INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "floor", "version": "1"},
}
TOOL = {
    "name": "query_items",
    "inputSchema": {"type": "object", "properties": {"where": {"type": "object"}, "limit": {"type": "integer"}}},
}


class Server(asyncio.Protocol):
    """Reads lines, answers each in a task of its own."""

    def __init__(self, pool: Any, ended: asyncio.Event) -> None:
        self.pool = pool
        self.ended = ended
        self.held = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        *lines, self.held = (self.held + data).split(b"\n")
        for line in lines:
            task = asyncio.create_task(self.answer(orjson.loads(line)))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    async def answer(self, message: dict[str, Any]) -> None:
        match message["method"]:
            case "initialize":
                result = orjson.dumps(INITIALIZED)
            case "tools/list":
                result = orjson.dumps({"tools": [TOOL]})
            case "tools/call":
                result = await self.call(message["params"]["arguments"])
            case _:
                return
        write(b'{"jsonrpc":"2.0","id":%d,"result":%b}\n' % (message["id"], result))

    async def call(self, arguments: dict[str, Any]) -> bytes:
        async with self.pool.acquire() as connection:
            if "where" in arguments:
                records = await connection.fetch(ONE, arguments["where"]["id"], 101)
            else:
                records = await connection.fetch(MANY, arguments["limit"])
        rows = ",".join([record[0] for record in records])
        text = f'{{"table":"items","rows":[{rows}],"row_count":{len(records)},"truncated":false,"next_cursor":null}}'
        quoted = orjson.dumps(text)
        return b'{"content":[{"type":"text","text":%b}],"structuredContent":%b}' % (quoted, text.encode())


def write(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


async def without_reset(connection: Any) -> None:
    """In place of asyncpg's reset query, which would be a second round trip."""


async def main(url: str) -> None:
    ended = asyncio.Event()
    async with asyncpg.create_pool(url, min_size=0, max_size=10, reset=without_reset) as pool:
        await asyncio.get_running_loop().connect_read_pipe(lambda: Server(pool, ended), sys.stdin.buffer)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
