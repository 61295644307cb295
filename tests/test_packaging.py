"""The wheel holds all that a user needs: it is built, installed elsewhere, and its demo runs there."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent


def run(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_installed_elsewhere_runs_the_demo(tmp_path: Path) -> None:
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT), cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(ZipFile(wheel).namelist())
    sources = {f"schema_mcp/{path.relative_to(ROOT / 'schema_mcp')}" for path in (ROOT / "schema_mcp").rglob("*.sql")}
    sources |= {
        f"schema_mcp/{path.relative_to(ROOT)}"
        for pattern in ("*.sql", "*.py", "*.mako")
        for path in (ROOT / "migrations").rglob(pattern)
    }
    assert len(sources) >= 4
    assert sources <= names
    assert "schema_mcp/py.typed" in names
    elsewhere = tmp_path / "site"
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(elsewhere), str(wheel), cwd=tmp_path)
    found = run("-c", "import schema_mcp; print(schema_mcp.__file__)", cwd=tmp_path, PYTHONPATH=str(elsewhere))
    assert Path(found.strip()).is_relative_to(elsewhere)
    told = run("-m", "schema_mcp", "demo", cwd=tmp_path, PYTHONPATH=str(elsewhere))
    assert "Every step went as it should." in told
