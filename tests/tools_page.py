"""The examples of docs/tools.md: read from the page, run, and (`python -m tests.tools_page`) answered anew.

An example is a block that begins with `$ [NAME=VALUE ...] schema-mcp call TOOL 'JSON' sample`, and the answer below it.
The variables are those of the environment that the settings are read from. Examples of the same settings that only
read share one program; one that writes has a program, and with it a sample, to itself.
"""

import asyncio
import json
import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schema_mcp.app import running
from schema_mcp.commands.inspect import TERMINAL
from schema_mcp.config.load import load

PAGE = Path(__file__).parent.parent / "docs" / "tools.md"
#: What stands on the page for a value that is another each time: a cursor, a time.
ANY = "..."

_BLOCK = re.compile(r"^```console\n\$ (?P<command>[^\n]*)\n(?P<answer>.*?)^```$", re.M | re.S)
_READS = ("query_", "list_", "describe_", "schema_", "server_", "explain_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One call of the page. `answer`: the JSON below it, None where there is none yet."""

    command: str
    tool: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str]
    answer: Mapping[str, Any] | None

    @property
    def writes(self) -> bool:
        """Whether it may leave the sample changed."""
        return not self.tool.startswith(_READS)


def examples(page: str) -> list[Example]:
    """Those of the page, in order. Raises: ValueError for a command of another form."""
    return [_example(block["command"], block["answer"]) for block in _BLOCK.finditer(page)]


def _example(command: str, answer: str) -> Example:
    words = shlex.split(command)
    environment: dict[str, str] = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if words[:2] != ["schema-mcp", "call"] or len(words) not in (4, 5) or words[-1] != "sample":
        raise ValueError(f"not an example of a call on the sample: {command}")
    arguments = json.loads(words[3]) if len(words) == 5 else {}
    return Example(
        command=command,
        tool=words[2],
        arguments=arguments,
        environment=environment,
        answer=json.loads(answer) if answer.strip() else None,
    )


async def run(some: Sequence[Example]) -> list[dict[str, Any]]:
    """The answers of examples with the same environment, in order, by one program."""
    settings = load(file=None, environment=some[0].environment, flags={"database.url": "sample"})
    async with running(settings, lambda _: None) as app:
        await app.watcher.first_look.wait()
        return [
            as_shown(json.loads((await app.service.call(e.tool, e.arguments, TERMINAL)).json), e.answer) for e in some
        ]


def together(all_: Iterable[Example]) -> list[list[Example]]:
    """The examples by the program that they run in."""
    shared: dict[tuple[tuple[str, str], ...], list[Example]] = {}
    alone: list[list[Example]] = []
    for example in all_:
        if example.writes:
            alone.append([example])
        else:
            shared.setdefault(tuple(sorted(example.environment.items())), []).append(example)
    return [*shared.values(), *alone]


def as_shown(answer: Any, shown: Any, name: str = "") -> Any:
    """The answer with `ANY` for cursors, and wherever the page shows it."""
    if shown == ANY or (name == "next_cursor" and answer):
        return ANY
    if isinstance(answer, dict):
        beside = shown if isinstance(shown, Mapping) else {}
        return {key: as_shown(value, beside.get(key), key) for key, value in answer.items()}
    if isinstance(answer, list):
        besides = shown if isinstance(shown, list) and len(shown) == len(answer) else [None] * len(answer)
        return [as_shown(item, beside) for item, beside in zip(answer, besides, strict=True)]
    return answer


def written(answer: Mapping[str, Any]) -> str:
    """The answer as the page shows it: a line a member, and of lists of objects a line each."""
    lines = []
    for name, value in answer.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = ",\n".join(json.dumps(item, ensure_ascii=False) for item in value)
            text = f"[\n{textwrap.indent(inner, '    ')}\n  ]"
        elif isinstance(value, dict) and len(text) > 100:
            inner = ",\n".join(
                f"{json.dumps(key)}: {json.dumps(member, ensure_ascii=False)}" for key, member in value.items()
            )
            text = f"{{\n{textwrap.indent(inner, '    ')}\n  }}"
        lines.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


async def _write() -> None:
    page = PAGE.read_text()
    answers: dict[str, dict[str, Any]] = {}
    for some in together(examples(page)):
        answers |= zip((example.command for example in some), await run(some), strict=True)
    PAGE.write_text(
        _BLOCK.sub(lambda block: f"```console\n$ {block['command']}\n{written(answers[block['command']])}```", page)
    )


if __name__ == "__main__":
    asyncio.run(_write())
