"""A test of a JSON document, written as a path and a comparison: `$.address.city == "Paris"`. Pure text.

    test       = path [ operator value ]          without a comparison: the path leads to something
    path       = [ "$" ] step*                    a path that does not begin with "$" begins with a name
    step       = .name  | ."any text" | ["any text"] | [0] | [last] | [*]
    operator   = == = != <> < <= > >=
    value      = "text" | 'text' | number | true | false | null

It means what PostgreSQL's jsonpath means in lax mode (manual 9.16.2): an array is gone through where a name or a
comparison stands, what is missing is not found, values of two types are neither equal nor in an order, and `!= null`
holds for every other value. `holds` says the same of a document that Python has read.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

#: Longest test, in characters, and most steps of a path.
MAX_CHARACTERS, MAX_STEPS = 10_000, 100
#: A name, a place in an array (`LAST`: the last one), or all of an array.
Step: TypeAlias = str | int | None
LAST = -1

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[^\W\d][\w-]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)
_PLACE = re.compile(r"\[\s*(?:([0-9]{1,9})|(\*)|(last))\s*\]")
_OPERATOR = re.compile(r"==|=|!=|<>|<=|<|>=|>")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?(?![\w.])")
_WORD = re.compile(r"(true|false|null)(?!\w)")
_SAME = {"=": "==", "<>": "!="}
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class JsonTest:
    """`operator` is empty where the path alone is asked for. `value`: text, Decimal, bool or None."""

    steps: tuple[Step, ...]
    operator: str = ""
    value: str | Decimal | bool | None = None


@lru_cache(maxsize=256)
def parse(text: str) -> JsonTest:
    """The test. Raises: ValueError, with where it stops making sense."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has more than {MAX_CHARACTERS} characters")
    at = _space(text, 0)
    begun = text.startswith("$", at)
    at += begun
    steps: list[Step] = []
    if not begun:
        step, at = _first(text, at)
        steps.append(step)
    while (found := _step(text, at)) is not None:
        step, at = found
        steps.append(step)
        if len(steps) > MAX_STEPS:
            raise ValueError(f"its path has more than {MAX_STEPS} steps")
    at = _space(text, at)
    if at == len(text):
        return JsonTest(tuple(steps))
    operator = _OPERATOR.match(text, at)
    if operator is None:
        raise _Unread("a step of the path or a comparison (==, !=, <, <=, >, >=)", text, at)
    value, end = _value(text, _space(text, operator.end()))
    end = _space(text, end)
    if end != len(text):
        raise _Unread("nothing more", text, end)
    return JsonTest(tuple(steps), _SAME.get(operator[0], operator[0]), value)


def jsonpath(test: JsonTest) -> str:
    """The test as PostgreSQL's jsonpath, for the operator `@?`."""
    steps = "".join(_written(step) for step in test.steps)
    if not test.operator:
        return f"lax ${steps}"
    match test.value:
        case str():
            value = json.dumps(test.value, ensure_ascii=False)
        case Decimal():
            value = str(test.value)
        case _:
            value = json.dumps(test.value)
    return f"lax ${steps} ? (@ {test.operator} {value})"


def holds(test: JsonTest, document: Any) -> bool:
    """Whether the document passes. Its numbers are `Decimal`."""
    items = [document]
    for step in test.steps:
        items = _followed(items, step)
    if not test.operator:
        return bool(items)
    for _ in range(2):  # once for the filter, once for the comparison in it
        items = [inner for item in items for inner in (item if isinstance(item, list) else (item,))]
    return any(_compares(item, test.operator, test.value) for item in items)


class _Unread(ValueError):
    def __init__(self, expected: str, text: str, at: int) -> None:
        rest = text[at : at + 20]
        super().__init__(f"expected {expected} " + (f"at {rest!r}" if rest else "at its end"))


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _first(text: str, at: int) -> tuple[Step, int]:
    if name := _NAME.match(text, at):
        return name[0], name.end()
    raise _Unread("'$' or a name", text, at)


def _step(text: str, at: int) -> tuple[Step, int] | None:
    """The step at that place and the place after it; None if none begins there."""
    start = _space(text, at)
    if text.startswith(".", start):
        after = _space(text, start + 1)
        if name := _NAME.match(text, after):
            return name[0], name.end()
        if string := _STRING.match(text, after):
            return _text(string[0]), string.end()
        raise _Unread("a name, or any text in double quotes,", text, after)
    if not text.startswith("[", start):
        return None
    if place := _PLACE.match(text, start):
        number, everything, _ = place.groups()
        return (int(number) if number else None if everything else LAST), place.end()
    after = _space(text, start + 1)
    if string := _STRING.match(text, after):
        end = _space(text, string.end())
        if text.startswith("]", end):
            return _text(string[0]), end + 1
    raise _Unread("[0], [last], [*] or a quoted name", text, start)


def _value(text: str, at: int) -> tuple[str | Decimal | bool | None, int]:
    if string := _STRING.match(text, at):
        return _text(string[0]), string.end()
    if number := _NUMBER.match(text, at):
        return Decimal(number[0]), number.end()
    if word := _WORD.match(text, at):
        return _WORDS[word[1]], word.end()
    raise _Unread('a number, true, false, null or text in quotation marks ("Paris")', text, at)


def _text(quoted: str) -> str:
    """What stands in the quotation marks, with JSON's escapes (RFC 8259 section 7)."""
    if quoted.startswith("'"):
        inner = quoted[1:-1].replace("\\'", "'")
        quoted = '"' + re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', inner) + '"'
    try:
        text = json.loads(quoted, strict=False)
    except ValueError:
        raise ValueError(f"{quoted[:40]} has an escape that JSON does not know") from None
    assert isinstance(text, str)
    return text


def _written(step: Step) -> str:
    match step:
        case str():
            return f".{json.dumps(step, ensure_ascii=False)}"
        case None:
            return "[*]"
    return "[last]" if step == LAST else f"[{step}]"


def _followed(items: Sequence[Any], step: Step) -> list[Any]:
    """What the step leads to from each of the items."""
    found: list[Any] = []
    for item in items:
        if isinstance(step, str):
            objects = item if isinstance(item, list) else (item,)
            found.extend(inner[step] for inner in objects if isinstance(inner, dict) and step in inner)
        else:
            elements = item if isinstance(item, list) else [item]
            if step is None:
                found.extend(elements)
            elif -len(elements) <= step < len(elements):
                found.append(elements[step])
    return found


def _compares(item: Any, operator: str, value: Any) -> bool:
    if item is None or value is None:
        if item is not value:
            return operator == "!="
        return operator in ("==", "<=", ">=")
    if type(item) is not type(value):
        return False
    match operator:
        case "==":
            return bool(item == value)
        case "!=":
            return bool(item != value)
        case "<":
            return bool(item < value)
        case "<=":
            return bool(item <= value)
        case ">":
            return bool(item > value)
    return bool(item >= value)
