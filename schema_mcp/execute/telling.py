"""How far a plan is, told after each batch of its rows. Where nobody listens, nothing of it runs.

It knows neither who listens nor how often it is worth telling.
"""

from collections.abc import Callable

from schema_mcp.execute.rows import Rows
from schema_mcp.tools.base import StatementPlan
from schema_mcp.tools.options import Progress, Report

#: Fewer rows are mostly answered before it is worth telling of them.
WORTH_TELLING_ROWS = 500


def telling(plan: StatementPlan, report: Report | None) -> Callable[[Rows], None] | None:
    """What `Rows.tell` is to be: rows answered with, or rows written, of as many as are expected; which is told now."""
    if report is None:
        return None
    expected = _expected(plan)
    report(rows_so_far(0, expected))

    def tell(collected: Rows) -> None:
        if plan.writes:
            report(rows_so_far(collected.seen, expected if collected.matching is None else collected.matching))
        else:
            report(rows_so_far(len(collected.rows), expected))

    return tell


def rows_so_far(done: int, expected: int | None) -> Progress:
    """The progress of a call that has that many rows, of roughly `expected`."""
    rows = "1 row" if done == 1 else f"{done} rows"
    total = None if expected is None else max(done, expected)
    return Progress(done=done, total=total, message=rows, worth_telling=done >= WORTH_TELLING_ROWS)


def _expected(plan: StatementPlan) -> int | None:
    """Of an insert the rows that it was given; of a page its limit, or the table's rows where those are fewer."""
    if plan.writes:
        return sum(statement.given.count for statement in plan.statements if statement.given is not None) or None
    if plan.limit is None or plan.row_estimate is None:
        return plan.limit
    return min(plan.limit, plan.row_estimate)
