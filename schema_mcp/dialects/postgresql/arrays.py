"""PostgreSQL's array literal (manual 8.15.2 and 8.15.6), written and taken apart. Pure text; it knows no elements."""

import re
from collections.abc import Iterator

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
