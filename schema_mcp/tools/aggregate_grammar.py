"""What `aggregate` and `having` may say: a small grammar, read without any guess. Pure.

    aggregate   function "(" column ")" | "count" | "count(*)" | "count(distinct" column ")" | "count distinct" column
                each with or without "as" name
    condition   (name | aggregate | column) (">" | ">=" | "<" | "<=" | "=" | "!=" | "<>") value
                the same with "is null", "is not null"
    value       a number, date, time, true or false as it is; everything else in quotes, '' for ' inside

Words may be in upper case. Columns may have any names: the longest one that exists is meant.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import shown

FUNCTIONS = ("count", "sum", "avg", "min", "max")
#: Longest entry, in characters.
MAX_ENTRY = 2000

_COMPARISON = re.compile(r">=|<=|<>|!=|=|>|<")
_OPERATORS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "eq", "!=": "ne", "<>": "ne"}
_QUOTED = re.compile(r"'(?:[^']|'')*'")
_BARE = re.compile(r"[-+]?(?:[0-9.][0-9A-Za-z.:+-]*(?: [0-9:.+-]+)?|nan|inf|infinity)|true|false", re.IGNORECASE)
_FOR_AGGREGATE = 'Send for example "count", "count(distinct name)" or "sum(name) as total", with the name of a column.'
_FOR_HAVING = 'Send for example "count > 10", "sum_price >= 99.5", "max_name = \'x\'" or "avg_price is not null".'

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`function` of the values of `column`; `count` of None counts rows."""

    function: str
    column: str | None


def read_aggregate(target: Target, given: Any, place: str) -> tuple[Aggregate, str | None]:
    """The aggregate and the name that it is given, if it is given one.

    Raises: InvalidArgument, StaleSchema.
    """
    text = _text(given, place, _FOR_AGGREGATE)
    if found := find_aggregate(target, text, place):
        return found, None
    words = text.rsplit(None, 2)
    named = len(words) == 3 and words[1].lower() == "as"
    expression = words[0] if named else text
    if named and (found := find_aggregate(target, expression, place)):
        return found, words[2]
    call = _call(expression)
    if call is None:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'{place}' takes {', '.join(FUNCTIONS)} of a column, got {shown(given)}",
            _FOR_AGGREGATE,
        )
    raise target.unknown(call[1].strip(), target.readable)


def find_aggregate(target: Target, text: str, place: str) -> Aggregate | None:
    """The aggregate that `text` is, without a name; None where it is none, or of a column that is not there.

    Raises: InvalidArgument for one that has no meaning.
    """
    call = _call(text)
    if call is None:
        return None
    function, argument = call
    if argument.strip() == "*":
        if function != "count":
            raise _no_meaning(place, f"'{function}' takes a column, got '*'")
        return Aggregate("count", None)
    if column := _column(target, argument, place):
        return Aggregate(function, column)
    words = argument.split(None, 1)
    column = _column(target, words[1], place) if len(words) == 2 and words[0].lower() == "distinct" else None
    if column and function != "count":
        raise _no_meaning(place, f"'distinct' goes with 'count' alone, not with '{function}'")
    return Aggregate("count_distinct", column) if column else None


def read_comparison(given: Any, place: str, find: Callable[[str], T | None]) -> tuple[T, str, str | None] | None:
    """What the left side is, which `find` knows, the operator, and the value as text; None with `is_null`, `not_null`.
    None where it is no comparison with anything known.

    Raises: InvalidArgument.
    """
    text = _text(given, place, _FOR_HAVING)
    for left, operator, value in _readings(text):
        found = find(left)
        if found is not None:
            return found, operator, None if value is None else _value(value, place)
    return None


def _text(given: Any, place: str, hint: str) -> str:
    if isinstance(given, str) and given.strip() and len(given) <= MAX_ENTRY:
        return given
    what = f"a string of at most {MAX_ENTRY} characters" if isinstance(given, str) and given.strip() else "a string"
    raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, f"'{place}' takes {what}, got {shown(given)}", hint)


def _call(text: str) -> tuple[str, str] | None:
    """Function and argument of a call, as they are written."""
    bare = text.strip()
    if bare.endswith(")"):
        function, opened, argument = bare[:-1].partition("(")
        function = function.strip().lower()
        return (function, argument) if opened and function in FUNCTIONS else None
    words = bare.split(None, 1)
    if not words or words[0].lower() != "count":
        return None
    if len(words) == 1:
        return "count", "*"
    return ("count", words[1]) if words[1].split(None, 1)[0].lower() == "distinct" else None


def _column(target: Target, given: str, place: str) -> str | None:
    for spelled in (given, given.strip()):
        column = target.by_key.get(spelled)
        if column is not None and column.readable:
            return target.column(spelled, place).name
    return None


def _readings(text: str) -> Iterator[tuple[str, str, str | None]]:
    """Left side, operator and right side, the longest left side first."""
    words = text.rsplit(None, 3)
    lowered = [word.lower() for word in words]
    if lowered[-3:] == ["is", "not", "null"] and len(words) > 3:
        yield words[0], "not_null", None
    words = text.rsplit(None, 2)
    if [word.lower() for word in words[1:]] == ["is", "null"]:
        yield words[0], "is_null", None
    for found in reversed(list(_COMPARISON.finditer(text))):
        yield text[: found.start()], _OPERATORS[found[0]], text[found.end() :]


def _value(given: str, place: str) -> str:
    bare = given.strip()
    if _QUOTED.fullmatch(bare):
        return bare[1:-1].replace("''", "'")
    if bare.startswith('"') and bare.endswith('"') and len(bare) > 1:
        try:
            return str(orjson.loads(bare))
        except orjson.JSONDecodeError:
            pass
    if _BARE.fullmatch(bare):
        return bare
    hint = "Use 'is null' or 'is not null' to test for null." if bare.lower() == "null" else _FOR_HAVING
    raise InvalidArgument(
        ErrorCode.INVALID_ARGUMENT, f"'{place}' compares with a number or a value in quotes, got {shown(bare)}", hint
    )


def _no_meaning(place: str, message: str) -> InvalidArgument:
    return InvalidArgument(ErrorCode.INVALID_ARGUMENT, f"'{place}': {message}", _FOR_AGGREGATE)
