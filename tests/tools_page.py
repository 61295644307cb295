"""The examples of docs/tools.md: read from the page, run, and (`python -m tests.tools_page`) answered anew.

An example is a block that begins with `$ [NAME=VALUE ...] schema-mcp call TOOL ['JSON'] [DATABASE] [--write]`, and the
answer below it. The variables are those of the environment that the settings are read from; a database is `sample` or
the one that the page itself makes (`MADE`), and without any the variables say which. Examples of the same settings
share one program, but one that changes the sample has a program, and with it a sample, to itself.

A cursor that an example sends stands in the answer of another; both are written by hand where cursors change. A
transaction that an example names by `ANY` is the one that an example before it has begun.
"""

import asyncio
import json
import re
import shlex
import sqlite3
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schema_mcp.app import running
from schema_mcp.commands.inspect import TERMINAL
from schema_mcp.config.load import load

PAGE = Path(__file__).parent.parent / "docs" / "tools.md"
#: What stands on the page for a value that is another each time (a cursor, a time), or that is left out there.
ANY = "..."
#: The file that the page makes by the SQL of its one such block.
MADE = "desk.sqlite"

_BLOCK = re.compile(r"^```console\n\$ (?P<command>[^\n]*)\n(?P<answer>.*?)^```$", re.M | re.S)
_SQL = re.compile(r"^```sql\n(?P<sql>.*?)^```$", re.M | re.S)
_READS = ("query_", "list_", "describe_", "schema_", "server_", "explain_", "execute_", "refresh_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One call of the page. `database`: None where the environment names it. `answer`: the JSON below the call, None
    where there is none yet."""

    command: str
    tool: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str]
    database: str | None
    answer: Mapping[str, Any] | None

    @property
    def alone(self) -> bool:
        """Whether it may leave the sample changed, which others are to find as it was."""
        undone = self.arguments.get("dry_run") is True or (self.answer is not None and "error" in self.answer)
        return self.database == "sample" and not undone and not self.tool.startswith(_READS)


def examples(page: str) -> list[Example]:
    """Those of the page, in order. Raises: ValueError for a command of another form."""
    return [_example(block["command"], block["answer"]) for block in _BLOCK.finditer(page)]


def _example(command: str, answer: str) -> Example:
    words = shlex.split(command)
    environment: dict[str, str] = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    program, call, tool, *rest = words
    if rest and rest[-1] == "--write":
        rest.pop()
        environment["SCHEMA_MCP_ACCESS__MODE"] = "write"
    arguments = rest.pop(0) if rest and rest[0].startswith("{") else "{}"
    if (program, call) != ("schema-mcp", "call") or rest not in (["sample"], [MADE], []):
        raise ValueError(f"not an example of a call: {command}")
    return Example(
        command=command,
        tool=tool,
        arguments=json.loads(arguments),
        environment=environment,
        database=rest[0] if rest else None,
        answer=json.loads(answer) if answer.strip() else None,
    )


async def run(some: Sequence[Example]) -> list[dict[str, Any]]:
    """The answers of examples with the same settings, in order, by one program."""
    with tempfile.TemporaryDirectory() as folder:
        made = _make(Path(folder))
        environment = {name: made if value == MADE else value for name, value in some[0].environment.items()}
        flags = {} if some[0].database is None else {"database.url": made if some[0].database == MADE else "sample"}
        if some[0].database != "sample":
            flags["state.url"] = str(Path(folder, "state.sqlite"))
        settings = load(file=None, environment=environment, flags=flags)
        async with running(settings, lambda _: None) as app:
            await app.watcher.first_look.wait()
            answers, begun = [], ANY
            for one in some:
                answer = json.loads((await app.service.call(one.tool, _named(one.arguments, begun), TERMINAL)).json)
                begun = answer.get("transaction_id", begun)
                answers.append(as_shown(answer, one.answer))
            return answers


def _named(arguments: Mapping[str, Any], begun: str) -> Mapping[str, Any]:
    return {**arguments, "transaction_id": begun} if arguments.get("transaction_id") == ANY else arguments


def _make(folder: Path) -> str:
    (sql,) = _SQL.findall(PAGE.read_text())
    path = folder / MADE
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)
    return str(path)


def together(all_: Iterable[Example]) -> list[list[Example]]:
    """The examples by the program that they run in."""
    shared: dict[tuple[str | None, tuple[tuple[str, str], ...]], list[Example]] = {}
    alone: list[list[Example]] = []
    for example in all_:
        if example.alone:
            alone.append([example])
        else:
            shared.setdefault((example.database, tuple(sorted(example.environment.items()))), []).append(example)
    return [*shared.values(), *alone]


def as_shown(answer: Any, shown: Any, name: str = "") -> Any:
    """The answer with `ANY` wherever the page shows it, and for cursors that it does not show."""
    if shown == ANY or (name == "next_cursor" and answer and not shown):
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
