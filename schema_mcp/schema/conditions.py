"""Reading the condition of a CHECK as rules for single columns. Pure.

Read are the forms that PostgreSQL's pg_get_expr prints and the usual spellings of SQLite's DDL: comparisons with
literals, IN, `= ANY (ARRAY[...])`, BETWEEN, lengths, joined by AND; by OR only where all of it allows words to one
column or lets null through. Of an AND, each part that is understood holds by itself. Whatever else stands there says
nothing here: a rule is never narrower than the check (for null a check is not false, and lets it through).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from schema_mcp.schema.rules import Rule, whole_maximum, whole_minimum
from schema_mcp.schema.tokens import Token, Tokens
from schema_mcp.schema.tokens import tokens as split

#: Longer and deeper conditions are not looked into.
MAX_TOKENS = 2_000
MAX_DEPTH = 50

_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TEXTS = frozenset({"text", "character varying", "bpchar"})
#: Casts that leave a column's value what it is.
_WIDENING = frozenset({"text", "character varying", "numeric", "double precision"})
_LENGTHS = frozenset({"length", "char_length", "character_length"})
#: What a comparison says with its sides exchanged.
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>"}
_SPELLINGS = {"==": "=", "!=": "<>"}


@lru_cache(maxsize=1000)  # many tables say the same, and so does a table that is read again
def read(condition: str) -> Mapping[str, Rule]:
    """What the condition says of each column, by the name that stands there."""
    found = tuple(split(condition))
    if not found or len(found) > MAX_TOKENS or _depth(found) > MAX_DEPTH:
        return {}
    return _conjunction(found)


class _NotUnderstood(Exception):
    """The condition has another form."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A side of a comparison: a column, or the number of its characters."""

    name: str
    length: bool = False


_Side = _Column | str | Decimal


def _conjunction(tokens: Tokens) -> Mapping[str, Rule]:
    tokens = _bare(tokens)
    alternatives = _split(tokens, "OR")
    if len(alternatives) > 1:
        return _disjunction(alternatives)
    parts = _split(tokens, "AND")
    if len(parts) == 1:
        try:
            return _Comparison(tokens).read()
        except _NotUnderstood:
            return {}
    found: dict[str, Rule] = {}
    for part in parts:
        for name, rule in _conjunction(part).items():
            found[name] = found.get(name, Rule()).and_(rule)
    return found


def _disjunction(alternatives: Sequence[Tokens]) -> Mapping[str, Rule]:
    """`x IS NULL OR ...`, `x = 'a' OR x = 'b'`: only about one column, and all of it understood."""
    nulls, read_ones = set(), []
    for alternative in alternatives:
        tokens = _bare(alternative)
        if len(tokens) == 3 and tokens[1].is_word("IS") and tokens[2].is_word("NULL"):
            nulls.add(tokens[0].text)
        else:
            read_ones.append(_conjunction(tokens))
    names = nulls.union(*read_ones)
    if len(names) != 1 or not all(read_ones) or not read_ones:
        return {}
    (name,) = names
    if len(read_ones) == 1:
        return read_ones[0]
    words = [rule.values for one in read_ones for rule in one.values()]
    values = tuple(dict.fromkeys(value for some in words if some is not None for value in some))
    return {name: Rule(values=values)} if all(some is not None for some in words) else {}


def _bare(tokens: Tokens) -> Tokens:
    """Without parentheses around the whole."""
    while len(tokens) > 2 and tokens[0] == Token("sign", "(") and _closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _depth(tokens: Tokens) -> int:
    depth = deepest = 0
    for token in tokens:
        if token.kind == "sign" and token.text in "()":
            depth += 1 if token.text == "(" else -1
            deepest = max(deepest, depth)
    return deepest


def _closing(tokens: Tokens, opening: int) -> int:
    depth = 0
    for position in range(opening, len(tokens)):
        token = tokens[position]
        if token.kind == "sign" and token.text in "()":
            depth += 1 if token.text == "(" else -1
            if depth == 0:
                return position
    return -1


def _split(tokens: Tokens, word: str) -> list[Tokens]:
    """At the words that stand in no parentheses; the AND of a BETWEEN is none."""
    parts: list[Tokens] = []
    start = depth = betweens = 0
    for position, token in enumerate(tokens):
        if token.kind == "sign" and token.text in "()":
            depth += 1 if token.text == "(" else -1
        elif depth == 0 and token.is_word("BETWEEN"):
            betweens += 1
        elif depth == 0 and token.is_word("AND") and betweens:
            betweens -= 1
        elif depth == 0 and token.is_word(word):
            parts.append(tokens[start:position])
            start = position + 1
    return [*parts, tokens[start:]]


