"""Rows with rows of related tables inside, put together while they come from one statement. Pure.

Each raw row begins with four numbers: that of the row of the page it belongs to, which part of the statement it is of
(0: the page itself, then its `related` in order), its parent's number among that one's rows and its own; then come its
columns as in a plain statement, and columns of nothing up to the width of the widest. All rows of one row of the page
come together, parents before their children, in order.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeAlias

from schema_mcp.dialects.base import Related, Row, Statement

#: What stands before the columns.
NUMBERS = 4
#: What follows a member's name where its list is cut.
TRUNCATED = "_truncated"

#: Makes rows of the raw rows of one part: 0, the statement's own, or of that many-th of its `related`.
Convert: TypeAlias = Callable[[int, Sequence[Sequence[Any]]], list[Row]]


def most_rows(statement: Statement, max_rows: int) -> int:
    """The most raw rows that so many rows of the page can come as."""
    sizes = [max_rows]
    for related in statement.related:
        sizes.append(sizes[related.parent] * (1 if related.limit is None else related.limit + 1))
    return sum(sizes)


class Nested:
    """Takes raw rows in batches and gives the rows that are whole."""

    def __init__(self, related: Sequence[Related], convert: Convert) -> None:
        self._convert = convert
        self._parts = [_Part(one, number) for number, one in enumerate(related, 1)]
        for one, part in zip(related, self._parts, strict=True):
            if one.parent:
                self._parts[one.parent - 1].parts.append(part)
        self._top = [part for one, part in zip(related, self._parts, strict=True) if not one.parent]
        #: Rows of the page that have come, by number, in order.
        self._page: dict[int, Row] = {}

    def add(self, raws: Sequence[Sequence[Any]]) -> list[Row]:
        """The rows that are whole now, in order: all but the last, of which more may follow."""
        by_part: list[list[Sequence[Any]]] = [[] for _ in range(len(self._parts) + 1)]
        for raw in raws:
            by_part[raw[1]].append(raw)
        for part, given in zip(self._parts, by_part[1:], strict=True):
            if given:
                part.add(given, self._convert(part.number, given))
        if by_part[0]:
            came = self._convert(0, by_part[0])
            self._page |= {raw[0]: row for raw, row in zip(by_part[0], came, strict=True)}
        return self._whole(len(self._page) - 1)

    def end(self) -> list[Row]:
        """What is left, once nothing follows."""
        return self._whole(len(self._page))

    def _whole(self, count: int) -> list[Row]:
        numbers = list(islice(self._page, max(count, 0)))
        return [self._written(number, self._page.pop(number)) for number in numbers]

    def _written(self, number: int, row: Row) -> Row:
        written = Row(_with_members(row.json, self._top, number, 0), row.keys)
        for part in self._parts:
            part.rows.pop(number, None)
        return written


class _Part:
    """What has come of one related table."""

    def __init__(self, related: Related, number: int) -> None:
        self.number = number
        self.limit = related.limit
        self.member = b',"%b":' % related.name.encode()
        self.cut_member = b',"%b":true' % (related.name + TRUNCATED).encode()
        self.parts: list[_Part] = []
        #: By the number of the row of the page, and then of the parent: JSON objects, in order.
        self.rows: dict[int, dict[int, list[bytes]]] = {}

    def add(self, raws: Sequence[Sequence[Any]], rows: Sequence[Row]) -> None:
        """Rows of this part."""
        for raw, row in zip(raws, rows, strict=True):
            of_row = self.rows.setdefault(raw[0], {})
            if raw[3] == 1:
                of_row[raw[2]] = [row.json]
            else:
                of_row[raw[2]].append(row.json)

    def written(self, page_row: int, parent: int) -> bytes:
        """The JSON members of that parent."""
        rows = self.rows.get(page_row, {}).get(parent, [])
        is_cut = self.limit is not None and len(rows) > self.limit
        if self.parts:
            rows = [_with_members(row, self.parts, page_row, number) for number, row in enumerate(rows, 1)]
        if self.limit is None:
            return self.member + (rows[0] if rows else b"null")
        return self.member + b"[" + b",".join(rows[: self.limit]) + b"]" + (self.cut_member if is_cut else b"")


def _with_members(row: bytes, parts: Sequence[_Part], page_row: int, number: int) -> bytes:
    """The JSON object, which has a member at least, with the members of its parts."""
    return row[:-1] + b"".join([part.written(page_row, number) for part in parts]) + b"}"
