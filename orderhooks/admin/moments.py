"""Moments in words: how long ago, how long until, and the time itself in the user's zone."""

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

__all__ = ["ago", "at", "clock", "span", "until"]

MINUTE = timedelta(minutes=1)


def at(moment: datetime) -> str:
    """The time itself, in the user's zone."""
    return date_format(_local(moment), "DATETIME_FORMAT")


def clock(moment: datetime) -> str:
    """The time of the day alone, in the user's zone."""
    return date_format(_local(moment), "TIME_FORMAT")


def span(length: timedelta) -> str:
    """`12 s`, `7 minutes`, `3 days`."""
    if length < MINUTE:
        return _("%(seconds)d s") % {"seconds": max(0, round(length.total_seconds()))}
    start = datetime(2001, 1, 1)
    return timesince(start, start + length, depth=1)


def ago(moment: datetime, *, now: datetime) -> str:
    return _("%(span)s ago") % {"span": span(now - moment)}


def until(moment: datetime, *, now: datetime) -> str:
    return _("in %(span)s") % {"span": span(moment - now)}


def _local(moment: datetime) -> datetime:
    return timezone.localtime(moment) if settings.USE_TZ else moment
