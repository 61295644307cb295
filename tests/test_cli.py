"""The commands as a person runs them: what is on stdout, what on stderr, and the exit code."""

import json
import os
import re
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.peers import COMMAND, FIXED


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    cleaned = {
        name: value for name, value in os.environ.items() if not name.startswith(("SCHEMA_MCP_", "DATABASE_URL"))
    }
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**cleaned, "SCHEMA_MCP_STATE__URL": "off", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def pets(tmp_path: Path) -> str:
    path = tmp_path / "pets.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE pets (
                -- all our animals
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL, -- what it listens to
                age INTEGER CHECK (age >= 0)
            );
            CREATE TABLE visits (pet_id INTEGER NOT NULL REFERENCES pets (id), day DATE NOT NULL, UNIQUE (pet_id, day));
            INSERT INTO pets VALUES (1, 'Tom', 3), (2, 'Rex', NULL);
            """
        )
    return str(path)


def test_tools_shows_every_tool_and_ends_with_what_they_cost(pets: str) -> None:
    shown = run("tools", pets)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[: lines.index("")]] == [
        *FIXED,
        "insert_pets",
        "insert_visits",
        "query_pets",
        "query_visits",
    ]
    assert re.fullmatch(rf"{len(FIXED) + 4} tools, [\d,]+ bytes, about [\d,]+ tokens", lines[-1])


def test_tools_as_json_is_what_mcp_sends(pets: str) -> None:
    shown = run("tools", pets, "--json", "--read-only")
    tools = {tool["name"]: tool for tool in json.loads(shown.stdout)}
    assert tools.keys() == {*FIXED, "query_pets", "query_visits"} - {"insert_rows"}
    assert tools["query_pets"]["annotations"]["readOnlyHint"] is True
    assert re.fullmatch(rf"{len(FIXED) + 1} tools, [\d,]+ bytes, about [\d,]+ tokens\n", shown.stderr)


def test_call_prints_the_answer_as_json(pets: str) -> None:
    called = run("call", "query_pets", '{"where": {"name": "Tom"}}', pets)
    assert (called.returncode, called.stderr) == (0, "")
    assert json.loads(called.stdout)["rows"] == [{"id": 1, "name": "Tom", "age": 3}]


def test_call_takes_the_database_before_the_arguments_and_from_the_environment(pets: str) -> None:
    assert json.loads(run("call", "query_pets", pets, '{"limit": 1}').stdout)["row_count"] == 1
    assert json.loads(run("call", "query_pets", DATABASE_URL=pets).stdout)["row_count"] == 2


def test_a_refused_call_prints_its_error_on_stdout_and_exits_1(pets: str) -> None:
    called = run("call", "query_pets", '{"where": {"nam": "Tom"}}', pets)
    assert (called.returncode, called.stderr) == (1, "")
    assert json.loads(called.stdout)["error"] == {
        "code": "unknown_column",
        "message": "table 'pets' has no column 'nam'. Did you mean 'name'?",
        "hint": "Columns: id, name, age.",
        "retryable": False,
    }


def test_an_unknown_tool_exits_1_and_says_how_to_see_those_there_are(pets: str) -> None:
    called = run("call", "query_plants", pets)
    assert (called.returncode, called.stdout) == (1, "")
    assert called.stderr == "schema-mcp: there is no tool 'query_plants'; 'schema-mcp tools' shows those there are\n"


def test_read_only_refuses_an_insert_in_the_database_itself(pets: str) -> None:
    called = run("call", "insert_rows", '{"table": "pets", "rows": [{"name": "x"}]}', pets, "--read-only")
    assert called.returncode == 1
    with closing(sqlite3.connect(pets)) as connection:
        assert connection.execute("SELECT count(*) FROM pets").fetchone() == (2,)


def test_schema_shows_hostile_names_so_that_each_is_told_from_what_stands_around_it(tmp_path: Path) -> None:
    path = tmp_path / "hostile.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript('CREATE TABLE "main.plain\n" ("a, b" INTEGER, "\x1b[31m""red" TEXT, größe REAL);')
    assert run("schema", str(path)).stdout == (
        'main."main.plain\\u000a" (table)\n'
        '  "a, b"             INTEGER\n'
        '  "\\u001b[31m""red"  TEXT\n'
        "  größe              REAL\n"
    )


def test_schema_prints_text_json_and_mermaid(pets: str) -> None:
    text = run("schema", pets).stdout
    assert text == (
        "main.pets (table): all our animals\n"
        "  id    INTEGER, not null, identity by default, primary key\n"
        "  name  TEXT, not null  -- what it listens to\n"
        "  age   INTEGER\n"
        "  check age >= 0\n"
        "\n"
        "main.visits (table)\n"
        "  pet_id  INTEGER, not null\n"
        "  day     DATE, not null\n"
        "  unique (pet_id, day)\n"
        "  (pet_id) references main.pets (id)\n"
    )
    document = json.loads(run("schema", pets, "--format", "json").stdout)
    assert [table["name"]["name"] for table in document["tables"]] == ["pets", "visits"]
    assert run("schema", pets, "--format", "mermaid").stdout == (
        "erDiagram\n"
        '    pets["pets"] {\n'
        "        INTEGER id PK\n"
        "        TEXT name\n"
        "        INTEGER age\n"
        "    }\n"
        '    visits["visits"] {\n'
        "        INTEGER pet_id FK\n"
        "        DATE day\n"
        "    }\n"
        '    pets ||--o{ visits : "pet_id"\n'
    )


def test_the_demo_ends_by_itself_and_every_step_succeeds() -> None:
    shown = run("demo")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"list_changed arrived \d+ ms later", shown.stdout)
    assert "Every step went as it should." in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("serve", "sample", "--transport", "carrier-pigeon"), "invalid choice: 'carrier-pigeon'"),
        (("serve",), "database.url: no database is named"),
        (("tools", "mysql://u:hunter2@h/d"), "'mysql' is not a database that is served"),
        (("call", "query_pets", "{1}", "sample"), "the arguments are not valid JSON"),
        (("call", "query_pets", "{}", "a", "b"), "usage: schema-mcp call TOOL [JSON] [DATABASE]"),
        (
            ("serve", "sample", "--transport", "http", "--host", "0.0.0.0"),
            "use --host 127.0.0.1 until there is sign-in",
        ),
        (("serve", "sample", "--config", "nothere.toml"), "nothere.toml: cannot be read"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_do(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_all_mistakes_of_a_configuration_are_printed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[pool]\nsize = -1\n[tools]\nsurfaces = 1\n")
    done = run("serve", "sample", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "schema-mcp: the configuration cannot be used:\n"
        f"  {tmp_path}/config.toml: pool.size: takes a number from 1 to 1000, got -1\n"
        f"  {tmp_path}/config.toml: tools.surfaces: unknown key; did you mean tools.surface?\n"
    )


@pytest.mark.parametrize("given", ["nothere.sqlite", "garbage.sqlite", "postgresql://u:hunter2@127.0.0.1:1/d"])
def test_a_database_that_cannot_be_opened_exits_1_and_names_it(given: str, tmp_path: Path) -> None:
    (tmp_path / "garbage.sqlite").write_text("no database, but long enough to be looked at as one " * 20)
    done = run("tools", given, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("schema-mcp: ")
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["garbage.sqlite"]


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_exit_0(pets: str, transport: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, pets, "--transport", transport, "--port", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "serving on" in line:
                break
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=10)
    assert (process.returncode, stdout) == (0, "")
    assert stderr.endswith("stopped: signal\n")
    assert "Traceback" not in stderr


def test_the_end_of_input_ends_a_server_on_stdio(pets: str) -> None:
    done = run(pets)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("stopped: end of input\n")


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"schema-mcp \d+\.\d+\.\d+\n", run("--version").stdout)


# Several sources


@pytest.fixture
def several(pets: str, tmp_path: Path) -> Path:
    """A folder whose config.toml names the pets twice, and a file that is not there."""
    sources = {"home": pets, "farm": pets, "moon": str(tmp_path / "moon.sqlite")}
    (tmp_path / "config.toml").write_text(
        "\n".join(f'[[sources]]\nname = "{name}"\nurl = "{url}"' for name, url in sources.items())
    )
    return tmp_path


def test_tools_and_call_reach_every_source_and_say_which_is_missing(several: Path) -> None:
    shown = run("tools", cwd=several)
    assert (shown.returncode, shown.stderr.partition(":")[0]) == (0, "moon")
    names = [line.split()[0] for line in shown.stdout.partition("\n\n")[0].splitlines()]
    assert [name for name in names if name.startswith("query_") and name != "query_rows"] == [
        "query_farm_pets",
        "query_farm_visits",
        "query_home_pets",
        "query_home_visits",
    ]
    called = run("call", "query_farm_pets", '{"limit": 1}', cwd=several)
    assert (called.returncode, json.loads(called.stdout)["table"]) == (0, "farm.pets")
    away = run("call", "query_moon_pets", cwd=several)
    assert (away.returncode, json.loads(away.stdout)["error"]["code"]) == (1, "database_unavailable")


def test_schema_shows_each_source_or_the_one_that_is_chosen(several: Path) -> None:
    one = run("schema", "--source", "home", cwd=several)
    assert (one.returncode, one.stderr) == (0, "")
    every = run("schema", cwd=several)
    assert (every.returncode, every.stderr.partition(":")[0]) == (0, "moon")
    assert every.stdout == f"home:\n\n{one.stdout}\nfarm:\n\n{one.stdout}\n"
    chosen = run("schema", "--format", "json", "--source", "farm", cwd=several)
    assert [table["name"]["source"] for table in json.loads(chosen.stdout)["tables"]] == ["farm", "farm"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("schema", "--format", "mermaid"), "several are configured"),
        (("trigger", "install"), "several are configured"),
        (("history", "--source", "mars"), "there is no source 'mars'"),
    ],
)
def test_where_one_source_must_be_chosen_the_names_are_told(
    arguments: tuple[str, ...], told: str, several: Path
) -> None:
    refused = run(*arguments, cwd=several)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"schema-mcp: {told}: choose with --source home, farm, moon\n"


def test_the_history_of_every_source_is_shown_under_its_name(several: Path, pets: str) -> None:
    store = {"SCHEMA_MCP_STATE__URL": str(several / "state.sqlite")}
    assert run("call", "server_status", cwd=several, **store).returncode == 0
    with closing(sqlite3.connect(pets)) as connection:
        connection.execute("CREATE TABLE toys (id integer)")
    assert run("call", "server_status", cwd=several, **store).returncode == 0
    shown = run("history", cwd=several, **store)
    assert shown.returncode == 0, shown.stderr
    assert sorted(re.findall(r"added    (\S+)", shown.stdout)) == ["farm.toys", "home.toys"]
    assert shown.stderr.startswith("moon: nothing is kept of this database in ")
    one = run("history", "--source", "farm", "--table", "toys", "--json", cwd=several, **store)
    assert [change["table"] for change in json.loads(one.stdout)] == ["toys"]
