"""SQL expressions as tokens, as far as a reader of CHECK constraints has to tell them apart. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_QUOTED_NAME = r'"(?:[^"]|"")*"'
_NAME_PART = rf"(?:{_QUOTED_NAME}|\w+)"
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
    | ::\s*(?P<cast>(?:character\ varying|bit\ varying|double\ precision|{_NAME_PART}(?:\.{_NAME_PART})*)
          (?:\([\d,\ ]*\))?(?:\[\])*)
    | (?P<text>'(?:[^']|'')*')
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{{1,3}})?)(?!\w)
    | (?P<array>ARRAY\[)
    | (?P<name>{_QUOTED_NAME}|`(?:[^`]|``)*`|\[[^\]]*\])
    | (?P<word>[^\W\d][\w$]*)
    | (?P<sign><=|>=|<>|!=|==|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: the name of its group in `_TOKEN`; `text`: names and strings without their quotation marks."""

    kind: str
    text: str

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these key words, given in capitals."""
        return self.kind == "word" and self.text.upper() in words


Tokens = Sequence[Token]


def tokens(expression: str) -> Iterator[Token]:
    """Without white space. What is none of SQL's signs is a sign of one character."""
    for match in _TOKEN.finditer(expression):
        kind = match.lastgroup or ""
        if kind != "space":
            text = match[kind]
            yield Token(kind, _unquoted(text) if kind in ("text", "name") else text)


def names_in(expression: str) -> frozenset[str]:
    """Every name in the expression, quoted or not: columns, functions, key words, types."""
    names: set[str] = set()
    for token in tokens(expression):
        if token.kind == "cast":
            names.update(_unquoted(part) for part in re.findall(_NAME_PART, token.text))
        elif token.kind in ("name", "word"):
            names.add(token.text)
    return frozenset(names)


def _unquoted(text: str) -> str:
    quote = text[-1:]
    if text[:1] == "[":
        return text[1:-1]
    return text[1:-1].replace(quote * 2, quote) if text[:1] in ("'", '"', "`") else text
