"""The JSON object of a row, made by PostgreSQL, and what becomes of a row that is large.

A driver takes in whole what it is sent, so what is too large must not leave the database. A row that may be large is
measured there: of one over `LARGE_BYTES` comes null, and whoever reads asks again with the statement compiled for it
(`CUT_BYTES` among its execution options). Then rows come as they are up to so many bytes, a few at a time, and of a
row over that each value which has no bound comes cut to so many characters: the row is over the cap still, so that
whoever caps an answer cuts it there and names the column.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from schema_mcp.dialects.base import CUT_BYTES, LARGE_KEY_CHARACTERS
from schema_mcp.schema.types import SqlType, TypeKind

#: Rows up to here come in batches of hundreds.
LARGE_BYTES = 16_384
#: A text of a type that holds no more is never cut.
_SHORT_CHARACTERS = 1_000

#: Kinds of types whose values have no bound of their own.
UNBOUNDED = frozenset({TypeKind.TEXT, TypeKind.BYTES, TypeKind.JSON, TypeKind.ARRAY, TypeKind.OTHER})


def is_unbounded(type_: SqlType) -> bool:
    """Whether a value of that type may be large."""
    return type_.kind in UNBOUNDED and (type_.length is None or type_.length > _SHORT_CHARACTERS)


class RowObject(FunctionElement[str]):
    """The JSON object of a row as text: `row_to_json` over a subselect of the expressions that `exact` makes.

    The alias is referred to as `alias.*`: a bare alias would mean a column of that name, if there is one.
    """

    inherit_cache = False
    type = sa.Text()

    def __init__(
        self,
        columns: Sequence[tuple[str, sa.ColumnElement[Any], SqlType]],
        exact: Callable[[sa.ColumnElement[Any], SqlType], sa.ColumnElement[Any]],
        keys: "Sequence[Key]" = (),
    ) -> None:
        """`keys`: order keys of the row that may be large too."""
        self.labels = tuple(label for label, _, _ in columns)
        self.keys = len(keys)
        self.may_be_large = any(is_unbounded(type_) for _, _, type_ in columns)
        whole = [exact(column, type_) for _, column, type_ in columns]
        cut = [_cut(column, type_, exact) for _, column, type_ in columns] if self.may_be_large else []
        super().__init__(*[key.clauses.clauses[0] for key in keys], *whole, *cut)


class Key(FunctionElement[str]):
    """An order key that may be large, as text, and of a large one the beginning: a statement to be cut gives so much of
    it as an answer may have, which no cursor is made of.
    """

    inherit_cache = False
    type = sa.Text()

    def __init__(self, key: sa.ColumnElement[Any]) -> None:
        super().__init__(sa.cast(key, sa.Text()))


class _CutBytes(FunctionElement[int]):
    """The cap that the statement is compiled for."""

    inherit_cache = False
    type = sa.Integer()


def _cut(
    column: sa.ColumnElement[Any],
    type_: SqlType,
    exact: Callable[[sa.ColumnElement[Any], SqlType], sa.ColumnElement[Any]],
) -> sa.ColumnElement[Any]:
    """What `exact` gives, and of a value that is longer than the cap its beginning, as a text."""
    if not is_unbounded(type_):
        return exact(column, type_)
    most = _CutBytes()
    text = sa.cast(column, sa.Text())
    match type_.kind:
        case TypeKind.TEXT | TypeKind.OTHER:
            return sa.func.left(text, most)
        case TypeKind.BYTES:  # in threes, of which each makes four characters
            part: sa.ColumnElement[Any] = sa.func.substring(
                column, sa.literal_column("1"), most - most % sa.literal_column("3")
            )
            return exact(part, type_)
    beginning = sa.func.to_json(sa.func.left(text, most))
    return sa.case((sa.func.octet_length(text) > most, beginning), else_=exact(column, type_))


@compiles(RowObject)
def _compile_row_object(element: RowObject, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("add_to_result_map", None)
    keys = [compiler.process(key, **options) for key in element.clauses.clauses[: element.keys]]
    expressions = list(element.clauses.clauses)[element.keys :]
    count = len(element.labels)

    def members(these: Sequence[Any]) -> str:
        return ", ".join(
            f"{compiler.process(expression, **options)} AS {compiler.preparer.quote(label)}"
            for label, expression in zip(element.labels, these, strict=True)
        )

    whole = members(expressions[:count])
    is_cut = CUT_BYTES in compiler.execution_options
    small = (
        "" if is_cut else "".join(f" AND coalesce(octet_length({key}), 0) <= {LARGE_KEY_CHARACTERS}" for key in keys)
    )
    if not element.may_be_large:
        row = f"CAST((SELECT row_to_json(row_.*) FROM (SELECT {whole}) AS row_) AS TEXT)"  # noqa: S608 - compiled parts
        return f"CASE WHEN true{small} THEN {row} END" if small else row
    most, instead, beneath = LARGE_BYTES, "", ""
    if is_cut:
        most, beneath = compiler.execution_options[CUT_BYTES], members(expressions[count:])
        instead = f" ELSE CAST((SELECT row_to_json(row_.*) FROM (SELECT {beneath}) AS row_) AS TEXT)"  # noqa: S608
    sized = "sized_"
    while sized in beneath + small:  # a table of that name is meant there
        sized += "_"
    # OFFSET 0 keeps the planner from writing the object twice, and so from making it twice.
    return (
        f"(SELECT CASE WHEN octet_length({sized}.x) <= {most}{small} THEN {sized}.x{instead} END FROM "  # noqa: S608
        f"(SELECT CAST(row_to_json(row_.*) AS TEXT) AS x FROM (SELECT {whole}) AS row_ OFFSET 0) AS {sized})"
    )


@compiles(Key)
def _compile_key(element: Key, compiler: SQLCompiler, **options: Any) -> str:
    most = max(LARGE_KEY_CHARACTERS, compiler.execution_options.get(CUT_BYTES, 0))
    return f"left({compiler.process(element.clauses.clauses[0], **options)}, {most})"


@compiles(_CutBytes)
def _compile_cut_bytes(element: _CutBytes, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.execution_options[CUT_BYTES])
