"""Functions that every connection gets, for conditions that SQLite has no expression for. Deterministic, without state.

`schema_mcp_lower(data)`: the text in lower case, of all scripts and not of ASCII alone, letter by letter.
`schema_mcp_json(test, data, given)`: whether the JSON text passes the test (`json_contains`, `json_has_any`,
`json_has_all`, `path`), as PostgreSQL's jsonb would: numbers by value, keys in any order, the last of equal keys.

Text comes as its bytes (`CAST(x AS BLOB)`), because Python's binding fails at text that is not UTF-8.
"""

import json
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

from schema_mcp.dialects.json_path import holds, parse

LOWER, JSON = "schema_mcp_lower", "schema_mcp_json"

_CODECS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}
#: Python makes another letter of the capital where it ends a word; databases do not look that far.
_SIGMA = ("\u03a3", "\u03c3")


def register(connection: sqlite3.Connection) -> None:
    """Makes the functions known to the connection. Raises: sqlite3.Error if the file is no database."""
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    codec = _CODECS[encoding]
    connection.create_function(LOWER, 1, partial(_lower, codec), deterministic=True)
    connection.create_function(JSON, 3, partial(_passes, codec), deterministic=True)


def lower(text: str) -> str:
    """The text in lower case, as `schema_mcp_lower` makes it."""
    return text.replace(*_SIGMA).lower()


def _lower(codec: str, data: bytes | None) -> str | None:
    return None if data is None else lower(data.decode(codec, "replace"))


def _passes(codec: str, test: str, data: bytes | None, given: str) -> bool | None:
    """None where there is no JSON document."""
    if data is None:
        return None
    try:
        document = _read(data.decode(codec))
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return _test(test, given)(document)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


#: Numbers keep every digit; whole ones too, because Python reads no integer of thousands of digits.
_read = json.JSONDecoder(parse_int=Decimal, parse_float=Decimal, parse_constant=_refuse).decode


@lru_cache(maxsize=64)
def _test(test: str, given: str) -> Callable[[Any], bool]:
    match test:
        case "path":
            return partial(holds, parse(given))
        case "json_contains":
            wanted = _read(given)
            return lambda document: _contains(document, wanted, outermost=True)
    keys: list[str] = _read(given)
    every = all if test == "json_has_all" else any
    return lambda document: every(_has(document, key) for key in keys)


def _has(document: Any, key: str) -> bool:
    """A key of an object, a text in an array, or the text itself (manual 9.16.1, `?`)."""
    return key in document if isinstance(document, dict | list) else bool(document == key)


def _contains(document: Any, wanted: Any, *, outermost: bool = False) -> bool:
    """Containment of jsonb (manual 8.14.3): by structure, an array's order and repetitions aside.

    `outermost`: an array may there contain a value that is not wrapped in one.
    """
    if isinstance(wanted, dict):
        return isinstance(document, dict) and all(
            key in document and _contains(document[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(document, list) and all(
            any(_contains(element, value) for element in document) for value in wanted
        )
    if outermost and isinstance(document, list):
        return any(_equal(element, wanted) for element in document)
    return _equal(document, wanted)


def _equal(value: Any, wanted: Any) -> bool:
    return type(value) is type(wanted) and bool(value == wanted)
