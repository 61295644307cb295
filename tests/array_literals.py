"""PostgreSQL's array literals (manual 8.15.2), written and read for the tests: not by the program's own code."""

from typing import Any


def write(elements: list[Any], delimiter: str = ",") -> str:
    """Nested lists are dimensions, None is NULL, strings are elements."""
    parts = []
    for element in elements:
        match element:
            case None:
                parts.append("NULL")
            case list():
                parts.append(write(element, delimiter))
            case _:
                parts.append('"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + delimiter.join(parts) + "}"


def parse(literal: str, delimiter: str = ",") -> list[Any] | None:
    """The reverse; None for an array with lower bounds."""
    if not literal.startswith("{"):
        return None
    stack: list[list[Any]] = [[]]
    at = 0
    while at < len(literal):
        character = literal[at]
        at += 1
        if character == "{":
            stack.append([])
        elif character == "}":
            done = stack.pop()
            stack[-1].append(done)
        elif character == '"':
            text = ""
            while literal[at] != '"':
                at += literal[at] == "\\"
                text += literal[at]
                at += 1
            at += 1
            stack[-1].append(text)
        elif character != delimiter:
            end = at
            while literal[end] not in delimiter + "{}":
                end += 1
            bare = literal[at - 1 : end]
            stack[-1].append(None if bare == "NULL" else bare)
            at = end
    ((array,),) = stack
    return list(array)
