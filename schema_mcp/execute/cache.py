"""Answers of calls that only read, kept for a while: the least lately used go first, and whatever a write may have made
untrue goes at once.

    look -> kept, and young enough -> the answer, with its age
    else: how often was written -> the call runs -> kept, if nothing was written meanwhile

A write through this server may touch more than the table that it names (cascades, triggers, what views show), and two
sources may lead to one database by names that nobody can compare (an address, a link, a pooler): so it drops all that
is kept. What others write is not known here: that is what the time to live is for. It knows no tools and no protocol,
and nothing of it is stored anywhere.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """`ttl_s`: how long an answer holds, 0: nothing is kept. `max_bytes`: of all answers together."""

    ttl_s: float = 0.0
    max_entries: int = 1_000
    max_bytes: int = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer's JSON, how many rows it tells of, and when the call began that read them, by the cache's clock."""

    json: bytes
    rows: int
    began_at: float


class ResultCache:
    """The answers of one process. `clock`: seconds that only grow."""

    def __init__(self, limits: CacheLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.bytes = 0
        self._clock = clock
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        #: How often was written.
        self._writes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable) -> tuple[Kept, int] | None:
        """The answer and its age in milliseconds; None where there is none that still holds."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age_s = self._clock() - kept.began_at
        if age_s >= self.limits.ttl_s:
            self._remove(key)
            return None
        self._kept.move_to_end(key)
        return kept, round(age_s * 1000)

    def reading(self) -> Callable[[Hashable, bytes, int], None]:
        """To be asked for before a call begins to read; what it gives keeps the call's answer (key, JSON, rows), unless
        something was written in between: then nobody knows on which side of it the answer is.
        """
        began_at, writes = self._clock(), self._writes

        def keep(key: Hashable, json: bytes, rows: int) -> None:
            if self._writes == writes and len(json) <= self.limits.max_bytes:
                self._put(key, Kept(json=json, rows=rows, began_at=began_at))

        return keep

    def drop(self) -> None:
        """Something was written, or may have been."""
        self._writes += 1
        self._kept.clear()
        self.bytes = 0

    def _put(self, key: Hashable, kept: Kept) -> None:
        if key in self._kept:
            self._remove(key)
        self._kept[key] = kept
        self.bytes += len(kept.json)
        while len(self._kept) > self.limits.max_entries or self.bytes > self.limits.max_bytes:
            self._remove(next(iter(self._kept)))

    def _remove(self, key: Hashable) -> None:
        self.bytes -= len(self._kept.pop(key).json)
