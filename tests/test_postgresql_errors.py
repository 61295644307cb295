"""PostgreSQL's errors in our words: every one provoked on a live server."""

import socket
import uuid
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from schema_mcp.dialects.postgresql import reader
from schema_mcp.dialects.postgresql.errors import DRIVER_ERRORS, translate
from schema_mcp.errors import (
    CallError,
    ErrorCode,
    LimitReached,
    StaleSchema,
    StatementRefused,
    Unavailable,
)
from schema_mcp.schema.model import Table, TableKind, TableName
from schema_mcp.schema.select import Selection
from tests.postgres import Server
from tests.reading import LIMIT_S, connected

TABLES = """
    create table owner (id integer primary key);
    insert into owner values (1);
    create domain colour as text check (value in ('red', 'blue'));
    create table pet (
        id integer primary key,
        tag varchar(5) unique,
        age integer not null default 1 constraint old_enough check (age > 0),
        owner integer references owner,
        colour colour,
        born date,
        number integer generated always as identity,
        exclude using btree (born with =)
    );
    insert into pet (id, tag, owner, born) values (1, 'rex', 1, '2020-01-01');
    create view young as select id, age from pet where age < 9 with check option;
    create function fail() returns trigger language plpgsql as 'begin raise exception ''not on a Sunday''; end';
    create table closed (a integer);
    create trigger fail before insert on closed for each row execute function fail();
"""

INTEGERS = "one of the columns 'id', 'age', 'owner', 'number': "

UNAVAILABLE = "the database is unavailable: it "

GONE = Table(name=TableName(source="s", schema="public", name="gone"), kind=TableKind.TABLE, columns=())


@pytest.fixture
def url(server: Server, database: str) -> str:
    server.execute(TABLES, urlsplit(database).path.removeprefix("/"))
    return database


async def pet(connection: asyncpg.Connection) -> Table:
    reading = await reader.read(connection, "main", Selection(), None)
    return reading.schema.tables[TableName(source="main", schema="public", name="pet")]


def told(error: CallError | None) -> tuple[type[CallError], str, str, str | None, bool]:
    assert error is not None
    assert error.hint
    return type(error), str(error.code), error.message, error.sqlstate, error.retryable


REFUSED = [
    (
        "insert into pet (id) values (1)",
        "unique_violation",
        "table 'pet' has a row with that key already (pet_pkey): Key (id)=(1) already exists.",
        "23505",
    ),
    (
        "insert into pet (id, owner) values (2, 99)",
        "foreign_key_violation",
        'insert or update on table "pet" violates foreign key constraint "pet_owner_fkey": '
        'Key (owner)=(99) is not present in table "owner".',
        "23503",
    ),
    (
        "insert into pet (id, age) values (2, -1)",
        "check_violation",
        'new row for relation "pet" violates check constraint "old_enough": (age > 0)',
        "23514",
    ),
    (
        "insert into pet (id, colour) values (2, 'green')",
        "check_violation",
        'value for domain colour violates check constraint "colour_check"',
        "23514",
    ),
    (
        "insert into young values (2, 10)",
        "check_violation",
        'new row violates check option for view "young"',
        "44000",
    ),
    (
        "insert into pet (id, age) values (2, null)",
        "not_null_violation",
        "column 'age' of table 'pet' may not be null",
        "23502",
    ),
    (
        "insert into pet (id, born) values (2, '2020-01-01')",
        "constraint_violation",
        'conflicting key value violates exclusion constraint "pet_born_excl"',
        "23P01",
    ),
    (
        "insert into pet (id, tag) values (2, 'too long')",
        "invalid_value",
        "column 'tag': value too long for type character varying(5)",
        "22001",
    ),
    (
        "insert into pet (id) values (cast(cast('9999999999' as text) as integer))",
        "invalid_value",
        INTEGERS + 'value "9999999999" is out of range for type integer',
        "22003",
    ),
    (
        "insert into pet (id) values (cast(cast('x' as text) as integer))",
        "invalid_value",
        INTEGERS + 'invalid input syntax for type integer: "x"',
        "22P02",
    ),
    (
        "insert into pet (id, number) values (2, 2)",
        "database_error",
        'cannot insert a non-DEFAULT value into column "number"',
        "428C9",
    ),
    ("insert into closed values (1)", "database_error", "not on a Sunday", "P0001"),
    ("select 1 from pet where colour > 1", "invalid_operator", "operator does not exist: colour > integer", "42883"),
]


@pytest.mark.parametrize(("sql", "code", "message", "sqlstate"), REFUSED)
async def test_a_refused_statement_says_what_and_where(
    url: str, sql: str, code: str, message: str, sqlstate: str
) -> None:
    async with connected(url) as connection:
        table = await pet(connection)
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(sql)

    assert told(translate(caught.value, table)) == (StatementRefused, code, message, sqlstate, False)


