"""Order of rows and keyset paging: `order_by`, the completed order, and the condition "after the last row". Pure.

Paging by key neither skips nor repeats a row that stands still, however many others come and go between the pages.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.schema.types import TypeKind
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import shown

#: Columns that one call may order by.
MAX_ORDER_COLUMNS = 20


class OrderKey(NamedTuple):
    """One key of the order. `nulls_first` None: there are no nulls, or they stand where the database puts them."""

    column: str
    descending: bool
    nulls_first: bool | None
    nullable: bool


class Order(NamedTuple):
    """The whole order of a query. `total`: it tells any two rows apart, so paging can go on from a row."""

    keys: tuple[OrderKey, ...]
    total: bool


def read_order(target: Target, given: Sequence[Any] | None) -> Order:
    """The order asked for, completed by what tells rows apart.

    Raises: InvalidArgument, StaleSchema.
    """
    entries = () if given is None else given
    return target.read("order", entries, partial(_read_order, target, entries))


def _read_order(target: Target, given: Sequence[Any]) -> Order:
    keys: list[OrderKey] = []
    for index, entry in enumerate(given):
        if index >= MAX_ORDER_COLUMNS:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'order_by' takes at most {MAX_ORDER_COLUMNS} columns",
                "Send fewer columns.",
            )
        key = _read_entry(target, entry, f"order_by[{index}]")
        if any(key.column == other.column for other in keys):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT, f"'order_by' names column '{key.column}' twice", "Name each column once."
            )
        keys.append(key)
    last_descending = keys[-1].descending if keys else False
    completion = target.order_keys
    for name in completion:
        if all(name != key.column for key in keys):
            keys.append(OrderKey(name, last_descending, None, False))
    return Order(tuple(keys), bool(completion))


def order_clauses(target: Target, order: Order) -> list[sa.ColumnElement[Any]]:
    """The ORDER BY expressions, columns always qualified."""
    return [ordered(target.sql_column(key.column), key) for key in order.keys]


def ordered(column: sa.ColumnElement[Any], key: OrderKey) -> sa.ColumnElement[Any]:
    """The column in the key's direction, its nulls at their end."""
    directed = column.desc() if key.descending else column.asc()
    if key.nulls_first is None:
        return directed
    return directed.nulls_first() if key.nulls_first else directed.nulls_last()


def after(target: Target, order: Order, null_keys: Sequence[bool]) -> sa.ColumnElement[bool]:
    """The rows that stand after the row whose keys are bound as `k0`, `k1`, ...; `null_keys` tells which are null."""
    columns = [target.sql_column(key.column) for key in order.keys]
    given = [target.dialect.parameter(target.key_type(key.column), f"k{i}") for i, key in enumerate(order.keys)]
    if not any(key.nullable for key in order.keys) and len({key.descending for key in order.keys}) == 1:
        left, right = sa.tuple_(*columns), sa.tuple_(*given)
        if len(columns) == 1:
            return columns[0] < given[0] if order.keys[0].descending else columns[0] > given[0]
        return left < right if order.keys[0].descending else left > right
    alternatives: list[sa.ColumnElement[bool]] = []
    for position, key in enumerate(order.keys):
        step = _step(target, key, columns[position], given[position], null_keys[position])
        if step is not None:
            equal = [
                columns[i].is_(None) if null_keys[i] else columns[i] == given[i]  # the keys before are the same
                for i in range(position)
            ]
            alternatives.append(sa.and_(*equal, step))
    return sa.or_(*alternatives) if alternatives else sa.false()


def _step(
    target: Target, key: OrderKey, column: sa.ColumnElement[Any], given: sa.ColumnElement[Any], null: bool
) -> sa.ColumnElement[bool] | None:
    nulls_first = key.nulls_first
    if nulls_first is None:
        nulls_first = target.dialect.nulls_first != key.descending
    if null:
        return column.is_not(None) if nulls_first else None
    beyond = column < given if key.descending else column > given
    return sa.or_(beyond, column.is_(None)) if key.nullable and not nulls_first else beyond


def _read_entry(target: Target, given: Any, place: str) -> OrderKey:
    if not isinstance(given, str) or not (given.strip() or given in target.by_key):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'{place}' takes a string, got {shown(given)}",
            'Send for example "name", "name desc" or "name desc nulls last".',
        )
    column, descending, nulls_first = _reading(target, given, place)
    if column.type.kind is TypeKind.JSON:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'{place}': JSON column '{target.keys[column.name]}' has no order",
            "Order by a column of another type.",
        )
    return OrderKey(column.name, descending, nulls_first if column.nullable else None, column.nullable)


def _reading(target: Target, given: str, place: str) -> tuple[Column, bool, bool | None]:
    """Column, direction and place of nulls. The longest name that exists wins: a column may be called `x desc`.

    Raises: InvalidArgument, StaleSchema where no reading names a column.
    """
    meanings = list(readings(given))
    for name, direction, nulls in meanings:
        for spelled in (name, name.strip()):
            column = target.by_key.get(spelled)
            if column is not None and column.readable:
                return target.column(spelled, place), direction == "desc", None if nulls is None else nulls == "first"
    shortest = meanings[-1][0].strip()
    raise target.unknown(shortest, target.readable)


def readings(given: str) -> Iterator[tuple[str, str | None, str | None]]:
    """What `given` may mean: name, direction and nulls, the longest name first."""
    yield given, None, None
    rest, nulls = given, None
    words = given.rsplit(None, 2)
    if len(words) == 3 and words[1].lower() == "nulls" and words[2].lower() in ("first", "last"):
        rest, nulls = words[0], words[2].lower()
        yield rest, None, nulls
    words = rest.rsplit(None, 1)
    if len(words) == 2 and words[1].lower() in ("asc", "desc"):
        yield words[0], words[1].lower(), nulls
