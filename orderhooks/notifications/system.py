"""Alarms about no single endpoint: a time without workers, and orders whose changes make no events."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Max, Min, Sum
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from orderhooks import conf, logs, operational
from orderhooks.models import CaptureFailure, Dashboard, Event, RaisedAlarm, Reconciliation
from orderhooks.notifications import events, mails
from orderhooks.notifications.alarms import page, quoted, timestamp
from orderhooks.notifications.states import PAUSE
from orderhooks.reporting import LOSSES_SHOWN_FOR, MOST_WAITING, current_backlog, reconciliation_text
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import span_text

__all__ = ["WORKER_MISSING_AFTER", "look_at_sources", "record", "send_mails", "send_reconciliation", "worker_is_back"]

logger = logs.get_logger(__name__)

# A shorter time without workers, such as a deployment, is not reported.
WORKER_MISSING_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Changes of a source's orders that made no events: how many, since when, and when it happened last."""

    source: str
    text: str
    since: datetime
    last_at: datetime


def worker_is_back(seen_at: datetime | None, *, now: datetime) -> None:
    """Raise worker.missing if no worker was seen for long. For the pump that starts. An error is logged: it sends.

    `seen_at`: the last heartbeat before the pump's own; None if there was none.
    """
    if seen_at is None or now - seen_at < WORKER_MISSING_AFTER:
        return
    try:
        waiting = current_backlog(at_most=MOST_WAITING)
        # Without the sweep a worker comes only when there is work.
        if not conf.current().sweep and (waiting.since is None or now - waiting.since < WORKER_MISSING_AFTER):
            return
        count = count_text(waiting.total, bound=MOST_WAITING)
        text = _(
            "No worker was running for %(span)s. It is back now. Nothing was sent meanwhile; %(count)s waited."
        ) % {
            "span": span_text(now - seen_at),
            "count": ngettext("%s delivery", "%s deliveries", waiting.total) % count,
        }
        key = f"{operational.WORKER_MISSING} {seen_at.isoformat()}"
        _raise(
            key,
            operational.WORKER_MISSING,
            _("No worker was running"),
            text,
            since=seen_at,
            now=now,
            waiting=waiting.total,
        )
    except Exception:
        logger.exception("could not report that no worker was running")


def look_at_sources(*, now: datetime) -> None:
    """Raise source.unseen for each source with new losses, at most once a day (UTC)."""
    since = now - LOSSES_SHOWN_FOR
    for unseen in [*_not_captured(since), *_unpublished(since)]:
        about = f"{operational.SOURCE_UNSEEN} {unseen.source} "
        last = RaisedAlarm.objects.filter(key__startswith=about).aggregate(at=Max("raised_at"))["at"]
        if last is None or (unseen.last_at > last and now.date() > last.date()):
            subject = _("Orders of %s were changed without an event") % quoted(unseen.source or "?")
            text = f"{unseen.text} {_('`manage.py orderhooks_doctor` says what to do.')}"
            _raise(
                f"{about}{now.date()}",
                operational.SOURCE_UNSEEN,
                subject,
                text,
                since=unseen.since,
                now=now,
                source=unseen.source,
            )


def _not_captured(after: datetime) -> Iterator[Unseen]:
    rows = CaptureFailure.objects.filter(last_at__gt=after).order_by("source").values_list("source")
    found = rows.annotate(Sum("count"), Min("first_at"), Max("last_at"))
    for source, count, since, last_at in found:
        text = ngettext("%s change was saved and not captured.", "%s changes were saved and not captured.", count)
        yield Unseen(source, text % count_text(count), since, last_at)


def _unpublished(after: datetime) -> Iterator[Unseen]:
    rows = Event.objects.unpublished().filter(occurred_at__gt=after).order_by("source").values_list("source")
    for source, count, since, last_at in rows.annotate(Count("pk"), Min("occurred_at"), Max("occurred_at")):
        text = ngettext("%s event has no payload.", "%s events have no payload.", count)
        yield Unseen(source, text % count_text(count), since, last_at)


def send_reconciliation(reconciliation: Reconciliation, *, now: datetime) -> None:
    """Report that orders differ from what was last published of them. An e-mail that fails is logged."""
    if not reconciliation.unpublished():
        return
    text = reconciliation_text(reconciliation, now=now)
    named = [f"{quoted(one['number'])} ({one['source']}): {one['kind']}" for one in reconciliation.examples]
    _raise(
        f"reconciliation {reconciliation.pk}",
        operational.SOURCE_UNSEEN,
        _("Orders differ from what was published"),
        text,
        since=reconciliation.started_at,
        now=now,
        details=named,
    )
    send_mails(now=now)


def _raise(
    key: str,
    topic: str,
    subject: str,
    text: str,
    *,
    since: datetime,
    now: datetime,
    source: str = "",
    waiting: int = 0,
    details: list[str] | None = None,
) -> None:
    """Record the alarm and write its event, in one transaction. `details`: lines that the e-mail alone has."""
    data: dict[str, Any] = {
        "message": text if text.startswith(subject) else f"{subject}. {text}",
        "subscription": None,
        "subscriptions": [],
        "count": 0,
        "source": source,
        "since": timestamp(since),
        "waiting": waiting,
        "url": page(Dashboard, "changelist"),
    }
    with transaction.atomic(using=RaisedAlarm.objects.db):
        if record(key, topic, subject, "\n".join([text, "", *(details or ())]).strip(), now=now):
            events.publish(topic, data, now=now)


def record(key: str, topic: str, subject: str, text: str, *, now: datetime) -> bool:
    """Remember an alarm with the e-mail to ADMINS that is due. False if another worker was first."""
    mail_due_at = now if mails.admins() else None
    return RaisedAlarm.raise_once(key, now=now, topic=topic, subject=subject, text=text, mail_due_at=mail_due_at)


def send_mails(*, now: datetime) -> None:
    """Send ADMINS the e-mails of raised alarms. One that can't be sent is due again after PAUSE."""
    for alarm in RaisedAlarm.objects.mails_due(now=now).order_by("pk"):
        if alarm.claim_mail() and not mails.send_to_admins(alarm.subject, alarm.text):
            RaisedAlarm.objects.filter(pk=alarm.pk).update(mail_due_at=now + PAUSE)
