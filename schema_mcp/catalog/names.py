"""The names that callers may call tables by: which table each stands for, and which could be one of several. Pure.

A table always has the name that `list_tables` shows and the fully qualified one. Shorter ones hold where exactly one
table answers to them, so that another source's table never takes a call that was meant for this one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from schema_mcp.schema.model import TableName
from schema_mcp.tools.naming import display_name
from schema_mcp.tools.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class TableNames:
    """`ambiguous`: names that stand for none, for several tables answer to them; these, as they are shown."""

    by_name: Mapping[str, TableName] = field(default_factory=lambda: MappingProxyType({}))
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))


def table_names(targets: Mapping[TableName, Target], *, several: bool) -> TableNames:
    """Of all tables. `several`: more than one source is configured."""
    by_name: dict[str, TableName] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    if several:
        answering: dict[str, list[TableName]] = {}
        for name, target in targets.items():
            for short in set(_short(target)):
                answering.setdefault(short, []).append(name)
        by_name = {short: names[0] for short, names in answering.items() if len(names) == 1}
        ambiguous = {
            short: tuple(targets[name].display for name in names)
            for short, names in answering.items()
            if len(names) > 1
        }
    else:
        for name, target in targets.items():
            by_name.setdefault(target.slug, name)
    for name in targets:
        by_name[display_name(name, "\0", several=several)] = name
    for name, target in targets.items():
        by_name[target.display] = name
    return TableNames(by_name=MappingProxyType(by_name), ambiguous=MappingProxyType(ambiguous))


def names_of(target: Target) -> Iterable[str]:
    """What the table may be called in arguments, if no other table is."""
    several = target.limits.several
    yield target.display
    yield display_name(target.table.name, "\0", several=several)
    yield target.slug
    if several:
        yield from _short(target)


def _short(target: Target) -> tuple[str, str, str]:
    """Without the source: as it is shown, qualified by its schema; and the slug."""
    name = target.table.name
    return target.display.removeprefix(f"{name.source}."), display_name(name, "\0"), target.slug
