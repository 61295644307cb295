"""The rules of a table's columns, from its CHECK constraints and from those of their domains. Pure."""

from collections.abc import Mapping

from schema_mcp.schema.conditions import read
from schema_mcp.schema.model import Table
from schema_mcp.schema.rules import Rule
from schema_mcp.schema.types import SqlType, TypeKind

#: The name that stands for the value in a domain's checks.
VALUE = "VALUE"


def rules(table: Table) -> Mapping[str, Rule]:
    """The rules by column, of the table's checks and of the columns' domains, as far as they fit the column's type."""
    names = {column.name: column.name for column in table.columns}
    folded = {column.name.lower(): column.name for column in table.columns}
    found: dict[str, Rule] = {}
    for check in table.checks:
        for spelled, rule in read(check.expression).items():
            name = names.get(spelled) or folded.get(spelled.lower())
            if name is not None:
                found[name] = found.get(name, Rule()).and_(rule)
    kept: dict[str, Rule] = {}
    for column in table.columns:
        if column.name not in found and not column.type.checks:
            continue
        rule = found.get(column.name, Rule())
        for expression in column.type.checks:
            rule = rule.and_(read(expression).get(VALUE, Rule()))
        rule = _fitting(rule, column.type)
        if rule != Rule():
            kept[column.name] = rule
    return kept


def _fitting(rule: Rule, type_: SqlType) -> Rule:
    """Only what is about values of the type's family: SQLite lets any be compared with any."""
    match type_.kind:
        case TypeKind.INTEGER | TypeKind.NUMERIC | TypeKind.FLOAT:
            return Rule(
                minimum=rule.minimum,
                above_minimum=rule.above_minimum,
                maximum=rule.maximum,
                below_maximum=rule.below_maximum,
            )
        case TypeKind.ENUM if rule.values is not None:
            return Rule(values=tuple(label for label in type_.enum if label in rule.values))
        case TypeKind.TEXT if type_.cast.endswith("citext"):
            return Rule()
        case TypeKind.TEXT if type_.cast == "bpchar":  # spaces at its end do not count
            return Rule(values=rule.values)
        case TypeKind.TEXT:
            return Rule(values=rule.values, min_length=rule.min_length, max_length=rule.max_length)
    return Rule()
