"""Dates and times as PostgreSQL reads them: what it would cut, round or interpret without a word is refused. Pure.

PostgreSQL drops the time of day of a date, the offset of a time without time zone and the seventh digit of a second,
and reads words such as `now` (manual 8.5.1). What it writes itself is always taken.
"""

import re
from collections.abc import Mapping

from schema_mcp.schema.ranges import RANGE_ELEMENTS
from schema_mcp.schema.types import SqlType, TypeKind

_DATE = r"[0-9]{1,7}-[0-9]{1,2}-[0-9]{1,2}"
_TIME = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.(?P<fraction>[0-9]+))?)?"
_OFFSET = r"(?P<offset>\s?(?:z|[+-][0-9]{1,2}(?::?[0-9]{2}(?::?[0-9]{2})?)?))"
_FORMS = {
    TypeKind.DATE: rf"{_DATE}(?P<time>[t\s]\s?{_TIME}{_OFFSET}?)?(?:\s?bc)?",
    TypeKind.TIME: rf"{_TIME}{_OFFSET}?",
    TypeKind.TIMESTAMP: rf"{_DATE}(?:[t\s]\s?{_TIME}{_OFFSET}?)?(?:\s?bc)?",
}
_PATTERNS = {kind: re.compile(form, re.IGNORECASE | re.ASCII) for kind, form in _FORMS.items()}
_INFINITE = ("infinity", "-infinity")

#: What the bounds of a range of dates or times are, by the range's name.
RANGES_OF_TIMES: Mapping[str, SqlType] = {
    name: element for name, element in RANGE_ELEMENTS.items() if element.kind in (TypeKind.DATE, TypeKind.TIMESTAMP)
}
#: Both bounds of each range (manual 8.17.5), in double quotes or bare.
_BOUND = r"""\s*((?:"(?:[^"\\]|\\.|"")*"|\\.|[^"\\,()\[\]])*)"""
_RANGE = re.compile(rf"[\[(]{_BOUND},{_BOUND}[\])]", re.DOTALL)


def whole_time(type_: SqlType, text: str) -> str:
    """`text` itself, if the type holds all of it.

    Raises: ValueError, with the reason, or without one where it is no date or time in ISO 8601.
    """
    bare = text.strip()
    if type_.kind is not TypeKind.TIME and bare.lower() in _INFINITE:
        return text
    found = _PATTERNS[type_.kind].fullmatch(bare)
    if found is None:
        raise ValueError("")
    parts = found.groupdict()
    if parts.get("time"):
        raise ValueError("a date has no time of day, and it would be cut off")
    if parts["offset"] and "with time zone" not in type_.cast:
        raise ValueError("the column has no time zone, and the offset would be dropped; convert it and leave it out")
    if (parts["fraction"] or "")[6:].strip("0"):
        raise ValueError("PostgreSQL keeps six digits of a second, and would round it")
    return text


def whole_range(name: str, text: str) -> str:
    """`text` itself, if the bounds of all ranges in it are held whole.

    Raises: ValueError, with the reason.
    """
    for bounds in _RANGE.findall(text):
        for bound in bounds:
            if bare := re.sub(r'["\\]', "", bound).strip():
                try:
                    whole_time(RANGES_OF_TIMES[name], bare)
                except ValueError as refused:
                    raise ValueError(str(refused) or f"its bound {bare!r} is not written in ISO 8601") from None
    return text
