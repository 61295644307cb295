"""Where the store is: `state.url`, or a file in the user's data folder; and who a watched database is to the store."""

import getpass
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from schema_mcp.config.database import shown
from schema_mcp.errors import ConfigurationError
from schema_mcp.schema.select import Selection

FILE = "state.sqlite"
AUTO, OFF = "auto", "off"

_NEXT = 'give "auto", "off", the path of a SQLite file, or a sqlite:/// or postgresql:// URL'


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`url`: of SQLite with an absolute path, of PostgreSQL as it was given. `shown`: for people, without a secret."""

    url: sa.URL
    shown: str

    @property
    def file(self) -> Path | None:
        """The file, where the store is one."""
        return Path(self.url.database or "") if self.url.get_backend_name() == "sqlite" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPlace:
    """There is no store, on purpose."""

    reason: str
    hint: str


def locate(given: str, served: sa.URL) -> Place | NoPlace:
    """The store that `state.url` means. `served`: the watched database, which must not be the store itself.

    Raises: ConfigurationError, without repeating a URL that may hold a password.
    """
    text = given.strip()
    if text == OFF:
        return NoPlace(reason='state.url is "off"', hint='Set state.url to "auto" to keep a history.')
    product, separator, rest = text.partition("://")
    if not separator:
        return _file(_user_file() if text == AUTO else Path(text).expanduser(), served)
    product = product.lower().partition("+")[0]
    if product == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return _file(Path(rest[1:]).expanduser(), served)
    if product not in ("postgresql", "postgres"):
        raise ConfigurationError([f"state.url: not a store that is known: {_NEXT}"])
    try:
        url = sa.make_url(f"postgresql://{rest}")
    except (ArgumentError, ValueError):
        raise ConfigurationError([f"state.url: not a URL: {_NEXT}"]) from None
    return Place(url=url, shown=shown(url))


def identify(source: str, url: sa.URL, selection: Selection, reader: str) -> str:
    """Who a watched database is to the store, as JSON without a password: equal means that their readings compare.

    As asyncpg and libpq have it, what the URL leaves out is taken from the environment.
    """
    who: dict[str, Any] = {"source": source, "product": url.get_backend_name()}
    if who["product"] == "sqlite":
        who["file"] = str(Path(url.database or "").resolve())
    else:
        role = _member(url.username, url.query, "user", "PGUSER") or _login()
        who |= {
            "host": _member(url.host, url.query, "host", "PGHOST") or "",
            "port": str(_member(url.port, url.query, "port", "PGPORT") or 5432),
            "database": _member(url.database, url.query, "database", "PGDATABASE") or role,
            "role": role,
        }
    # Without what is not set, so that a new kind of selection changes nothing for those who do not use it.
    who |= {name: value for name, value in asdict(selection).items() if value}
    who["reader"] = reader
    return json.dumps(who, sort_keys=True)


def _file(path: Path, served: sa.URL) -> Place:
    path = Path(os.path.abspath(path))
    if served.get_backend_name() == "sqlite" and path.resolve() == Path(served.database or "").resolve():
        raise ConfigurationError(["state.url: the store must be another file than the database that is served"])
    return Place(url=sa.URL.create("sqlite", database=str(path)), shown=str(path))


def _user_file() -> Path:
    from platformdirs import user_data_path  # late: only where it is asked for

    return user_data_path("schema-mcp", appauthor=False) / FILE


def _member(given: object, query: Mapping[str, Any], name: str, variable: str) -> str | None:
    found = given if given not in (None, "") else query.get(name) or os.environ.get(variable)
    return str(found) if found is not None else None


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
