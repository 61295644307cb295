"""Columns that the configuration masks: their names are told, their values never. Pure.

A masked column shows the same mask in every answer, null or not; no condition, order, group, aggregate, join, cursor
or `returning` may use it, because each of these would tell something of the value. It may be given values.
"""

from dataclasses import replace

from schema_mcp.schema.hide import Means, is_about, is_row_identity, with_derived
from schema_mcp.schema.model import Table

#: What stands in answers for every value, a JSON string whatever the column's type.
MASK = "***"


def with_masks(table: Table, masks: Means) -> Table:
    """The table with its masked columns marked; the same object where there are none.

    So are the columns that the database makes of them. A key with a masked column is none that rows are found by, and
    a reference by one, or to one, does not exist.
    """
    masked = with_derived(table, {column.name for column in table.columns if masks(table.name, column.name)})
    foreign_keys = tuple(key for key in table.foreign_keys if not is_about(key, masked, masks))
    if not masked and foreign_keys == table.foreign_keys:
        return table
    keys = (*((table.primary_key,) if table.primary_key else ()), *table.uniques)
    closed = tuple(key for key in keys if masked & set(key.columns))
    return replace(
        table,
        columns=tuple(replace(column, masked=column.name in masked) for column in table.columns),
        primary_key=None if table.primary_key in closed else table.primary_key,
        uniques=tuple(key for key in table.uniques if key not in closed),
        foreign_keys=foreign_keys,
        row_identity=()
        if is_row_identity(table, [column for column in table.columns if column.name in masked])
        else table.row_identity,
        masked_keys=closed,
        hides_columns=table.hides_columns or foreign_keys != table.foreign_keys,
    )
