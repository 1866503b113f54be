"""Retention periods: how many days each kind of record is kept, by the setting RETENTION_DAYS.

`retention` deletes by them, `checks` judges them. See Note [What is kept for how long].

# Note [What is kept for how long]
A record can't outlive what it belongs to: the bodies of an attempt end with the attempt at the latest, an attempt with
its delivery, a delivery with its event. Receipts and idempotency keys guard against duplicates, so they are kept at
least as long as one may come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from orderhooks import conf, retries, spelling

__all__ = ["KINDS", "Cutoffs", "RetentionPeriods", "current", "fault_of", "fewest_receipt_days", "of"]

# Days of a kind that the setting does not name.
STANDARD = 90.0
MOST = 36500.0
FEWEST = 1.0
# The API promises that a repeated request is recognized for a day.
IDEMPOTENCY = 1.0
DAY_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """How many days each kind of record is kept. The fields are the kinds of RETENTION_DAYS."""

    # Headers and bodies of requests and responses. Times, status and outcome stay as long as the attempt.
    attempt_bodies: float
    attempts: float
    deliveries: float
    # Also digests of orders that were deleted.
    events: float
    # Of webhooks that receivers in this project have acted on, and how far they are with each order.
    receipts: float
    idempotency_keys: float
    replays: float
    backfills: float
    reconciliations: float
    capture_failures: float
    statistics: float

    def cutoffs(self, *, now: datetime) -> "Cutoffs":
        """The time of each kind before which its records may go."""
        return Cutoffs({kind: now - timedelta(days=getattr(self, kind)) for kind in KINDS})


KINDS = tuple(field.name for field in fields(RetentionPeriods))
# Each is kept at most as long as the next.
NESTED = ("attempt_bodies", "attempts", "deliveries", "events")


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """By kind, the time before which records may go."""

    before: Mapping[str, datetime]

    def __getitem__(self, kind: str) -> datetime:
        return self.before[kind]


def current() -> RetentionPeriods:
    """The periods in force."""
    return of(conf.current().retention_days)


def of(given: "float | Mapping[str, float]") -> RetentionPeriods:
    """The periods of a valid value of the setting: days for all kinds, or days by kind.

    A number neither lengthens the day of idempotency keys nor shortens what receipts need. In a dict, bodies are kept
    as long as their attempts if they are not named, and attempts as long as their deliveries.
    """
    fewest = fewest_receipt_days(conf.current().retry_schedule)
    if not isinstance(given, Mapping):
        by_kind = {**dict.fromkeys(KINDS, float(given)), "idempotency_keys": IDEMPOTENCY}
        return RetentionPeriods(**{**by_kind, "receipts": max(by_kind["receipts"], fewest)})
    named = [given[kind] for kind in NESTED if kind in given and kind != "events"]
    events = given.get("events", max(STANDARD, *named, 0.0))
    shorter = [given[kind] for kind in NESTED[:2] if kind in given]
    deliveries = given.get("deliveries", min(events, max(STANDARD, *shorter, 0.0)))
    attempts = given.get("attempts", deliveries)
    nested = {
        "attempt_bodies": given.get("attempt_bodies", attempts),
        "attempts": attempts,
        "deliveries": deliveries,
        "events": events,
    }
    others = {**dict.fromkeys(KINDS, STANDARD), "idempotency_keys": IDEMPOTENCY, "receipts": max(STANDARD, fewest)}
    return RetentionPeriods(**{**others, **given, **nested})


def fewest_receipt_days(schedule: Sequence[float]) -> float:
    """How many days after a webhook the retry table may still repeat it, with its jitter, and with a receiver that asks
    for a day's wait each time (`Retry-After`).
    """
    waits = (max(seconds * (1 + retries.JITTER_SHARE), DAY_SECONDS) for seconds in schedule)
    return sum(waits) / DAY_SECONDS


def fault_of(value: Any) -> str:
    """What is wrong with a value of the setting, with the remedy. Blank if nothing is."""
    if not isinstance(value, Mapping):
        return "" if _is_number(value, FEWEST) else _number_remedy()
    for kind, days in value.items():
        if kind not in KINDS:
            near = spelling.nearest(str(kind), KINDS)
            return f"There is no kind {kind!r}. " + (
                f"Did you mean {near!r}?" if near else f"The kinds are: {', '.join(KINDS)}."
            )
        if not _is_number(days, 0.0 if kind == "attempt_bodies" else FEWEST):
            return f"{kind!r} can't be {days!r:.100}. {_number_remedy(0 if kind == 'attempt_bodies' else 1)}"
    try:
        return _nesting_fault(of(value)) or _receipts_fault(value)
    except TypeError:
        return ""  # RETRY_SCHEDULE is not valid, which a check of its own reports


def _nesting_fault(periods: RetentionPeriods) -> str:
    for inner, outer in pairwise(NESTED):
        if (days := getattr(periods, inner)) > (most := getattr(periods, outer)):
            return (
                f"{inner!r} can't be kept for {days:g} days when {outer!r} are deleted after {most:g}: they belong to "
                f"them. Set {inner!r} to at most {most:g}, or {outer!r} to at least {days:g}."
            )
    return ""


def _receipts_fault(value: Mapping[str, float]) -> str:
    fewest = fewest_receipt_days(conf.current().retry_schedule)
    if value.get("receipts", MOST) >= fewest:
        return ""
    return (
        f"'receipts' guard receivers against duplicates, and by RETRY_SCHEDULE a webhook may be repeated for "
        f"{fewest:.4g} days. Set 'receipts' to at least {fewest:.4g}."
    )


def _is_number(value: Any, low: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= MOST


def _number_remedy(low: float = FEWEST) -> str:
    return f"Give a number of days from {low:g} to {MOST:g}, or a dict of days by kind: {{'deliveries': 30}}."
