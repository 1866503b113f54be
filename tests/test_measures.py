"""What a benchmark prints: a time or a rate is held against its bar as the reference machine would have it."""

import json

import pytest

from benchmarks.reporting import Measure

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("unit", "better", "bar", "scaled", "ok"),
    [
        # A machine half as fast takes twice as long.
        pytest.param("ms", "lower", 10, 8, True, id="time"),
        pytest.param("ms", "lower", 7, 8, False, id="time above its bar"),
        pytest.param("deliveries/s", "higher", 30, 32, True, id="rate"),
        pytest.param("deliveries/s", "higher", 33, 32, False, id="rate below its bar"),
        pytest.param("ratio", "lower", 15, None, False, id="ratio"),
    ],
)
def test_a_slow_machine_is_not_held_against_a_time_or_a_rate(unit, better, bar, scaled, ok) -> None:
    measure = Measure("one", 16, unit, bar, better).at_pace(1000)
    assert (measure.scaled, measure.ok) == (scaled, ok)
    assert json.loads(measure.line()).get("scaled") == scaled


def test_what_has_no_pace_is_taken_as_it_is() -> None:
    assert Measure("one", 16, "ms", 15).ok is False
    assert "loop_per_second" not in json.loads(Measure("one", 16, "ms", 15).line())
