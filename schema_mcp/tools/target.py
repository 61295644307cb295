"""A table as its tools see it: the schema's `Table` with names, statements and limits bound to it once.

Made for each generation of the catalog; a table that did not change keeps its target, and with it its compiled
statements.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from schema_mcp.dialects.base import CUT_BYTES, Dialect, DriverValue, Related, Statement
from schema_mcp.errors import ErrorCode, InvalidArgument, StaleSchema
from schema_mcp.schema.fingerprint import digest
from schema_mcp.schema.mask import MASK
from schema_mcp.schema.model import Column, Table, TableName
from schema_mcp.schema.types import SqlType, TypeKind
from schema_mcp.tools.cursor import CursorSecret
from schema_mcp.tools.naming import column_keys, display_name, near
from schema_mcp.tools.standing import Standing

#: Compiled statements kept for one table, and other things that were made of it.
MAX_SHAPES = 200
#: Characters of a call that are remembered together with what they were read as.
_MAX_REMEMBERED_TEXT = 500

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLimits:
    """What tools check and advertise. `sources`: the names of all that are configured."""

    default_limit: int = 100
    max_rows: int = 10_000
    include_rows: int = 20
    max_filters: int = 100
    max_insert_rows: int = 10_000
    max_batch_calls: int = 1_000
    max_affected_rows: int = 1_000
    max_bytes: int = 1_000_000
    sources: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """More than one source is configured, and names of tables and tools begin with the source's."""
        return len(self.sources) > 1


