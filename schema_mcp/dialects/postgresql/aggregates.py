"""Aggregates as PostgreSQL has them: what they give of which type (manual 9.21), and what it has no aggregate for."""

from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from schema_mcp.dialects.postgresql.values import NativeType
from schema_mcp.schema.types import SqlType, TypeKind

_BIGINT = SqlType(kind=TypeKind.INTEGER, native="bigint", cast="bigint", precision=64)
_NUMERIC = SqlType(kind=TypeKind.NUMERIC, native="numeric", cast="numeric")
_REAL = SqlType(kind=TypeKind.FLOAT, native="real", cast="real", precision=24)
_DOUBLE = SqlType(kind=TypeKind.FLOAT, native="double precision", cast="double precision", precision=53)

#: Of the types without a family, those that have the aggregate.
_SUMMED, _AVERAGED, _ORDERED = ("money", "interval"), ("interval",), ("money", "interval", "inet", "oid")
_FIRST: sa.ColumnElement[Any] = sa.literal_column("1", sa.Integer())
_HEX: sa.ColumnElement[Any] = sa.literal_column("'hex'")


class PostgresqlAggregates:
    """See `Aggregates`."""

    def result(self, function: str, type_: SqlType) -> SqlType | None:
        """Sums of int8 and numeric, and means of integers, are numeric: no digit is lost."""
        return _result(function, type_)

    def expression(self, function: str, column: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
        """`min` and `max` are phrased for types that are ordered and have no such aggregate (uuid, bytea, boolean)."""
        if type_.domain is not None:
            column = sa.cast(column, NativeType(type_.cast))
        match function:
            case "count":
                return sa.func.count(column)
            case "count_distinct":
                return sa.func.count(sa.distinct(column))
            case "sum":
                return sa.func.sum(column)
            case "avg":
                return sa.func.avg(column)
        return _extreme(function, column, type_)


@lru_cache(maxsize=1000)
def _result(function: str, type_: SqlType) -> SqlType | None:
    kind, cast = type_.kind, type_.cast
    match function:
        case "count":
            return _BIGINT
        case "count_distinct":
            return None if cast == "json" else _BIGINT
        case "min" | "max":
            return None if kind is TypeKind.JSON else type_
        case "sum" if kind is TypeKind.INTEGER:
            return _NUMERIC if type_.precision == 64 else _BIGINT
        case "sum" if kind is TypeKind.FLOAT:
            return _REAL if cast == _REAL.cast else _DOUBLE
        case "avg" if kind is TypeKind.INTEGER:
            return _NUMERIC
        case "avg" if kind is TypeKind.FLOAT:
            return _DOUBLE
        case _ if kind is TypeKind.NUMERIC:
            return _NUMERIC
    return type_ if cast in (_SUMMED if function == "sum" else _AVERAGED) else None


def _extreme(function: str, column: sa.ColumnElement[Any], type_: SqlType) -> sa.ColumnElement[Any]:
    aggregate: Any = getattr(sa.func, function)
    extreme: sa.ColumnElement[Any]
    match type_.kind:
        case TypeKind.BOOLEAN:
            extreme = sa.func.bool_and(column) if function == "min" else sa.func.bool_or(column)
        case TypeKind.UUID:  # its text has the order of its bytes, and min(uuid) came late
            extreme = sa.cast(aggregate(sa.cast(column, sa.Text()).collate("C")), NativeType("uuid"))
        case TypeKind.BYTES:
            extreme = sa.func.decode(aggregate(sa.func.encode(column, _HEX).collate("C")), _HEX)
        case TypeKind.OTHER if type_.cast not in _ORDERED:
            order = column.asc() if function == "min" else column.desc()
            ordered = sa.func.array_agg(aggregate_order_by(column, order), type_=ARRAY(sa.types.NullType()))
            extreme = ordered.filter(column.is_not(None))[_FIRST]
        case _:
            extreme = aggregate(column)
    return extreme
