"""Times and durations as text."""

from datetime import UTC, datetime, timedelta

import pytest

from orderhooks.reporting import durations

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "now"),
        (59, "in 59 s"),
        (60, "in 1 min"),
        (59 * 60 + 29, "in 59 min"),
        (3600, "in 1 h 0 min"),
        (-7800, "2 h 10 min ago"),
        (100 * 3600, "in 4 d 4 h"),
        (-86399, "1 d 0 h ago"),
    ],
)
def test_a_time_is_shown_by_its_distance(seconds, expected):
    assert durations.relative_text(NOW + timedelta(seconds=seconds), now=NOW) == expected


def test_a_time_is_shown_in_the_users_zone(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    assert durations.time_text(NOW, now=NOW) == "noon"


def test_a_naive_time_is_shown_as_it_is(settings):
    settings.USE_TZ = False
    naive = NOW.replace(tzinfo=None)
    assert durations.time_text(naive, now=naive) == "3 a.m."


def test_a_time_that_never_was_is_never():
    assert durations.relative_text(None, now=NOW) == "never"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-1, "0 s"), (12.4, "12 s"), (61, "1 min"), (7200, "2 h 0 min"), (86400 * 2, "2 d 0 h")]
)
def test_a_span_is_shown_in_its_largest_units(seconds, expected):
    assert durations.span_text(timedelta(seconds=seconds)) == expected
