"""`include`: rows of related tables inside the rows that they belong to. Reads the argument. Pure.

An entry is `path(columns) order by ... limit n`, all but the path optional: `orders`, `orders.order_lines`,
`orders(id, status) order by ordered_at desc limit 5`. It is about the last relationship of its path; the one
before it is included as it is, unless an entry of its own says more.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from schema_mcp.dialects.base import DriverValue, Related
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.tools import narrowing
from schema_mcp.tools.naming import near
from schema_mcp.tools.order import Order, read_order
from schema_mcp.tools.relationships import Relationship
from schema_mcp.tools.target import Target, shown_type
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import CatalogView

#: Relationships that one call may include, and how deep.
MAX_INCLUDES, MAX_DEPTH = 10, 2
#: Characters of one entry; a table may have many columns.
MAX_ENTRY = 4_000

_FORM = 'Send for example "orders", "orders.order_lines" or "orders(id, total) order by id desc limit 5".'
_ENTRY = re.compile(r"\s*(?P<path>[^\s(),]+)\s*(?:\((?P<columns>[^()]*)\))?(?P<rest>.*)\Z", re.DOTALL)
_LIMIT = re.compile(r"(?:\A|\s)limit\s+(?P<limit>\S+)\Z", re.IGNORECASE)
_ORDER = re.compile(r"order\s+by\s+(?P<order>.+)\Z", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Included:
    """One relationship to follow. `parent`: 0, the page, or that many-th of those before it. `limit` None: one row."""

    parent: int
    relationship: Relationship
    columns: tuple[Column, ...]
    order: Order
    limit: int | None

    @property
    def shape(self) -> tuple[object, ...]:
        """What the statement depends on."""
        names = tuple(column.name for column in self.columns)
        return self.parent, self.relationship.shape, names, self.order, self._standing

    @property
    def _standing(self) -> tuple[object, ...]:
        through = self.relationship.through
        between = () if through is None else narrowing.names(through.target)
        return narrowing.names(self.relationship.other), between


@dataclass(frozen=True, slots=True)
class Include:
    """All of a call, parents before their children."""

    parts: tuple[Included, ...]

    @property
    def shape(self) -> tuple[object, ...]:
        """What the statement depends on."""
        return tuple(part.shape for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that they have in rows of the page."""
        return tuple(part.relationship.name for part in self.parts if part.parent == 0)

    def named(self) -> dict[str, DriverValue]:
        """Limits by parameter name: `i0`, `i1`, ...; what stands for the tables: `i0s0`, between two of them `i0t0`."""
        named: dict[str, DriverValue] = {
            f"i{index}": part.limit for index, part in enumerate(self.parts) if part.limit is not None
        }
        for index, part in enumerate(self.parts):
            named |= narrowing.named(part.relationship.other, f"i{index}s")
            if part.relationship.through is not None:
                named |= narrowing.named(part.relationship.through.target, f"i{index}t")
        return named

    def related(self) -> tuple[Related, ...]:
        """What `dialects.nested` needs to know."""
        made = []
        for part in self.parts:
            keys = part.relationship.other.keys
            labels = tuple([keys[column.name] for column in part.columns])
            types = tuple([shown_type(column) for column in part.columns])
            made.append(Related(part.relationship.name, part.parent, part.limit, labels, types))
        return tuple(made)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry taken apart. `place` names it in messages."""

    place: str
    columns: str | None = None
    order: str | None = None
    limit: str | None = None


def read_include(view: CatalogView, target: Target, given: Sequence[Any]) -> Include:
    """The relationships to follow from `target`.

    Raises: InvalidArgument (`unknown_relationship` with those that there are), StaleSchema.
    """
    entries: dict[tuple[str, ...], _Entry] = {}
    for index, text in enumerate(given[: MAX_INCLUDES + 1]):
        path, entry = _taken_apart(text, f"include[{index}]")
        if path in entries:
            _refuse(f"'include' names '{'.'.join(path)}' twice", "Send one entry a relationship.")
        entries[path] = entry
    numbers: dict[tuple[str, ...], int] = {}
    parts: list[Included] = []
    for path, entry in entries.items():
        for depth in range(1, len(path) + 1):
            start = path[:depth]
            if start in numbers:
                continue
            if len(parts) == MAX_INCLUDES:
                _refuse(
                    f"'include' follows more than {MAX_INCLUDES} relationships", "Ask for the others in another call."
                )
            parent = numbers.get(path[: depth - 1], 0)
            origin = parts[parent - 1].relationship.other if parent else target
            relationship = _relationship(view, origin, start[-1], entry.place)
            parts.append(_included(parent, relationship, entries.get(start, _Entry(entry.place))))
            numbers[start] = len(parts)
    return Include(tuple(parts))


def _taken_apart(text: Any, place: str) -> tuple[tuple[str, ...], _Entry]:
    if not isinstance(text, str):
        _refuse(f"'{place}' takes a string, got {shown(text)}", _FORM)
    if len(text) > MAX_ENTRY:
        _refuse(f"'{place}' is longer than {MAX_ENTRY} characters", _FORM)
    found = _ENTRY.match(text)
    if found is None:
        _refuse(f"'{place}' does not begin with a relationship: {shown(text)}", _FORM)
    path = tuple(found["path"].split("."))
    if not all(path):
        _refuse(f"'{place}': '{found['path'][:100]}' is no path of relationships", _FORM)
    if len(path) > MAX_DEPTH:
        _refuse(
            f"'{place}': '{found['path'][:100]}' goes deeper than {MAX_DEPTH} levels",
            "Query the table in between, and include from there.",
        )
    rest, limit = found["rest"].strip(), None
    if limited := _LIMIT.search(rest):
        rest, limit = rest[: limited.start()].strip(), limited["limit"]
    order = None
    if rest:
        ordered = _ORDER.match(rest)
        if ordered is None:
            _refuse(f"'{place}': cannot read {shown(rest)} after '{'.'.join(path)[:100]}'", _FORM)
        order = ordered["order"]
    return path, _Entry(place, found["columns"], order, limit)


def _relationship(view: CatalogView, origin: Target, name: str, place: str) -> Relationship:
    known: Mapping[str, Relationship] = view.relationships(origin)
    found = known.get(name)
    if found is None:
        names = ", ".join(list(known)[:60])
        raise InvalidArgument(
            ErrorCode.UNKNOWN_RELATIONSHIP,
            f"'{place}': table '{origin.display}' has no relationship '{name[:100]}'.{near(name, known)}",
            f"Relationships of '{origin.display}': {names}."
            if known
            else f"No foreign key that may be used leads to or from '{origin.display}': leave 'include' out.",
        )
    return found


def _included(parent: int, relationship: Relationship, entry: _Entry) -> Included:
    other = relationship.other
    if not relationship.many and (entry.order is not None or entry.limit is not None):
        _refuse(
            f"'{entry.place}': '{relationship.name}' is one row, which takes neither order nor limit",
            f"Leave them out of '{relationship.name}'.",
        )
    order = [] if entry.order is None else [one.strip() for one in entry.order.split(",")]
    return Included(
        parent,
        relationship,
        _columns(other, entry),
        read_order(other, order) if relationship.many else Order((), total=False),
        _limit(other, entry) if relationship.many else None,
    )


def _columns(target: Target, entry: _Entry) -> tuple[Column, ...]:
    if entry.columns is None:
        return target.readable
    names = entry.columns.split(",")
    return target.read("include", names, partial(_read_columns, target, names, entry.place))


def _read_columns(target: Target, names: Sequence[str], place: str) -> tuple[Column, ...]:
    columns = [target.shown_column(name.strip(), place) for name in names]
    if len(set(columns)) != len(columns):
        _refuse(f"'{place}' names a column twice", "Name each column once.")
    return tuple(columns)


def _limit(target: Target, entry: _Entry) -> int:
    limits = target.limits
    if entry.limit is None:
        return min(limits.include_rows, limits.max_rows)
    if not re.fullmatch(r"[0-9]{1,9}", entry.limit) or not 1 <= int(entry.limit) <= limits.max_rows:
        _refuse(
            f"'{entry.place}': 'limit' takes an integer from 1 to {limits.max_rows}, got {shown(entry.limit)}", _FORM
        )
    return int(entry.limit)


def _refuse(message: str, hint: str) -> NoReturn:
    raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, message, hint)
