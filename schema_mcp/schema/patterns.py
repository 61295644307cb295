"""Shell patterns (`*`, `?`, `[..]`) over the names of tables and columns, whatever the case of letters. Pure.

They restrict, so that matching too much is better than too little.
"""

import re
from fnmatch import translate
from functools import lru_cache

from schema_mcp.schema.model import TableName


class ColumnPatterns:
    """Patterns over `column`, `table.column` or `schema.table.column`."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._matches = compiled(patterns)

    def match(self, table: TableName, column: str) -> bool:
        """Whether one of the patterns means that column."""
        return any(
            self._matches.match(spelled)
            for spelled in (column, f"{table.name}.{column}", f"{table.schema}.{table.name}.{column}")
        )


class TablePattern:
    """One pattern over `table`, `schema.table` or `source.schema.table`."""

    def __init__(self, pattern: str) -> None:
        self._matches = compiled((pattern,))

    def match(self, table: TableName) -> bool:
        """Whether the pattern means that table."""
        return any(
            self._matches.match(spelled)
            for spelled in (table.name, f"{table.schema}.{table.name}", f"{table.source}.{table.schema}.{table.name}")
        )


@lru_cache(maxsize=256)
def compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """All of them as one regular expression, for `match`; without any, nothing matches."""
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"(?!)", re.IGNORECASE)
