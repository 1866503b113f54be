"""The last reconciliation: how many orders differ from what was last published of them."""

from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks.models import Reconciliation
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import time_text

__all__ = ["last_reconciliation", "reconciliation_text"]

LABELS = (
    ("changed", gettext_lazy("Changed")),
    ("unknown", gettext_lazy("Without an event")),
    ("deleted", gettext_lazy("Deleted")),
    ("unreadable", gettext_lazy("Unreadable")),
)


def last_reconciliation() -> Reconciliation | None:
    """The one that was finished last. One query."""
    return Reconciliation.objects.finished().first()


def reconciliation_text(reconciliation: Reconciliation, *, now: datetime) -> str:
    """What it found, in short sentences, with what to do."""
    at = time_text(reconciliation.finished_at or reconciliation.started_at, now=now)
    text = _("Orders compared with what was last published of them (%(at)s): %(compared)s.") % {
        "at": at,
        "compared": count_text(reconciliation.compared),
    }
    found = [f"{label}: {count_text(count)}." for name, label in LABELS if (count := getattr(reconciliation, name))]
    if not found:
        remedy = _("None differs.")
    elif reconciliation.unpublished() and reconciliation.unpublished() <= reconciliation.unreadable:
        remedy = _("Have the order source of those that can't be read fixed; orderhooks_doctor --reconcile lists them.")
    elif reconciliation.unpublished():
        remedy = _("manage.py orderhooks_doctor --reconcile --publish lists them and publishes the differences.")
    else:
        remedy = _("The differences were published.")
    return " ".join([text, *map(str, found), remedy])
