"""The clients of a storm: each lists, calls and listens as it goes, and keeps a record of what it saw and when."""

import asyncio
import random
import time
import uuid
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from tests.peers import Peer
from tests.storm.journal import Shown
from tests.storm.oracle import Call, Record, Seen

#: Names that calls are made of, served or not; see `ddl.Worker`.
NAMES = [f"w{worker}_{letter}" for worker in range(4) for letter in "abcd"]


class Client:
    """One client. `told` is set at each notification."""

    def __init__(self, name: str, peer: Peer, seed: int) -> None:
        self.record = Record(name)
        self.told = asyncio.Event()
        self._peer = peer
        self._random = random.Random(f"{seed} {name}")

    async def hear(self) -> None:
        """Notes each notification, until it is cancelled."""
        while True:
            await self._peer.told.get()
            self.record.told.append(time.monotonic())
            self.told.set()

    async def run(self, over: asyncio.Event) -> None:
        """Lists when told to and now and then besides, and calls, until the storm is over."""
        shown = await self.list()
        while not over.is_set():
            if self.told.is_set() or self._random.random() < 0.05:
                shown = await self.list()
            for _ in range(self._random.randrange(3)):
                await self._call(shown)
            await asyncio.sleep(self._random.uniform(0.05, 0.35))

    async def settle(self, last: Shown, limit_s: float) -> None:
        """Lists, and again each time that it is told, until the list is the last one; or nothing is told for long."""
        while await self.list() != last:
            try:
                async with asyncio.timeout(limit_s):
                    await self.told.wait()
            except TimeoutError:
                return

    async def list(self) -> Shown:
        self.told.clear()
        asked = time.monotonic()
        result = await self._peer.client.list_tools()
        shown = _shown(result.tools)
        self.record.lists.append(Seen(asked, time.monotonic(), shown))
        return shown

    async def _call(self, shown: Shown) -> None:
        name = self._random.choice([*shown, *NAMES])
        known = [column.partition(" ")[0] for column in shown.get(name, ((), ()))[0]]
        match self._random.randrange(5):
            case 0 | 1:
                await self._query(name, {}, frozenset())
            case 2 if known:
                columns = [column for column in known if column in ("origin", self._random.choice(known))]
                if "origin" in columns:
                    await self._query(name, {"columns": columns}, frozenset(columns))
            case 3:
                await self._pages(name)
            case _:
                await self._insert(name)

    async def _query(self, table: str, arguments: Mapping[str, Any], columns: frozenset[str]) -> dict[str, Any]:
        tool, more = self._random.choice([(f"query_{table}", {}), ("query_rows", {"table": table})])
        return await self._note("query", table, tool, {**more, **arguments}, columns=columns)

    async def _pages(self, table: str) -> None:
        """Two pages, which must be of one table."""
        first = await self._query(table, {"limit": 1, "columns": ["id", "origin"]}, frozenset({"id", "origin"}))
        if first.get("next_cursor"):
            begun = self.record.calls[-1]
            more = {"limit": 1, "columns": ["id", "origin"], "cursor": first["next_cursor"]}
            second = await self._query(table, more, frozenset({"id", "origin"}))
            if "rows" in second:
                both = _origins(first) | _origins(second)
                both_calls = Call(
                    kind="pages",
                    table=table,
                    started=begun.started,
                    ended=self.record.calls[-1].ended,
                    origins=both,
                )
                self.record.calls.append(both_calls)

    async def _insert(self, table: str) -> None:
        token = uuid.uuid4().hex
        tool, more = self._random.choice([(f"insert_{table}", {}), ("insert_rows", {"table": table})])
        arguments = {**more, "rows": [{"note": token}]}
        await self._note("insert", table, tool, arguments, columns=frozenset({"note"}), token=token)

    async def _note(
        self,
        kind: str,
        table: str,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        columns: frozenset[str],
        token: str | None = None,
    ) -> dict[str, Any]:
        started = time.monotonic()
        try:
            answer = await self._peer.call(tool, arguments)
        except MCPError as refused:
            code = "unknown_tool" if refused.error.code == types.INVALID_PARAMS else str(refused.error.code)
            answer = {"error": {"code": code}}
        self.record.calls.append(
            Call(
                kind=kind,
                table=table,
                started=started,
                ended=time.monotonic(),
                columns=columns,
                origins=_origins(answer) if kind == "query" else frozenset(),
                error=answer["error"]["code"] if "error" in answer else None,
                token=token,
            )
        )
        return answer


def _origins(answer: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(row.get("origin")) for row in answer.get("rows", ()))


def _shown(tools: list[types.Tool]) -> Shown:
    readable: dict[str, tuple[str, ...]] = {}
    insertable: dict[str, tuple[str, ...]] = {}
    for tool in tools:
        kind, _, table = tool.name.partition("_")
        properties = tool.input_schema["properties"]
        if tool.name in ("query_rows", "insert_rows"):
            continue
        if kind == "query":
            readable[table] = _columns(properties["where"]["properties"])
        elif kind == "insert":
            insertable[table] = _columns(properties["rows"]["items"]["properties"])
    return {name: (readable.get(name, ()), insertable.get(name, ())) for name in {*readable, *insertable}}


def _columns(properties: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name} {schema['type']}" for name, schema in properties.items())
