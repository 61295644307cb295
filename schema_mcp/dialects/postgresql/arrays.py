"""PostgreSQL's array literal (manual 8.15.2 and 8.15.6), written and taken apart. Pure text; it knows no elements."""

import re
from collections.abc import Iterator
from typing import TypeAlias

#: The elements of one dimension, or the inner dimensions, in their order.
Tree: TypeAlias = "list[str | Tree | None]"

#: An element: in double quotes with backslashes, or bare; else a mark. Bounds stand in front: `[2:3][-1:0]={...}`.
_BOUNDS = re.compile(r"\s*(?:\[[-+]?[0-9]+(?::[-+]?[0-9]+)?\]\s*)+=")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_PARTS = {
    delimiter: re.compile(rf'"((?:[^"\\]|\\.)*)"|([{{}}{delimiter}])|((?:[^"{{}}{delimiter}\\]|\\.)+)', re.DOTALL)
    for delimiter in ",;"
}


def written(parts: list[str], delimiter: str) -> str:
    """The literal of elements and literals of inner dimensions that are written already."""
    return "{" + delimiter.join(parts) + "}"


def quoted(text: str) -> str:
    """An element in double quotes, so that it is itself whatever it holds, and never null."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def leaves(literal: str, delimiter: str) -> Iterator[str]:
    """The texts of the elements of all dimensions that are not null, in their order.

    Of a literal that PostgreSQL refuses, whatever looks like one.
    """
    bounds = _BOUNDS.match(literal)
    for part in _PARTS[delimiter].finditer(literal, bounds.end() if bounds else 0):
        quoted_text, mark, bare = part.groups()
        if quoted_text is not None:
            yield _ESCAPED.sub(r"\1", quoted_text)
        elif mark is None and (text := bare.strip()) and text.upper() != "NULL":
            yield _ESCAPED.sub(r"\1", text)


def tree(literal: str, delimiter: str) -> Tree:
    """The elements of a literal that PostgreSQL has written, without bounds in front."""
    open_: list[Tree] = [[]]
    for part in _PARTS[delimiter].finditer(literal):
        quoted_text, mark, bare = part.groups()
        if mark == "{":
            open_.append([])
        elif mark == "}":
            inner = open_.pop()
            open_[-1].append(inner)
        elif quoted_text is not None:
            open_[-1].append(_ESCAPED.sub(r"\1", quoted_text))
        elif bare is not None:
            open_[-1].append(None if bare == "NULL" else _ESCAPED.sub(r"\1", bare))
    (whole,) = open_[0]
    assert isinstance(whole, list)
    return whole
