"""Words to look for, as PostgreSQL's websearch_to_tsquery reads them, as a query of FTS5 (sqlite.org/fts5.html 3).

`red apple`: both; `"red apple"`: one after the other; `or` between two; `-red`: not that. Every word becomes an FTS5
string in double quotes, so that nothing in it is taken for a sign of FTS5's own. Pure text.
"""

import re
from dataclasses import dataclass, field

_PART = re.compile(r'(-?)"([^"]*)"?|(\S+)')


@dataclass(slots=True)
class _Alternative:
    wanted: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)


def query(text: str) -> str:
    """The query. What holds neither letter nor digit is passed over, as both databases do.

    Raises: ValueError where nothing would be left to look for.
    """
    alternatives = [_Alternative()]
    for minus, phrase, word in _PART.findall(text):
        if word.lower() == "or":
            alternatives.append(_Alternative())
            continue
        refused = bool(minus) or word.startswith("-")
        said = phrase or word.removeprefix("-")
        if any(letter.isalnum() for letter in said):
            (alternatives[-1].unwanted if refused else alternatives[-1].wanted).append(_string(said))
    made = [_written(alternative) for alternative in alternatives if alternative.wanted or alternative.unwanted]
    if not made:
        raise ValueError("there is no word in it to look for")
    return " OR ".join(made)


def _written(alternative: _Alternative) -> str:
    if not alternative.wanted:
        raise ValueError("SQLite needs a word that is there besides those that are not")
    wanted = " AND ".join(alternative.wanted)
    unwanted = "".join(f" NOT {word}" for word in alternative.unwanted)
    return f"(({wanted}){unwanted})"


def _string(text: str) -> str:
    return '"' + text.replace("\0", " ").replace('"', '""') + '"'