async def test_a_violated_key_names_its_columns_and_a_check_its_expression(url: str) -> None:
    async with connected(url) as connection:
        table = await pet(connection)
        details = []
        for sql in (REFUSED[0][0], REFUSED[1][0], REFUSED[2][0], REFUSED[5][0]):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await connection.execute(sql)
            error = translate(caught.value, table)
            details.append(error.details if error else None)

    assert details == [
        {"table": "pet", "constraint": "pet_pkey", "columns": ["id"]},
        {"table": "pet", "constraint": "pet_owner_fkey", "columns": ["owner"]},
        {"table": "pet", "constraint": "old_enough", "expression": "(age > 0)"},
        {"table": "pet", "columns": ["age"]},
    ]


async def test_of_a_column_that_may_not_be_read_no_value_is_told(url: str) -> None:
    async with connected(url) as connection:
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await connection.execute("insert into pet (id, tag) values (2, 'rex')")

    assert told(translate(caught.value, None)) == (
        StatementRefused,
        "unique_violation",
        "table 'pet' has a row with that key already (pet_tag_key): key (tag)",
        "23505",
        False,
    )


@pytest.mark.parametrize(
    ("sql", "because", "sqlstate"),
    [
        ("select * from gone", 'relation "gone" does not exist', "42P01"),
        ("select gone from pet", 'column "gone" does not exist', "42703"),
        ("select cast('a' as gone)", 'type "gone" does not exist', "42704"),
        ("insert into pet (id) values (current_date)", "", "42804"),
    ],
)
async def test_what_fits_the_table_no_longer_is_stale(url: str, sql: str, because: str, sqlstate: str) -> None:
    async with connected(url) as connection:
        table = await pet(connection)
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(sql)

    because = because or 'column "id" is of type integer but expression is of type date'
    message = f"table 'pet' has changed since its tool was made: {because}"
    assert told(translate(caught.value, table)) == (StaleSchema, "stale_schema", message, sqlstate, False)


async def test_a_plan_made_before_a_change_is_stale(url: str) -> None:
    async with connected(url) as connection:
        await connection.execute("create table changing (a integer)")
        async with connection.transaction():
            statement = await connection.prepare("select * from changing")
            await connection.execute("alter table changing add b integer")
            with pytest.raises(asyncpg.InvalidCachedStatementError) as caught:
                async with connection.transaction():
                    await statement.fetch()
        await connection.execute("drop table changing")

    error = translate(caught.value, GONE)
    assert (type(error), error and error.sqlstate) == (StaleSchema, "0A000")


@pytest.mark.parametrize(
    ("before", "sql", "expected"),
    [
        (
            "begin read only",
            "insert into owner values (2)",
            (StatementRefused, "read_only", "cannot execute INSERT in a read-only transaction", "25006", False),
        ),
        (
            "set statement_timeout = 1",
            "select pg_sleep(10)",
            (LimitReached, "timeout", "the statement took too long and was stopped", "57014", False),
        ),
        (
            "set role pg_monitor",
            "insert into owner values (2)",
            (StatementRefused, "permission_denied", "permission denied for table owner", "42501", False),
        ),
    ],
)
async def test_limits_of_the_session_are_told_apart(
    url: str, before: str, sql: str, expected: tuple[object, ...]
) -> None:
    async with connected(url) as connection:
        await connection.execute(before)
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(sql)

    assert told(translate(caught.value, None)) == expected


@pytest.mark.parametrize(
    ("sqlstate", "type_", "code", "message", "retryable"),
    [
        ("53200", Unavailable, "busy", "the database has run out of memory or of room for locks (said)", True),
        ("53100", StatementRefused, "database_full", "the database's disk is full (said)", False),
        ("53400", LimitReached, "database_error", "a limit of the database's own ended it (said)", False),
        ("58030", StatementRefused, "database_error", "the database cannot read or write its files (said)", False),
        ("57P01", Unavailable, "database_unavailable", UNAVAILABLE + "is shutting down, or ended the connection", True),
        ("57P02", Unavailable, "database_unavailable", UNAVAILABLE + "has crashed and is recovering", True),
        (
            "57P03",
            Unavailable,
            "database_unavailable",
            UNAVAILABLE + "is starting up, recovering or shutting down",
            True,
        ),
        ("28000", Unavailable, "database_unavailable", UNAVAILABLE + "lets this server's role not in", False),
        ("53300", Unavailable, "database_unavailable", UNAVAILABLE + "has no free connection", True),
    ],
)
async def test_each_way_of_being_unable_has_its_words(
    url: str, sqlstate: str, type_: type[CallError], code: str, message: str, retryable: bool
) -> None:
    """A function raises them: most of these states cannot be brought about at will."""
    async with connected(url) as connection:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(f"do $$ begin raise exception 'said' using errcode = '{sqlstate}'; end $$")

    message = message if "(said)" in message else f"{message} (said)"
    assert told(translate(caught.value, None)) == (type_, code, message, sqlstate, retryable)


