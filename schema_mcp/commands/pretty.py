"""JSON text with line breaks and indentation, every value as it was written: no digit passes through a float."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def pretty(text: str) -> str:
    """Valid JSON text, indented by two spaces; empty objects and arrays stay closed."""
    return "".join(_pieces(_TOKEN.findall(text)))


def _pieces(tokens: list[str]) -> Iterator[str]:
    depth = 0
    for index, token in enumerate(tokens):
        match token:
            case "{" | "[":
                yield token
                if tokens[index + 1] not in "}]":
                    depth += 1
                    yield "\n" + "  " * depth
            case "}" | "]":
                if tokens[index - 1] not in "{[":
                    depth -= 1
                    yield "\n" + "  " * depth
                yield token
            case ",":
                yield ",\n" + "  " * depth
            case ":":
                yield ": "
            case _:
                yield token
