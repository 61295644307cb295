"""What differs between two schemas of one source. Pure."""

from dataclasses import dataclass

from schema_mcp.schema.model import Schema, Table, TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDiff:
    """`changed` pairs are (before, after). Sorted by name; empty means equal."""

    added: tuple[Table, ...] = ()
    removed: tuple[Table, ...] = ()
    changed: tuple[tuple[Table, Table], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    @property
    def names(self) -> frozenset[TableName]:
        """Every table that the difference touches."""
        return frozenset(
            [table.name for table in (*self.added, *self.removed)] + [after.name for _, after in self.changed]
        )


def diff(before: Schema | None, after: Schema) -> SchemaDiff:
    """The difference that turns `before` into `after`; without `before` every table is added."""
    if before is after:
        return SchemaDiff()
    old = before.tables if before is not None else {}
    new = after.tables
    pairs = ((old[name], table) for name, table in new.items() if name in old)
    return SchemaDiff(
        added=tuple(new[name] for name in new if name not in old),
        removed=tuple(old[name] for name in old if name not in new),
        changed=tuple((one, other) for one, other in pairs if one is not other and one != other),
    )
