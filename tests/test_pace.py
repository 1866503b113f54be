"""Pace: how many requests a limit a second lets out (GCRA), as a table."""

from datetime import UTC, datetime, timedelta

import pytest

from orderhooks.models.pace import after_requests, requests_in_time

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("max_per_second", "ahead_seconds", "expected"),
    [
        (1, None, 1),
        (1, -60.0, 1),  # an idle minute saves nothing up
        (1, 0.0, 1),
        (1, 0.5, 0),
        (1, 1.0, 0),
        (10, 0.1, 0),
        (100, None, 5),
        (100, 0.02, 3),
        (100, 0.05, 0),
    ],
)
def test_what_a_limit_a_second_lets_out(max_per_second: int, ahead_seconds: float | None, expected: int) -> None:
    paced_until = None if ahead_seconds is None else NOW + timedelta(seconds=ahead_seconds)
    assert max(0, requests_in_time(max_per_second, paced_until=paced_until, now=NOW)) == expected


def test_requests_come_to_the_limit_over_time_and_not_above_it() -> None:
    paced_until, sent = None, 0
    for tenth in range(100):
        now = NOW + timedelta(seconds=tenth / 10)
        requests = max(0, requests_in_time(7, paced_until=paced_until, now=now))
        paced_until = after_requests(requests, 7, paced_until=paced_until, now=now)
        sent += requests
    assert 7 * 10 * 0.7 <= sent <= 7 * 10 + 1
