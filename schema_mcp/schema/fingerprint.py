"""A short stable digest of a table, for cursors and statement names. Pure."""

from hashlib import blake2b

from schema_mcp.schema.model import Table


def digest(table: Table) -> str:
    """16 hex digits over what a stored cursor depends on: identity, columns with their types, keys.

    Comments, defaults and rights are left out: changing them does not invalidate a page already begun.
    """
    parts: list[str] = [table.name.schema, table.name.name, table.kind]
    for column in table.columns:
        parts += [column.name, column.type.native, str(column.nullable)]
    keys = ([table.primary_key] if table.primary_key else []) + list(table.uniques)
    for key in keys:
        parts += ["key", *key.columns]
    parts += [*table.row_identity, str(table.has_children)]
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
