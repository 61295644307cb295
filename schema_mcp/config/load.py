"""Where settings come from: flags over environment over config.toml over defaults; every mistake told at once.

Environment: `SCHEMA_MCP_<SECTION>__<KEY>`, for example `SCHEMA_MCP_WATCH__POLL_INTERVAL_S=5`; lists are separated by
commas. `DATABASE_URL` is taken when nothing else names a database.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from schema_mcp.config.contradictions import contradictions
from schema_mcp.config.model import CHOICES, RANGES, SECRETS, Settings
from schema_mcp.errors import ConfigurationError

ENVIRONMENT_PREFIX = "SCHEMA_MCP_"
DEFAULT_FILE = "config.toml"
MIN_SECRET_CHARACTERS = 16

_SECTIONS: dict[str, type] = dict(get_type_hints(Settings))


def load(
    *, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any], directory: Path | None = None
) -> Settings:
    """The settings. `file`: `--config`; None: `config.toml` in `directory`, if it is there. `flags`: by `section.key`.

    Raises: ConfigurationError, with a line for every mistake.
    """
    mistakes: list[str] = []
    values = _read_file(file, directory or Path.cwd(), mistakes)
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            values[key] = (_from_text(key, text), f"{name} ({key})")
    for key, value in flags.items():
        if value is not None:
            values[key] = (value, key)
    if environment.get("DATABASE_URL") and "database.url" not in values:
        values["database.url"] = (environment["DATABASE_URL"], "DATABASE_URL (database.url)")
    sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    for key, (value, place) in values.items():
        _take(key, value, place, sections, mistakes)
    if mistakes:
        raise ConfigurationError(mistakes)
    settings = Settings(**{name: _SECTIONS[name](**members) for name, members in sections.items()})
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
        if not isinstance(members, dict):
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
        sections[section][name] = _checked(key, known[key], value)
    except ValueError as error:
        mistakes.append(f"{place}: {error}")


def _checked(key: str, type_: Any, value: Any) -> Any:
    if isinstance(type_, UnionType):
        type_ = next(choice for choice in get_args(type_) if choice is not type(None))
    shown = "" if key in SECRETS else f", got {value!r}"
    if type_ is bool and isinstance(value, bool):
        return value
    if type_ is str and isinstance(value, str):
        if key == "server.secret" and len(value) < MIN_SECRET_CHARACTERS:
            raise ValueError(f"takes at least {MIN_SECRET_CHARACTERS} characters")
        if key in CHOICES and value not in CHOICES[key]:
            raise ValueError(f"takes one of {', '.join(CHOICES[key])}{shown}")
        return value
    if type_ in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if type_ is int and not isinstance(value, int):
            raise ValueError(f"takes a whole number{shown}")
        low, high = RANGES[key]
        if not low <= value <= high:
            raise ValueError(f"takes a number from {low:g} to {high:g}{shown}")
        return type_(value)
    if get_args(type_) and isinstance(value, list) and all(isinstance(item, str) for item in value):
        for item in value:
            if key in CHOICES and item not in CHOICES[key]:
                raise ValueError(f"takes words out of {', '.join(CHOICES[key])}, got {item!r}")
        return tuple(value)
    takes = {bool: "true or false", str: "a string", int: "a whole number", float: "a number"}.get(
        type_, "strings in [ ]"
    )
    raise ValueError(f"takes {takes}{shown}")


def _from_text(key: str, text: str) -> Any:
    type_ = known_keys().get(key)
    if type_ is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if type_ in (int, float):
        try:
            return int(text) if type_ is int else float(text)
        except ValueError:
            return text
    if getattr(type_, "__origin__", None) is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text
