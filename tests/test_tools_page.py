"""docs/tools.md: every example is run, and every argument, operator and tool has one."""

import json
from typing import Any

import pytest

from tests.peers import FIXED, inside
from tests.test_cli import run as run_command
from tests.tools_page import PAGE, Example, as_shown, examples, run, together

EXAMPLES = examples(PAGE.read_text())


@pytest.mark.parametrize("some", together(EXAMPLES), ids=lambda some: f"{some[0].tool}, {len(some)} in all")
async def test_every_answer_on_the_page_is_the_one_that_its_call_gets(some: list[Example]) -> None:
    for example, answer in zip(some, await run(some), strict=True):
        assert answer == example.answer, example.command


def test_an_example_runs_as_it_stands_there() -> None:
    example = EXAMPLES[0]
    shown = run_command("call", example.tool, json.dumps(example.arguments), "sample", cwd=None, **example.environment)
    assert as_shown(json.loads(shown.stdout), example.answer) == example.answer


async def offered() -> dict[str, dict[str, Any]]:
    async with inside("sample") as program:
        return {tool.name: tool.input_schema for tool in (await program.peer.client.list_tools()).tools}


async def test_every_tool_that_is_always_there_has_an_example() -> None:
    assert set(FIXED) - {example.tool for example in EXAMPLES} == set()


async def test_every_argument_and_operator_has_an_example() -> None:
    tools = await offered()
    for kind in ("query", "insert"):
        named = [example for example in EXAMPLES if example.tool.startswith(f"{kind}_")]
        arguments = {argument for example in named for argument in example.arguments}
        assert set(tools[f"{kind}_rows"]["properties"]) - arguments == set(), kind
    operators = set(tools["query_rows"]["properties"]["filters"]["items"]["properties"]["op"]["enum"])
    used = {
        filter_["op"]
        for example in EXAMPLES
        for filter_ in example.arguments.get("filters", ())
        if example.answer is not None and "error" not in example.answer
    }
    assert operators - used == set()
