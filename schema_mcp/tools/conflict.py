"""What an insert does where a row with the same key stands: the arguments `on_conflict` and `conflict_columns`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schema_mcp.dialects.base import Conflict
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_list, read_text
from schema_mcp.tools.base import Action
from schema_mcp.tools.given_rows import Run
from schema_mcp.tools.naming import near
from schema_mcp.tools.target import Target
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import CatalogView

#: What `on_conflict` takes; the first is the default.
WORDS = ("error", "skip", "update")


@dataclass(frozen=True, slots=True)
class OnConflict:
    """`key`: the columns that are looked at; empty where the database's own error is the answer."""

    key: tuple[str, ...] = ()
    updates: bool = False

    @property
    def may_meet(self) -> bool:
        """Rows may be skipped or updated."""
        return bool(self.key)

    def of(self, target: Target, run: Run) -> Conflict | None:
        """For these rows. Where they give the key alone there is nothing to set: they are skipped.

        Raises: InvalidArgument for rows that do not give the key: they would always be new ones.
        """
        for name in self.key:
            if name not in run.names:
                raise InvalidArgument(
                    ErrorCode.MISSING_VALUE,
                    f"rows[{run.first}] gives no value for '{target.keys[name]}', by which on_conflict finds the row "
                    "that is there",
                    f"Give it in each row, or name another key in 'conflict_columns'. {_keys_hint(target)}",
                    details={"row": run.first, "columns": [target.keys[name]]},
                )
        if not self.key:
            return None
        return Conflict(
            key=self.key, updates=tuple(name for name in run.names if self.updates and name not in self.key)
        )


def read_on_conflict(view: CatalogView, target: Target, arguments: Mapping[str, Any]) -> OnConflict:
    """What the call asks for. Raises: InvalidArgument; CallError (`not_allowed`) where the policy permits no update."""
    word = read_text(arguments, "on_conflict") or WORDS[0]
    columns = read_list(arguments, "conflict_columns")
    if word not in WORDS:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'on_conflict' takes {', '.join(WORDS)}, got {shown(word)}.{near(word, WORDS)}",
            "skip leaves the row that is there as it is, update sets what the new row gives, error stores nothing.",
        )
    if word == WORDS[0]:
        if columns is not None:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                "'conflict_columns' says nothing without 'on_conflict'",
                "Send on_conflict: skip or update with it, or leave it out.",
            )
        return OnConflict()
    updates = word == "update"
    if updates and not view.permits(Action.UPDATE, target):
        raise CallError(
            ErrorCode.NOT_ALLOWED,
            f"on_conflict 'update' changes rows of table '{target.display}' that are there, and this server allows no "
            "updates of it",
            "Use on_conflict 'skip'. Whoever runs the server can set access.mode = \"write\".",
        )
    return OnConflict(_key(target, columns), updates)


def _key(target: Target, given: Sequence[Any] | None) -> tuple[str, ...]:
    """The columns of the primary or unique key that these are, in its own order; by default the primary key."""
    table = target.table
    primary = table.primary_key.columns if table.primary_key else ()
    if given is None and primary:
        given = [target.keys[name] for name in primary]
    named = {target.column(name, "conflict_columns").name for name in given or ()}
    # The rows of tables that inherit from it do not keep its keys, but nor does an insert meet them.
    keys = (primary, *(key.columns for key in table.uniques)) if table.returns_rows else ()
    found = next((key for key in keys if named and named == set(key)), None)
    if found is None or given is None or len(named) != len(given):
        what = (
            "has no primary key: 'conflict_columns' must name a key for on_conflict"
            if given is None
            else f"has no primary or unique key over exactly ({', '.join(map(str, given))[:200]})"
        )
        raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, f"{table.kind} '{target.display}' {what}", _keys_hint(target))
    return found


def _keys_hint(target: Target) -> str:
    """The keys there are, of columns that the caller may name."""
    table = target.table
    keys = [key.columns for key in (table.primary_key, *table.uniques) if key is not None] if table.returns_rows else []
    readable = {column.name for column in target.readable}
    texts = [", ".join(target.keys[name] for name in key) for key in keys if readable.issuperset(key)]
    if not texts:
        return "It has no key that on_conflict could look at: leave on_conflict out."
    return f"Keys: {'; '.join(f'({text})' for text in texts[:20])}."
