"""Which tables a table's foreign keys lead to and come from, and what `include` calls them. Pure.

A relationship is named after the related table, by the part of the tool names that stands for it. Where two keys join
the same two tables, where the name is a column's, or with two junctions between the same tables, it is
`<table>_by_<columns>`, `<table>_by_<junction>`: a name depends on the tables it joins, and on no other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import MappingProxyType
from typing import TypeAlias

from schema_mcp.dialects.nested import TRUNCATED
from schema_mcp.errors import CallError
from schema_mcp.schema.model import ForeignKey, Table, TableName
from schema_mcp.tools.naming import slug
from schema_mcp.tools.target import Target

#: The foreign keys that lead to a table, with the tables that have them.
Referrers: TypeAlias = Mapping[TableName, tuple[tuple[Target, ForeignKey], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Junction:
    """A table between two: `near` are its columns that refer to the one, `far` those that refer to the other."""

    target: Target
    near: tuple[str, ...]
    far: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """A way from a table to `other`. `columns` of the table equal `other_columns`, pairwise, or `through.near`.

    `many`: any number of rows, else at most one.
    """

    other: Target
    columns: tuple[str, ...]
    other_columns: tuple[str, ...]
    many: bool
    through: Junction | None = None
    name: str = ""

    @property
    def shape(self) -> tuple[object, ...]:
        """What a statement along it depends on: of a table that changes, `relation` is another object."""
        between = self.through
        return (
            *(self.other.relation, self.columns, self.other_columns, self.many),
            *((between.target.relation, between.near, between.far) if between else ()),
        )


def referrers(targets: Iterable[Target]) -> Referrers:
    """All foreign keys, by the table that they refer to."""
    found: dict[TableName, list[tuple[Target, ForeignKey]]] = {}
    for target in targets:
        for key in _different(target.table.foreign_keys):
            found.setdefault(key.target, []).append((target, key))
    return {name: tuple(pairs) for name, pairs in found.items()}


def relationships(
    target: Target,
    default_schema: str,
    referring: Referrers,
    readable: Callable[[TableName], Target | None],
) -> Mapping[str, Relationship]:
    """The relationships of the table by name, in order: parents, children, what lies beyond a junction.

    `readable`: the table of that name, if its rows may be queried. A key over a column that may not be used is none.
    """
    children = [
        (child, key)
        for child, key in referring.get(target.table.name, ())
        if readable(child.table.name) and _usable(target, key.target_columns) and _usable(child, key.columns)
    ]
    direct = [*_parents(target, default_schema, readable), *_children(target, default_schema, children)]
    beyond = [*_beyond(default_schema, readable, children)]
    shared = Counter(name for way in direct for name in way.names)
    shared_by_all = shared + Counter(name for way in beyond for name in way.names)
    taken = set(target.keys.values())
    named: dict[str, Relationship] = {}
    for way in (*direct, *beyond):
        counts = shared_by_all if way.relationship.through else shared
        names = [name for name in way.names if counts[name] == 1]
        names.append(f"{way.names[-1]}_{_hash(way.relationship)}")
        name = next(name for name in names if not {name, name + TRUNCATED} & taken or name is names[-1])
        taken |= {name, name + TRUNCATED}
        named[name] = replace(way.relationship, name=name)
    return MappingProxyType(named)


@dataclass(frozen=True, slots=True)
class _Way:
    """A relationship without its name, and the names that it may have, the best first."""

    names: tuple[str, ...]
    relationship: Relationship


def _parents(target: Target, default_schema: str, readable: Callable[[TableName], Target | None]) -> Iterator[_Way]:
    for key in _different(target.table.foreign_keys):
        other = readable(key.target)
        if other is not None and _usable(target, key.columns) and _usable(other, key.target_columns):
            name = slug(key.target, default_schema)
            yield _Way(
                (name, f"{name}_by_{_joined(target, key.columns)}"),
                Relationship(
                    other=other,
                    columns=key.columns,
                    other_columns=key.target_columns,
                    many=not _tells_apart(other.table, key.target_columns),
                ),
            )


def _children(target: Target, default_schema: str, children: Iterable[tuple[Target, ForeignKey]]) -> Iterator[_Way]:
    """The rows that refer are called children where the table's own key has the same columns, as the key of a table to
    itself always has.
    """
    own = {(key.target, _joined(target, key.columns)) for key in target.table.foreign_keys}
    for child, key in children:
        name, columns = slug(child.table.name, default_schema), _joined(child, key.columns)
        role = "_children" if (child.table.name, columns) in own else ""
        yield _Way(
            (name, f"{name}{role}_by_{columns}"),
            Relationship(other=child, columns=key.target_columns, other_columns=key.columns, many=True),
        )


def _beyond(
    default_schema: str,
    readable: Callable[[TableName], Target | None],
    children: Iterable[tuple[Target, ForeignKey]],
) -> Iterator[_Way]:
    for child, key in children:
        for far in _different(child.table.foreign_keys):
            other = readable(far.target)
            if other is None or not _is_junction(child.table, key, far):
                continue
            if _usable(child, far.columns) and _usable(other, far.target_columns):
                name = slug(far.target, default_schema)
                longer = f"{name}_by_{slug(child.table.name, default_schema)}"
                yield _Way(
                    (name, longer, f"{longer}_{_joined(child, far.columns)}"),
                    Relationship(
                        other=other,
                        columns=key.target_columns,
                        other_columns=far.target_columns,
                        many=True,
                        through=Junction(target=child, near=key.columns, far=far.columns),
                    ),
                )


def _different(keys: Iterable[ForeignKey]) -> list[ForeignKey]:
    """PostgreSQL takes the same key twice, under two names."""
    return list({(key.columns, key.target, key.target_columns): key for key in keys}.values())


def _is_junction(table: Table, near: ForeignKey, far: ForeignKey) -> bool:
    """The columns of both keys are a key of the table, so that each pair of rows is joined once."""
    columns = {*near.columns, *far.columns}
    keys = (*((table.primary_key,) if table.primary_key else ()), *table.uniques)
    return near.columns != far.columns and any(set(key.columns) == columns for key in keys)


def _tells_apart(table: Table, columns: Iterable[str]) -> bool:
    """At most one row has the same values there. SQLite takes references to what is no key, and rows of tables that
    inherit are not held to one.
    """
    if table.has_children:
        return False
    keys = [key.columns for key in (*((table.primary_key,) if table.primary_key else ()), *table.uniques)]
    keys += [
        tuple(part.column for part in index.parts if part.column is not None)
        for index in table.indexes
        if index.unique and index.predicate is None and all(part.column is not None for part in index.parts)
    ]
    return any(set(key) <= set(columns) for key in keys)


def _usable(target: Target, columns: Iterable[str]) -> bool:
    try:
        for name in columns:
            target.column(name, "include")
    except CallError:
        return False
    return True


def _joined(target: Target, columns: Iterable[str]) -> str:
    return "_".join(target.keys[name] for name in columns)


def _hash(way: Relationship) -> str:
    parts = (way.columns, way.other_columns, way.through and (way.through.near, way.through.far))
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