async def test_a_cancelled_statement_is_not_a_slow_one(url: str) -> None:
    async with connected(url) as connection, connected(url) as other:
        pid = connection.get_server_pid()

        async def cancel() -> None:
            with anyio.fail_after(LIMIT_S):
                while await other.fetchval("select wait_event is distinct from 'PgSleep' from pg_stat_activity "
                                           "where pid = $1", pid):  # fmt: skip
                    pass
            await other.execute(f"select pg_cancel_backend({pid})")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel)
            with pytest.raises(asyncpg.QueryCanceledError) as caught:
                await connection.execute("select pg_sleep(30)")

    expected = (LimitReached, "cancelled", "the statement was cancelled", "57014", False)
    assert told(translate(caught.value, None)) == expected


async def test_a_lock_that_is_not_given_is_worth_another_try(url: str) -> None:
    async with connected(url) as connection, connected(url) as other:
        table = await pet(connection)
        await other.execute("begin; lock table pet in access exclusive mode")
        await connection.execute("set lock_timeout = 1")
        with pytest.raises(asyncpg.LockNotAvailableError) as caught:
            await connection.execute("select 1 from pet")

    message = "another session holds a lock on table 'pet' or on a row of it"
    assert told(translate(caught.value, table)) == (LimitReached, "lock_timeout", message, "55P03", True)


async def test_a_conflict_of_transactions_is_worth_another_try(url: str) -> None:
    async with connected(url) as connection, connected(url) as other:
        await connection.execute("begin isolation level repeatable read; select 1 from owner")
        await other.execute("update owner set id = id")
        with pytest.raises(asyncpg.SerializationError) as caught:
            await connection.execute("update owner set id = id")

    message = "could not serialize access due to concurrent update"
    assert told(translate(caught.value, None)) == (Unavailable, "busy", message, "40001", True)


async def test_an_ended_connection_is_an_unavailable_database(url: str) -> None:
    async with connected(url) as connection, connected(url) as other:
        await other.execute(f"select pg_terminate_backend({connection.get_server_pid()}, 10000)")
        errors = []
        for _ in range(2):
            with pytest.raises(DRIVER_ERRORS) as caught:
                await connection.execute("select 1")
            errors.append(translate(caught.value, None))

    assert [(type(error), error and error.code) for error in errors] == [
        (Unavailable, ErrorCode.DATABASE_UNAVAILABLE)
    ] * 2


async def test_what_keeps_a_connection_from_being_made_is_told_without_a_secret(url: str) -> None:
    parts = urlsplit(url)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = nobody.getsockname()[1]
        addresses = {
            "refused": f"postgresql://me:s3cret@127.0.0.1:{port}/db",
            "no host": "postgresql://me:s3cret@nowhere.invalid/db",
            "no database": parts._replace(path="/no_such_database").geturl(),
            "no scheme": "nonsense://me:s3cret@127.0.0.1/db",
        }
        messages = {}
        for case, address in addresses.items():
            with pytest.raises(DRIVER_ERRORS) as caught:
                await asyncpg.connect(address, timeout=LIMIT_S)
            messages[case] = told(translate(caught.value, None))

    away = (Unavailable, "database_unavailable")
    what = "the database is unavailable: "
    assert messages == {
        "refused": (*away, what + "connection refused", None, True),
        "no host": (*away, what + "it cannot be reached", None, True),
        "no database": (
            *away,
            'the database is unavailable: there is no such database (database "no_such_database" does not exist)',
            "3D000",
            False,
        ),
        "no scheme": (*away, what + "the connection settings cannot be used", None, False),
    }


async def test_a_role_that_may_not_connect_is_told_what_it_lacks(server: Server, database: str) -> None:
    role, name = f"kept_out_{uuid.uuid4().hex}", urlsplit(database).path[1:]
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; REVOKE CONNECT ON DATABASE {name} FROM public")
    try:
        with pytest.raises(DRIVER_ERRORS) as caught:
            await asyncpg.connect(server.url(name, role, "x"), timeout=LIMIT_S)
        error = translate(caught.value, None)
    finally:
        server.execute(f"DROP ROLE {role}")
    assert told(error) == (
        Unavailable,
        "database_unavailable",
        f'the database is unavailable: it lets this server\'s role not in (permission denied for database "{name}")',
        "42501",
        False,
    )
    assert error is not None
    assert "CONNECT" in (error.hint or "")


async def test_what_sqlalchemy_wraps_is_unwrapped(url: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with engine.connect() as connection:
            with pytest.raises(sa.exc.DBAPIError) as caught:
                await connection.execute(sa.text("select * from gone"))
    finally:
        await engine.dispose()

    error = translate(caught.value, GONE)
    assert (type(error), error and error.sqlstate) == (StaleSchema, "42P01")
    assert type(translate(caught.value, None)) is StatementRefused, "without a table there is nothing to be stale"


def test_what_is_not_the_drivers_is_not_translated() -> None:
    assert translate(ValueError("x"), None) is None
    assert translate(asyncpg.InterfaceError("another operation is in progress"), None) is None
