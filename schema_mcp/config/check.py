"""Whether a value fits its key: type, choice, range. It does not know where values come from."""

from types import UnionType
from typing import Any, get_args

from schema_mcp.config.model import CHOICES, RANGES, SECRETS

MIN_SECRET_CHARACTERS = 16


def checked(key: str, type_: Any, value: Any) -> Any:
    """The value as the settings hold it. Raises: ValueError with what the key takes; a secret is not repeated."""
    if isinstance(type_, UnionType):
        type_ = next(choice for choice in get_args(type_) if choice is not type(None))
    shown = "" if key in SECRETS else f", got {value!r}"
    if type_ is bool and isinstance(value, bool):
        return value
    if type_ is str and isinstance(value, str):
        if key == "server.secret" and len(value) < MIN_SECRET_CHARACTERS:
            raise ValueError(f"takes at least {MIN_SECRET_CHARACTERS} characters")
        if key in CHOICES and value not in CHOICES[key]:
            raise ValueError(f"takes one of {', '.join(CHOICES[key])}{shown}")
        return value
    if type_ in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if type_ is int and not isinstance(value, int):
            raise ValueError(f"takes a whole number{shown}")
        low, high = RANGES[key]
        if not low <= value <= high:
            raise ValueError(f"takes a number from {low:g} to {high:g}{shown}")
        return type_(value)
    if get_args(type_) and isinstance(value, list) and all(isinstance(item, str) for item in value):
        for item in value:
            if key in CHOICES and item not in CHOICES[key]:
                raise ValueError(f"takes words out of {', '.join(CHOICES[key])}, got {item!r}")
        return tuple(value)
    takes = {bool: "true or false", str: "a string", int: "a whole number", float: "a number"}.get(
        type_, "strings in [ ]"
    )
    raise ValueError(f"takes {takes}{shown}")


def from_text(type_: Any, text: str) -> Any:
    """What the text of an environment variable says, where the key takes such a value; else the text itself."""
    if type_ is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if type_ in (int, float):
        try:
            return int(text) if type_ is int else float(text)
        except ValueError:
            return text
    if getattr(type_, "__origin__", None) is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text
