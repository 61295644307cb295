"""Who is next: a bounded queue in front of a number of places (connections of one database), fair between clients.

    a place is free and nobody waits -> it is taken at once, which costs nothing
    else: wait behind one's own calls -> clients take turns -> a place that is left is handed to the next

Clients are whatever the caller tells apart; one that sends many calls at once waits behind its own. It knows no
connection and no database.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from schema_mcp.errors import ErrorCode, Unavailable

_Waiter: TypeAlias = "asyncio.Future[None]"

#: Nobody is told to come back sooner, in seconds: the pace is only measured.
LEAST_RETRY_S = 0.1
#: How much of the measured pace the latest call makes.
_WEIGHT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """`concurrent_calls`: places that one client may have at once, 0 for all of them. `queued_calls`: most calls that
    wait, of all clients together.
    """

    concurrent_calls: int = 0
    queued_calls: int = 1_000


class FairQueue:
    """Hands out `places`. `what`: the places and what they lead to, for messages. `wait_limit_s`: of one wait; `key`:
    what sets it.
    """

    def __init__(
        self, what: str, places: int, limits: QueueLimits, *, wait_limit_s: float, key: str = "pool.acquire_timeout_s"
    ) -> None:
        self.limits = limits
        self.what = what
        self.places = places
        self.wait_limit_s = wait_limit_s
        self.key = key
        #: Calls that wait, and places that are taken.
        self.waiting = 0
        self.taken = 0
        #: By client, the one whose turn is next first; its calls in their order.
        self._turns: OrderedDict[Hashable, deque[_Waiter]] = OrderedDict()
        self._taken_by: dict[Hashable, int] = {}
        #: Seconds that a call has its place, of late; and when one was last given back.
        self._hold_s = 0.0
        self._left_at = time.monotonic()

    @asynccontextmanager
    async def place(self, client: Hashable = None) -> AsyncIterator[None]:
        """A place for that client, in its turn. Raises: Unavailable (`busy`, with `retry_after_s` in its details)."""
        if self.taken < self.places and not self._turns and self._may_have(client):
            self._take(client)
        else:
            await self._wait(client)
        since = time.monotonic()
        try:
            yield
        finally:
            now = self._left_at = time.monotonic()
            self._hold_s += _WEIGHT * (now - since - self._hold_s) if self._hold_s else now - since
            self._give_back(client)

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call that comes now would have its turn, by the pace of the calls before it."""
        if self.taken == 0:
            return LEAST_RETRY_S
        hold_s = max(self._hold_s, time.monotonic() - self._left_at)
        estimate_s = hold_s * (self.waiting + 1) / self.places
        return round(max(LEAST_RETRY_S, estimate_s), 2)

    async def _wait(self, client: Hashable) -> None:
        if self.waiting >= self.limits.queued_calls:
            raise self._busy(
                f"{self.waiting} calls wait already for {self.what}, as many as may (limits.queued_calls)",
                {"queued_calls": self.limits.queued_calls},
            )
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._turns.setdefault(client, deque()).append(waiter)
        self.waiting += 1
        self._hand_out()
        try:
            async with asyncio.timeout(self.wait_limit_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self._give_back(client)  # its turn came in the same moment
            else:
                self._leave(client, waiter)
            if isinstance(error, TimeoutError):
                raise self._busy(
                    f"none of the {self.places} {self.what} became free within {self.wait_limit_s:g} s ({self.key})",
                    {"waited_s": self.wait_limit_s},
                ) from None
            raise

    def _may_have(self, client: Hashable) -> bool:
        most = self.limits.concurrent_calls
        return not most or self._taken_by.get(client, 0) < most

    def _take(self, client: Hashable) -> None:
        self.taken += 1
        self._taken_by[client] = self._taken_by.get(client, 0) + 1

    def _give_back(self, client: Hashable) -> None:
        self.taken -= 1
        left = self._taken_by.pop(client) - 1
        if left:
            self._taken_by[client] = left
        if self._turns:
            self._hand_out()

    def _leave(self, client: Hashable, waiter: _Waiter) -> None:
        own = self._turns.get(client, deque())
        if waiter in own:
            self.waiting -= 1
            own.remove(waiter)
            if not own:
                del self._turns[client]

    def _hand_out(self) -> None:
        """Gives free places to those whose turn it is; after its turn a client is the last."""
        while self.taken < self.places:
            client = next((one for one in self._turns if self._may_have(one)), _NOBODY)
            if client is _NOBODY:
                return
            own = self._turns.pop(client)
            waiter = own.popleft()
            if own:
                self._turns[client] = own
            self.waiting -= 1
            if not waiter.done():  # else it was cancelled, and has yet to be told
                self._take(client)
                waiter.set_result(None)

    def _busy(self, message: str, details: dict[str, object]) -> Unavailable:
        retry_after_s = self.retry_after_s
        busy = Unavailable(
            ErrorCode.BUSY,
            message,
            f"Nothing was sent to the database. Try again in {retry_after_s:g} s, or send fewer calls at once.",
        )
        busy.details = {"retry_after_s": retry_after_s, **details}
        return busy


_NOBODY = object()
