"""Where settings come from, and that every mistake is told at once, each with its key."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from schema_mcp.config.database import parse_database, shown
from schema_mcp.config.load import known_keys, load
from schema_mcp.config.model import CHOICES, RANGES, Settings, SourceSettings
from schema_mcp.errors import ConfigurationError, UsageError

ROOT = Path(__file__).parent.parent


def mistakes(directory: Path, text: str = "", environment: dict[str, str] | None = None, **flags: Any) -> list[str]:
    (directory / "config.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file=None, environment=environment or {}, flags=flags, directory=directory)
    return [mistake.replace(f"{directory}/", "") for mistake in caught.value.mistakes]


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[pool]\nsize = 3\n[limits]\ncall_timeout_s = 7\n[server]\nport = 1\n")
    environment = {"SCHEMA_MCP_LIMITS__CALL_TIMEOUT_S": "8", "SCHEMA_MCP_SERVER__PORT": "2", "UNRELATED": "x"}
    settings = load(file=None, environment=environment, flags={"server.port": 3}, directory=tmp_path)
    assert (settings.pool.size, settings.limits.call_timeout_s, settings.server.port) == (3, 8.0, 3)
    assert settings.watch == Settings().watch


def test_lists_in_the_environment_are_separated_by_commas(tmp_path: Path) -> None:
    environment = {"SCHEMA_MCP_DATABASE__INCLUDE": "orders, order_*"}
    settings = load(file=None, environment=environment, flags={}, directory=tmp_path)
    assert settings.database.include == ("orders", "order_*")


def test_database_url_is_taken_when_nothing_else_names_a_database(tmp_path: Path) -> None:
    environment = {"DATABASE_URL": "postgresql://h/d"}
    assert load(file=None, environment=environment, flags={}, directory=tmp_path).database.url == "postgresql://h/d"
    settings = load(file=None, environment=environment, flags={"database.url": "x.db"}, directory=tmp_path)
    assert settings.database.url == "x.db"


def test_all_mistakes_are_told_at_once_each_with_its_key(tmp_path: Path) -> None:
    text = """
    verbose = true
    [acess]
    mode = "read"
    [access]
    mode = "everything"
    [pool]
    size = 0
    acquire_timeout_s = "long"
    [watch]
    pol_interval_s = 3
    [database]
    include = "orders"
    [server]
    secret = "short"
    """
    assert mistakes(tmp_path, text, {"SCHEMA_MCP_LIMITS__LOCK_TIMEOUT_S": "soon"}) == [
        "config.toml: verbose: unknown key",
        "config.toml: acess.mode: unknown key; did you mean access.mode?",
        "config.toml: access.mode: takes one of read, insert, write, got 'everything'",
        "config.toml: pool.size: takes a number from 1 to 1000, got 0",
        "config.toml: pool.acquire_timeout_s: takes a number, got 'long'",
        "config.toml: watch.pol_interval_s: unknown key; did you mean watch.poll_interval_s?",
        "config.toml: database.include: takes strings in [ ], got 'orders'",
        "config.toml: server.secret: takes at least 16 characters",
        "SCHEMA_MCP_LIMITS__LOCK_TIMEOUT_S (limits.lock_timeout_s): takes a number, got 'soon'",
    ]


def test_sql_that_may_write_needs_a_server_that_may(tmp_path: Path) -> None:
    assert mistakes(tmp_path, '[access]\nsql = "write"') == [
        'access.sql: "write" needs access.mode = "write", which is "insert"; or take "read"'
    ]
    flags = {"access.sql": "write", "access.mode": "write"}
    assert load(file=None, environment={}, flags=flags, directory=tmp_path / "none").access.sql == "write"


@pytest.mark.parametrize("key", ["include", "exclude", "hide_columns"])
def test_sql_of_a_callers_own_is_refused_where_it_would_get_round_what_is_kept_from_callers(
    tmp_path: Path, key: str
) -> None:
    assert mistakes(tmp_path, f'[access]\nsql = "read"\n[database]\n{key} = ["a*"]') == [
        f"access.sql: SQL of a caller's own reads whatever the role may read, so database.{key} cannot be kept: remove "
        f"database.{key} and grant the role no more than may be read, or leave access.sql off"
    ]


def test_a_file_that_is_not_toml_or_not_there_is_named(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "[pool\nsize=3")[0].startswith("config.toml: is not valid TOML: ")
    with pytest.raises(ConfigurationError) as caught:
        load(file=tmp_path / "other.toml", environment={}, flags={})
    assert str(caught.value) == f"{tmp_path}/other.toml: cannot be read: No such file or directory"


def test_the_shipped_file_documents_every_key_with_its_default() -> None:
    text = (ROOT / "config.toml").read_text()
    lines = []
    for line in text.splitlines():
        key = line.removeprefix("# ").partition(" = ")[0]
        lines.append(line.removeprefix("# ") if key.isidentifier() and " = " in line else line)
    documented = {
        f"{section}.{key}": value
        for section, members in tomllib.loads("\n".join(lines)).items()
        for key, value in members.items()
    }
    defaults: dict[str, Any] = {
        f"{section.name}.{item.name}": getattr(getattr(Settings(), section.name), item.name)
        for section in fields(Settings)
        if section.name != "sources"
        for item in fields(getattr(Settings(), section.name))
    }
    expected = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert documented == expected | {"database.url": "sample", "server.secret": ""}


def test_every_number_has_a_range_and_every_choice_holds_its_default() -> None:
    defaults = {key: getattr(getattr(Settings(), key.partition(".")[0]), key.partition(".")[2]) for key in known_keys()}
    numbers = {key for key, type_ in known_keys().items() if type_ in (int, float)}
    assert numbers == set(RANGES)
    assert all(low <= defaults[key] <= high for key, (low, high) in RANGES.items())
    assert all(
        set(default if isinstance(default := defaults[key], tuple) else [default]) <= set(words)
        for key, words in CHOICES.items()
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://u:p%40ss@h:5433/d?sslmode=require", "postgresql://u:p%40ss@h:5433/d?sslmode=require"),
        ("postgresql+asyncpg://h/d", "postgresql://h/d"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("/data/my.sqlite", "sqlite:////data/my.sqlite"),
    ],
)
def test_a_database_may_be_named_in_several_ways(given: str, expected: str) -> None:
    assert parse_database(given).render_as_string(hide_password=False) == expected


def test_a_relative_path_means_the_file_it_meant_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_database("x.db").database == str(tmp_path / "x.db")
    assert parse_database("sqlite:///x.db").database == str(tmp_path / "x.db")


@pytest.mark.parametrize(
    "given",
    ["", "mysql://u:secret@h/d", "sqlite://", ":memory:", "sqlite:///:memory:", "postgresql://u:secret@h:port/d"],
)
def test_what_cannot_be_served_is_refused_without_repeating_a_password(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_database(given)
    assert "database.url" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_url_is_shown_without_its_password_and_parameters() -> None:
    url = parse_database("postgresql://u:hunter2@h/d?password=hunter2")
    assert shown(url) == "postgresql://u:***@h/d"


# Several sources

SOURCES = """
[[sources]]
name = "shop"
url = "postgresql://reader@h/shop"
include = ["order*"]

