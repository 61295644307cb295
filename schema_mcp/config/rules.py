"""A rule of `access.rules`: "<table>: <mode>" or "<table>(<column>): <mode>". Pure.

The parentheses are those of SQL's GRANT SELECT (column) ON table: a dot could not tell `table.column` from
`schema.table`.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches

#: What a rule may leave, from nothing to everything.
MODES = ("none", "read", "insert", "write")

_RULE = re.compile(r"(?P<table>[^()]+?)\s*(?:\((?P<column>[^()]+)\))?\s*:\s*(?P<mode>[^:()]*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """`table` and `column` are shell patterns; `column` None: the rule is about the table. `mode`: one of `MODES`."""

    table: str
    column: str | None
    mode: str


def parse_rule(text: str) -> AccessRule:
    """Raises: ValueError, with what is wrong and the form that is right."""
    found = _RULE.match(text.strip())
    if found is None:
        raise ValueError(f"takes rules like 'orders: read' or 'users(ssn): none', got {text!r}")
    mode = found["mode"].strip().lower()
    if mode not in MODES:
        close = get_close_matches(mode, MODES, n=1)
        suggestion = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"{text!r} ends in a mode, one of {', '.join(MODES)}, got {mode!r}{suggestion}")
    column = found["column"]
    return AccessRule(table=found["table"].strip(), column=column.strip() if column is not None else None, mode=mode)
