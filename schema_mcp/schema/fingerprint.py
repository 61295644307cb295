"""Short stable digests: of a table, for cursors, and of what a database says a relation is. Pure."""

from hashlib import blake2b

from schema_mcp.schema.model import Table


def digest(table: Table) -> str:
    """16 hex digits over what a stored cursor depends on: which relation it is, columns with their types, keys.

    Comments, defaults and rights are left out: changing them does not invalidate a page already begun.
    """
    parts: list[str] = [table.name.source, table.name.schema, table.name.name, table.kind, table.identity]
    for column in table.columns:
        parts += [column.name, column.type.native, str(column.nullable)]
    keys = ([table.primary_key] if table.primary_key else []) + list(table.uniques)
    for key in keys:
        parts += ["key", *key.columns]
    parts += [*table.row_identity, str(table.has_children)]
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def identity(text: str) -> str:
    """16 hex digits over what the database says a relation is (`Dialect.identity`)."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
