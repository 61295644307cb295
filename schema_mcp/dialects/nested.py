"""Rows with rows of related tables inside, put together while they come from one statement. Pure.

Each raw row begins with four numbers: that of the row of the page it belongs to, which part of the statement it is of
(0: the page itself, then its `related` in order), its parent's number among that one's rows and its own; then come its
columns as in a plain statement, and columns of nothing up to the width of the widest. All rows of one row of the page
come together, parents before their children, in order.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from schema_mcp.dialects.base import Related, Row, Statement

#: What stands before the columns.
NUMBERS = 4
#: What follows a member's name where its list is cut.
TRUNCATED = "_truncated"

#: Makes rows of one part: 0, the statement's own, or of that many-th of its `related`; without the numbers.
Convert: TypeAlias = Callable[[int, list[tuple[Any, ...]]], list[Row]]


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
        self._related = related
        self._parts = [_Part(one) for one in related]
        for one, part in zip(related, self._parts, strict=True):
            if one.parent:
                self._parts[one.parent - 1].parts.append(part)
        self._top = [part for one, part in zip(related, self._parts, strict=True) if not one.parent]
        self._row: Row | None = None

    def add(self, raws: Sequence[Sequence[Any]]) -> list[Row]:
        """The rows that are whole now, in order."""
        whole: list[Row] = []
        for (_, part, parent, number), row in self._converted(raws):
            if part == 0:
                whole += self.end()
                self._row = row
            else:
                self._parts[part - 1].add(parent, number, row.json)
        return whole

    def end(self) -> list[Row]:
        """The last row, once nothing follows."""
        if self._row is None:
            return []
        row = Row(_with_members(self._row.json, self._top, 0), self._row.keys)
        for part in self._parts:
            part.rows.clear()
            part.cut.clear()
        self._row = None
        return [row]

    def _converted(self, raws: Sequence[Sequence[Any]]) -> Iterator[tuple[Sequence[int], Row]]:
        """The numbers and the row of each, converted a part at a time."""
        by_part: list[list[tuple[Any, ...]]] = [[] for _ in range(len(self._related) + 1)]
        for raw in raws:
            by_part[raw[1]].append(tuple(raw[NUMBERS:]))
        rows = [iter(self._convert(part, given) if given else ()) for part, given in enumerate(by_part)]
        for raw in raws:
            yield raw[:NUMBERS], next(rows[raw[1]])


class _Part:
    """What has come of one related table for the row at hand."""

    def __init__(self, related: Related) -> None:
        self.limit = related.limit
        self.member = b',"%b":' % related.name.encode()
        self.cut_member = b',"%b":true' % (related.name + TRUNCATED).encode()
        self.parts: list[_Part] = []
        #: By the parent's number; `cut`: parents with more rows than the limit.
        self.rows: dict[int, list[bytes]] = {}
        self.cut: set[int] = set()

    def add(self, parent: int, number: int, json: bytes) -> None:
        if self.limit is not None and number > self.limit:
            self.cut.add(parent)
        else:
            self.rows.setdefault(parent, []).append(json)

    def written(self, parent: int) -> bytes:
        """The JSON members of that parent."""
        rows = [_with_members(row, self.parts, number) for number, row in enumerate(self.rows.get(parent, ()), 1)]
        if self.limit is None:
            return self.member + (rows[0] if rows else b"null")
        return self.member + b"[" + b",".join(rows) + b"]" + (self.cut_member if parent in self.cut else b"")


def _with_members(row: bytes, parts: Sequence[_Part], number: int) -> bytes:
    """The JSON object, which has a member at least, with the members of its parts."""
    if not parts:
        return row
    return row[:-1] + b"".join(part.written(number) for part in parts) + b"}"
