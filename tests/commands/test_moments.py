"""Moments as people type them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.core.management.base import CommandError

from orderhooks.management import moments

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
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
def test_a_moment_is_a_span_ago_a_date_or_a_time(text: str, moment: datetime) -> None:
    assert moments.parse(text, now=NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "h", "-2h", "2 hours", "yesterday", "2026-13-01", "2026-11-22T25:00", "99999999d"]
)
def test_what_is_no_moment_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(CommandError, match=r"is not a valid time\. Write 2h, 3d"):
        moments.parse(text, now=NOW)


def test_without_zones_moments_have_none(settings) -> None:
    settings.USE_TZ = False
    naive = NOW.replace(tzinfo=None)
    assert moments.parse("2026-11-22T08:30", now=naive) == datetime(2026, 11, 22, 8, 30)
    assert moments.parse("2026-11-22T08:30+00:00", now=naive).tzinfo is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (12.4, "12 s"), (61, "1 min"), (7199, "1 h"), (86400 * 2.9, "2 d")]
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert moments.span(timedelta(seconds=seconds)) == words


def test_what_never_was_is_never() -> None:
    assert moments.ago(None, now=NOW) == "never"
    assert moments.ago(NOW - timedelta(minutes=7), now=NOW) == "7 min ago"
