"""Values that no tool expects, and calls of every tool with each of them wherever a value may stand."""

import string
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

#: Texts that have broken programs: empty, blank, words of languages, SQL, formats, paths, numbers, what no font shows.
WORDS = [
    "", " ", "undefined", "null", "None", "NaN", "-0", "007", "1e400", "0x1F", "9223372036854775808", "½", "true",
    "'", '"', "';--", "1; DROP TABLE hostile_birds", "' OR 1=1 --", "id desc; SELECT 1", "id\x00", "\x00", "%", "_",
    "%s%n%d", "{0}", "{name}", "${HOME}", "$(touch x)", "$1", ":id", "?", "\\", "\\x", "`", "[]", "{}", "(", "((((",
    "<script>alert(1)</script>", "../../etc/passwd", "sqlite_master", "pg_catalog.pg_class", "hostile_birds.id", "*",
    "name as name", "count(*)", "sum(id) over ()", "id > 1 or true", "$.a == 1", "$", "$[*", "\t\n\r\v\f", "\u2028",
    "\ufeff", "\u202eabc", "\u200b", "\uffff", "\ud800", "a\udfffb", "İ ß", "田中さん", "الكل", "🏳️‍🌈 👩‍👩‍👧", "Ṱ̺̺̕o͞",
    '{"$json": "1"}', "text:x", "infinity", "2026-02-30", "x" * 100_000, "(" * 5_000, "9" * 5_000,
]  # fmt: skip


def deep(levels: int, leaf: Any) -> Any:
    """Arrays in arrays."""
    for _ in range(levels):
        leaf = [leaf]
    return leaf


#: Values of other kinds.
OTHERS: list[Any] = [
    None, True, False, 0, -1, -1.5, 0.0, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, float("inf"), float("nan"),
    [], {}, [[]], [{}], [None], [1, "a", None], {"a": 1}, {"": ""}, {"\ud800": 1}, {"id": {"id": 1}},
    {"column": "id"}, {"op": "eq"}, deep(150, 1), {"a": deep(150, {"b": None})},
]  # fmt: skip
#: What is only hostile in such numbers: conditions, values, rows, members.
MANY: list[Any] = [
    [{"column": "id", "op": "eq", "value": 1}] * 10_000,
    [{"column": "id", "op": "in", "values": list(range(100_000))}],
    [{"column": "id", "op": "in", "values": [1] * 65_536}],
    [{"column": "name", "op": "eq", "value": "x", "or": f"g{number}"} for number in range(200)],
    ["id"] * 10_000,
    [{"id": number} for number in range(20_000)],
    [{}] * 20_000,
    [{"tool": "list_tables", "arguments": {}}] * 2_000,
    {f"c{number}": number for number in range(10_000)},
    list(range(65_536)),
]

#: What each tool is called with beside the hostile argument; a write is a rehearsal.
_ROW, _ONE = {"id": 7, "name": "x"}, {"where": {"id": 1}, "dry_run": True}
_SQL = {"sql": "SELECT 1 AS one"}
BASES: Mapping[str, Mapping[str, Any]] = {
    "insert": {"rows": [_ROW], "dry_run": True},
    "update": {"set": {"name": "y"}, **_ONE},
    "delete": _ONE,
    "run_batch": {"calls": [{"tool": "query_hostile_birds", "arguments": {}}]},
    "describe_table": {"table": "hostile_birds"},
    "begin_transaction": {"read_only": True},
    "execute_sql": _SQL,
    "explain_query": _SQL,
}


def base_of(tool: str) -> dict[str, Any]:
    """Arguments with which the tool's call is sound."""
    base = dict(BASES.get(tool, BASES.get(tool.partition("_")[0], {})))
    if tool.endswith("_rows"):
        base["table"] = "hostile_birds"
    return base


def shapes(schema: Mapping[str, Any], columns: Sequence[str]) -> Iterator[Any]:
    """Templates of an argument by its schema, `HOLE` where the hostile value stands."""
    yield HOLE
    items = schema.get("items", {})
    match schema["type"], items.get("type"):
        case "array", "string":
            yield [HOLE]
            for form in ("{} desc", "sum({})", "{} > 1", "count as {}", "{}.{}", "hostile_owners({})"):
                yield [Text(form)]
        case "array", _:
            yield [HOLE]
            for member in items.get("properties", {}) or ("table", "rows"):
                yield [{**_item(items), member: HOLE}]
            operators = items.get("properties", {}).get("op", {}).get("enum", ())
            for operator, column in zip(operators, cycle(columns)):
                for member in ("value", "values"):
                    yield [{"column": column, "op": operator, member: HOLE}]
        case "object", _:
            for column in columns:
                yield {column: HOLE}
            yield KEY
        case "string", _:
            yield from map(Text, ("hostile_birds {}", "{}.hostile_birds", "SELECT {}"))


def _item(items: Mapping[str, Any]) -> dict[str, Any]:
    properties = items.get("properties", {})
    if "op" in properties:
        return {"column": "name", "op": "eq", "value": "x"}
    return {"tool": "query_hostile_birds"} if "tool" in properties else dict(_ROW)


#: Where the value stands; where it is the name of a member.
HOLE, KEY = object(), object()


class Text(str):
    """A text with places for the value, if that is a text."""


def filled(template: Any, value: Any) -> Any:
    """The template with the value in it."""
    if template is HOLE:
        return value
    if template is KEY:
        return {str(value): 1}
    if isinstance(template, Text):
        return template.replace("{}", str(value)[:200])
    if isinstance(template, list):
        return [filled(item, value) for item in template]
    if isinstance(template, dict):
        return {name: filled(item, value) for name, item in template.items()}
    return template


def calls(tool: str, schema: Mapping[str, Any], columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Templates of calls of the tool by argument: each of its schema, and some that it does not know."""
    base = base_of(tool)
    for name, member in schema["properties"].items():
        yield [{**base, name: template} for template in (shapes(member, columns) if name != "dry_run" else [HOLE])]
    yield [{**base, "hostile": HOLE}, dict.fromkeys(string.ascii_lowercase, HOLE)]
