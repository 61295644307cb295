"""What a person may call a database by: a URL, a path of a SQLite file, or `sample`."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from schema_mcp.errors import ConfigurationError

SAMPLE = "sample"
#: The key of the database, where there is one.
KEY = "database.url"

NEXT = "give a postgresql:// or sqlite:/// URL, the path of a SQLite file, or the word sample"


def parse_database(given: str | None, key: str = KEY) -> sa.URL:
    """The URL. A path is made absolute, so that it means the same file for as long as the process lives.

    `key`: where it was given. Raises: ConfigurationError, without repeating a URL that may hold a password.
    """
    try:
        return _parse(given)
    except ValueError as error:
        raise ConfigurationError([f"{key}: {error}"]) from None


def shown(url: sa.URL) -> str:
    """The URL without its password and without its parameters, which may hold one."""
    return url._replace(query=sa.util.EMPTY_DICT).render_as_string(hide_password=True)


def _parse(given: str | None) -> sa.URL:
    """Raises: ValueError with what is wrong."""
    if not given or not given.strip():
        raise ValueError(f"no database is named: {NEXT} (as an argument, in config.toml, or as DATABASE_URL)")
    text = given.strip()
    if "://" not in text:
        return _file_url(text.removeprefix("sqlite:"))
    scheme, _, rest = text.partition("://")
    product = scheme.lower().partition("+")[0]
    if product == "postgres":
        product = "postgresql"
    if product == "sqlite":
        return _file_url(_sqlite_path(rest))
    if product != "postgresql":
        raise ValueError(f"'{product[:40]}' is not a database that is served: {NEXT}")
    try:
        return sa.make_url(f"{product}://{rest}")
    except (ArgumentError, ValueError):
        raise ValueError("not a URL of the form postgresql://user:password@host:5432/database") from None


def _sqlite_path(rest: str) -> str:
    if not rest.startswith("/") or rest == "/":
        raise ValueError("a SQLite URL names a file: sqlite:///relative or sqlite:////absolute")
    return rest[1:]


def _file_url(path: str) -> sa.URL:
    if path in ("", ":memory:"):
        raise ValueError(f"a SQLite database in memory cannot be served: {NEXT}")
    return sa.URL.create("sqlite", database=str(Path(path).expanduser().absolute()))