class _Comparison:
    """Reads one comparison from its first token to its last."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._at = 0

    def read(self) -> Mapping[str, Rule]:
        """Raises: _NotUnderstood."""
        left = self._side()
        if self._takes_word("IN"):
            said = self._among(left, self._list("(", ")"))
        elif self._takes_word("BETWEEN"):
            low = self._side()
            if not self._takes_word("AND"):
                raise _NotUnderstood
            said = _compared(left, ">=", low).and_(_compared(left, "<=", self._side()))
        else:
            sign = self._take("sign").text
            sign = _SPELLINGS.get(sign, sign)
            if sign == "=" and self._takes_word("ANY"):
                said = self._among(left, self._any())
            else:
                right = self._side()
                if not isinstance(left, _Column):
                    left, sign, right = right, _MIRRORED.get(sign, ""), left
                said = _compared(left, sign, right)
        if self._at != len(self._tokens) or not isinstance(left, _Column):
            raise _NotUnderstood
        return {left.name: said}

    def _among(self, left: _Side, values: list[_Side]) -> Rule:
        if not isinstance(left, _Column) or left.length:
            raise _NotUnderstood
        if values and all(isinstance(value, Decimal) for value in values):
            numbers = [value for value in values if isinstance(value, Decimal)]
            return Rule(minimum=min(numbers), maximum=max(numbers))
        return Rule(values=tuple(dict.fromkeys(_text(value) for value in values)))

    def _side(self) -> _Side:
        """A column, the length of one, or a literal, each in any number of parentheses and with casts."""
        token = self._take()
        side: _Side
        if token == Token("sign", "("):
            side = self._side()
            self._take("sign", ")")
        elif token.kind == "sign" and token.text in "+-":
            side = self._number().copy_negate() if token.text == "-" else self._number()
        elif token.kind == "number":
            side = Decimal(token.text)
        elif token.kind == "text":
            side = token.text
        elif token.kind == "word" and token.text.lower() in _LENGTHS and self._next() == Token("sign", "("):
            inner = self._side()
            if not isinstance(inner, _Column):
                raise _NotUnderstood
            side = _Column(inner.name, length=True)
        elif token.kind in ("name", "word") and self._next() != Token("sign", "("):
            side = _Column(token.text)
        else:
            raise _NotUnderstood
        while (following := self._next()) is not None and following.kind == "cast":
            side = _cast(side, self._take("cast").text)
        return side

    def _number(self) -> Decimal:
        return Decimal(self._take("number").text)

    def _any(self) -> list[_Side]:
        """`(ARRAY[...])`, in parentheses and with casts as PostgreSQL prints them."""
        self._take("sign", "(")
        following = self._next()
        if following is not None and following.kind == "array":
            self._at += 1
            values = self._items("]")
        else:
            values = self._any()
        while (following := self._next()) is not None and following.kind == "cast":
            self._take_array_cast()
        self._take("sign", ")")
        return values

    def _take_array_cast(self) -> None:
        if self._take("cast").text.removesuffix("[]") not in _TEXTS:
            raise _NotUnderstood

    def _list(self, opening: str, closing: str) -> list[_Side]:
        self._take("sign", opening)
        return self._items(closing)

    def _items(self, closing: str) -> list[_Side]:
        values = [self._side()]
        while self._take("sign") != Token("sign", closing):
            if self._tokens[self._at - 1].text != ",":
                raise _NotUnderstood
            values.append(self._side())
        if any(isinstance(value, _Column) for value in values):
            raise _NotUnderstood
        return values

    def _next(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, kind: str | None = None, text: str | None = None) -> Token:
        token = self._next()
        if token is None or (kind is not None and token.kind != kind) or (text is not None and token.text != text):
            raise _NotUnderstood
        self._at += 1
        return token

    def _takes_word(self, word: str) -> bool:
        token = self._next()
        found = token is not None and token.is_word(word)
        self._at += found
        return found


def _cast(side: _Side, type_: str) -> _Side:
    """The side as the cast leaves it. A modifier may cut it; a text may become a number, or an enum's label."""
    if "(" in type_ or type_.endswith("[]"):
        raise _NotUnderstood
    match side:
        case _Column():
            if type_ not in _WIDENING:
                raise _NotUnderstood
            return side
        case Decimal():
            if type_ not in _NUMBERS:
                raise _NotUnderstood
            return side
    if type_ in _NUMBERS:
        if not re.fullmatch(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", side):
            raise _NotUnderstood
        return Decimal(side)
    if type_.rpartition(".")[2] in ("citext", "name", '"char"'):
        raise _NotUnderstood  # equal to more than the word itself, or cut
    return side


def _compared(left: _Side, sign: str, right: _Side) -> Rule:
    if not isinstance(left, _Column) or isinstance(right, _Column):
        raise _NotUnderstood
    match sign, right:
        case "=", str() if not left.length:
            return Rule(values=(right,))
        case "<>", "" if not left.length:
            return Rule(min_length=1)
        case (("<" | "<=" | ">" | ">=" | "="), Decimal()):
            bounds = _bounds(sign, right)
            return _lengths(bounds) if left.length else bounds
    raise _NotUnderstood


def _bounds(sign: str, number: Decimal) -> Rule:
    match sign:
        case ">" | ">=":
            return Rule(minimum=number, above_minimum=sign == ">")
        case "<" | "<=":
            return Rule(maximum=number, below_maximum=sign == "<")
    return Rule(minimum=number, maximum=number)


def _lengths(bounds: Rule) -> Rule:
    least = whole_minimum(bounds)
    return Rule(
        min_length=least if least is not None and least > 0 else None,
        max_length=max(0, most) if (most := whole_maximum(bounds)) is not None else None,
    )


def _text(value: _Side) -> str:
    if not isinstance(value, str):
        raise _NotUnderstood
    return value
