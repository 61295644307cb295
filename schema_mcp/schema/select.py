"""Which relations of a source are served: include and exclude patterns. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

#: The schema of the server's own store (`state.store`), where that is in a PostgreSQL database.
OWN_SCHEMA = "schema_mcp"
#: The opt-in table of idempotency keys; on SQLite it is among the others.
OWN_TABLE = "schema_mcp_idempotency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Shell patterns (`*`, `?`, `[..]`) over `table` or `schema.table`; case counts.

    `schemas`: the database schemas to read, empty for those on the search path. `include` empty means all; `exclude`
    wins over `include`. `hide_columns`: patterns over `column`, `table.column` or `schema.table.column`; for them case
    does not count (see `schema.hide`).
    """

    schemas: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hide_columns: tuple[str, ...] = ()

    def takes(self, schema: str, name: str) -> bool:
        """Whether the relation is served. Those of the server's own store never are: one holds its secrets."""
        if name == OWN_TABLE or (schema == OWN_SCHEMA and name.startswith(f"{OWN_SCHEMA}_")):
            return False
        if self.include and not _matches(self.include, schema, name):
            return False
        return not _matches(self.exclude, schema, name)


def _matches(patterns: Sequence[str], schema: str, name: str) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(f"{schema}.{name}", pattern) for pattern in patterns)
