"""How often a gate that moves all the time is worth a look: looks that find nothing are spaced by their own cost. Pure.

The gate of a database in use moves with every commit, and few commits change the schema. After a look that found
nothing the source rests, the longer the more the look cost. A hint that moves ends the rest, as long as hints are
right: one that misled is not believed until the rest is over. So watching costs a few per cent of a core at most,
whoever writes, and a change is found at the latest when the rest is over.
"""

from dataclasses import dataclass

from schema_mcp.dialects.base import Gate

#: A look that found nothing is followed by a rest of so many times what it cost: 4 % of a core.
REST_FACTOR = 24.0


@dataclass(slots=True)
class Pace:
    """Of one source. Times are those of one monotonic clock, in seconds."""

    _rests_until: float = 0.0
    _heeds_hints: bool = True
    _hint: str | None = None

    def heeds(self, gate: Gate, now: float) -> bool:
        """Whether the gate, which has moved, is to be followed now."""
        return now >= self._rests_until or (self._heeds_hints and gate.hint != self._hint)

    def found_nothing(self, gate: Gate, began: float, now: float, cost_s: float) -> None:
        """A look through `gate`, which began at `began`, found the schema as it was."""
        was_hinted = began < self._rests_until and gate.hint != self._hint
        self._rests_until = now + REST_FACTOR * max(0.0, cost_s)
        self._heeds_hints = not was_hinted
        self._hint = gate.hint

    def found_change(self, gate: Gate) -> None:
        """A look through `gate` found the schema changed."""
        self._hint = gate.hint

    def wake(self) -> None:
        """Somebody knows that the schema has changed."""
        self._rests_until = 0.0
