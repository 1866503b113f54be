"""Moments as people type and read them at a terminal: `2h` is two hours ago, and `12 s` is short for a span."""

import re
from datetime import datetime, timedelta

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

__all__ = ["HOW", "ago", "parse", "span"]

HOW = "2h, 3d, 2026-11-23 or 2026-11-23T10:00"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# The longest first: a span is told in the first unit of which there is one.
STEPS = ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min"))


def parse(text: str, *, now: datetime) -> datetime:
    """The moment that a text names: a span before `now`, a date (its midnight), or a date and time.

    Without an offset it is in the current time zone. Raises CommandError.
    """
    if found := re.fullmatch(r"(\d{1,6})([smhdw])", text.strip()):
        return now - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)):
            moment = datetime(day.year, day.month, day.day)
    except ValueError:
        moment = None
    if moment is None:
        raise CommandError(f"{text!r} is not a valid time. Write {HOW}.")
    if settings.USE_TZ and timezone.is_naive(moment):
        return timezone.make_aware(moment)
    if not settings.USE_TZ and timezone.is_aware(moment):
        return timezone.make_naive(moment)
    return moment


def span(length: timedelta) -> str:
    """`12 s`, `7 min`, `3 h`, `2 d`."""
    for step, unit in STEPS:
        if length >= step:
            return f"{length // step} {unit}"
    return f"{max(0, round(length.total_seconds()))} s"


def ago(moment: datetime | None, *, now: datetime) -> str:
    """`7 min ago`, or `never`."""
    return f"{span(now - moment)} ago" if moment else "never"
