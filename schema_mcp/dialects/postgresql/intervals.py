"""Intervals and money as PostgreSQL reads them: what it would round or cut without a word is refused. Pure.

It reads fractions of any unit and rounds them to whole months and microseconds (manual 8.5.4), drops what a column of
`interval year to month` or `interval(0)` does not keep, and rounds money to whole cents (manual 8.2).
"""

import re
from collections.abc import Mapping
from fractions import Fraction

from schema_mcp.schema.types import SqlType

_SECOND = Fraction(10**6)
_DAY = 86_400 * _SECOND
#: Per unit as it begins: months, days and microseconds of one.
_Parts = tuple[Fraction, Fraction, Fraction]
_NOTHING = Fraction(0)


def _months(count: int) -> _Parts:
    return Fraction(count), _NOTHING, _NOTHING


def _days(count: int) -> _Parts:
    return _NOTHING, Fraction(count), _NOTHING


def _time(microseconds: Fraction) -> _Parts:
    return _NOTHING, _NOTHING, microseconds


_HOUR, _MINUTE = _time(3600 * _SECOND), _time(60 * _SECOND)
#: Abbreviations as in PostgreSQL's src/backend/utils/adt/datetime.c, deltatktbl.
_UNITS: Mapping[str, _Parts] = {
    **dict.fromkeys(("millennium", "millennia", "mil", "mils"), _months(12_000)),
    **dict.fromkeys(("century", "centuries", "cent", "c"), _months(1200)),
    **dict.fromkeys(("decade", "decades", "dec", "decs"), _months(120)),
    **dict.fromkeys(("year", "years", "yr", "yrs", "y"), _months(12)),
    **dict.fromkeys(("month", "months", "mon", "mons"), _months(1)),
    **dict.fromkeys(("week", "weeks", "w"), _days(7)),
    **dict.fromkeys(("day", "days", "d"), _days(1)),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), _HOUR),
    **dict.fromkeys(("minute", "minutes", "min", "mins", "m"), _MINUTE),
    **dict.fromkeys(("second", "seconds", "sec", "secs", "s"), _time(_SECOND)),
    **dict.fromkeys(
        ("millisecond", "milliseconds", "msec", "msecs", "msecond", "mseconds", "ms"), _time(Fraction(1000))
    ),
    **dict.fromkeys(("microsecond", "microseconds", "usec", "usecs", "useconds", "us"), _time(Fraction(1))),
}
_ISO_DATE = {"y": _months(12), "m": _months(1), "w": _days(7), "d": _days(1)}
_ISO_TIME = {"h": _HOUR, "m": _MINUTE, "s": _time(_SECOND)}

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_ISO = re.compile(rf"p((?:{_NUMBER}[ymwd])*)(?:t((?:{_NUMBER}[hms])+))?")
_ISO_PART = re.compile(rf"({_NUMBER})([a-z])")
_PART = re.compile(
    rf"\s*(?:(?P<sign>[-+]?)(?P<hours>[0-9]+):(?P<minutes>[0-9]+)(?::(?P<seconds>[0-9]+(?:\.[0-9]*)?))?"
    rf"|(?P<years>[-+]?[0-9]+)-(?P<months>[0-9]+)"
    rf"|(?P<number>{_NUMBER})\s*(?P<unit>[a-z]*))(?=[\s+-]|\Z|(?<=[a-z])[0-9])"
)
_FINEST = re.compile(r"(year|month|day|hour|minute|second)\s*(?:\(|\Z)")
_DIGITS = re.compile(r"\(([0-6])\)")
_ROUNDED = "an interval has whole months and six digits of a second, and it would be rounded"


def whole_interval(type_: SqlType, text: str) -> str:
    """`text` itself, if the type holds all of it.

    Raises: ValueError, with the reason, where PostgreSQL would round it or cut fields off.
    """
    bare = text.strip().lower()
    finest, digits = _FINEST.search(type_.modified), _DIGITS.search(type_.modified)
    found = _read(bare)
    if found is None:
        if finest or digits or "." in bare:
            raise ValueError("write it like '1 year 2 mons -3 days 04:05:06.7', or as ISO 8601 does")
        return text  # `infinity`, or what PostgreSQL refuses
    if any(part.denominator != 1 for part in found):
        raise ValueError(_ROUNDED)
    months, days, microseconds = found
    unit = finest[1] if finest else "second"
    step = {"hour": 3600 * 10**6, "minute": 60 * 10**6}.get(unit, 10 ** (6 - int(digits[1])) if digits else 1)
    coarse = unit in ("year", "month", "day")
    if (
        microseconds % step
        or (coarse and microseconds)
        or (unit in ("year", "month") and days)
        or (unit == "year" and months % 12)
    ):
        raise ValueError(f"the column is {type_.modified}, and would cut off what is finer")
    return text


def whole_money(text: str) -> str:
    """`text` itself. Raises: ValueError if it has fractions of a cent."""
    _, _, fraction = text.partition(".")
    if re.sub("[^0-9]", "", fraction)[2:].strip("0"):
        raise ValueError("money has two digits after the point, and it would be rounded")
    return text


def _read(text: str) -> _Parts | None:
    """Months, days and microseconds, as PostgreSQL adds them up; None where it is not written in the usual forms."""
    if found := _ISO.fullmatch(text):
        dates = _ISO_PART.findall(found[1])
        return _sum([(number, _ISO_DATE[unit]) for number, unit in dates] + _times(found[2] or ""))
    parts: list[tuple[str, _Parts]] = []
    rest = text.removesuffix("ago").rstrip().removeprefix("@")
    at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or part.end() == at or (part["unit"] and part["unit"] not in _UNITS):
            return None
        at = part.end()
        if part["years"]:
            parts += [(part["years"], _UNITS["years"]), (part["months"], _UNITS["months"])]
        elif part["number"]:
            # A number alone is seconds, but days in front of a time (`3 04:05`).
            parts.append((part["number"], _UNITS[part["unit"] or ("seconds" if at == len(rest) else "days")]))
        else:
            sign = part["sign"]
            parts += [(sign + part["hours"], _HOUR), (sign + part["minutes"], _MINUTE)]
            parts.append((sign + (part["seconds"] or "0"), _time(_SECOND)))
    return _sum(parts) if parts else None


def _times(text: str) -> list[tuple[str, _Parts]]:
    return [(number, _ISO_TIME[unit]) for number, unit in _ISO_PART.findall(text)]


def _sum(parts: list[tuple[str, _Parts]]) -> _Parts:
    """Fractions of a unit go on as PostgreSQL has it: of a month as 30 days a month, of a day as 24 hours."""
    months = days = microseconds = _NOTHING
    for number, (in_months, in_days, in_microseconds) in parts:
        count = Fraction(number)
        part_months = count * in_months
        if in_months == 1:
            whole = Fraction(int(part_months))
            part_days = (part_months - whole) * 30
            part_months = whole
        else:
            part_days = count * in_days
        whole_days = Fraction(int(part_days))
        months += part_months
        days += whole_days
        microseconds += count * in_microseconds + (part_days - whole_days) * _DAY
    return months, days, microseconds
