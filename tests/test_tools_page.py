"""docs/tools.md: every example is run, and every tool, argument, operator and error code is there."""

import json
import re
from typing import Any

import pytest

from schema_mcp.errors import ErrorCode
from schema_mcp.tools.options import OPTION_PROPERTIES
from tests.peers import FIXED, FIXED_IN_WRITE, inside_several
from tests.test_cli import run as run_command
from tests.tools_page import PAGE, Example, as_shown, examples, run, together

EXAMPLES = examples(PAGE.read_text())
#: Those that answer where a setting turns them on.
OPT_IN = [
    "activate_tables",
    "clear_context",
    "execute_sql",
    "explain_query",
    "get_context",
    "set_context",
    "wait_for_change",
]


def about(some: list[Example]) -> str:
    return f"{some[0].tool}, {len(some)} in all"


@pytest.mark.parametrize("some", together(EXAMPLES), ids=about)
async def test_every_answer_on_the_page_is_the_one_that_its_call_gets(some: list[Example]) -> None:
    for example, answer in zip(some, await run(some), strict=True):
        assert answer == example.answer, example.command


def test_an_example_runs_as_it_stands_there() -> None:
    example = EXAMPLES[0]
    shown = run_command("call", example.tool, json.dumps(example.arguments), "sample", cwd=None, **example.environment)
    assert as_shown(json.loads(shown.stdout), example.answer) == example.answer


async def offered() -> dict[str, dict[str, Any]]:
    """The properties of every tool that takes a table's name, or none, with all that settings can add."""
    async with inside_several(
        shop="sample",
        more="sample",
        access__mode="write",
        access__sql="write",
        tools__groups=["activate_tables", "set_context", "wait_for_change"],
    ) as program:
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
        return {name: tools[name].input_schema["properties"] for name in (*FIXED, *FIXED_IN_WRITE, *OPT_IN)}


async def test_every_argument_has_an_example() -> None:
    for name, properties in (await offered()).items():
        kind = re.fullmatch(r"(query|insert|update|delete)_rows", name)
        named = [e for e in EXAMPLES if e.tool.startswith(f"{kind[1]}_" if kind else name)]
        own = set(properties) - OPTION_PROPERTIES.keys()
        assert own - {argument for example in named for argument in example.arguments} == set(), name
        assert name in {example.tool for example in EXAMPLES}
    assert OPTION_PROPERTIES.keys() - {argument for example in EXAMPLES for argument in example.arguments} == set()


async def test_every_operator_and_member_of_a_filter_has_an_example_that_is_answered() -> None:
    filter_: dict[str, Any] = (await offered())["query_rows"]["filters"]["items"]["properties"]
    answered = [e for e in EXAMPLES if e.answer is not None and "error" not in e.answer and e.tool != "set_context"]
    used = [given for example in answered for given in example.arguments.get("filters", ())]
    assert set(filter_["op"]["enum"]) - {given["op"] for given in used} == set()
    assert set(filter_) - {member for given in used for member in given} == set()


def test_every_error_code_is_explained_and_no_other() -> None:
    table = PAGE.read_text().partition("## When a call fails")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == [str(code) for code in ErrorCode]
