"""What a grouped answer is made of: its members, the conditions of `having` and the order, read from a call. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from schema_mcp.dialects.base import DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.tools.aggregate_grammar import FUNCTIONS, Aggregate, find_aggregate, read_aggregate, read_comparison
from schema_mcp.tools.arguments import read_list
from schema_mcp.tools.naming import is_key, near
from schema_mcp.tools.order import readings
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import bind, shown

#: Columns of a grouped answer, and conditions of `having`.
MAX_OUTPUTS, MAX_HAVING = 50, 50
#: PostgreSQL cuts longer names without a word (manual, 4.1.1).
MAX_NAME = 63

_NUMBER = SqlType(kind=TypeKind.NUMERIC, native="numeric", cast="numeric")
_COUNT_FUNCTIONS = ("count", "count_distinct")


@dataclass(frozen=True, slots=True)
class Output:
    """One member of a grouped row: a column that groups are made by, or an aggregate.

    `given`: the name is the caller's.
    """

    label: str
    source: Column | Aggregate
    type: SqlType
    given: bool = False

    @property
    def shape(self) -> tuple[str | None, ...]:
        """What tells it from other outputs of the same table, but for its name."""
        if isinstance(self.source, Column):
            return (self.source.name,)
        return self.source.function, self.source.column

    @property
    def nullable(self) -> bool:
        """Groups may have null there."""
        if isinstance(self.source, Column):
            return self.source.nullable
        return self.source.function not in _COUNT_FUNCTIONS


class GroupKey(NamedTuple):
    """One key of the order of groups, by the place of its output."""

    output: int
    descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Having:
    """Conditions on outputs, by their places. `values` of those that have one, in their order."""

    shape: tuple[tuple[int, str], ...]
    values: tuple[DriverValue, ...]

    def named(self) -> dict[str, DriverValue]:
        """Values by parameter name: `h0`, `h1`, ..."""
        return {f"h{index}": value for index, value in enumerate(self.values)}


def read_outputs(target: Target, arguments: Mapping[str, Any]) -> tuple[Output, ...]:
    """The columns of `group_by`, then the aggregates.

    Raises: InvalidArgument, StaleSchema.
    """
    columns, aggregates = read_list(arguments, "group_by") or [], read_list(arguments, "aggregate") or []
    make = partial(_read_outputs, target, columns, aggregates)
    return target.read(("outputs", len(columns)), [*columns, *aggregates], make)


def _read_outputs(target: Target, columns: Sequence[Any], aggregates: Sequence[Any]) -> tuple[Output, ...]:
    outputs: list[Output] = []
    for index, name in enumerate(columns):
        column = target.column(name, f"group_by[{index}]")
        if target.dialect.aggregates.result("count_distinct", column.type) is None:
            raise InvalidArgument(
                ErrorCode.INVALID_OPERATOR,
                f"'group_by[{index}]': values of column '{target.keys[column.name]}' of type {column.type.native} "
                "cannot be compared",
                "Group by a column of another type.",
            )
        _add(outputs, Output(target.keys[column.name], column, column.type), f"group_by[{index}]")
    for index, given in enumerate(aggregates):
        place = f"aggregate[{index}]"
        aggregate, name = read_aggregate(target, given, place)
        type_ = _type(target, aggregate, place)
        if name is not None and not _is_name(name):
            raise _argument(
                f"'{place}' names its result {shown(name)}",
                f"A name has 1 to {MAX_NAME} letters, digits, '_' and '-' of ASCII.",
            )
        label = name or _default_name(target, aggregate, index)
        _add(outputs, Output(label, aggregate, type_, given=name is not None), place)
    if not outputs:
        raise _argument("'having' goes with 'aggregate' or 'group_by'", "Use 'filters' for conditions on rows.")
    return tuple(outputs)


def _add(outputs: list[Output], output: Output, place: str) -> None:
    if len(outputs) >= MAX_OUTPUTS:
        raise _argument(f"more than {MAX_OUTPUTS} aggregates and columns of 'group_by'", "Ask in several calls.")
    if any(output.label == other.label for other in outputs):
        raise _argument(
            f"'{place}': the answer has a '{output.label}' already",
            "Name each column once, and give an aggregate another name with 'as': \"count as n\".",
        )
    outputs.append(output)


def _type(target: Target, aggregate: Aggregate, place: str) -> SqlType:
    """The type of what the aggregate gives. Raises: InvalidArgument where it does not fit the column."""
    column = target.table.column(aggregate.column) if aggregate.column is not None else None
    result = target.dialect.aggregates.result
    found = result(aggregate.function, column.type) if column is not None else result("count", _NUMBER)
    if found is None and column is not None:
        fit = [function for function in (*FUNCTIONS, "count_distinct") if result(function, column.type) is not None]
        raise InvalidArgument(
            ErrorCode.INVALID_OPERATOR,
            f"'{place}': '{_spelled(aggregate.function)}' does not fit column '{target.keys[column.name]}' of type "
            f"{column.type.native or 'any'}",
            f"Aggregates for '{target.keys[column.name]}': {', '.join(map(_spelled, fit))}.",
        )
    assert found is not None
    return found


def _spelled(function: str) -> str:
    return function.replace("_", " ")


def _default_name(target: Target, aggregate: Aggregate, index: int) -> str:
    if aggregate.column is None:
        return "count"
    name = f"{aggregate.function}_{target.keys[aggregate.column]}"
    return name if _is_name(name) else f"{aggregate.function}_{index + 1}"


def _is_name(name: str) -> bool:
    return is_key(name) and len(name) <= MAX_NAME


def _find(target: Target, outputs: Sequence[Output], place: str, text: str) -> int | None:
    """The place of the output of that name: its own, its column's, or the aggregate as it is spelled."""
    for spelled in (text, text.strip()):
        for index, output in enumerate(outputs):
            if output.label == spelled or (isinstance(output.source, Column) and output.source.name == spelled):
                return index
    aggregate = find_aggregate(target, text, place)
    return next((index for index, output in enumerate(outputs) if output.source == aggregate), None)


