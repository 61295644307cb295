"""The writers of a fault run: each makes calls of one kind, one after the other, and notes what it was told.

They know tools and the journal, and neither the database nor what is about to happen to it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from tests.faults.journal import Call, Journal, NoAnswer
from tests.faults.wires import Wire

#: Before a client asks again that was refused, and before one connects again that lost its connection, at most.
PAUSE_S = 0.02
RECONNECT_S = 0.2
#: How often a call with an idempotency key is repeated at most.
ATTEMPTS = 60
#: How many writers of each kind there are.
CREW: Mapping[str, int] = {"single": 4, "many": 4, "keyed": 4, "counter": 3, "delete": 2, "batch": 3, "transaction": 4}
READERS = 2


class Writer:
    """One writer, with a client of its own, made anew by `connect` when it is lost."""

    def __init__(
        self, kind: str, number: int, journal: Journal, connect: Callable[[], Wire], chances: random.Random
    ) -> None:
        self.kind = kind
        self.number = number
        self._journal = journal
        self._connect = connect
        self._random = chances
        self._wire: Wire | None = None
        self._value: int | None = None
        self._over = asyncio.Event()

    async def run(self, over: asyncio.Event) -> None:
        """Calls until it is over; the last call is waited for."""
        self._over = over
        once = ONCE[self.kind]
        try:
            while not over.is_set():
                await once(self)
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of its client."""
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    async def ask(
        self, tool: str, arguments: dict[str, Any], call: Call | None = None, *, last: bool = True
    ) -> dict[str, Any]:
        """The answer, noted; an empty object where none came, and then another client the next time."""
        answer = await self._journal.ask(self._reach(tool, arguments), call, last=last)
        if not answer:
            self.close()
            await asyncio.sleep(self._random.uniform(0, RECONNECT_S))
        elif "error" in answer:
            await asyncio.sleep(self._random.uniform(0, PAUSE_S))
        return answer

    async def _reach(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._wire is None:
            self._wire = self._connect()
        return await self._wire.call(tool, arguments)

    async def single(self) -> None:
        """One row."""
        call = self._journal.call("single", {"singles": 1})
        await self.ask("insert_rows", {"table": "singles", "rows": [{"call": call.id}]}, call)

    async def many(self) -> None:
        """Several rows in one call."""
        parts = self._random.randrange(2, 20)
        call = self._journal.call("many", {"many": parts})
        rows = [{"call": call.id, "part": part} for part in range(parts)]
        await self.ask("insert_rows", {"table": "many", "rows": rows}, call)

    async def keyed(self) -> None:
        """One row with an idempotency key, and the same again until somebody knows what became of it."""
        call = self._journal.call("keyed", {"singles": 1})
        arguments = {"table": "singles", "rows": [{"call": call.id}], "idempotency_key": f"key of {call.id}"}
        for _ in range(ATTEMPTS):
            answer = await self.ask("insert_rows", arguments, call)
            error = answer.get("error", {})
            unknown = not answer or error.get("code") in ("outcome_unknown", "cancelled")
            if self._over.is_set() or not (unknown or error.get("retryable")):
                return
            await asyncio.sleep(PAUSE_S)

    async def counter(self) -> None:
        """One step of a counter of its own, guarded by the value that it had."""
        name = f"counter{self.number}"
        if self._value is None:
            answer = await self.ask("query_rows", {"table": "counters", "where": {"name": name}})
            if answer.get("rows"):
                self._value = int(answer["rows"][0]["value"])
            return
        call = self._journal.call("counter", {"steps": 1})
        change = {"value": self._value + 1, "call": call.id}
        where = {"name": name, "value": self._value}
        answer = await self.ask("update_rows", {"table": "counters", "where": where, "set": change}, call)
        if answer.get("updated") == 1:
            self._value += 1
        else:
            self._value = None
            if answer.get("updated") == 0:  # a step before it, of which nobody knew, was done after all
                call.rows = {"steps": 0}

    async def delete(self) -> None:
        """One row less, which was put there for that."""
        call = self._journal.call("delete", {"deleted": 1}, asked=False)
        put = await self.ask("insert_rows", {"table": "graves", "rows": [{"call": call.id}]}, call, last=False)
        if "inserted" in put:
            call.asked = True
            await self.ask("delete_rows", {"table": "graves", "where": {"call": call.id}}, call)

    async def batch(self) -> None:
        """A row in each of two tables, in one transaction."""
        call = self._journal.call("batch", {"lefts": 1, "rights": 1})
        calls = [
            {"tool": "insert_rows", "arguments": {"table": table, "rows": [{"call": call.id}]}}
            for table in ("lefts", "rights")
        ]
        await self.ask("run_batch", {"calls": calls}, call)

    async def transaction(self) -> None:
        """Rows in three tables by several calls in one transaction, which is mostly committed."""
        call = self._journal.call("transaction", {"singles": 1, "lefts": 1, "rights": 1}, asked=False)
        begun = await self.ask("begin_transaction", {}, call, last=False)
        if "transaction_id" not in begun:
            return
        within = {"transaction_id": begun["transaction_id"]}
        wrong = False
        for table in ("singles", "lefts", "rights"):
            row = {"table": table, "rows": [{"call": call.id}], **within}
            answer = await self.ask("insert_rows", row, call, last=False)
            wrong = wrong or "inserted" not in answer
            if not answer:
                return  # the client is gone, and with it whoever could commit
        if wrong or self._random.random() < 0.15:
            await self.ask("rollback_transaction", within, call, last=False)
            return
        call.asked = True
        await self.ask("commit_transaction", within, call)

    async def read(self) -> None:
        """A page of a larger table."""
        await self.ask("query_rows", {"table": "big", "limit": self._random.choice([1, 100, 1000])})


ONCE: Mapping[str, Callable[[Writer], Awaitable[None]]] = {
    "single": Writer.single,
    "many": Writer.many,
    "keyed": Writer.keyed,
    "counter": Writer.counter,
    "delete": Writer.delete,
    "batch": Writer.batch,
    "transaction": Writer.transaction,
    "read": Writer.read,
}
Connect: TypeAlias = Callable[[int], Wire]


def crew(
    journal: Journal, connect: Connect, chances: random.Random, tools: frozenset[str], kinds: frozenset[str] | None
) -> list[Writer]:
    """Every writer that the tools allow, of these kinds or of all, and some that only read."""
    writers: list[Writer] = []
    for kind, count in [*CREW.items(), ("read", READERS)]:
        allowed = kind != "transaction" or "begin_transaction" in tools
        if allowed and (kinds is None or kind in kinds or kind == "read"):
            for _ in range(count):
                number = len(writers)
                own = random.Random(chances.random())
                writers.append(Writer(kind, number, journal, lambda number=number: connect(number), own))  # type: ignore[misc]
    return writers


async def tools_of(wire: Wire) -> frozenset[str]:
    """The names of the tools that are listed, none where nobody answers."""
    with suppress(NoAnswer):
        return frozenset(await wire.tools())
    return frozenset()
