"""What only the text of a definition holds: comments, CHECK constraints, collations, what makes a view take rows. Pure.

SQLite keeps the text of CREATE statements, comments included, up to the last token; ALTER TABLE edits that text in
place. The conventions here: `--` lines right after `CREATE TABLE name (`, or after the AS of a view, are about the
relation; a `--` comment that follows a column's definition on the same line is about the column.

The text is not parsed. It is gone through from mark to mark: a mark is a comment, something quoted, a parenthesis, a
comma or one of the three words that matter. That is all it takes to know what is syntax, and it is fast.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from schema_mcp.schema.model import Check, Privilege

_QUOTED = r"""'[^']*(?:''[^']*)*'|"[^"]*(?:""[^"]*)*"|`[^`]*(?:``[^`]*)*`|\[[^\]]*\]"""
_COMMENT = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
_NAME = re.compile(rf"{_QUOTED}|[^\s(),'\"`\[]+")
_MARKS = re.compile(
    rf"{_COMMENT}|{_QUOTED}|[(),]|(?<![\w$])(?:CHECK|CONSTRAINT|COLLATE)(?![\w$])", re.IGNORECASE | re.DOTALL
)
_GAP = re.compile(rf"(?:\s|{_COMMENT})+", re.DOTALL)
_GAP_OR_QUOTED = re.compile(rf"(?P<quoted>{_QUOTED})|(?:\s|{_COMMENT})+", re.DOTALL)
_TO_SQUEEZE = re.compile(r"[\t\n\f\r]|  |--|/\*")
_AS = re.compile(rf"{_COMMENT}|{_QUOTED}|(?<![\w$])(?P<word>AS)(?![\w$])", re.IGNORECASE | re.DOTALL)
_LEADING_COMMENT = re.compile(r"\s*--([^\n]*)")
#: Quoted names stand as their places in quotes.
_INSTEAD_OF = re.compile(
    r"\bINSTEAD OF (INSERT|UPDATE|DELETE)\b(?: OF\b(?P<columns>.*?)(?<![\w$])ON\b)?", re.IGNORECASE
)
_DIRECTION = re.compile(r"\s+(?:ASC|DESC)\Z", re.IGNORECASE)
_WHERE = re.compile(r"\AWHERE\b\s*", re.IGNORECASE)
_TABLE_CONSTRAINTS = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What the text of CREATE TABLE or CREATE VIEW says beyond the pragmas.

    `columns`: comments by folded name. `collations`: in capitals, by folded name, of columns that name one.
    """

    comment: str | None
    columns: Mapping[str, str]
    checks: tuple[Check, ...]
    collations: Mapping[str, str] = field(default_factory=dict)

    def collation(self, column: str) -> str:
        """By which the column is compared and ordered where nothing else is said (sqlite.org/datatype3.html 7.1)."""
        return self.collations.get(folded(column), "BINARY") if self.collations else "BINARY"


NOTHING = Definition(comment=None, columns={}, checks=())


def folded(name: str) -> str:
    """The name as SQLite compares names: without regard to the case of ASCII letters, and of no others."""
    if name.isascii():
        return name.lower()
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


@lru_cache(maxsize=2000)
def read_table(sql: str) -> Definition:
    """Comments and checks of a CREATE TABLE (not of CREATE VIRTUAL TABLE). Most texts are the same at every reading."""
    if "--" not in sql and "check" not in (lowered := sql.lower()) and "collate" not in lowered:
        return NOTHING
    reading = _Reading(sql)
    reading.go()
    return Definition(
        comment=_text(reading.about),
        columns={
            folded(name): text
            for start, end, comments, _ in reading.items
            if comments and (text := _text(comments)) and (name := reading.column_name(start, end))
        },
        checks=tuple(reading.checks),
        collations={
            folded(name): collation.upper()
            for start, end, _, collation in reading.items
            if collation and (name := reading.column_name(start, end))
        },
    )


def read_view(sql: str) -> Definition:
    """The comment of a CREATE VIEW: `--` lines right after AS."""
    start = next((mark.end() for mark in _AS.finditer(sql) if mark["word"]), len(sql)) if "--" in sql else len(sql)
    about: list[str] = []
    while comment := _LEADING_COMMENT.match(sql, start):
        about.append(comment[1])
        start = comment.end()
    return Definition(comment=_text(about), columns={}, checks=())


@lru_cache(maxsize=2000)
def read_index(sql: str) -> tuple[tuple[str, ...], str | None]:
    """What a CREATE INDEX looks for, part by part and without a direction, and the condition of a partial one."""
    marks = _MARKS.finditer(sql)
    start = next((mark.end() for mark in marks if mark[0] == "("), len(sql))
    parts: list[str] = []
    depth = 0
    for mark in marks:
        match mark[0]:
            case "(":
                depth += 1
            case ")" if depth:
                depth -= 1
            case "," | ")" if depth == 0:
                parts.append(_DIRECTION.sub("", _squeezed(sql[start : mark.start()])))
                start = mark.end()
                if mark[0] == ")":
                    predicate = _WHERE.sub("", _squeezed(sql[start:]))
                    return tuple(parts), predicate or None
    return tuple(parts), None


@dataclass(frozen=True, slots=True)
class Instead:
    """What a trigger INSTEAD OF lets a view take. `columns`: UPDATE OF these alone, folded; None: whichever."""

    privilege: Privilege
    columns: frozenset[str] | None = None


def instead_of(trigger_sql: str) -> Instead | None:
    """What a CREATE TRIGGER takes in place of a view; None where it is no trigger INSTEAD OF."""
    if "instead" not in trigger_sql.lower():
        return None
    quoted: list[str] = []

    def bare(match: re.Match[str]) -> str:
        if not match["quoted"]:
            return " "
        quoted.append(_unquoted(match["quoted"]))
        return f'"{len(quoted) - 1}"'

    found = _INSTEAD_OF.search(_GAP_OR_QUOTED.sub(bare, trigger_sql))
    if found is None:
        return None
    if found["columns"] is None:
        return Instead(Privilege(found[1].lower()))
    names = (name.strip() for name in found["columns"].split(","))
    columns = frozenset(folded(quoted[int(name[1:-1])] if name[:1] == '"' else name) for name in names)
    return Instead(Privilege(found[1].lower()), columns)


@dataclass(slots=True)
class _Reading:
    """One pass over a CREATE TABLE. An item is a column definition or a table constraint."""

    sql: str
    about: list[str] = field(default_factory=list)
    #: (start, end, comments, collation) of each.
    items: list[tuple[int, int, list[str], str | None]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    #: Where the present item begins, and the comments on its lines.
    item_start: int = 0
    comments: list[str] = field(default_factory=list)
    #: The last that the present item names.
    collation: str | None = None
    #: The comments of the item before: one that follows a comma is still about it. None before the first.
    comments_before: list[str] | None = None

    def go(self) -> None:
        marks = _MARKS.finditer(self.sql)
        self.item_start = next((mark.end() for mark in marks if mark[0] == "("), len(self.sql))
        depth, constraint_end = 0, -1
        check_start = -1
        for mark in marks:
            text, start = mark[0], mark.start()
            match text[0]:
                case "-":
                    self._comment(text, start, mark.end())
                case "(":
                    depth += 1
                case ")":
                    depth -= 1
                    if depth < 0:
                        self._end_item(start)
                        return
                    if depth == 0 and check_start >= 0:
                        self._check(constraint_end, check_start, start)
                        check_start = constraint_end = -1
                case "," if depth == 0:
                    self._end_item(start)
                    self.item_start = mark.end()
                case "c" | "C" if depth == 0:
                    match text.upper():
                        case "CHECK":
                            check_start = mark.end()
                        case "CONSTRAINT":
                            constraint_end = mark.end()
                        case _:
                            self._collate(mark.end())

    def _comment(self, text: str, start: int, end: int) -> None:
        before_item = self._first_token(self.item_start, start) == start
        if before_item:
            self.item_start = end
            if self.comments_before is None:
                self.about.append(text)
                return
        line_start = self.sql.rfind("\n", 0, start) + 1
        if self.sql[line_start:start].strip(" \t\f\r,"):
            owner = self.comments_before if before_item and self.comments_before is not None else self.comments
            owner.append(text)

    def _end_item(self, end: int) -> None:
        self.items.append((self.item_start, end, self.comments, self.collation))
        self.comments_before, self.comments, self.collation = self.comments, [], None

    def column_name(self, start: int, end: int) -> str | None:
        """The column that the item defines; None for a table constraint."""
        name = _NAME.match(self.sql, self._first_token(start, end), end)
        return _unquoted(name[0]) if name and name[0].upper() not in _TABLE_CONSTRAINTS else None

    def _first_token(self, start: int, end: int) -> int:
        """Where the first token after `start` stands; `end` if there is none before it."""
        gap = _GAP.match(self.sql, start, end)
        return gap.end() if gap else start

    def _collate(self, start: int) -> None:
        name = _NAME.match(self.sql, self._first_token(start, len(self.sql)))
        self.collation = _unquoted(name[0]) if name else None

    def _check(self, constraint_end: int, check_start: int, end: int) -> None:
        """`CONSTRAINT name CHECK (...)`: where more than a name stands between the words, it names something else."""
        name = None
        if constraint_end >= 0:
            named = _NAME.fullmatch(_squeezed(self.sql[constraint_end : check_start - len("CHECK")]))
            name = _unquoted(named[0]) if named else None
        self.checks.append(Check(name=name, expression=_squeezed(self.sql[check_start:end].partition("(")[2])))


def _squeezed(text: str) -> str:
    """With one space where there was white space or a comment."""
    if not _TO_SQUEEZE.search(text):
        return text.strip()
    return _GAP_OR_QUOTED.sub(lambda match: match["quoted"] or " ", text).strip()


def _unquoted(name: str) -> str:
    quote = name[-1]
    if name[0] == "[":
        return name[1:-1]
    return name[1:-1].replace(quote * 2, quote) if name[0] in "'\"`" else name


def _text(comments: Sequence[str]) -> str | None:
    return " ".join(filter(None, (comment.lstrip("-").strip() for comment in comments))) or None
