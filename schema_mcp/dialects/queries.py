"""Fixed catalog queries, kept in `.sql` files beside the dialect that sends them.

A file is a row of blocks: a line `-- name: columns`, comment lines that say what comes back, the statement. Nothing is
ever put into the text: what varies is a bound parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

_NAME = "-- name:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One named statement; `sql` is without the comment lines above it."""

    name: str
    description: str
    sql: str

    def __post_init__(self) -> None:
        for part, text in (("name", self.name), ("description", self.description), ("statement", self.sql)):
            if not text:
                raise ValueError(f"query {self.name!r} has no {part}")


def load(package: str, file: str) -> Mapping[str, Query]:
    """The queries of `file` in `package`, by name.

    Raises: ValueError if a block is incomplete or a name is there twice.
    """
    return parse(resources.files(package).joinpath(file).read_text(encoding="utf-8"))


def parse(text: str) -> Mapping[str, Query]:
    """The queries of a file's text, by name; what stands before the first one is about the file.

    Raises: as `load`.
    """
    queries: dict[str, Query] = {}
    _, *blocks = ("\n" + text).split("\n" + _NAME)
    for block in blocks:
        name, _, rest = block.partition("\n")
        lines = rest.strip().splitlines()
        comment_lines = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
        query = Query(
            name=name.strip(),
            description=" ".join(line.removeprefix("--").strip() for line in lines[:comment_lines]),
            sql="\n".join(lines[comment_lines:]).strip(),
        )
        if query.name in queries:
            raise ValueError(f"query {query.name!r} is there twice")
        queries[query.name] = query
    return MappingProxyType(queries)
