"""What statements have given so far, up to the limits of an answer; and the errors of the limits."""

import asyncio
from collections.abc import Callable, Sequence

from schema_mcp.dialects.base import DriverValue, Row
from schema_mcp.errors import ErrorCode, LimitReached, OutcomeUnknown, Unavailable
from schema_mcp.execute.cut import cut
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, StatementPlan
from schema_mcp.tools.options import Progress, Report, RowSink


class Rows:
    """Rows up to the limit and the byte cap, counting all that were written.

    `left_bytes`: what the steps before have left of the cap; one row is taken whatever they have. `max_affected`: more
    rows than this and one are of no interest. `tell`: called after each batch, to tell how far it is.
    """

    def __init__(
        self,
        limit: int | None,
        max_bytes: int,
        *,
        left_bytes: int | None = None,
        max_affected: int | None = None,
        tell: "Callable[[Rows], None] | None" = None,
    ) -> None:
        self.limit = limit
        self.most = limit if max_affected is None else max_affected
        self.max_bytes = max_bytes
        self.left_bytes = max_bytes if left_bytes is None else left_bytes
        self.tell = tell
        #: How many rows a write is known to meet.
        self.matching: int | None = None
        self.rows: list[bytes] = []
        self.keys: tuple[DriverValue, ...] = ()
        self.size = 0
        self.seen = 0
        self.updated = 0
        self.full = False
        self.cut: tuple[str, ...] = ()
        self.total: DriverValue = None

    def restart(self) -> None:
        """As if none had come."""
        self.rows, self.keys, self.cut = [], (), ()
        self.size = self.seen = self.updated = 0
        self.full = False

    @property
    def enough(self) -> bool:
        """No further row changes what is answered."""
        return (self.full and self.limit is not None) or (self.most is not None and self.seen > self.most)

    def lacks_total(self, plan: StatementPlan) -> bool:
        """The number of all rows cannot be told from these."""
        return (self.full or plan.continues) and not (plan.counted and self.rows)

    def add(self, batch: list[Row]) -> None:
        """Takes the rows as far as they fit."""
        self.seen += len(batch)
        self._take(batch)
        if self.tell is not None:
            self.tell(self)

    def _take(self, batch: list[Row]) -> None:
        for row in batch:
            if self.full:
                return
            json = row.json
            if (self.limit is not None and len(self.rows) >= self.limit) or (
                self.rows and self.size + len(json) > self.left_bytes
            ):
                self.full = True
                return
            if len(json) > self.max_bytes:
                json, self.cut = cut(json, self.max_bytes)
            self.rows.append(json)
            self.keys = row.keys
            self.size += len(json) + 1

    async def settle(self) -> None:
        """Returns once what was taken is where it belongs: for rows of an answer, at once."""

    def result(self, generation: int, *, rolled_back: bool) -> Result:
        """What the plan's answer is made of."""
        return Result(
            rows=tuple(self.rows),
            truncated=self.full,
            keys=self.keys,
            affected=self.seen,
            updated=self.updated,
            generation=generation,
            cut_columns=self.cut,
            rolled_back=rolled_back,
            total=self.total,
        )


class SunkRows(Rows):
    """Rows on their way into a sink: no more than a batch of them is here. `report`: told how many have gone."""

    def __init__(self, limit: int | None, sink: RowSink, report: Report | None) -> None:
        super().__init__(limit, 0)
        self._sink = sink
        self._report = report
        self._taken = 0
        self._written = 0
        begin(sink)

    def restart(self) -> None:
        """See `Rows`: what has gone into the sink is taken back."""
        super().restart()
        self._taken = self._written = 0
        begin(self._sink)

    def lacks_total(self, plan: StatementPlan) -> bool:
        """See `Rows`."""
        return (self.full or plan.continues) and not (plan.counted and self._taken)

    def add(self, batch: list[Row]) -> None:
        """Takes the rows as far as the sink has room for them."""
        self.seen += len(batch)
        room = self._sink.room - self.size
        for row in batch:
            room -= len(row.json) + 1
            if self.full or (self.limit is not None and self._taken >= self.limit) or room < 0:
                self.full = True
                return
            self.rows.append(row.json)
            self.keys = row.keys
            self.size += len(row.json) + 1
            self._taken += 1

    async def settle(self) -> None:
        """Writes them. Raises: Unavailable."""
        rows, self.rows, self.size = self.rows, [], 0
        if rows:
            await write(self._sink, rows)
            self._written += len(rows)
            if self._report is not None:
                self._report(Progress(done=self._written, message=f"{self._written} rows so far"))