@dataclass(frozen=True, slots=True)
class Compiled:
    """SQL text with the names of its bound parameters in the driver's order.

    `constants`: values of the parameters that SQLAlchemy made of its own accord (SQLite's `OFFSET ?`). `cut`, `sized`:
    as `Statement` has them.
    """

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, DriverValue]
    labels: tuple[str, ...]
    types: tuple[SqlType, ...]
    keys: int
    cut: "Callable[[], Compiled] | None" = None
    sized: bool = False

    def statement(self, values: Mapping[str, DriverValue], related: tuple[Related, ...] = ()) -> Statement:
        """The statement with its values. `related`: as `Statement` has it."""
        given = {**self.constants, **values} if self.constants else values
        bound = tuple([given[name] for name in self.names])
        return Statement(
            self.sql,
            bound,
            self.labels,
            self.types,
            self.keys,
            related=related,
            cut=None if self.cut is None else partial(self._cut, values, related),
            sized=self.sized,
        )

    def _cut(self, values: Mapping[str, DriverValue], related: tuple[Related, ...]) -> Statement:
        assert self.cut is not None
        return self.cut().statement(values, related)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """`slug` names its tools, `display` names it in arguments and answers."""

    table: Table
    dialect: Dialect
    slug: str
    display: str
    limits: ToolLimits
    cursor_secret: CursorSecret
    #: Names of columns that the table had earlier in this process and has no more.
    former_columns: frozenset[str] = frozenset()
    #: Conditions that hold besides those of a call; whoever phrases a statement on the table puts them in.
    standing: tuple[Standing, ...] = ()
    keys: Mapping[str, str] = field(init=False)
    by_key: Mapping[str, Column] = field(init=False)
    #: These two are made when they are first asked for: of most of 10,000 tables nobody ever does.
    _relation: sa.TableClause | None = field(init=False, default=None)
    _digest: str = field(init=False, default="")
    #: So are these, because a call asks for them.
    _readable: tuple[Column, ...] | None = field(init=False, default=None)
    _unmasked: tuple[Column, ...] | None = field(init=False, default=None)
    _order_keys: tuple[str, ...] | None = field(init=False, default=None)
    _compiled: "OrderedDict[Hashable, Compiled]" = field(init=False, default_factory=OrderedDict)
    _remembered: dict[Hashable, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        keys = column_keys(self.table)
        by_key = {column.name: column for column in self.table.columns}
        by_key |= {keys[column.name]: column for column in self.table.columns}
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "by_key", by_key)

    def under(self, standing: tuple[Standing, ...], default_limit: int | None = None) -> Self:
        """The table under these conditions. Both share their compiled statements: a shape names the columns of all.

        `default_limit`: rows where a call says nothing.
        """
        if not standing and default_limit is None:
            return self
        limits = self.limits if default_limit is None else replace(self.limits, default_limit=default_limit)
        other = copy.copy(self)
        object.__setattr__(other, "_relation", self.relation)  # statements are known by it
        object.__setattr__(other, "standing", standing)
        object.__setattr__(other, "limits", limits)
        return other

    @property
    def digest(self) -> str:
        """What a cursor is bound to."""
        if not self._digest:
            object.__setattr__(self, "_digest", digest(self.table))
        return self._digest

    @property
    def relation(self) -> sa.TableClause:
        """The table in statements, always the same object."""
        if self._relation is None:
            names = [*(column.name for column in self.table.columns), *self.table.row_identity]
            relation = sa.table(
                self.table.name.name, *[sa.column(name) for name in names], schema=self.table.name.schema or None
            )
            object.__setattr__(self, "_relation", relation)
            return relation
        return self._relation

    @property
    def readable(self) -> tuple[Column, ...]:
        """The columns that the role may select, in order."""
        if self._readable is None:
            found = tuple(column for column in self.table.columns if column.readable)
            object.__setattr__(self, "_readable", found)
            return found
        return self._readable

    @property
    def unmasked(self) -> tuple[Column, ...]:
        """The readable columns whose values may be used: by conditions, order, groups, references, `returning`."""
        if self._unmasked is None:
            found = tuple(column for column in self.readable if not column.masked)
            object.__setattr__(self, "_unmasked", found)
            return found
        return self._unmasked

    @property
    def insertable(self) -> tuple[Column, ...]:
        """The columns that an insert may name, in order."""
        return tuple(column for column in self.table.columns if column.insertable)

    @property
    def updatable(self) -> tuple[Column, ...]:
        """The columns that an update may set, in order."""
        return tuple(column for column in self.table.columns if column.updatable)

    def sql_column(self, name: str) -> sa.ColumnElement[Any]:
        """The column in statements, always qualified by its table."""
        return self.relation.c[name]

    def labelled(self, columns: Sequence[Column]) -> list[tuple[str, sa.ColumnElement[Any], SqlType]]:
        """(key, column, type) as `Dialect.row` takes them; of a masked column the mask, so that nothing reads it."""
        return [
            (self.keys[column.name], _MASK if column.masked else self.sql_column(column.name), shown_type(column))
            for column in columns
        ]

    def shown(self, other: TableName) -> str:
        """How arguments may call another table, one that refers to this one or the reverse."""
        own_schema, several = self.table.name.schema, self.limits.several
        is_default = self.display == display_name(self.table.name, own_schema, several=several)
        return display_name(other, own_schema if is_default else "", several=several)

    def column(self, given: Any, place: str) -> Column:
        """The column of that name or alias, whose values may be used. `place` names the argument in messages.

        Raises: InvalidArgument: `unknown_column`, naming the nearest, or `not_allowed` for one that is masked;
        StaleSchema for a column that is gone.
        """
        column = self.shown_column(given, place)
        if column.masked:
            raise InvalidArgument(
                ErrorCode.NOT_ALLOWED,
                f"column '{given[:100]}' of table '{self.display}' is masked, and '{place}' would tell of its values",
                f"A masked column may only be shown, as '{MASK}'. {self.columns_hint(self.unmasked)}",
            )
        return column

    def shown_column(self, given: Any, place: str) -> Column:
        """The readable column of that name or alias, which may be masked: for what is shown alone.

        Raises: InvalidArgument (`unknown_column`), StaleSchema.
        """
        if not isinstance(given, str):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT, f"'{place}' takes column names as strings", self.columns_hint()
            )
        column = self.by_key.get(given)
        if column is not None and column.readable:
            return column
        raise self.unknown(given, self.readable)

    def refuse_mask(self, column: Column, value: Any, place: str) -> None:
        """For values that are written: what a masked column shows is not taken for its value.

        Raises: InvalidArgument (`invalid_value`).
        """
        if column.masked and value == MASK:
            raise InvalidArgument(
                ErrorCode.INVALID_VALUE,
                f"{place} got '{MASK}', which is its mask and not its value",
                "Leave the column out, or give it a value of its own.",
            )

    def unknown(self, given: str, known: Sequence[Column]) -> InvalidArgument | StaleSchema:
        """The error for a column that is not among `known`."""
        if given in self.former_columns:
            return self.stale(f"column '{given[:100]}' of table '{self.display}' is no longer there")
        suggestion = near(given, [self.keys[column.name] for column in known])
        return InvalidArgument(
            ErrorCode.UNKNOWN_COLUMN,
            f"table '{self.display}' has no column '{given[:100]}'.{suggestion}",
            self.columns_hint(known),
        )

    def stale(self, message: str) -> StaleSchema:
        """The error for a call that fits the table as it was."""
        columns = [{"name": self.keys[column.name], "type": column.type.native} for column in self.readable]
        return StaleSchema(
            message,
            f"The table has changed. {self.columns_hint()} Call again with these, or list the tools again.",
            details={"table": self.display, "columns": columns},
        )

    def columns_hint(self, columns: Sequence[Column] | None = None) -> str:
        """The columns there are, for a hint."""
        names = [self.keys[column.name] for column in (self.readable if columns is None else columns)]
        more = f", ... ({len(names)} in all)" if len(names) > 60 else ""
        return f"Columns: {', '.join(names[:60])}{more}."

    @property
    def order_keys(self) -> tuple[str, ...]:
        """What tells rows apart: primary key, else a unique key without nulls, else row identity; () if nothing."""
        if self._order_keys is None:
            found = self._find_order_keys()
            object.__setattr__(self, "_order_keys", found)
            return found
        return self._order_keys

    def _find_order_keys(self) -> tuple[str, ...]:
        table = self.table
        readable = {column.name for column in self.unmasked}
        sound = {column.name for column in table.columns if not column.nullable}
        keys = (*((table.primary_key,) if table.primary_key else ()), *table.uniques)
        found = next((key.columns for key in keys if set(key.columns) <= (readable & sound)), ())
        if table.has_children:
            return (*found, *table.row_identity) if table.row_identity else ()
        return found or table.row_identity

    def key_type(self, name: str) -> SqlType:
        """The type of a column or of a row identity column."""
        column = self.table.column(name)
        if column is not None and name not in self.table.row_identity:
            return column.type
        return _IDENTITY_TYPES[name]

    def remembered(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` has made of the table alone, for that key; made anew now and then."""
        made: Made
        try:
            made = self._remembered[key]
        except KeyError:
            made = make()
            if len(self._remembered) >= MAX_SHAPES:
                self._remembered.clear()
            self._remembered[key] = made
        return made

    def read(self, what: Hashable, texts: Sequence[Any], make: Callable[[], Made]) -> Made:
        """What `make` has made of a call's `texts` and the table alone; remembered where they are short strings."""
        if all(type(text) is str for text in texts) and sum(map(len, texts)) <= _MAX_REMEMBERED_TEXT:
            return self.remembered((what, *texts), make)
        return make()

    def compiled(
        self,
        shape: Hashable,
        build: Callable[[], tuple[sa.sql.ClauseElement, Sequence[Column], int]],
        *,
        writes: bool = False,
    ) -> Compiled:
        """The statement of that shape, compiled once. `build` gives it, its row's columns and its number of keys.

        A column that is not the table's, an aggregate, is called by its own name. `writes`: it cannot be run again, so
        that its large rows come cut at once.
        """
        found = self._compiled.get(shape)
        if found is not None:
            self._compiled.move_to_end(shape)
            return found
        clause, columns, keys = build()
        made = self._compile(clause, columns, keys, cut=writes, writes=writes)
        self._compiled[shape] = made
        if len(self._compiled) > MAX_SHAPES:
            self._compiled.popitem(last=False)
        return made

    def _compile(
        self, clause: sa.sql.ClauseElement, columns: Sequence[Column], keys: int, *, cut: bool, writes: bool
    ) -> Compiled:
        if cut:  # not an argument of `compile`: those do not come as far as RETURNING
            assert isinstance(clause, sa.Executable)
            clause = clause.execution_options(**{CUT_BYTES: self.limits.max_bytes})
        compiled = clause.compile(dialect=self.dialect.sqlalchemy)
        names = compiled.positiontup  # type: ignore[attr-defined]
        types = tuple(shown_type(column) for column in columns)
        return Compiled(
            str(compiled),
            tuple(names or ()),
            {name: value for name, value in compiled.params.items() if value is not None},
            tuple(self.keys.get(column.name, column.name) for column in columns),
            types,
            keys,
            None if cut else cache(partial(self._compile, clause, columns, keys, cut=True, writes=False)),
            cut and (not writes or any(type_.kind in self.dialect.unbounded for type_ in types)),
        )


def shown_type(column: Column) -> SqlType:
    """The type of what answers show of the column: a mask is a text."""
    return _MASK_TYPE if column.masked else column.type


_MASK_TYPE = SqlType(kind=TypeKind.TEXT, native="text", cast="text")
_MASK: sa.ColumnElement[Any] = sa.cast(sa.literal_column(f"'{MASK}'"), sa.Text())

#: Types of the system columns in `Table.row_identity`.
_IDENTITY_TYPES: Mapping[str, SqlType] = {
    "ctid": SqlType(kind=TypeKind.OTHER, native="tid", cast="tid"),
    "tableoid": SqlType(kind=TypeKind.OTHER, native="oid", cast="oid"),
    "rowid": SqlType(kind=TypeKind.INTEGER, native="INTEGER", precision=64),
    "_rowid_": SqlType(kind=TypeKind.INTEGER, native="INTEGER", precision=64),
    "oid": SqlType(kind=TypeKind.INTEGER, native="INTEGER", precision=64),
}
