"""The retry policy as a table, and Retry-After in every form that a receiver may send."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from orderhooks.conf import Settings
from orderhooks.retries import next_attempt_at, retry_after_seconds

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
SCHEDULE = Settings().retry_schedule
DAY = 24 * 3600


def wait_after(
    attempts_made: int, *, jitter: float = 0.5, retry_after: str = "", schedule: Sequence[float] = SCHEDULE
) -> float | None:
    due = next_attempt_at(attempts_made, schedule=schedule, now=NOW, jitter=jitter, retry_after=retry_after)
    return None if due is None else (due - NOW).total_seconds()


@pytest.mark.parametrize(
    ("attempts_made", "earliest", "middle", "latest"),
    [
        (1, 4, 5, 6),
        (2, 240, 300, 360),
        (3, 1_440, 1_800, 2_160),
        (4, 5_760, 7_200, 8_640),
        (5, 14_400, 18_000, 21_600),
        (6, 28_800, 36_000, 43_200),
        (7, 40_320, 50_400, 60_480),
        (8, 57_600, 72_000, 86_400),
        (9, 69_120, 86_400, 103_680),
    ],
)
def test_the_wait_is_the_tables_give_or_take_a_fifth(attempts_made, earliest, middle, latest):
    waits = [wait_after(attempts_made, jitter=jitter) for jitter in (0, 0.5, 1)]

    assert waits == pytest.approx([earliest, middle, latest])


@pytest.mark.parametrize("attempts_made", [10, 11, 1000])
def test_after_the_tenth_attempt_there_is_none(attempts_made):
    assert wait_after(attempts_made) is None
    assert wait_after(attempts_made, retry_after="60") is None


def test_the_table_lasts_about_three_days():
    assert sum(SCHEDULE) / DAY == pytest.approx(3.15, abs=0.1)


def test_an_empty_table_means_one_attempt():
    assert wait_after(1, schedule=()) is None


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        ("", 300),
        ("0", 300),
        ("299", 300),  # never sooner than the table says
        ("301", 301),
        (str(DAY), DAY),
        (str(DAY + 1), DAY),  # never later than a day
        ("9" * 9, DAY),
        ("9" * 5000, DAY),
        ("Mon, 23 Nov 2026 10:10:00 GMT", 600),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 300),
        ("Tue, 23 Nov 2027 10:00:00 GMT", DAY),
        ("-600", 300),
        ("soon", 300),
    ],
)
def test_retry_after_lengthens_the_wait_within_bounds(retry_after, wait):
    assert wait_after(2, retry_after=retry_after) == wait


def test_retry_after_never_cuts_the_tables_own_wait_short():
    assert wait_after(9, jitter=1, retry_after=str(DAY)) == pytest.approx(1.2 * DAY)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("  120 ", 120),
        ("0120", 120),
        # The three forms of RFC 9110, 5.6.7.
        ("Mon, 23 Nov 2026 10:02:00 GMT", 120),
        ("Monday, 23-Nov-26 10:02:00 GMT", 120),
        ("Mon Nov 23 10:02:00 2026", 120),
        ("Mon, 23 Nov 2026 12:02:00 +0200", 120),
        ("Mon, 23 Nov 2026 10:02:00", 120),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_seconds_and_dates_are_understood(text, seconds):
    assert retry_after_seconds(text, now=NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-5", "+5", "1.5", "1e3", "0x10", "five", "nan", "inf", "1_0", "5 s", "5, 10", "²", "١٢", "५",
        "Mon, 99 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 99999 10:00:00 GMT", "Mon, 23 Nov 0000 10:00:00 GMT",
        "Sat, 01 Jan 0001 00:00:00 +2359", "Mon, 23 Nov 2026 25:61:61 GMT", "Mon, 23 Nov 2026 10:00:00 +99999999",
        "Mon, 23 Nov", ",", "GMT", "\x00", "\ud800", "\n", "(" * 1000, '"' * 1001, "é" * 9,
    ],
)  # fmt: skip
def test_garbage_in_retry_after_counts_as_nothing(text):
    assert retry_after_seconds(text, now=NOW) == 0


def test_the_last_possible_time_never_crashes():
    assert retry_after_seconds("Fri, 31 Dec 9999 23:59:59 -2359", now=NOW) == DAY
    assert wait_after(1, retry_after="Fri, 31 Dec 9999 23:59:59 -2359") == DAY


def test_the_clock_may_stand_in_any_zone():
    there = NOW.astimezone(timezone(timedelta(hours=9)))

    assert retry_after_seconds("Mon, 23 Nov 2026 10:02:00 GMT", now=there) == 120
