"""The arguments of `set_context`, read strictly against the catalog. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_limit, read_object, read_source, read_text
from schema_mcp.tools.context import EMPTY, TRANSACTION, Context
from schema_mcp.tools.naming import near
from schema_mcp.tools.narrowing import standing
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import CatalogView

#: Standing filters that a session may have, and characters of a value.
MAX_FILTERS, MAX_CHARACTERS = 20, 1_000


def changed(view: CatalogView, before: Context, arguments: Mapping[str, Any]) -> Context:
    """The context with what the arguments set; null ends a member, and within `filters` a filter.

    Raises: InvalidArgument, and nothing is changed.
    """
    after = before
    if "source" in arguments:
        after = replace(after, source=read_source(arguments, view.limits.sources))
    if "schema" in arguments:
        after = replace(after, schema=read_text(arguments, "schema"))
    if "limit" in arguments:
        limit = read_limit(arguments, "limit", 1, view.limits.max_rows)
        after = replace(after, limit=None if arguments["limit"] is None else limit)
    if TRANSACTION in arguments:
        after = replace(after, transaction_id=read_text(arguments, TRANSACTION))
    if "filters" in arguments:
        after = replace(after, filters=_filters(before, read_object(arguments, "filters")))
    _check_schema(view, after)
    for name, value in after.filters.items():
        _check_filter(view, name, value)
    return after


def reach(view: CatalogView, filters: Mapping[str, Any]) -> dict[str, int]:
    """How many of the tables each filter holds for."""
    counts = dict.fromkeys(filters, 0)
    for name, value in filters.items():
        for target in view.targets.values():
            try:
                counts[name] += bool(standing(target, {name: value}))
            except InvalidArgument:
                continue  # a call of that table is refused
    return counts


def _filters(before: Context, given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if given is None:
        return EMPTY.filters
    filters = {**before.filters, **given}
    filters = {name: value for name, value in filters.items() if value is not None}
    if len(filters) > MAX_FILTERS:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"a session has at most {MAX_FILTERS} standing filters, and these would be {len(filters)}",
            "End some: a filter that is set to null is gone.",
        )
    return MappingProxyType(filters)


def _check_schema(view: CatalogView, context: Context) -> None:
    if context.schema is None:
        return
    names = [name for name in view.targets if context.source in (None, name.source)]
    schemas = sorted({name.schema for name in names})
    if context.schema not in schemas:
        where = "" if context.source is None else f" in source '{context.source}'"
        raise InvalidArgument(
            ErrorCode.UNKNOWN_SCHEMA,
            f"there is no schema '{context.schema[:100]}' with a table{where}.{near(context.schema, schemas)}",
            f"Schemas: {', '.join(schemas[:60])}. schema: null ends the default.",
        )


def _check_filter(view: CatalogView, name: str, value: Any) -> None:
    """Raises: InvalidArgument where no table has such a column, or the value fits none of them."""
    if isinstance(value, (list, dict)) or len(str(value)) > MAX_CHARACTERS:
        raise InvalidArgument(
            ErrorCode.INVALID_VALUE,
            f"'filters' takes a text of at most {MAX_CHARACTERS} characters, a number, true or false for "
            f"'{name[:100]}', got {shown(value)}",
            'Send for example {"tenant_id": 7}.',
        )
    unfit: InvalidArgument | None = None
    for target in view.targets.values():
        try:
            if standing(target, {name: value}):
                return
        except InvalidArgument as error:
            if error.code is not ErrorCode.NOT_ALLOWED:  # such a column is there for nobody's conditions
                unfit = error
    if unfit is not None:
        raise InvalidArgument(unfit.code, f"'filters': {unfit.message}", "Send a value of the column's type.")
    known = {key for target in view.targets.values() for key in target.keys.values()}
    raise InvalidArgument(
        ErrorCode.UNKNOWN_COLUMN,
        f"'filters': no table has a column '{name[:100]}' that may be read.{near(name, known)}",
        "Name a column that the tables to be narrowed have; describe_table tells them.",
    )
