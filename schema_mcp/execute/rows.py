"""What statements have given so far, up to the limits of an answer; and the errors of the limits."""

from collections.abc import Callable

from schema_mcp.dialects.base import DriverValue, Row
from schema_mcp.errors import ErrorCode, LimitReached, OutcomeUnknown, Unavailable
from schema_mcp.execute.cut import cut
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, StatementPlan


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
