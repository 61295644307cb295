"""What is known of a column's values beyond its type: allowed words, bounds, lengths. Pure."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for a column's values that are not null; None: nothing is said. Bounds may exclude themselves."""

    values: tuple[str, ...] | None = None
    minimum: Decimal | None = None
    above_minimum: bool = False
    maximum: Decimal | None = None
    below_maximum: bool = False
    min_length: int | None = None
    max_length: int | None = None

    def and_(self, other: "Rule") -> "Rule":
        """What holds if both do."""
        minimum, above = max(
            ((rule.minimum, rule.above_minimum) for rule in (self, other) if rule.minimum is not None),
            default=(None, False),
        )
        maximum, not_below = min(
            ((rule.maximum, not rule.below_maximum) for rule in (self, other) if rule.maximum is not None),
            default=(None, True),
        )
        values = self.values if self.values is not None else other.values
        if self.values is not None and other.values is not None:
            values = tuple(value for value in self.values if value in other.values)
        return Rule(
            values=values,
            minimum=minimum,
            above_minimum=above,
            maximum=maximum,
            below_maximum=not not_below,
            min_length=max((n for n in (self.min_length, other.min_length) if n is not None), default=None),
            max_length=min((n for n in (self.max_length, other.max_length) if n is not None), default=None),
        )


def whole_minimum(rule: Rule) -> int | None:
    """The least integer that keeps the rule."""
    if rule.minimum is None:
        return None
    floor = int(rule.minimum.to_integral_value(rounding="ROUND_FLOOR"))
    return floor + 1 if rule.above_minimum or rule.minimum != floor else floor


def whole_maximum(rule: Rule) -> int | None:
    """The greatest integer that keeps the rule."""
    if rule.maximum is None:
        return None
    ceiling = int(rule.maximum.to_integral_value(rounding="ROUND_CEILING"))
    return ceiling - 1 if rule.below_maximum or rule.maximum != ceiling else ceiling
