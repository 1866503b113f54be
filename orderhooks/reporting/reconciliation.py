"""The last reconciliation: how many orders differ from what was last published of them."""

from datetime import datetime

from django.utils.translation import gettext as _

from orderhooks.models import Reconciliation
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import time_text

__all__ = ["last_reconciliation", "reconciliation_text"]

NUMBERS = ("compared", "changed", "unknown", "deleted", "unreadable")


def last_reconciliation() -> Reconciliation | None:
    """The one that was finished last. One query."""
    return Reconciliation.objects.finished().first()


def reconciliation_text(reconciliation: Reconciliation, *, now: datetime) -> str:
    """What it found, in a few sentences, with what to do."""
    at = time_text(reconciliation.finished_at or reconciliation.started_at, now=now)
    numbers = {"at": at, **{name: count_text(getattr(reconciliation, name)) for name in NUMBERS}}
    if not reconciliation.differing:
        text = _("%(compared)s orders were compared with what was last published of them (%(at)s): all are the same.")
        return text % numbers
    text = _(
        "%(compared)s orders were compared with what was last published of them (%(at)s): %(changed)s have changed, "
        "%(unknown)s have no event, %(deleted)s were deleted, and %(unreadable)s can't be read."
    )
    if reconciliation.unpublished():
        remedy = _("manage.py orderhooks_doctor --reconcile --publish lists them and publishes the differences.")
    else:
        remedy = _("The differences were published.")
    return f"{text % numbers} {remedy}"
