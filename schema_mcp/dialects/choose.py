"""Which dialect serves a URL. A product is imported only when it is asked for."""

import sqlalchemy as sa

from schema_mcp.dialects.base import Dialect
from schema_mcp.errors import UsageError


def choose_dialect(url: sa.URL, *, portable_reader: bool = False) -> Dialect:
    """The dialect of `url`'s product. Raises: UsageError for a product that is not served."""
    match url.get_backend_name():
        case "postgresql":
            from schema_mcp.dialects.postgresql.dialect import PostgresqlDialect  # late: its driver costs start-up time

            return PostgresqlDialect(portable_reader=portable_reader)
        case "sqlite":
            from schema_mcp.dialects.sqlite.dialect import SqliteDialect  # late: as above

            return SqliteDialect()
        case other:
            raise UsageError(f"database '{other}' is not served; use a postgresql:// or sqlite:/// URL")
