"""When a delivery is tried again: a pure function of the retry table, the clock and the jitter."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

__all__ = ["most_attempts", "next_attempt_at", "retry_after_seconds"]

JITTER = 0.2
LONGEST_WAIT = timedelta(hours=24)


def next_attempt_at(
    used: int,
    *,
    schedule: Sequence[float],
    now: datetime,
    jitter: float,
    retry_after: str = "",
) -> datetime | None:
    """When the next attempt is due after `used` of the table, or None when they were all that it has.

    `schedule` is the table: seconds before attempt 2, 3, ….

    `jitter` is a number from 0 to 1 that spreads the wait by 20 % either way. `retry_after` is the response header:
    it may lengthen the wait up to 24 hours and never shortens it.
    """
    if used > len(schedule):
        return None
    own = timedelta(seconds=schedule[used - 1] * (1 - JITTER + 2 * JITTER * jitter))
    return now + max(own, timedelta(seconds=retry_after_seconds(retry_after, now=now)))


def most_attempts(schedule: Sequence[float]) -> int:
    """How many attempts the table allows."""
    return len(schedule) + 1


def retry_after_seconds(value: str, *, now: datetime) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3): digits or a date; a day at most.

    Anything else asks for 0.
    """
    value = value.strip()
    longest = LONGEST_WAIT.total_seconds()
    if value.isascii() and value.isdigit():
        # A text of thousands of digits must not become a number.
        return min(float(value), longest) if len(value) <= 9 else longest
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - now).total_seconds()), longest)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
