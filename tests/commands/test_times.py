"""Times as people type them on the command line."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.core.management.base import CommandError

from orderhooks.management import times

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("5m", NOW - timedelta(minutes=5)),
        ("2h", NOW - timedelta(hours=2)),
        (" 3d ", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T08:30", datetime(2026, 11, 22, 8, 30, tzinfo=UTC)),
        ("2026-11-22T08:30+02:00", datetime(2026, 11, 22, 8, 30, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_a_time_is_a_span_ago_a_date_or_a_date_and_time(text: str, time: datetime) -> None:
    assert times.parse(text, now=NOW) == time


@pytest.mark.parametrize(
    "text", ["", "h", "-2h", "2 hours", "yesterday", "2026-13-01", "2026-11-22T25:00", "99999999d"]
)
def test_a_text_that_is_not_a_time_is_refused_with_the_formats(text: str) -> None:
    with pytest.raises(CommandError, match=r"is not a valid time\. Write 2h, 3d"):
        times.parse(text, now=NOW)


def test_without_use_tz_times_are_naive(settings) -> None:
    settings.USE_TZ = False
    naive = NOW.replace(tzinfo=None)
    assert times.parse("2026-11-22T08:30", now=naive) == datetime(2026, 11, 22, 8, 30)
    assert times.parse("2026-11-22T08:30+00:00", now=naive).tzinfo is None
