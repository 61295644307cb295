"""The documentation says what the program does: schemas and answers are made again, keys and links looked up."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from schema_mcp.config.load import known_keys
from schema_mcp.errors import ErrorCode
from tests.peers import inside

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[str]:
    found: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [text for marked, text in found if marked == language]


def block_with(language: str, word: str) -> str:
    (found,) = [block for block in blocks(language) if word in block]
    return found


async def test_the_schema_in_the_readme_is_the_one_that_clients_get() -> None:
    async with inside("sample") as program:
        tools = {tool.name: tool for tool in (await program.peer.client.list_tools()).tools}
    assert json.loads(block_with("json", '"returning"')) == tools["insert_categories"].input_schema


async def test_the_answer_in_the_readme_is_the_one_that_the_call_beside_it_gets() -> None:
    shown: dict[str, Any] = json.loads(block_with("json", '"next_cursor"'))
    async with inside("sample") as program:
        answer = await program.peer.call("query_reviews", json.loads(block_with("", '{"columns": ["product_id"')))
    assert shown | {"next_cursor": None} == answer | {"next_cursor": None}


def test_every_json_snippet_of_the_readme_is_valid() -> None:
    assert len(blocks("json")) >= 4
    for block in blocks("json"):
        json.loads(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_that_a_page_names_exists(page: Path) -> None:
    sections = {key.partition(".")[0] for key in known_keys()}
    named = re.findall(r"`([a-z]+\.[a-z_]+)\b[^`(]*`", page.read_text())
    keys = {
        name for name in named if name.partition(".")[0] in sections and not name.endswith((".py", ".toml", ".sql"))
    }
    rooms = {name for name in keys if (ROOT / "schema_mcp" / name.replace(".", "/")).with_suffix(".py").exists()}
    assert keys - rooms <= set(known_keys())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        assert set(re.findall(r"\bmake ([a-z]+)`", page.read_text())) <= targets


def test_error_codes_are_plain_words() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in ErrorCode)
