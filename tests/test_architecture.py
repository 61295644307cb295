"""The rooms of docs/architecture.md: who may import whom, and which room may import which library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import schema_mcp

ROOT = Path(schema_mcp.__file__).parent

#: A room imports only from the lines above its own.
LINES = (
    ("errors", "caller"),
    ("observe", "schema", "config", "samples"),
    ("dialects", "state"),
    ("tools", "security"),
    ("catalog", "execute"),
    ("watch",),
    ("server",),
    ("app_settings",),
    ("app_source",),
    ("app_reload",),
    ("app",),
    ("commands", "cli", "__main__"),
)
LEVEL = {room: level for level, rooms in enumerate(LINES) for room in rooms}

#: Which files may import a library, by their beginning.
LIBRARIES = {
    "mcp": ("server/", "commands/demo.py"),
    "mcp_types": ("server/", "commands/demo.py"),
    "starlette": ("server/",),
    "uvicorn": ("server/transports/",),
    "asyncpg": ("dialects/",),
    "aiosqlite": ("dialects/",),
    "sqlite3": ("dialects/", "samples/", "commands/demo.py"),
    "apscheduler": ("watch/poll.py",),
    "alembic": ("state/migrate.py",),
    "tenacity": ("execute/",),
    "platformdirs": ("state/place.py",),
}

#: `cli` calls commands and nothing calls `cli`; `__main__` calls `cli`.
WITHIN_A_LINE = {("cli", "commands"), ("__main__", "cli")}

MODULES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_from_the_lines_above_its_own(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert list(imported(path)) == []
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "schema_mcp" or len(parts) < 2 or parts[1] == room:
            continue
        other = parts[1]
        allowed = LEVEL[other] < LEVEL[room] or (room, other) in WITHIN_A_LINE
        assert allowed, f"{path.relative_to(ROOT)} imports {name}: '{other}' is not above '{room}'"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_library_is_imported_only_where_it_belongs(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    for name in imported(path):
        places = LIBRARIES.get(name.split(".")[0])
        assert places is None or relative.startswith(places), f"{relative} imports {name}"


def test_package_files_hold_no_logic() -> None:
    for path in ROOT.rglob("__init__.py"):
        body = ast.parse(path.read_text()).body
        assert all(isinstance(node, ast.Expr) for node in body), f"{path} holds code"


def test_a_dialect_has_at_most_ten_methods() -> None:
    tree = ast.parse((ROOT / "dialects" / "base.py").read_text())
    protocol = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Dialect")
    methods = [node.name for node in protocol.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert len(methods) <= 10, methods


def test_the_architecture_page_draws_the_same_lines() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    drawn = "\n".join(" ".join(room for room in line if room != "__main__") for line in LINES)
    assert drawn in page
