"""Times as people type them on the command line."""

import re
from datetime import datetime, timedelta

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

__all__ = ["FORMATS", "parse"]

# The forms that `parse` takes, for help texts and errors.
FORMATS = "2h, 3d, 2026-11-23 or 2026-11-23T10:00"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse(text: str, *, now: datetime) -> datetime:
    """The time that `text` names.

    A number with a unit (`90s`, `5m`, `2h`, `3d`, `1w`) is that long before `now`; a date is its midnight. A time
    without an offset is in Django's current time zone. The result is naive only if USE_TZ is False.

    Raises:
        CommandError: `text` is none of these.
    """
    if found := re.fullmatch(r"(\d{1,6})([smhdw])", text.strip()):
        return now - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        time = parse_datetime(text)
        if time is None and (day := parse_date(text)):
            time = datetime(day.year, day.month, day.day)
    except ValueError:
        time = None
    if time is None:
        raise CommandError(f"{text!r} is not a valid time. Write {FORMATS}.")
    if settings.USE_TZ and timezone.is_naive(time):
        return timezone.make_aware(time)
    if not settings.USE_TZ and timezone.is_aware(time):
        return timezone.make_naive(time)
    return time
