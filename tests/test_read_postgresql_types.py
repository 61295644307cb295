"""Reading PostgreSQL: the types of columns, on every server there is."""

from dataclasses import replace

import pytest

from schema_mcp.schema.model import (
    Column,
    Generated,
)
from schema_mcp.schema.types import SqlType, TypeKind
from tests.reading import (
    BIGINT,
    INTEGER,
    NUMERIC,
    TEXT,
    Live,
    array,
    column,
    columns,
    other,
)


async def test_types_are_told_by_what_they_are(live: Live) -> None:
    live.execute("""
        create type mood as enum ('sad', 'ok', 'happy');
        alter type mood add value 'glad' after 'ok';
        create schema "Other Place";
        create type "Other Place"."Mood" as enum ('a,b', '{"}');
        create type pair as (a integer, b text);
        create type span as range (subtype = float8);
        create table t (
            a smallint, b integer, c bigint, d numeric, e numeric(6,3), f real, g double precision, h boolean,
            i text, j varchar, k varchar(9), l char(4), m bytea, n date, o time, p timetz, q timestamp(3),
            r timestamptz, s uuid, u json, v jsonb, w mood, x "Other Place"."Mood",
            aa integer[], ab varchar(9)[][], ac mood[], ad numeric(6,3)[],
            ba oid, bb money, bc "char", bd name, be interval day to second(3), bf int4range, bg pair, bh inet,
            bi bit(3), bj varbit(5), bk int2vector, bl point, bm span, bn pg_lsn, bo tsvector, bp pair[], bq bpchar
        );
    """)

    mood = SqlType(kind=TypeKind.ENUM, native="public.mood", cast="public.mood", enum=("sad", "ok", "glad", "happy"))
    varchar = SqlType(kind=TypeKind.TEXT, native="character varying(9)", cast="character varying", length=9)
    number = SqlType(kind=TypeKind.NUMERIC, native="numeric(6,3)", cast="numeric", precision=6, scale=3)
    assert {key: value.type for key, value in (await columns(live, "t")).items()} == {
        "a": SqlType(kind=TypeKind.INTEGER, native="smallint", cast="smallint", precision=16),
        "b": INTEGER,
        "c": BIGINT,
        "d": NUMERIC,
        "e": number,
        "f": SqlType(kind=TypeKind.FLOAT, native="real", cast="real", precision=24),
        "g": SqlType(kind=TypeKind.FLOAT, native="double precision", cast="double precision", precision=53),
        "h": SqlType(kind=TypeKind.BOOLEAN, native="boolean", cast="boolean"),
        "i": TEXT,
        "j": SqlType(kind=TypeKind.TEXT, native="character varying", cast="character varying"),
        "k": varchar,
        "l": SqlType(kind=TypeKind.TEXT, native="character(4)", cast="bpchar", length=4),
        "m": SqlType(kind=TypeKind.BYTES, native="bytea", cast="bytea"),
        "n": SqlType(kind=TypeKind.DATE, native="date", cast="date"),
        "o": SqlType(kind=TypeKind.TIME, native="time without time zone", cast="time without time zone"),
        "p": SqlType(kind=TypeKind.TIME, native="time with time zone", cast="time with time zone"),
        "q": SqlType(
            kind=TypeKind.TIMESTAMP, native="timestamp(3) without time zone", cast="timestamp without time zone"
        ),
        "r": SqlType(kind=TypeKind.TIMESTAMP, native="timestamp with time zone", cast="timestamp with time zone"),
        "s": SqlType(kind=TypeKind.UUID, native="uuid", cast="uuid"),
        "u": SqlType(kind=TypeKind.JSON, native="json", cast="json"),
        "v": SqlType(kind=TypeKind.JSON, native="jsonb", cast="jsonb"),
        "w": mood,
        "x": SqlType(
            kind=TypeKind.ENUM,
            native='"Other Place"."Mood"',
            cast='"Other Place"."Mood"',
            enum=("a,b", '{"}'),
        ),
        "aa": array(INTEGER, "integer[]", "integer[]"),
        "ab": array(varchar, "character varying(9)[]", "character varying[]"),
        "ac": array(mood, "public.mood[]", "public.mood[]"),
        "ad": array(number, "numeric(6,3)[]", "numeric[]"),
        "ba": other("oid"),
        "bb": other("money"),
        "bc": other('"char"'),
        "bd": other("name"),
        "be": other("interval day to second(3)", "interval"),
        "bf": other("int4range"),
        "bg": other("public.pair"),
        "bh": other("inet"),
        "bi": other("bit(3)", '"bit"', length=3),
        "bj": other("bit varying(5)", "bit varying", length=5),
        "bk": other("int2vector"),
        "bl": other("point"),
        "bm": other("public.span"),
        "bn": other("pg_lsn"),
        "bo": other("tsvector"),
        "bp": array(other("public.pair"), "public.pair[]", "public.pair[]"),
        "bq": SqlType(kind=TypeKind.TEXT, native="bpchar", cast="bpchar"),
    }


async def test_citext_is_text(live: Live) -> None:
    if live.execute("select count(*) from pg_available_extensions where name = 'citext'") == "0":
        pytest.skip("this server has no citext")
    live.execute("""
        create extension citext;
        create schema own;
        create type own.citext as (a integer);
        create table t (a citext, b own.citext);
    """)

    assert {key: value.type for key, value in (await columns(live, "t")).items()} == {
        "a": SqlType(kind=TypeKind.TEXT, native="public.citext", cast="public.citext"),
        "b": other("own.citext"),
    }


async def test_a_domain_is_its_base_type_with_its_own_rules(live: Live) -> None:
    scale = -1 if live.server.version >= 15 else 1
    live.execute(f"""
        create domain short as varchar(5) not null default 'none';
        create domain shorter as short check (length(value) < 3);
        create domain names as text[];
        create domain amount as numeric(5,{scale});
        create table t (
            a shorter, b shorter default 'x', c names, d short[], e amount, f short generated always as ('y') stored
        );
    """)

    short = SqlType(
        kind=TypeKind.TEXT,
        native="public.short",
        cast="character varying",
        length=5,
        domain="public.short",
        base_native="character varying(5)",
    )
    shorter = replace(short, native="public.shorter", domain="public.shorter", checks=("(length((VALUE)::text) < 3)",))
    assert await columns(live, "t") == {
        "a": Column(name="a", position=1, type=shorter, nullable=False, default="'none'::character varying"),
        "b": Column(name="b", position=2, type=shorter, nullable=False, default="'x'::character varying"),
        "c": column(
            "c", 3, replace(array(TEXT, "public.names", "text[]"), domain="public.names", base_native="text[]")
        ),
        "d": column("d", 4, array(short, "public.short[]", "public.short[]")),
        "e": column(
            "e",
            5,
            SqlType(
                kind=TypeKind.NUMERIC,
                native="public.amount",
                cast="numeric",
                precision=5,
                scale=scale,
                domain="public.amount",
                base_native=f"numeric(5,{scale})",
            ),
        ),
        "f": Column(
            name="f",
            position=6,
            type=short,
            nullable=False,
            default="'y'::character varying",
            generated=Generated.EXPRESSION,
        ),
    }


async def test_a_virtual_generated_column_is_generated(live: Live) -> None:
    if live.server.version < 18:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    live.execute("create table t (a integer, b integer generated always as (a + 1) virtual)")

    assert (await columns(live, "t"))["b"] == Column(
        name="b", position=2, type=INTEGER, nullable=True, default="(a + 1)", generated=Generated.EXPRESSION
    )
