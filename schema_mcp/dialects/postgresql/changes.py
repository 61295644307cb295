"""Which relations may differ from those of an earlier reading: by the versions of the catalogs' rows. Pure.

A row version carries the transaction that made it (xmin). Whatever is committed after a snapshot was taken comes from
transactions that the snapshot's xmin does not precede, subtransactions included. So the rows of a catalog whose xmin is
not older than that *baseline* are all that can have been inserted or updated since; and a row that was deleted is
missed in the count of the older ones. Both are read in one snapshot, whatever is changed meanwhile.

Nobody's lock hides any of it. What these catalogs do not tell (bodies of functions, ALTER EXTENSION ... ADD) is left to
the full refresh.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schema_mcp.schema.model import TableName

#: A change in one of these may touch any relation; the rows of all others belong to one.
_GLOBAL = frozenset(
    {
        "pg_namespace",
        "pg_type",
        "pg_enum",
        "pg_proc",
        "pg_roles",
        "pg_auth_members",
        "pg_extension",
        "pg_foreign_server",
        "pg_foreign_data_wrapper",
    }
)

#: Transaction ids are compared on a circle (PostgreSQL manual, 24.1.5).
_CIRCLE = 2**32

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    """One catalog's rows: how many are older than the baseline, and the others as (relation, xmin, place)."""

    old: int
    recent: frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Tallies:
    """What the query `changes` says in one snapshot, for one baseline."""

    by_catalog: Mapping[str, _Tally]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Tallies":
        """From the query's rows."""
        tallies = {}
        for row in rows:
            recent = frozenset(tuple(version.split(" ")) for version in row["recent"] or ())
            tallies[row["catalog"]] = _Tally(old=row["total"] - len(recent), recent=recent)
        return cls(tallies)

    def since(self, baseline: int) -> "Tallies":
        """The same for a baseline that is not older than that of these."""
        return Tallies({catalog: _rebased(tally, baseline) for catalog, tally in self.by_catalog.items()})


def _rebased(tally: _Tally, baseline: int) -> _Tally:
    recent = frozenset(version for version in tally.recent if (int(version[1]) - baseline) % _CIRCLE < _CIRCLE // 2)
    return _Tally(old=tally.old + len(tally.recent) - len(recent), recent=recent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one reading leaves for the next. `counts`: the query `counts` by relation; `names`: tables that are served.

    `context`: what the reading depended on besides the catalogs; a mark of another context says nothing.
    """

    context: tuple[Any, ...]
    baseline: int
    tallies: Tallies
    counts: Mapping[int, int]
    names: Mapping[int, TableName]
    postponed: frozenset[int]


def touched(mark: Mark, now: Tallies) -> set[int] | None:
    """Relations with row versions that came or went since, among those newer than the baseline; None: any relation.

    0 stands for what belongs to none: a constraint of a domain.
    """
    relations: set[int] = set()
    for catalog, tally in now.by_catalog.items():
        before = mark.tallies.by_catalog[catalog]
        if tally == before:
            continue
        if catalog in _GLOBAL:
            return None
        relations.update(int(version[0]) for version in tally.recent ^ before.recent)
    return relations


def rows_went(mark: Mark, now: Tallies) -> bool:
    """Some row older than the baseline was deleted or updated: only `counts` can tell whose."""
    return any(tally.old != mark.tallies.by_catalog[catalog].old for catalog, tally in now.by_catalog.items())


def recounted(before: Mapping[int, int], after: Mapping[int, int]) -> set[int]:
    """Relations whose number of catalog rows differs."""
    return {relation for relation, _ in before.items() ^ after.items()}
