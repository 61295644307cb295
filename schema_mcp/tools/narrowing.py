"""What standing filters (`Target.standing`) do to statements: which rows are seen, what may be written. Pure.

To a kind of tool a narrowed table is like any other, but that it has these conditions besides its own. It does not know
whose filters they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.tools.operands import read_operand
from schema_mcp.tools.operators import operators_of
from schema_mcp.tools.standing import Standing
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import shown

_HINT = "get_context shows the standing filters of this session; set_context changes them, clear_context ends them."


def standing(target: Target, filters: Mapping[str, Any]) -> tuple[Standing, ...]:
    """Those of the filters (values by column name) that the table has a column for.

    Raises: InvalidArgument: `invalid_value`, `invalid_operator` for a value that does not fit the column, `not_allowed`
    for a column whose values nobody may compare: without it the table would be read whole.
    """
    made = []
    for name, given in filters.items():
        column = target.by_key.get(name)
        if column is None:
            continue
        if not column.readable or column.masked:
            why = "is masked" if column.masked else "may not be read"
            raise InvalidArgument(
                ErrorCode.NOT_ALLOWED,
                f"the standing filter on '{name[:100]}' cannot hold for table '{target.display}': its column of that "
                f"name {why}",
                _HINT,
            )
        if "eq" not in operators_of(target.table, column):
            raise InvalidArgument(
                ErrorCode.INVALID_OPERATOR,
                f"the standing filter on '{name[:100]}' cannot hold for table '{target.display}': its column of that "
                f"name ({column.type.native}) cannot be compared",
                _HINT,
            )
        try:
            made.append(Standing(column, given, read_operand(target, column, "eq", given)))
        except InvalidArgument as unfit:
            raise InvalidArgument(unfit.code, f"the standing filter does not fit: {unfit.message}", _HINT) from unfit
    return tuple(made)


def narrowed(target: Target, filters: Mapping[str, Any], default_limit: int | None) -> Target:
    """The table under these filters; the same object where they do not concern it. Raises: as `standing`."""
    return target.under(standing(target, filters), default_limit)


def conditions(target: Target, prefix: str, relation: sa.FromClause | None = None) -> list[sa.ColumnElement[bool]]:
    """The filters as conditions on `relation`, by default the table itself, with parameters of that prefix."""
    columns = (target.relation if relation is None else relation).c
    return [
        columns[one.column.name] == target.dialect.parameter(one.column.type, f"{prefix}{index}")
        for index, one in enumerate(target.standing)
    ]


def named(target: Target, prefix: str) -> dict[str, DriverValue]:
    """The values of `conditions` by parameter name."""
    return {f"{prefix}{index}": one.value for index, one in enumerate(target.standing)}


def names(target: Target) -> tuple[str, ...]:
    """What a statement with them depends on."""
    return tuple(one.column.name for one in target.standing)


def filled(target: Target, rows: Sequence[Any] | None) -> Sequence[Any] | None:
    """The rows of an insert, with the value of each filter where they give none.

    Raises: InvalidArgument (`not_allowed`) for a row that gives another value, and where the column takes none.
    """
    if not target.standing or rows is None:
        return rows
    made = []
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            for one in target.standing:
                row = _filled(target, one, row, f"rows[{index}]")
        made.append(row)
    return made


def _filled(target: Target, one: Standing, row: dict[str, Any], place: str) -> dict[str, Any]:
    key = target.keys[one.column.name]
    given = [name for name in row if name in target.by_key and target.by_key[name].name == one.column.name]
    if given:
        check(target, one.column, row[given[0]], place)
        return row
    if not one.column.insertable:
        raise InvalidArgument(
            ErrorCode.NOT_ALLOWED,
            f"{place}: column '{key}' of table '{target.display}' takes no value, and a standing filter of this "
            "session says which it must have",
            _HINT,
        )
    return {**row, key: one.given}


def check(target: Target, column: Column, given: Any, place: str) -> None:
    """For a value that is to be written. Raises: InvalidArgument (`not_allowed`) where a filter says another."""
    one = next((each for each in target.standing if each.column.name == column.name), None)
    if one is None or (given is not None and read_operand(target, column, "eq", given) == one.value):
        return
    raise InvalidArgument(
        ErrorCode.NOT_ALLOWED,
        f"{place}: column '{target.keys[column.name]}' of table '{target.display}' got {shown(given)}, and a standing "
        f"filter of this session says {shown(one.given)}",
        f"Leave the column out. {_HINT}",
    )


def check_conflict(target: Target, key: Sequence[str], updates: bool) -> None:
    """An insert that sets what is there already may only meet rows that the filters leave.

    Raises: InvalidArgument (`not_allowed`).
    """
    outside = [one for one in target.standing if one.column.name not in key]
    if updates and outside:
        raise InvalidArgument(
            ErrorCode.NOT_ALLOWED,
            f"on_conflict 'update' could change rows of table '{target.display}' that the standing filter on "
            f"'{target.keys[outside[0].column.name]}' leaves out",
            f"Insert with on_conflict 'skip', and update the rows that are there in a call of its own. {_HINT}",
        )
