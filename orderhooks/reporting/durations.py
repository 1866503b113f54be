"""Times and durations as text, in the reader's language and time zone. Admin, API, commands and e-mails use them."""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

__all__ = ["relative_text", "span_text", "time_text"]


def time_text(at: datetime, *, now: datetime) -> str:
    """The time in Django's current time zone; without the date if it is today."""
    local, today = (timezone.localtime(one) if timezone.is_aware(one) else one for one in (at, now))
    return date_format(local, "TIME_FORMAT" if local.date() == today.date() else "DATETIME_FORMAT")


def relative_text(at: datetime | None, *, now: datetime) -> str:
    """The time relative to `now`: `in 4 min`, `2 h 10 min ago`, `now`; `never` for None."""
    if at is None:
        return _("never")
    wait = at - now
    if abs(wait) < timedelta(seconds=1):
        return _("now")
    text = _("in %(span)s") if wait > timedelta(0) else _("%(span)s ago")
    return text % {"span": span_text(abs(wait))}


def span_text(span: timedelta) -> str:
    """The duration in one or two units: `12 s`, `7 min`, `2 h 10 min`, `3 d 4 h`. A negative one is `0 s`."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 60:
        return _("%(seconds)d s") % {"seconds": seconds}
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("%(minutes)d min") % {"minutes": minutes}
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    days, hours = divmod(hours, 24)
    return _("%(days)d d %(hours)d h") % {"days": days, "hours": hours}
