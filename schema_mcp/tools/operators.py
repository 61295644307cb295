"""What may be asked of a column: the operators of each family of types, and the test that each of them is. Pure.

The one place that decides it. An operator may mean another test of another family: `contains` is a piece of a text,
elements of an array, a part of a range or of a document. A test's name is what dialects know (`Dialect.condition`).
"""

from collections.abc import Iterable, Mapping

from schema_mcp.schema.model import Column, Table
from schema_mcp.schema.ranges import RANGE_ELEMENTS, is_range_text
from schema_mcp.schema.types import SqlType, TypeKind

EQUALITY = ("eq", "ne")
ORDER = ("lt", "lte", "gt", "gte")
COMPARISONS = (*EQUALITY, *ORDER)
SETS = ("in", "not_in", "between")
NULLS = ("is_null", "not_null")
PATTERNS = ("like", "ilike", "starts_with", "contains")
FULL_TEXT = ("matches",)
ELEMENTS = ("has", "has_any", "has_all")
PATHS = ("path",)
#: All, in the order in which they are shown.
OPERATORS = (*COMPARISONS, *SETS, *NULLS, *PATTERNS, *FULL_TEXT, *ELEMENTS, *PATHS)

#: The one JSON type that a database compares by value and not by spelling.
_COMPARABLE_JSON = "jsonb"
#: Types that have no `=`, or one that compares something else than the value: of boxes the area (manual 9.11).
_WITHOUT_EQUALITY = frozenset(
    {"json", "xml", "jsonpath", "refcursor", "pg_snapshot", "txid_snapshot", "pg_node_tree"}
    | {"point", "box", "path", "polygon", "circle"}
)
#: These have `=` alone, or order by something else than the value. An array of the second ones has not even that.
_WITHOUT_ORDER = frozenset({"xid", "cid", "aclitem", "line", "lseg"})
_WITHOUT_EQUAL_ARRAYS = _WITHOUT_EQUALITY | {"line", "lseg"}
_DOCUMENT = "tsvector"


def _ordered(*groups: Iterable[str]) -> tuple[str, ...]:
    wanted = {operator for group in groups for operator in group}
    return tuple(operator for operator in OPERATORS if operator in wanted)


_EQUAL = _ordered(EQUALITY, ("in", "not_in"), NULLS)
_PLAIN = _ordered(COMPARISONS, SETS, NULLS)
_TEXT = _ordered(_PLAIN, PATTERNS)
_INDEXED_TEXT = _ordered(_TEXT, FULL_TEXT)
_JSON = _ordered(NULLS, ("contains",), ELEMENTS, PATHS)
_JSONB = _ordered(_EQUAL, _JSON)
_ARRAY = _ordered(_PLAIN, ("contains",), ELEMENTS)
_RANGE = _ordered(_PLAIN, ("contains", "has", "has_any"))
_SPELLED = _ordered(NULLS, PATTERNS)
_EQUAL_TEXT = _ordered(_EQUAL, PATTERNS)
_VECTOR = _ordered(_PLAIN, FULL_TEXT)


_BY_KIND = {
    **dict.fromkeys(TypeKind, _PLAIN),
    TypeKind.BOOLEAN: _EQUAL,
    TypeKind.ENUM: _TEXT,
    **dict.fromkeys((TypeKind.TEXT, TypeKind.JSON, TypeKind.ARRAY, TypeKind.OTHER), ()),
}


def operators_of(table: Table, column: Column) -> tuple[str, ...]:
    """The operators that fit the column, in the order of `OPERATORS`."""
    type_ = column.type
    kind = type_.kind
    if found := _BY_KIND[kind]:
        return found
    if kind is TypeKind.JSON:
        return _JSONB if type_.cast == _COMPARABLE_JSON else _JSON
    if kind is TypeKind.ARRAY:
        return _of_array(type_.item)
    if column.name in table.full_text:
        return _INDEXED_TEXT
    if kind is TypeKind.TEXT:
        return _INDEXED_TEXT if type_.cast else _TEXT
    return _of_other(type_)


def operators_of_table(table: Table) -> tuple[str, ...]:
    """Those that fit some column of the table that conditions may name."""
    return _ordered(*{operators_of(table, column) for column in table.columns if column.readable and not column.masked})


def _of_other(type_: SqlType) -> tuple[str, ...]:
    if type_.cast in RANGE_ELEMENTS:
        return _RANGE
    if type_.cast == _DOCUMENT:
        return _VECTOR
    if type_.cast in _WITHOUT_EQUALITY:
        return _SPELLED
    return _EQUAL_TEXT if type_.cast in _WITHOUT_ORDER else _TEXT


def _of_array(item: SqlType | None) -> tuple[str, ...]:
    if item is None or item.cast in _WITHOUT_EQUAL_ARRAYS:
        return NULLS
    return _PLAIN if item.kind is TypeKind.ARRAY else _ARRAY


_TESTS: Mapping[TypeKind, Mapping[str, str]] = {
    TypeKind.ARRAY: {
        "contains": "array_has_all",
        "has": "array_has_all",
        "has_any": "array_has_any",
        "has_all": "array_has_all",
    },
    TypeKind.JSON: {
        "contains": "json_contains",
        "has": "json_has_all",
        "has_any": "json_has_any",
        "has_all": "json_has_all",
    },
}
_RANGE_TESTS = {"contains": "range_contains", "has": "range_has", "has_any": "range_overlaps"}


def as_test(operator: str, type_: SqlType, value: object = None) -> str:
    """The test that the operator is of a column of that type; the operator itself where it means one thing only.

    A range may contain a range or, by the same operators, an element: that depends on the `value`.
    """
    if operator not in _RANGE_TESTS and operator != "has_all":
        return operator
    if type_.kind is TypeKind.OTHER and type_.cast in RANGE_ELEMENTS:
        return _RANGE_TESTS[operator] if is_range_text(value) else "range_has"
    tests = _TESTS.get(type_.kind)
    return tests[operator] if tests else operator


def takes_many(operator: str, type_: SqlType) -> bool:
    """Whether it takes 'values', an array, and not 'value'."""
    if operator in ("has_any", "has_all"):
        return type_.kind is not TypeKind.OTHER
    return operator in SETS or (operator == "contains" and type_.kind is TypeKind.ARRAY)
