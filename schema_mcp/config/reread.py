"""What of settings that were read again takes effect in a running server. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from schema_mcp.config.contradictions import contradictions
from schema_mcp.config.model import Settings
from schema_mcp.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """`settings`: those to go on with. `changed`: the keys that differ in them. `later`: keys that differ in the file
    and wait for the next start.
    """

    settings: Settings
    changed: tuple[str, ...]
    later: tuple[str, ...]


def reread(now: Settings, found: Settings) -> Reread:
    """`[access]`, `[tools]`, `[limits]` and the masked columns of `found`, everything else of `now`.

    Raises: ConfigurationError where these do not go together.
    """
    masks = {source.name: source.mask_columns for source in found.served}
    sources = tuple(replace(one, mask_columns=masks.get(one.name, one.mask_columns)) for one in now.sources)
    database = now.database
    if not now.sources and not found.sources:
        database = replace(database, mask_columns=found.database.mask_columns)
    settings = replace(
        now, database=database, sources=sources, access=found.access, tools=found.tools, limits=found.limits
    )
    if mistakes := contradictions(settings):
        raise ConfigurationError(mistakes)
    keys_now, keys_found, keys = _keys(now), _keys(found), _keys(settings)
    return Reread(settings=settings, changed=_different(keys_now, keys), later=_different(keys, keys_found))


def _keys(settings: Settings) -> Mapping[str, Any]:
    """Every value by its key."""
    values = {
        f"sources.{one.name}.{item.name}": getattr(one, item.name) for one in settings.sources for item in fields(one)
    }
    for section in fields(settings):
        if section.name != "sources":
            members = getattr(settings, section.name)
            values |= {f"{section.name}.{item.name}": getattr(members, item.name) for item in fields(members)}
    return values


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys whose values differ; one that is on one side only does."""
    keys = dict.fromkeys((*before, *after))
    return tuple(key for key in keys if key not in before or key not in after or before[key] != after[key])
