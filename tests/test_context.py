"""The context of a session: defaults and standing filters, for whatever it does and for nobody else."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.conftest import Place, made_once
from tests.peers import FIXED, LEGACY, MODERN, Inside, inside, inside_several, join, served

pytest_plugins = "tests.standing"

TABLES = (
    "CREATE TABLE ctx_orgs (id integer PRIMARY KEY, tenant_id integer NOT NULL, name text)",
    "CREATE TABLE ctx_tasks (id integer PRIMARY KEY, tenant_id integer NOT NULL, title text, "
    "org_id integer REFERENCES ctx_orgs (id))",
    "CREATE TABLE ctx_tags (id integer PRIMARY KEY, name text)",
    "CREATE TABLE ctx_task_tags (task_id integer NOT NULL REFERENCES ctx_tasks (id), "
    "tag_id integer NOT NULL REFERENCES ctx_tags (id), tenant_id integer NOT NULL, PRIMARY KEY (task_id, tag_id))",
    "CREATE TABLE ctx_words (id integer PRIMARY KEY, tenant_id text, tag_id integer REFERENCES ctx_tags (id), "
    "task_id integer REFERENCES ctx_tasks (id))",
    "INSERT INTO ctx_orgs VALUES (1, 7, 'ours'), (2, 8, 'theirs')",
    "INSERT INTO ctx_tasks VALUES (1, 7, 'a', 1), (2, 7, 'b', 2), (3, 8, 'c', 1), (4, 8, 'd', 2)",
    "INSERT INTO ctx_tags VALUES (1, 'red'), (2, 'blue')",
    "INSERT INTO ctx_task_tags VALUES (1, 1, 7), (1, 2, 8), (3, 1, 8)",
    "INSERT INTO ctx_words VALUES (1, '7', 1, 1), (2, 'eight', 1, 1)",
)
SETTINGS: dict[str, Any] = {
    "tools__groups": ["set_context"],
    "database__include": ["ctx_*"],
    "access__mode": "write",
    "watch__poll_interval_s": 60.0,
}
TENANT = {"filters": {"tenant_id": 7}}
#: SQL of the caller's own reads whatever the role may read, and goes with no selection of tables.
WITH_SQL: dict[str, Any] = {
    "tools__groups": ["set_context"],
    "access__sql": "read",
    "watch__poll_interval_s": 60.0,
}
CONTEXT_TOOLS = ["clear_context", "get_context", "set_context"]


@pytest.fixture(scope="module")
@made_once
def tenants(shared: Place) -> Place:
    for statement in TABLES:
        shared.execute(statement)
    return shared


async def ids(program: Inside, tool: str, **arguments: Any) -> list[int]:
    return [row["id"] for row in await program.peer.rows(tool, arguments)]


async def test_standing_filters_narrow_every_reading_of_the_tables_that_have_the_column(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program:
        peer = program.peer
        assert await ids(program, "query_ctx_tasks") == [1, 2, 3, 4]
        assert await peer.call("set_context", TENANT) == {
            "context": TENANT,
            "narrowed_tables": {"tenant_id": 3},
            "tables": 5,
            "schema_version": 1,
        }
        assert await ids(program, "query_ctx_tasks") == [1, 2]
        assert await ids(program, "query_rows", table="ctx_tasks") == [1, 2]
        assert await ids(program, "query_ctx_tags") == [1, 2]
        assert await ids(program, "query_ctx_tasks", where={"tenant_id": 8}) == []
        either = [{"column": "tenant_id", "op": "eq", "value": 8, "or": "a"}, {"column": "id", "op": "gt", "value": 0}]
        assert await ids(program, "query_ctx_tasks", filters=[{**one, "or": "a"} for one in either]) == [1, 2]
        counted = await peer.call("query_ctx_tasks", {"limit": 1, "count": "exact"})
        assert (counted["total"], counted["truncated"]) == (2, True)
        groups = {"aggregate": ["count"], "group_by": ["tenant_id"]}
        assert await peer.rows("query_ctx_tasks", groups) == [{"tenant_id": 7, "count": 2}]
        described = await peer.call("describe_table", {"table": "ctx_tasks", "sample_values": True})
        assert described["samples"]["tenant_id"] == [7]
        # ctx_words has a text of that name, which no number fits.
        assert [one["name"] for one in described["relationships"]] == ["ctx_orgs", "ctx_task_tags", "ctx_tags"]
        calls = [{"tool": "query_ctx_tasks", "arguments": {"columns": ["id"]}}] * 2
        for mode in ("transaction", "independent"):
            batch = await peer.call("run_batch", {"calls": calls, "mode": mode})
            assert [one["result"]["rows"] for one in batch["results"]] == [[{"id": 1}, {"id": 2}]] * 2
        await peer.call("clear_context")
        assert await ids(program, "query_ctx_tasks") == [1, 2, 3, 4]


async def test_standing_filters_hold_for_related_rows_and_the_rows_between(tenants: Place) -> None:
    include = {"columns": ["id"], "include": ["ctx_orgs(id)", "ctx_tags(id)", "ctx_orgs.ctx_tasks(id)"]}
    async with inside(tenants.url, **SETTINGS) as program:
        plain = await program.peer.rows("query_ctx_tasks", {**include, "where": {"id": 1}})
        assert plain == [
            {"id": 1, "ctx_orgs": {"id": 1, "ctx_tasks": [{"id": 1}, {"id": 3}]}, "ctx_tags": [{"id": 1}, {"id": 2}]}
        ]
        await program.peer.call("set_context", TENANT)
        assert await program.peer.rows("query_ctx_tasks", include) == [
            {"id": 1, "ctx_orgs": {"id": 1, "ctx_tasks": [{"id": 1}]}, "ctx_tags": [{"id": 1}]},
            {"id": 2, "ctx_orgs": None, "ctx_tags": []},
        ]


async def test_what_is_written_keeps_to_the_standing_filters(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program:
        peer, dry = program.peer, {"dry_run": True}
        await peer.call("set_context", TENANT)
        tenant = ["id", "tenant_id"]
        made = await peer.call(
            "insert_ctx_orgs", {"rows": [{"id": 9}, {"id": 10, "tenant_id": "7"}], "returning": tenant, **dry}
        )
        assert made["rows"] == [{"id": 9, "tenant_id": 7}, {"id": 10, "tenant_id": 7}]
        refused = await peer.error("insert_ctx_orgs", {"rows": [{"id": 9}, {"id": 10, "tenant_id": 8}], **dry})
        assert refused["code"] == "not_allowed"
        assert refused["message"].startswith("rows[1]: column 'tenant_id' of table 'ctx_orgs' got 8, and a standing")
        assert (await peer.error("insert_ctx_orgs", {"rows": [{"id": 2}], "on_conflict": "update"}))[
            "code"
        ] == "not_allowed"
        assert (await peer.call("insert_ctx_orgs", {"rows": [{"id": 2}], "on_conflict": "skip"}))["inserted"] == 0
        titled = {"set": {"title": "x"}, **dry}
        assert (await peer.call("update_ctx_tasks", {"all_rows": True, **titled}))["updated"] == 2
        assert (await peer.call("update_ctx_tasks", {"where": {"id": 3}, **titled}))["updated"] == 0
        assert (await peer.error("update_ctx_tasks", titled))["code"] == "missing_argument"
        moved = {"set": {"tenant_id": 8}, "where": {"id": 1}, **dry}
        assert (await peer.error("update_ctx_tasks", moved))["code"] == "not_allowed"
        assert (await peer.call("delete_ctx_task_tags", {"all_rows": True, **dry}))["deleted"] == 1
        calls = [
            {"tool": "insert_ctx_orgs", "arguments": {"rows": [{"id": number}], "returning": tenant}}
            for number in (20, 21)
        ]
        batch = await peer.call("run_batch", {"calls": calls, "mode": "independent"})
        assert [one["result"]["rows"][0]["tenant_id"] for one in batch["results"]] == [7, 7]
        assert (await peer.call("delete_ctx_orgs", {"filters": [{"column": "id", "op": "gte", "value": 20}]}))[
            "deleted"
        ] == 2


async def test_sql_of_the_callers_own_is_refused_while_there_are_standing_filters(tenants: Place) -> None:
    async with inside(tenants.url, **WITH_SQL) as program:
        await program.peer.call("set_context", {**TENANT, "limit": 1})
        for tool in ("execute_sql", "explain_query"):
            error = await program.peer.error(tool, {"sql": "SELECT 1 AS one"})
            assert (error["code"], "standing filters" in error["message"]) == ("not_allowed", True)
        await program.peer.call("set_context", {"filters": None})
        assert await program.peer.rows("execute_sql", {"sql": "SELECT 1 AS one"}) == [{"one": 1}]
        answer = await program.peer.call("execute_sql", {"sql": "SELECT id FROM ctx_tasks ORDER BY id"})
        assert (answer["row_count"], answer["truncated"]) == (1, True)


async def test_a_cursor_of_one_context_does_not_go_on_under_another(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program:
        await program.peer.call("set_context", {**TENANT, "limit": 1})
        page = await program.peer.call("query_ctx_tasks")
        assert [row["id"] for row in page["rows"]] == [1]
        assert await ids(program, "query_ctx_tasks", cursor=page["next_cursor"]) == [2]
        await program.peer.call("set_context", {"filters": {"tenant_id": 8}})
        error = await program.peer.error("query_ctx_tasks", {"cursor": page["next_cursor"]})
        assert error["code"] == "invalid_cursor"


async def test_what_is_set_adds_up_and_null_ends_a_member(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program:
        peer = program.peer
        await peer.call("set_context", {**TENANT, "limit": 2})
        await peer.call("set_context", {"filters": {"name": "red"}})
        assert (await peer.call("get_context"))["context"] == {"limit": 2, "filters": {"tenant_id": 7, "name": "red"}}
        assert await ids(program, "query_ctx_tags") == [1]
        await peer.call("set_context", {"filters": {"tenant_id": None}, "limit": None})
        assert await peer.call("get_context") == {
            "context": {"filters": {"name": "red"}},
            "narrowed_tables": {"name": 2},
            "tables": 5,
            "schema_version": 1,
        }
        assert await peer.call("clear_context") == {"context": {}, "schema_version": 1}
        assert await peer.call("get_context") == {"context": {}, "schema_version": 1}


#: Arguments, and the code and the beginning of the message that they are refused by.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "missing_argument", "set_context takes at least one of: schema, limit, filters"),
    ({"shcema": "x"}, "unknown_argument", "unknown argument 'shcema'. Did you mean 'schema'?"),
    ({"schema": "nowhere"}, "unknown_schema", "there is no schema 'nowhere' with a table."),
    ({"limit": 0}, "invalid_argument", "'limit' takes an integer from 1 to 10000, got 0"),
    ({"filters": [7]}, "invalid_argument", "'filters' takes an object, got an array"),
    (
        {"filters": {"tenent_id": 7}},
        "unknown_column",
        "'filters': no table has a column 'tenent_id' that may be read. Did you mean 'tenant_id'?",
    ),
    (
        {"filters": {"org_id": "seven"}},
        "invalid_value",
        "'filters': the standing filter does not fit: column 'org_id' of table 'ctx_tasks' takes an integer",
    ),
    (
        {"filters": {"name": ["red"]}},
        "invalid_value",
        "'filters' takes a text of at most 1000 characters, a number, true or false for 'name', got an array",
    ),
]


async def test_what_does_not_fit_is_refused_by_name_and_nothing_is_set(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program:
        for arguments, code, message in REFUSED:
            error = await program.peer.error("set_context", {"limit": 5, **arguments} if arguments else {})
            assert (error["code"], error["message"][: len(message)]) == (code, message)
        assert (await program.peer.call("get_context"))["context"] == {}


async def test_a_table_whose_column_the_value_does_not_fit_is_refused_and_not_read_whole(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program:
        answer = await program.peer.call("set_context", {"filters": {"tenant_id": "eight"}})
        assert answer["narrowed_tables"] == {"tenant_id": 1}
        assert await ids(program, "query_ctx_words", include=["ctx_tags"]) == [2]
        assert (await program.peer.error("query_ctx_words", {"include": ["ctx_tasks"]}))["code"] == "invalid_value"
        for arguments in ({}, {"include": ["ctx_orgs"]}):
            error = await program.peer.error("query_ctx_tasks", arguments)
            assert error["code"] == "invalid_value"
        assert error["message"].startswith("the standing filter does not fit: column 'tenant_id' of table 'ctx_tasks'")


async def test_each_session_has_a_context_of_its_own_which_ends_with_it(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program, AsyncExitStack() as stack:
        async with AsyncExitStack() as leaving:
            other = await join(leaving, program.server, LEGACY)
            await other.call("set_context", {"filters": {"tenant_id": 8}})
            await program.peer.call("set_context", TENANT)
            assert [row["id"] for row in await other.rows("query_ctx_tasks")] == [3, 4]
            assert await ids(program, "query_ctx_tasks") == [1, 2]
            assert len(program.app.service.contexts) == 2
        third = await join(stack, program.server, LEGACY)
        assert await third.call("get_context") == {"context": {}, "schema_version": 1}
        assert len(program.app.service.contexts) == 1


async def test_a_context_that_nobody_used_ends_and_the_next_call_is_told_instead_of_run_without(tenants: Place) -> None:
    async with inside(tenants.url, **SETTINGS) as program:
        await program.peer.call("set_context", TENANT)
        program.app.service.contexts.idle_s = -1.0
        for tool in ("query_ctx_tasks", "list_tables", "run_batch"):
            assert (await program.peer.error(tool))["code"] == "context_ended"
        assert (await program.peer.call("get_context"))["ended"].startswith("It ended because it was not used")
        assert "sources" in await program.peer.call("server_status")
        await program.peer.call("clear_context")
        assert await ids(program, "query_ctx_tasks") == [1, 2, 3, 4]


async def test_the_tools_are_there_where_they_are_asked_for_and_there_is_a_session(tenants: Place) -> None:
    settings = SETTINGS | {"access__mode": "insert", "tools__surface": "generic"}
    async with inside(tenants.url, **settings) as program:
        assert await program.peer.names() == sorted([*FIXED, *CONTEXT_TOOLS])
    async with inside(tenants.url, **settings, era=MODERN) as program:
        assert await program.peer.names() == sorted([*FIXED, *CONTEXT_TOOLS])
    async with inside(tenants.url, **settings | {"tools__groups": []}) as program:
        assert await program.peer.names() == FIXED
        with pytest.raises(Exception, match="Unknown tool: 'set_context'"):
            await program.peer.call("set_context", TENANT)


@pytest.mark.parametrize("shared", ["sqlite"], indirect=True)
async def test_where_there_is_no_session_there_is_no_context(tenants: Place) -> None:
    async with served(tenants.url, "http", tools__groups="set_context", tools__surface="generic") as scene:
        stateless = await scene.join(MODERN)
        assert await stateless.names() == FIXED
        with pytest.raises(Exception, match="Unknown tool: 'set_context'"):
            await stateless.call("set_context", TENANT)


async def test_source_and_schema_say_which_table_a_name_means(tenants: Place) -> None:
    async with inside_several(one=tenants.url, two=tenants.url, **WITH_SQL) as program:
        peer = program.peer
        assert (await peer.error("query_rows", {"table": "ctx_tags"}))["code"] == "ambiguous_table"
        assert (await peer.error("set_context", {"source": "three"}))["code"] == "unknown_source"
        schema = "public" if tenants.product == "postgresql" else "main"
        await peer.call("set_context", {"source": "two", "schema": schema})
        assert (await peer.call("query_rows", {"table": "ctx_tags"}))["table"] == "two.ctx_tags"
        assert (await peer.call("query_rows", {"table": f"{schema}.ctx_tags"}))["table"] == "two.ctx_tags"
        assert (await peer.call("query_rows", {"table": "one.ctx_tags"}))["table"] == "one.ctx_tags"
        tables = [table["table"] for table in (await peer.call("list_tables"))["tables"]]
        assert {name.split(".")[0] for name in tables} == {"two"}
        everywhere = (await peer.call("list_tables", {"source": None}))["tables"]
        assert {table["table"].split(".")[0] for table in everywhere} == {"one", "two"}
        assert await peer.rows("execute_sql", {"sql": "SELECT 1 AS one"}) == [{"one": 1}]
