"""Whether a soak's measurements are flat or grow."""

import random

import pytest

from benchmarks.trends import Tolerance, slope, trend

pytestmark = pytest.mark.once

TOLERANCE = Tolerance(share=0.05, floor=1.0)


def test_the_slope_ignores_outliers() -> None:
    points = [(float(number), 3.0 * number + 7.0) for number in range(20)]
    points[4], points[11] = (4.0, 1e6), (11.0, -1e6)

    assert slope(points) == pytest.approx(3.0)


@pytest.mark.parametrize("points", [[], [(1.0, 5.0)], [(1.0, 5.0), (1.0, 9.0)]])
def test_too_few_points_have_no_slope(points: list[tuple[float, float]]) -> None:
    assert slope(points) == 0.0


@pytest.mark.parametrize(
    ("values", "is_flat"),
    [
        pytest.param([100.0] * 40, True, id="constant"),
        pytest.param([100.0 + number for number in range(40)], False, id="grows"),
        pytest.param([100.0 - number for number in range(40)], True, id="falls"),
        pytest.param([50.0 + min(number, 19) * 5 for number in range(40)], True, id="grows while it warms up"),
        pytest.param([100.0 + 0.1 * number for number in range(40)], True, id="grows within the share"),
        pytest.param([100.0 + 50.0 * (number == 30) for number in range(40)], True, id="one peak"),
        pytest.param([1.0 + number % 2 for number in range(40)], True, id="swings within the floor"),
    ],
)
def test_the_verdict(values: list[float], is_flat: bool) -> None:
    assert trend([(10.0 * number, value) for number, value in enumerate(values)], TOLERANCE).is_flat is is_flat


def test_noise_without_growth_is_flat_and_with_growth_is_not() -> None:
    jitter = random.Random(1)
    noise = [jitter.gauss(100.0, 3.0) for _ in range(90)]

    assert trend([(float(at), value) for at, value in enumerate(noise)], TOLERANCE).is_flat
    assert not trend([(float(at), value + 0.3 * at) for at, value in enumerate(noise)], TOLERANCE).is_flat
