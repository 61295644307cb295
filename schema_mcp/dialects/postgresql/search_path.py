"""Which schema's tables need no qualifier: the first that the search path names, whatever there is in the database.

PostgreSQL's own current_schema() is the first that exists. It changes when somebody creates a schema with the role's
name or another one of the path, and with it every tool would change its name. Pure.
"""

import re

_ENTRY = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",\s]+))\s*(?:,|\Z)')
#: Not the places of anybody's tables: the role's own schema, which may come into being, and PostgreSQL's.
_PASSED_OVER = frozenset({"$user", "pg_catalog", "pg_temp"})


def default_schema(search_path: str) -> str:
    """From the setting's text (PostgreSQL manual, 5.10.3): a list of names, quoted where need be. `public` if none."""
    for quoted, plain in _ENTRY.findall(search_path):
        name: str = quoted.replace('""', '"') if quoted else plain.lower()
        if name and name not in _PASSED_OVER:
            return name
    return "public"
