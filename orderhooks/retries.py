"""Retries: when the next attempt is due. Pure functions of the retry table, the clock and the jitter."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

__all__ = ["most_attempts", "next_attempt_at", "retry_after_seconds"]

JITTER_SHARE = 0.2
LONGEST_WAIT = timedelta(hours=24)


def next_attempt_at(
    used: int,
    *,
    schedule: Sequence[float],
    now: datetime,
    jitter: float,
    retry_after: str = "",
) -> datetime | None:
    """When the next attempt is due, or None if the table allows no more.

    `used`: how many attempts of the table were made. `schedule`: the table, with the seconds to wait before attempt 2,
    3 and so on. `jitter`: a number from 0 to 1 that changes the wait by up to 20 % in either direction. `retry_after`:
    the value of the response header; it may lengthen the wait up to 24 hours and never shortens it.
    """
    if used > len(schedule):
        return None
    own = timedelta(seconds=schedule[used - 1] * (1 - JITTER_SHARE + 2 * JITTER_SHARE * jitter))
    return now + max(own, timedelta(seconds=retry_after_seconds(retry_after, now=now)))


def most_attempts(schedule: Sequence[float]) -> int:
    """The number of attempts that the table allows."""
    return len(schedule) + 1


def retry_after_seconds(value: str, *, now: datetime) -> float:
    """The seconds of a Retry-After header, at most 24 hours (RFC 9110, 10.2.3).

    The value is a number of seconds or a date. It is 0 if the value is neither, or a date in the past.
    """
    value = value.strip()
    longest = LONGEST_WAIT.total_seconds()
    if value.isascii() and value.isdigit():
        # Thousands of digits must not be converted to a number.
        return min(float(value), longest) if len(value) <= 9 else longest
    try:
        at = parsedate_to_datetime(value)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return min(max(0.0, (at - now).total_seconds()), longest)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
