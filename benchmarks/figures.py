"""What a benchmark says: figures with their spread, the floor they stand on, and the budget beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most `limit`, of the figure's `of` ("median", "p99", "max", "ratio"); `text` as DESIGN section 9 has it."""

    limit: float
    of: str = "median"
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured thing. `values`: in `unit`, one a sample; `floor`: the median of what it is compared with."""

    subject: str
    what: str
    unit: str
    values: tuple[float, ...]
    floor: float | None = None
    floor_name: str = ""
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.subject}: nothing was measured of '{self.what}'")

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def p99(self) -> float:
        """The sample below which 99 % lie; with fewer than 100 the largest."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    @property
    def ratio(self) -> float | None:
        return None if not self.floor else self.median / self.floor

    @property
    def within(self) -> bool | None:
        """Whether the budget holds; None where there is none."""
        if self.budget is None:
            return None
        found = {"median": self.median, "p99": self.p99, "max": max(self.values), "ratio": self.ratio}[self.budget.of]
        return found is not None and found <= self.budget.limit

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the spread, not the samples."""
        return {
            "subject": self.subject,
            "what": self.what,
            "unit": self.unit,
            "samples": len(self.values),
            "min": round(min(self.values), 5),
            "median": round(self.median, 5),
            "p99": round(self.p99, 5),
            "max": round(max(self.values), 5),
            "floor": self.floor_name or None,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "budget": None if self.budget is None else self.budget.text,
            "within": self.within,
        }


_HEADINGS = ("what", "min", "median", "p99", "max", "unit", "ratio to floor", "budget", "")
_LEFT = (0, 5, 6, 7, 8)


def table(figures: Sequence[Figure]) -> str:
    """The figures as a table for people, a line between subjects."""
    rows = [_HEADINGS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    line = "  ".join("-" * width for width in widths)
    lines = [_line(_HEADINGS, widths)]
    subject = ""
    for figure, row in zip(figures, rows[1:], strict=True):
        if figure.subject != subject:
            lines.append(line)
        subject = figure.subject
        lines.append(_line(row, widths))
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    return "  ".join(
        cell.ljust(width) if column in _LEFT else cell.rjust(width) for column, (cell, width) in enumerate(cells)
    ).rstrip()


def markdown(figures: Sequence[Figure]) -> str:
    """The same for docs/performance.md."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|---" + "|--:" * 4 + "|---" * 4 + "|"]
    lines += ["| " + " | ".join(_row(figure)) + " |" for figure in figures]
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} x {figure.floor_name}"
    numbers = [_number(value) for value in (min(figure.values), figure.median, figure.p99, max(figure.values))]
    if len(figure.values) == 1:
        numbers = ["", numbers[1], "", ""]
    verdict = {True: "ok", False: "MISSED", None: ""}[figure.within]
    budget = figure.budget.text if figure.budget else ""
    return (figure.what, *numbers, figure.unit, ratio, budget, verdict)


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
