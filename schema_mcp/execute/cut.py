"""One row that alone is larger than an answer may be, its longest values shortened. Pure; knows no database.

The other values stay as they are written: to read and to write them again would change numbers, and fails at what JSON
text may hold and Python's readers do not (`1e400`, half a surrogate pair).
"""

import json

from schema_mcp.dialects.documents import members as split

#: A value is not cut to fewer characters.
LEAST_CHARACTERS = 20


def cut(row: bytes, max_bytes: int) -> tuple[bytes, tuple[str, ...]]:
    """The JSON object within `max_bytes`, as far as that goes, and the names of members that became shorter strings."""
    members = split(row.decode())
    excess = len(row) - max_bytes
    shortened: list[str] = []
    for name in sorted(members, key=lambda name: -len(members[name].encode())):
        if excess <= 0:
            break
        size = len(members[name].encode())
        members[name] = _shortened(members[name], size - excess)
        excess -= size - len(members[name].encode())
        shortened.append(name)
    written = ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items())
    return f"{{{written}}}".encode(), tuple(shortened)


def _shortened(value: str, room: int) -> str:
    """The beginning of a JSON value as a JSON string of at most `room` characters, if `LEAST_CHARACTERS` let it."""
    text: str = json.loads(value) if value.startswith('"') else value
    text = text[: max(LEAST_CHARACTERS, room)]
    while len(written := json.dumps(text)) > room and len(text) > LEAST_CHARACTERS:
        text = text[: max(LEAST_CHARACTERS, len(text) * max(room, 0) // len(written) - 1)]
    return written