def begin(sink: RowSink) -> None:
    """Has the sink expect the first row. Raises: Unavailable (`busy`) where it cannot."""
    try:
        sink.begin()
    except OSError as error:
        raise _not_taken(error) from error


async def write(sink: RowSink, rows: Sequence[bytes]) -> None:
    """Has the sink take the rows. Raises: Unavailable (`busy`) where it cannot."""
    try:
        await asyncio.to_thread(sink.write, rows)
    except OSError as error:  # in our words, or it would be taken for the database's
        raise _not_taken(error) from error


def _not_taken(error: OSError) -> Unavailable:
    return Unavailable(
        ErrorCode.BUSY,
        f"the rows cannot be written to a file: {error.strerror or type(error).__name__}",
        "Nothing was written to the database. Ask for fewer rows, or again when there is room.",
    )


def too_long(what: str, limit_s: float, *, retryable: bool, limit: str = "") -> LimitReached:
    """The call or the statement was stopped. `limit`: what set it, where not the caller did."""
    return LimitReached(
        ErrorCode.TIMEOUT,
        f"the {what} took longer than {limit_s:.6g} s ({limit or f'limits.{what}_timeout_s'}) and was stopped",
        "Nothing was written. Narrow the filters, order by an indexed column, or ask for fewer rows.",
        retryable=retryable,
    )


def too_many(plan: StatementPlan, table: Table, matching: str) -> LimitReached:
    """A write would touch more rows than it may. `matching`: how many, in words."""
    return LimitReached(
        ErrorCode.TOO_MANY_ROWS,
        f"this would {plan.action} {matching} rows of table '{table.name.name}', and at most {plan.max_affected} may",
        "Nothing was written. Narrow the conditions; if that many are meant, raise 'max_affected' or go on in parts.",
        details={"max_affected": plan.max_affected},
    )


def commit_too_long(limit_s: float, limit: str, *, retryable: bool) -> LimitReached:
    """COMMIT was stopped, and with it everything before it was undone. `limit`: of the call."""
    return LimitReached(
        ErrorCode.TIMEOUT,
        f"the commit did not end in the time that the call's {limit_s:.6g} s ({limit}) left for it, and was stopped",
        "Nothing was written. Deferred constraints and triggers run in the commit: give the call more time, or write "
        "fewer rows.",
        retryable=retryable,
    )


def still_committing(what: str) -> OutcomeUnknown:
    """COMMIT is at work, and could not be stopped."""
    return OutcomeUnknown(
        f"the call's time is over, and {what} is still being committed: it may be done later",
        "Do not repeat it now. Look again after a while whether it was done, not at once: until then it is not seen.",
        running=True,
    )


def unknown(plan: StatementPlan, table: Table) -> OutcomeUnknown:
    """Whether it was committed cannot be told."""
    return OutcomeUnknown(
        f"the connection was lost while the {plan.action} of table '{table.name.name}' was being committed",
        "Query the table before you call again: it may have been done.",
    )


def not_committed(plan: StatementPlan, table: Table) -> Unavailable:
    """COMMIT was sent, its answer was lost, and the database says that it was not done."""
    return Unavailable(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"the connection was lost while the {plan.action} of table '{table.name.name}' was being committed, and the "
        "database has rolled it back",
        "Nothing was written. Call again.",
    )
