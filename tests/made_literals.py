"""Literals of the types that are made of others: ranges, composites, arrays."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.array_literals import write
from tests.literals import DATE_FIELDS, DAY, NUMERIC, Generator, Strategy, clock, date, moment

#: What puts two values of a range's subtype in order. Other subtypes have ranges with one bound, or with one value.
_DAYS = st.builds(date, st.integers(1, 9999), DATE_FIELDS)
_ORDERED: Mapping[str, tuple[Strategy, Callable[[str], Any]]] = {
    "int4": (st.integers(-(2**31), 2**31 - 2).map(str), int),
    "int8": (st.integers(-(2**63), 2**63 - 2).map(str), int),
    "numeric": (NUMERIC, Decimal),
    "float8": (st.floats(allow_nan=False).map(repr), float),
    "date": (_DAYS, str),
    "timestamp": (st.builds(moment, _DAYS, st.integers(0, DAY - 1).map(clock)), str),
    "timestamptz": (st.builds(moment, _DAYS, st.integers(0, DAY - 1).map(clock), st.just("+00")), str),
}


def _bound(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def range_of(typname: str, bounds: Generator) -> Generator:
    """`typname`: of the subtype."""
    values = bounds.others
    made: Strategy = st.builds("[{},)".format, values.map(_bound)) | st.builds("(,{})".format, values.map(_bound))
    if typname in _ORDERED:
        values, key = _ORDERED[typname]
        pairs = st.tuples(values, values).map(lambda pair: sorted(pair, key=key))
        made |= st.builds(
            lambda pair, opened, closed: f"{opened}{_bound(pair[0])},{_bound(pair[1])}{closed}",
            pairs,
            st.sampled_from("[("),
            st.sampled_from("])"),
        )
    else:
        made = values.map(lambda value: f"[{_bound(value)},{_bound(value)}]")
    return Generator(("empty", "(,)"), made)


def multirange_of(ranges: Generator) -> Generator:
    return Generator(("{}", "{(,)}"), st.lists(ranges.others, max_size=3).map(lambda some: "{" + ",".join(some) + "}"))


def _attribute(text: str | None) -> str:
    return "" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'


def composite_of(attributes: list[Generator]) -> Generator:
    """Also with attributes that are null, or empty."""

    def write(texts: Any) -> str:
        return "(" + ",".join(map(_attribute, texts)) + ")"

    longest = max(len(attribute.edges) for attribute in attributes)
    edges = [
        write([attribute.edges[index % len(attribute.edges)] if attribute.edges else None for attribute in attributes])
        for index in range(longest)
    ]
    others = st.tuples(*[st.none() | attribute.others for attribute in attributes]).map(write)
    return Generator((write([None] * len(attributes)), *edges), others)


def arrays_of(items: Generator, delimiter: str) -> Generator:
    """One and two dimensions, lower bounds, nulls, nothing."""
    edges = ["{}", write([None], delimiter), write([*items.edges, None], delimiter)]
    edges += [
        f"[{low}:{low + len(items.edges) - 1}]={write(list(items.edges), delimiter)}" for low in (0, -2) if items.edges
    ]
    edges += [write([[edge, None], [None, edge]], delimiter) for edge in items.edges[:2]]
    inner = st.none() | items.others
    flat = st.lists(inner, max_size=4)
    grid = st.tuples(st.integers(1, 3), st.integers(1, 2)).flatmap(
        lambda size: st.lists(st.lists(inner, min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0])
    )
    return Generator(tuple(edges), (flat | grid).map(lambda value: write(value, delimiter)))