[[sources]]
name = "crm"
url = "/data/crm.sqlite"
"""


def loaded(directory: Path, text: str, environment: dict[str, str] | None = None, **flags: Any) -> Settings:
    (directory / "config.toml").write_text(text)
    return load(file=None, environment=environment or {}, flags=flags, directory=directory)


def test_several_sources_are_read_in_their_order(tmp_path: Path) -> None:
    assert loaded(tmp_path, SOURCES).served == (
        SourceSettings(name="shop", url="postgresql://reader@h/shop", include=("order*",)),
        SourceSettings(name="crm", url="/data/crm.sqlite"),
    )


def test_the_environment_wins_over_the_file_for_sources_and_may_name_further_ones(tmp_path: Path) -> None:
    environment = {
        "SCHEMA_MCP_SOURCES__SHOP__URL": "postgresql://reader:hunter2@h/shop",
        "SCHEMA_MCP_SOURCES__CRM__HIDE_COLUMNS": "ssn, pass*",
        "SCHEMA_MCP_SOURCES__LOGS__URL": "/data/logs.sqlite",
        "DATABASE_URL": "/data/other.sqlite",
    }
    assert loaded(tmp_path, SOURCES, environment).served == (
        SourceSettings(name="shop", url="postgresql://reader:hunter2@h/shop", include=("order*",)),
        SourceSettings(name="crm", url="/data/crm.sqlite", hide_columns=("ssn", "pass*")),
        SourceSettings(name="logs", url="/data/logs.sqlite"),
    )


def test_a_database_on_the_command_line_is_the_only_one(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SOURCES, {}, **{"database.url": "x.db"})
    assert settings.served == (SourceSettings(name="database", url="x.db"),)


def test_mistakes_of_all_sources_are_told_at_once_each_with_its_key(tmp_path: Path) -> None:
    text = """
    [[sources]]
    name = "shop"
    ulr = "postgresql://h/d"

    [[sources]]
    name = "My_Shop"
    url = "a.sqlite"
    include = "orders"

    [[sources]]
    name = "crm"
    url = "mysql://reader:hunter2@h/d"

    [[sources]]
    name = "crm"
    url = "b.sqlite"

    [[sources]]
    url = 5

    [pool]
    size = 0
    """
    variables = {"SCHEMA_MCP_SOURCES__A_B__URL": "x", "SCHEMA_MCP_SOURCES__CRM__INCLUDED": "x"}
    next_ = "give a postgresql:// or sqlite:/// URL, the path of a SQLite file, or the word sample"
    assert mistakes(tmp_path, text, variables) == [
        "config.toml: sources[2].name: takes 1 to 12 of a-z and 0-9, got 'My_Shop'",
        "config.toml: sources[4].name: there are two sources 'crm'",
        "config.toml: sources[5].name: takes 1 to 12 of a-z and 0-9, got None",
        "SCHEMA_MCP_SOURCES__A_B__URL: a source's name takes 1 to 12 of a-z and 0-9, got 'a_b'",
        "config.toml: sources.shop.ulr: unknown key; did you mean sources.shop.url?",
        f"sources.shop.url: no database is named: {next_} (in config.toml, or as SCHEMA_MCP_SOURCES__SHOP__URL)",
        "config.toml: sources[2].include: takes strings in [ ], got 'orders'",
        "SCHEMA_MCP_SOURCES__CRM__INCLUDED (sources.crm.included): unknown key; did you mean sources.crm.include?",
        f"sources.crm.url: 'mysql' is not a database that is served: {next_}",
        "config.toml: sources[5].url: takes a string",
        "config.toml: pool.size: takes a number from 1 to 1000, got 0",
    ]


@pytest.mark.parametrize("text", ["sources = 3", "sources = [1]", '[sources.shop]\nurl = "a.sqlite"'])
def test_sources_are_a_list_of_tables(tmp_path: Path, text: str) -> None:
    assert mistakes(tmp_path, text) == [
        "config.toml: sources: is written [[sources]], once for each database, each with a name"
    ]


def test_database_and_sources_do_not_stand_together(tmp_path: Path) -> None:
    told = "either [database] or [[sources]], not both"
    text = SOURCES + '[database]\nexclude = ["x"]\n'
    assert mistakes(tmp_path, text) == [f"config.toml: database.exclude: {told}"]
    assert mistakes(tmp_path, SOURCES, {"SCHEMA_MCP_DATABASE__URL": "x.db"}) == [
        f"SCHEMA_MCP_DATABASE__URL (database.url): {told}"
    ]


def test_one_of_several_sources_is_chosen_by_name(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SOURCES)
    assert settings.only("crm").served == (SourceSettings(name="crm", url="/data/crm.sqlite"),)
    for given, told in ((None, "several are configured"), ("cmr", "there is no source 'cmr'")):
        with pytest.raises(UsageError) as caught:
            settings.only(given)
        assert str(caught.value) == f"{told}: choose with --source shop, crm"
    one = Settings()
    assert one.only(None) == one
