"""What differs between two schemas of one source. Pure."""

from dataclasses import dataclass

from schema_mcp.schema.model import Schema, Table, TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDiff:
    """`changed` pairs are (before, after). Sorted by name; empty means equal.

    `replaced`: no tool changes, but it is another relation that has the name now (two tables were swapped), or the
    same one stored anew.
    """

    added: tuple[Table, ...] = ()
    removed: tuple[Table, ...] = ()
    changed: tuple[tuple[Table, Table], ...] = ()
    replaced: tuple[Table, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.structural or self.replaced)

    @property
    def structural(self) -> bool:
        """Some table is not what it was, so that tools may change."""
        return bool(self.added or self.removed or self.changed)

    @property
    def names(self) -> frozenset[TableName]:
        """Every table that the difference touches."""
        return frozenset(
            [table.name for table in (*self.added, *self.removed, *self.replaced)]
            + [after.name for _, after in self.changed]
        )


def diff(before: Schema | None, after: Schema) -> SchemaDiff:
    """The difference that turns `before` into `after`; without `before` every table is added."""
    if before is after:
        return SchemaDiff()
    old = before.tables if before is not None else {}
    new = after.tables
    changed, replaced = [], []
    for name, table in new.items():
        known = old.get(name)
        if known is None or known is table:
            continue
        if known != table:
            changed.append((known, table))
        elif known.identity != table.identity:
            replaced.append(table)
    return SchemaDiff(
        added=tuple(new[name] for name in new if name not in old),
        removed=tuple(old[name] for name in old if name not in new),
        changed=tuple(changed),
        replaced=tuple(replaced),
    )
