"""Where settings come from: flags over environment over config.toml over defaults; every mistake told at once.

Environment: `SCHEMA_MCP_<SECTION>__<KEY>`, for example `SCHEMA_MCP_WATCH__POLL_INTERVAL_S=5`; lists are separated by
commas. `DATABASE_URL` is taken when nothing else names a database. A database named by a flag is the only one.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from schema_mcp.config.check import checked, from_text
from schema_mcp.config.contradictions import contradictions
from schema_mcp.config.database import KEY
from schema_mcp.config.model import Settings
from schema_mcp.config.sources import read_sources
from schema_mcp.errors import ConfigurationError

ENVIRONMENT_PREFIX = "SCHEMA_MCP_"
DEFAULT_FILE = "config.toml"
SOURCES = "sources"

_SECTIONS: dict[str, type] = {
    name: type_ for name, type_ in get_type_hints(Settings).items() if isinstance(type_, type)
}


def load(
    *, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any], directory: Path | None = None
) -> Settings:
    """The settings. `file`: `--config`; None: `config.toml` in `directory`, if it is there. `flags`: by `section.key`.

    Raises: ConfigurationError, with a line for every mistake.
    """
    mistakes: list[str] = []
    values = _read_file(file, directory or Path.cwd(), mistakes)
    of_sources: dict[str, tuple[str, str]] = {}
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            if key.startswith(f"{SOURCES}."):
                of_sources[key.removeprefix(f"{SOURCES}.")] = (text, name)
            else:
                values[key] = (from_text(known_keys().get(key), text), f"{name} ({key})")
    listed, place = values.pop(SOURCES, ([], SOURCES))
    sources = read_sources(listed, place, of_sources, mistakes)
    if sources and (also := [where for key, (_, where) in values.items() if key.startswith("database.")]):
        mistakes.append(f"{also[0]}: either [database] or [[sources]], not both")
    for key, value in flags.items():
        if value is not None:
            values[key] = (value, key)
    if flags.get(KEY) is not None:
        sources = ()
    if environment.get("DATABASE_URL") and KEY not in values and not sources:
        values[KEY] = (environment["DATABASE_URL"], f"DATABASE_URL ({KEY})")
    sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    for key, (value, place) in values.items():
        _take(key, value, place, sections, mistakes)
    if mistakes:
        raise ConfigurationError(mistakes)
    settings = Settings(sources=sources, **{name: _SECTIONS[name](**members) for name, members in sections.items()})
    if mistakes := contradictions(settings):
        raise ConfigurationError(mistakes)
    return settings


def known_keys() -> dict[str, type]:
    """Every key with its type."""
    return {
        f"{section}.{item.name}": get_type_hints(type_)[item.name]
        for section, type_ in _SECTIONS.items()
        for item in fields(type_)
    }


def _read_file(file: Path | None, directory: Path, mistakes: list[str]) -> dict[str, tuple[Any, str]]:
    path = file or directory / DEFAULT_FILE
    if file is None and not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror or error}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{path}: is not valid TOML: {error}")
        return {}
    values: dict[str, tuple[Any, str]] = {}
    for section, members in content.items():
        if section == SOURCES or not isinstance(members, dict):
            values[section] = (members, f"{path}: {section}")
            continue
        for key, value in members.items():
            values[f"{section}.{key}"] = (value, f"{path}: {section}.{key}")
        if not members and section not in _SECTIONS:
            values[f"{section}.*"] = (None, f"{path}: [{section}]")
    return values


def _take(key: str, value: Any, place: str, sections: dict[str, dict[str, Any]], mistakes: list[str]) -> None:
    known = known_keys()
    if key not in known:
        close = get_close_matches(key, list(known), n=1)
        mistakes.append(f"{place}: unknown key" + (f"; did you mean {close[0]}?" if close else ""))
        return
    section, _, name = key.partition(".")
    try:
        sections[section][name] = checked(key, known[key], value)
    except ValueError as error:
        mistakes.append(f"{place}: {error}")
