"""`count`: how many rows a query has over all its pages, exactly or as the database estimates it. Pure.

`exact` is asked within the page's own statement, so that rows and number are of one moment, in any transaction; a page
that goes on from a cursor and finds nothing asks for it alone. `estimated` is the planner's, asked beside the page;
where a product's planner tells none, the number of rows of the whole table as it was last analyzed, and where that does
not say it, the exact one. A first page that holds everything is its own total.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue, Statement
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_text
from schema_mcp.tools.base import Result
from schema_mcp.tools.naming import near
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import shown

_PLAN_ROWS = re.compile(r"\(cost=\S+ rows=(\d+) width=\d+\)\Z")


class Count(StrEnum):
    """What `count` may say."""

    NONE = "none"
    ESTIMATED = "estimated"
    EXACT = "exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """How a total is found. `counted`: the rows bring it along; `statement`: asks for it; `known`: it is estimated to
    be this.
    """

    asked: Count
    counted: bool = False
    statement: Statement | None = None
    known: int | None = None

    def total(self, result: Result, *, continues: bool) -> "Total | None":
        """The total of the query that gave this page."""
        rows = len(result.rows)
        if self.asked is Count.NONE:
            return None
        if not continues and not result.truncated:
            return Total(self.asked, rows, Count.EXACT)
        if self.counted:
            counted = result.keys[-1] if rows else result.total
            return Total(self.asked, int(str(counted)), Count.EXACT)
        estimate = self.known if result.total is None else _planned(result.total)
        return Total(self.asked, max(estimate or 0, rows + result.truncated), Count.ESTIMATED)


#: No total is asked for.
NOT_COUNTED = Counting(asked=Count.NONE)


@dataclass(frozen=True, slots=True)
class Total:
    """A number of rows, and how well it is known."""

    asked: Count
    rows: int
    found: Count

    def members(self) -> dict[str, Any]:
        """Its members of the answer: what kind it is, only where it is not the one that was asked for."""
        return {"total": self.rows} | ({} if self.found is self.asked else {"total_kind": str(self.found)})


def read_count(arguments: Mapping[str, Any]) -> Count:
    """Raises: InvalidArgument."""
    given = read_text(arguments, "count")
    if given is None:
        return NOT_COUNTED.asked
    try:
        return Count(given)
    except ValueError:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'count' takes 'none', 'estimated' or 'exact', got {shown(given)}.{near(given, list(Count))}",
            "To count rows of groups, send \"count\" in 'aggregate'.",
        ) from None


def counting(
    target: Target,
    asked: Count,
    *,
    shape: Hashable,
    rows: Callable[[], sa.Select[Any]],
    count: Callable[[], sa.Select[Any]],
    values: Mapping[str, DriverValue],
    row_estimate: int | None,
    continues: bool,
) -> Counting:
    """How to find the total of `rows`, a SELECT without limit; `count` is the SELECT of its number.

    `row_estimate`: how many there are as it is known without asking; None where it is not.
    """
    if asked is Count.ESTIMATED and target.dialect.explain:
        compiled = target.compiled(("estimate", shape), lambda: (rows(), (), 0))
        statement = compiled.statement(values)
        return Counting(asked=asked, statement=replace(statement, sql=target.dialect.explain + statement.sql, keys=1))
    if asked is Count.ESTIMATED and row_estimate is not None:
        return Counting(asked=asked, known=row_estimate)
    if asked is Count.NONE:
        return NOT_COUNTED
    if not continues:
        return Counting(asked=asked, counted=True)
    compiled = target.compiled(("count", shape), lambda: (count(), (), 1))
    return Counting(asked=asked, counted=True, statement=compiled.statement(values))


def _planned(answer: DriverValue) -> int:
    """The number of rows in the first line of PostgreSQL's plan (manual 14.1)."""
    found = _PLAN_ROWS.search(str(answer))
    return int(found[1]) if found else 0
