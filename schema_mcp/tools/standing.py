"""A standing filter on one table: an equality that holds for whatever a session does with the table. Pure."""

from dataclasses import dataclass
from typing import Any

from schema_mcp.dialects.base import DriverValue
from schema_mcp.schema.model import Column


@dataclass(frozen=True, slots=True)
class Standing:
    """The column equals `value`, which was `given` as JSON."""

    column: Column
    given: Any
    value: DriverValue