def read_having(target: Target, outputs: Sequence[Output], given: Sequence[Any]) -> Having:
    """Raises: InvalidArgument."""
    if len(given) > MAX_HAVING:
        raise _argument(f"'having' takes at most {MAX_HAVING} conditions", "Send fewer conditions.")
    shape: list[tuple[int, str]] = []
    values: list[DriverValue] = []
    for index, entry in enumerate(given):
        place = f"having[{index}]"
        found = read_comparison(entry, place, partial(_find, target, outputs, place))
        if found is None:
            raise _argument(
                f"'{place}' takes a comparison with something of the answer, got {shown(entry)}",
                f"Compare {', '.join(output.label for output in outputs)} with a value: "
                f'"{outputs[-1].label} > 10", "{outputs[-1].label} is not null".',
            )
        output, operator_, value = outputs[found[0]], found[1], found[2]
        shape.append((found[0], operator_))
        if value is None:
            continue
        if output.type.kind is TypeKind.BOOLEAN and operator_ not in ("eq", "ne"):
            raise InvalidArgument(
                ErrorCode.INVALID_OPERATOR,
                f"'{place}': '{output.label}' is true or false, and has no order",
                "Use = or !=.",
            )
        values.append(bind(target.dialect, compared(output.type), value, f"'{output.label}' in '{place}'", operator_))
    return Having(tuple(shape), tuple(values))


def compared(type_: SqlType) -> SqlType:
    """What a value is read as to be compared: with integers any number."""
    return _NUMBER if type_.kind is TypeKind.INTEGER else type_


def read_group_order(
    target: Target, outputs: Sequence[Output], groups: int, given: Sequence[Any]
) -> tuple[GroupKey, ...]:
    """The order asked for, completed by the columns that `groups` are made by: as many outputs, the first ones.

    Raises: InvalidArgument.
    """
    what = ("group order", groups, *(output.shape for output in outputs))
    return target.read(what, given, partial(_read_group_order, target, outputs, groups, given))


def _read_group_order(
    target: Target, outputs: Sequence[Output], groups: int, given: Sequence[Any]
) -> tuple[GroupKey, ...]:
    keys: list[GroupKey] = []
    for index, entry in enumerate(given):
        place = f"order_by[{index}]"
        if not isinstance(entry, str) or not entry.strip():
            raise _argument(f"'{place}' takes a string, got {shown(entry)}", 'Send for example "count desc".')
        key = _read_key(target, outputs, place, entry)
        if any(key.output == other.output for other in keys):
            raise _argument(f"'order_by' names '{outputs[key.output].label}' twice", "Name each once.")
        keys.append(key)
    descending = keys[-1].descending if keys else False
    missing = [index for index in range(groups) if all(index != key.output for key in keys)]
    return (*keys, *(GroupKey(index, descending, None) for index in missing))


def _read_key(target: Target, outputs: Sequence[Output], place: str, entry: str) -> GroupKey:
    for name, direction, nulls in readings(entry):
        found = _find(target, outputs, place, name)
        if found is not None:
            nulls_first = None if nulls is None or not outputs[found].nullable else nulls == "first"
            return GroupKey(found, direction == "desc", nulls_first)
    raise _unknown(outputs, place, entry)


def _unknown(outputs: Sequence[Output], place: str, given: str) -> InvalidArgument:
    labels = [output.label for output in outputs]
    shortest = list(readings(given))[-1][0]
    return _argument(
        f"'{place}': {shown(given)} is of nothing in the grouped answer.{near(shortest, labels)}",
        f"The answer has {', '.join(labels)}; what else is to be used has to stand in 'group_by' or 'aggregate'.",
    )


def _argument(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(ErrorCode.INVALID_ARGUMENT, message, hint)
