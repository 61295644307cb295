"""Aggregates as SQLite has them, and the exact ones of decimals and integers that it does not have.

SQLite sums decimals as binary floats (0.1 + 0.2 is 0.30000000000000004) and takes text for 0. Here decimals are summed
as what they are shown as, and the sum or the mean is the number nearest to the exact one: exact to the 15 digits that a
SQLite number holds. Values with no more digits than the column declares are summed by SQLite itself, as integers, the
rest in Python (a microsecond each).
"""

import sqlite3
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from schema_mcp.schema.types import SqlType, TypeKind

_INTEGER = SqlType(kind=TypeKind.INTEGER, native="INTEGER", precision=64)
_NUMERIC = SqlType(kind=TypeKind.NUMERIC, native="NUMERIC", enforced=False)
_REAL = SqlType(kind=TypeKind.FLOAT, native="REAL", precision=53, enforced=False)

#: Wide enough for sums of any doubles; nothing is trapped: the sum of both infinities is no number, which is null.
_EXACT = Context(prec=800, traps=[])
#: Decimal places that are summed as integers: of a column that declares none, and at most.
_USUAL_PLACES, _MAX_PLACES = 6, 9
_MAX_INTEGER = 2**53 - 1

_TEXTS: sa.ColumnElement[Any] = sa.literal_column("('text', 'blob')")


class SqliteAggregates:
    """See `Aggregates`."""

    def result(self, function: str, type_: SqlType) -> SqlType | None:
        """A mean of integers is a double. What has no declared type (a view's expression) may be summed."""
        return _result(function, type_)

    def expression(self, function: str, column: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
        """Sums and means fail at a value that is no number, where SQLite would take it for 0."""
        match function:
            case "count":
                return sa.func.count(column)
            case "count_distinct":
                return sa.func.count(sa.distinct(column))
            case "min":
                return sa.func.min(column)
            case "max":
                return sa.func.max(column)
        if type_.kind in (TypeKind.INTEGER, TypeKind.NUMERIC):
            return _exactly(function, column, type_)
        is_text: sa.ColumnElement[bool] = sa.func.typeof(column).op("IN", is_comparison=True)(_TEXTS)
        number = sa.case((is_text, sa.func.not_a_number(column)), else_=column)
        return sa.func.sum(number) if function == "sum" else sa.func.avg(number)


def register(connection: sqlite3.Connection) -> None:
    """Gives the connection the functions that `SqliteAggregates` uses."""
    connection.create_aggregate("decimal_sum", 1, _DecimalSum)  # type: ignore[arg-type]
    connection.create_function("decimal_total", 3, _total, deterministic=True)
    connection.create_function("decimal_mean", 4, _mean, deterministic=True)
    connection.create_function("not_a_number", 1, _refuse, deterministic=True)


@lru_cache(maxsize=1000)
def _result(function: str, type_: SqlType) -> SqlType | None:
    kind = type_.kind
    undeclared = kind is TypeKind.OTHER and type_.native.upper() in ("", "ANY")
    match function:
        case "count":
            return _INTEGER
        case "count_distinct":
            return None if kind is TypeKind.JSON else _INTEGER
        case "min" | "max":
            return None if kind is TypeKind.JSON else type_
        case _ if kind is TypeKind.NUMERIC:
            return _NUMERIC
        case "sum" if kind is TypeKind.INTEGER:
            return _INTEGER
        case "sum" if undeclared:
            return type_
    return _REAL if undeclared or kind in (TypeKind.INTEGER, TypeKind.FLOAT) else None


def _exactly(function: str, column: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
    """The values that are integers once scaled, summed by SQLite, and the others, by `decimal_sum`."""
    scaled: sa.ColumnElement[Any]
    if type_.kind is TypeKind.INTEGER:
        places, scaled = 0, column
        fits = sa.func.typeof(column) == sa.literal_column("'integer'")
    else:
        places = min(_USUAL_PLACES if type_.scale is None else type_.scale, _MAX_PLACES)
        factor, bound = _literal(10**places), _literal(_MAX_INTEGER // 10**places)
        scaled = sa.cast(sa.func.round(column * factor), sa.BigInteger())
        # An integer below 2**53 divided by a power of ten is the double nearest to that decimal (IEEE 754).
        as_shown = column == scaled / sa.literal_column(f"{10**places}.0", sa.Float())
        fits = sa.and_(column.between(_literal(-(_MAX_INTEGER // 10**places)), bound), as_shown)
    parts = [
        sa.func.sum(scaled).filter(fits),
        _literal(places),
        sa.func.decimal_sum(column).filter(sa.not_(fits)),
    ]
    if function == "sum":
        return sa.func.decimal_total(*parts)
    return sa.func.decimal_mean(*parts, sa.func.count(column))


def _literal(number: int) -> sa.ColumnElement[Any]:
    return sa.literal_column(str(number), sa.BigInteger())


class _DecimalSum:
    """The exact sum of numbers as they are shown, as text; null of none."""

    def __init__(self) -> None:
        self._sum: Decimal | None = None

    def step(self, value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, int | float):
            _refuse(value)
        self._sum = _EXACT.add(self._sum or Decimal(0), Decimal(repr(value)))

    def finalize(self) -> str | None:
        return None if self._sum is None else str(self._sum)


def _total(scaled: int | None, places: int, rest: str | None) -> int | float | None:
    total = _joined(scaled, places, rest)
    return None if total is None else _number(total)


def _mean(scaled: int | None, places: int, rest: str | None, count: int) -> int | float | None:
    total = _joined(scaled, places, rest)
    return None if total is None else _number(_EXACT.divide(total, Decimal(count)))


def _joined(scaled: int | None, places: int, rest: str | None) -> Decimal | None:
    if scaled is None and rest is None:
        return None
    return _EXACT.add(_EXACT.scaleb(Decimal(scaled or 0), -places), Decimal(rest or 0))


def _number(exact: Decimal) -> int | float | None:
    """The nearest number that SQLite holds. NaN is null there."""
    if exact.is_nan():
        return None
    if exact.is_finite() and exact == exact.to_integral_value() and -(2**63) <= exact < 2**63:
        return int(exact)
    return float(exact)


def _refuse(value: Any) -> Any:
    raise ValueError("not a number")
