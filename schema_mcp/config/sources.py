"""`[[sources]]`: several databases, each with a name of its own and the keys of `[database]`.

Environment: `SCHEMA_MCP_SOURCES__<NAME>__<KEY>` wins over the file, and may name a source that stands in no file.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_type_hints

from schema_mcp.config.check import checked, from_text
from schema_mcp.config.database import NEXT, SAMPLE, parse_database
from schema_mcp.config.model import DatabaseSettings, SourceSettings
from schema_mcp.errors import ConfigurationError

#: No `_` and no `.`: in names of tools and tables the source ends at the first one.
NAME = re.compile(r"[a-z0-9]{1,12}\Z")

_KEYS: Mapping[str, Any] = get_type_hints(DatabaseSettings)


def read_sources(
    listed: Any, place: str, environment: Mapping[str, tuple[str, str]], mistakes: list[str]
) -> tuple[SourceSettings, ...]:
    """The sources, those of the file first. `listed`: what the file holds at `place`.

    `environment`: by `<name>__<key>`, each with the variable's name. What is wrong is added to `mistakes`.
    """
    given: dict[str, dict[str, tuple[Any, str]]] = {}
    if not isinstance(listed, list) or not all(isinstance(members, dict) for members in listed):
        mistakes.append(f"{place}: is written [[sources]], once for each database, each with a name")
        listed = []
    for number, members in enumerate(listed, 1):
        name = members.get("name")
        if not isinstance(name, str) or not NAME.match(name):
            mistakes.append(f"{place}[{number}].name: takes 1 to 12 of a-z and 0-9, got {name!r}")
            name = f"[{number}]"
        elif name in given:
            mistakes.append(f"{place}[{number}].name: there are two sources '{name}'")
            name = f"[{number}]"
        given[name] = {key: (value, f"{place}{_member(name, key)}") for key, value in members.items() if key != "name"}
    for key, (text, variable) in environment.items():
        name, _, member = key.partition("__")
        if not NAME.match(name):
            mistakes.append(f"{variable}: a source's name takes 1 to 12 of a-z and 0-9, got '{name}'")
            continue
        value = from_text(_KEYS.get(member), text)
        given.setdefault(name, {})[member] = (value, f"{variable} (sources{_member(name, member)})")
    return tuple(_source(name, members, mistakes) for name, members in given.items())


def _source(name: str, given: Mapping[str, tuple[Any, str]], mistakes: list[str]) -> SourceSettings:
    members: dict[str, Any] = {}
    for key, (value, place) in given.items():
        if key not in _KEYS:
            close = get_close_matches(key, list(_KEYS), n=1)
            near = f"; did you mean sources{_member(name, close[0])}?" if close else ""
            mistakes.append(f"{place}: unknown key{near}")
            continue
        try:
            members[key] = checked(f"database.{key}", _KEYS[key], value)
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
    if "url" not in given:
        variable = f", or as SCHEMA_MCP_SOURCES__{name.upper()}__URL" if NAME.match(name) else ""
        mistakes.append(f"sources{_member(name, 'url')}: no database is named: {NEXT} (in config.toml{variable})")
    elif "url" in members and members["url"] != SAMPLE:
        try:
            parse_database(members["url"], f"sources{_member(name, 'url')}")
        except ConfigurationError as error:
            mistakes += error.mistakes
    return SourceSettings(name=name, **members)


def _member(name: str, key: str) -> str:
    return f"{name}.{key}" if name.startswith("[") else f".{name}.{key}"
