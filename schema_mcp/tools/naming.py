"""Names that every client takes: of tools, of tables in arguments, of columns as property keys. Pure.

A tool's name is a function of the relation's own identity, so adding a table never renames another tool. The legal
alphabets are those of the strictest hosts and model interfaces: tools `[A-Za-z0-9_]{1,48}`, property keys
`[A-Za-z0-9_-]{1,64}`.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from hashlib import blake2b

from schema_mcp.schema.model import Table, TableName

#: Longest slug: `insert_` and 40 characters stay below 48.
MAX_SLUG = 40

#: Slugs that would collide with the tools that are always there (`query_rows`, `insert_rows`, ...).
RESERVED_SLUGS = frozenset({"rows"})

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*\Z")
_HASHED = re.compile(r".*_([0-9a-f]{12}|[0-9a-f]{20})\Z")
_LEGAL_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ILLEGAL = re.compile(r"[^A-Za-z0-9]+")


def slug(name: TableName, default_schema: str, *, hash_digits: int = 12) -> str:
    """The part of a tool's name that stands for the relation: at most `MAX_SLUG` characters of `[A-Za-z0-9_]`.

    Plain names of the default schema stand for themselves, those of other schemas as `schema__table`; everything else
    is shortened and gets a hash of its identity, in a form that no plain name can have.
    """
    parts = [name.name] if name.schema == default_schema else [name.schema, name.name]
    plain = "__".join(parts)
    if all(_is_plain(part) for part in parts) and _may_be_slug(plain):
        return plain
    stem = _ILLEGAL.sub("_", plain).strip("_")[: MAX_SLUG - hash_digits - 1] or "t"
    identity = f"{name.schema}\0{name.name}"
    return f"{stem}_{_hash(identity, hash_digits)}"


def slugs(tables: Iterable[TableName], default_schema: str) -> dict[TableName, str]:
    """The slug of each table; should two hashes ever be equal, both are lengthened.

    That alone depends on what else there is. Among 10,000 names that need a hash its chance is 1 in 5 million.
    """
    chosen = {name: slug(name, default_schema) for name in tables}
    owners: dict[str, list[TableName]] = {}
    for name, text in chosen.items():
        owners.setdefault(text, []).append(name)
    for rivals in owners.values():
        if len(rivals) > 1:
            chosen |= {name: slug(name, default_schema, hash_digits=20) for name in rivals}
    return chosen


def display_name(name: TableName, default_schema: str) -> str:
    """How a table is called in arguments and answers: `orders`, `sales.orders`; quoted where a dot would mislead."""
    own = _quoted(name.name)
    return own if name.schema == default_schema else f"{_quoted(name.schema)}.{own}"


def column_keys(table: Table) -> dict[str, str]:
    """The property key of each column, by column name: its name, or an alias where that is no legal key."""
    taken = {column.name for column in table.columns if _LEGAL_KEY.match(column.name)}
    keys: dict[str, str] = {}
    for column in table.columns:
        key = column.name
        digits = 8
        while not _LEGAL_KEY.match(key) or (key != column.name and key in taken):
            stem = _ILLEGAL.sub("_", column.name).strip("_")[:40] or "column"
            key = f"{stem}_{_hash(column.name, digits)}"
            digits += 2
        taken.add(key)
        keys[column.name] = key
    return keys


def is_key(name: str) -> bool:
    """Whether it may be a property key as it is."""
    return bool(_LEGAL_KEY.match(name))


def near(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest of `known`, else the empty string."""
    folded: Mapping[str, str] = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower()[:200], list(folded), n=1, cutoff=0.6)
    return f" Did you mean '{folded[found[0]]}'?" if found else ""


def _is_plain(part: str) -> bool:
    return bool(_PLAIN.match(part)) and "__" not in part


def _may_be_slug(plain: str) -> bool:
    return len(plain) <= MAX_SLUG and plain not in RESERVED_SLUGS and not _HASHED.match(plain)


def _quoted(part: str) -> str:
    if "." in part or '"' in part:
        escaped = part.replace('"', '""')
        return f'"{escaped}"'
    return part


def _hash(text: str, digits: int) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()[:digits]
