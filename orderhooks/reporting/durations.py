"""Times and spans in words, in the reader's language and zone. Used by whatever tells people about deliveries."""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

__all__ = ["relative_text", "span_text", "time_text"]


def time_text(at: datetime, *, now: datetime) -> str:
    """The time in the user's zone; without the date if it is today."""
    local, today = (timezone.localtime(one) if timezone.is_aware(one) else one for one in (at, now))
    return date_format(local, "TIME_FORMAT" if local.date() == today.date() else "DATETIME_FORMAT")


def relative_text(at: datetime, *, now: datetime) -> str:
    """`in 4 min`, `2 h 10 min ago`, `now`."""
    wait = at - now
    if abs(wait) < timedelta(seconds=1):
        return _("now")
    text = _("in %(span)s") if wait > timedelta(0) else _("%(span)s ago")
    return text % {"span": span_text(abs(wait))}


def span_text(span: timedelta) -> str:
    """`12 s`, `7 min`, `2 h 10 min`, `3 d 4 h`."""
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
