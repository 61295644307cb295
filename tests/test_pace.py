"""How looks that find nothing are spaced, and what ends a rest."""

from schema_mcp.dialects.base import Gate
from schema_mcp.watch.pace import REST_FACTOR, Pace


def gate(hint: str | None) -> Gate:
    return Gate(identity="", version="any", hint=hint)


def resting() -> Pace:
    """A look of 1 s that ended at 10 s found nothing."""
    pace = Pace()
    pace.found_nothing(gate("1"), began=9.0, now=10.0, cost_s=1.0)
    return pace


def test_the_first_gate_that_moves_is_followed() -> None:
    assert Pace().heeds(gate("1"), now=0.0)


def test_a_look_that_found_nothing_is_followed_by_a_rest_in_proportion_to_its_cost() -> None:
    pace = resting()
    assert not pace.heeds(gate("1"), now=10.0 + REST_FACTOR - 0.1)
    assert pace.heeds(gate("1"), now=10.0 + REST_FACTOR)


def test_a_look_that_cost_nothing_is_followed_by_no_rest() -> None:
    pace = Pace()
    pace.found_nothing(gate("1"), began=9.0, now=10.0, cost_s=-0.5)
    assert pace.heeds(gate("1"), now=10.0)


def test_a_hint_that_moves_ends_the_rest() -> None:
    assert resting().heeds(gate("2"), now=11.0)


def test_a_hint_that_misled_is_not_believed_until_the_rest_is_over() -> None:
    pace = resting()
    pace.found_nothing(gate("2"), began=11.0, now=12.0, cost_s=1.0)
    assert not pace.heeds(gate("3"), now=13.0)
    pace.found_nothing(gate("3"), began=12.0 + REST_FACTOR, now=13.0 + REST_FACTOR, cost_s=1.0)
    assert pace.heeds(gate("4"), now=14.0 + REST_FACTOR)


def test_a_hint_that_was_right_goes_on_being_believed() -> None:
    pace = resting()
    pace.found_change(gate("2"))
    assert not pace.heeds(gate("2"), now=11.0)
    assert pace.heeds(gate("3"), now=11.0)


def test_who_knows_of_a_change_ends_the_rest() -> None:
    pace = resting()
    pace.wake()
    assert pace.heeds(gate("1"), now=11.0)
