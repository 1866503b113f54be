"""Reporting: what people are told about the machinery. The admin's pages and the commands draw on it.

What is told of one endpoint is in `endpoint_health`, of one delivery in `story`.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from orderhooks import sources
from orderhooks.db.bounded_counts import count_text
from orderhooks.durations import relative_text, span_text, time_text
from orderhooks.endpoint_health import held_text
from orderhooks.models import CaptureFailure, Change, Subscription
from orderhooks.models.health import Backlog
from orderhooks.routing import Reason, Standing
from orderhooks.tasks import Worker

logger = logging.getLogger(__name__)

MOST_ERROR = 300
SEE_ERROR = "`manage.py orderhooks_status` shows the error."
LOST_ONE = gettext_lazy(
    "A change of an order was saved, and nobody was told of it (source %(source)s, order %(order)s, at %(time)s): "
    "%(error)s Correct the cause, then tell the receivers with orderhooks.publishing.publish."
)
LOST_MANY = gettext_lazy(
    "%(count)d changes of orders were saved, and nobody was told of them (source %(source)s, last order %(order)s at "
    "%(time)s): %(error)s Correct the cause, then tell the receivers with orderhooks.publishing.publish."
)

__all__ = [
    "LOSSES_SHOWN_FOR",
    "MOST_WAITING",
    "backlog_text",
    "losses",
    "no_events_text",
    "order_without_events_text",
    "standing_text",
    "worker_problems",
]

MOST_WAITING = 10_000
# How long a change that could not be captured is told of.
LOSSES_SHOWN_FOR = timedelta(days=7)
NOTHING_WATCHED = "No order is watched: ORDERHOOKS['SOURCES'] is empty or wrong. `manage.py check` says more."
START_WORKER = "Start `manage.py qcluster`; if one runs and does nothing, restart it."


def worker_problems(worker: Worker, *, now: datetime, waiting: Backlog | None = None) -> list[str]:
    """What is wrong with the process that should send, each with its remedy: the first thing that people should read.

    With `waiting` it also says what waits for the worker. Empty if a worker is there and is started in time.
    """
    found = []
    if worker.is_missing(now=now):
        missing = _("No worker has ever been seen.")
        if worker.seen_at is not None:
            missing = _("No worker has been seen for %(span)s.") % {"span": span_text(now - worker.seen_at)}
        held = f"{backlog_text(waiting, now=now)} " if waiting is not None and waiting.total else ""
        found.append(f"{missing} {held}{_(START_WORKER)}")
    if worker.sweep_due_at is not None and worker.sweep_is_late(now=now):
        late = _("The sweep, which starts a worker each minute, has been due for %(span)s.")
        found.append(f"{late % {'span': span_text(now - worker.sweep_due_at)}} {_(START_WORKER)}")
    return found


def backlog_text(waiting: Backlog, *, now: datetime) -> str:
    """What waits, and for how long: `2 deliveries and 3 new events wait to be sent, the oldest for 4 min.`

    New events are those that no worker has given to the subscriptions yet.
    """
    if not waiting.total:
        return _("Nothing waits to be sent.")
    parts = [
        words % {"count": count_text(count, bound=MOST_WAITING)}
        for count, words in (
            (waiting.waiting, ngettext("%(count)s delivery", "%(count)s deliveries", waiting.waiting)),
            (waiting.unrouted, ngettext("%(count)s new event", "%(count)s new events", waiting.unrouted)),
            (waiting.uncoalesced, ngettext("%(count)s new change", "%(count)s new changes", waiting.uncoalesced)),
        )
        if count
    ]
    sentence = ngettext(
        "%(what)s waits to be sent, the oldest for %(span)s.",
        "%(what)s wait to be sent, the oldest for %(span)s.",
        waiting.total,
    )
    span = span_text(now - waiting.since) if waiting.since else _("0 s")
    return sentence % {"what": _join(parts), "span": span}


def losses(*, now: datetime, with_errors: bool = True) -> list[str]:
    """What was saved in the last week and could not be captured: nobody was told of it. One sentence for each kind of
    failure, with what to do. One query.

    `with_errors`: an error may quote the order, which not everybody may see.
    """
    found = []
    for one in CaptureFailure.objects.recent(since=now - LOSSES_SHOWN_FOR):
        words = LOST_ONE if one.count == 1 else LOST_MANY
        found.append(
            str(words)
            % {
                "count": one.count,
                "source": one.source or "?",
                "time": time_text(one.last_at, now=now),
                "order": one.order_pk or "?",
                "error": " ".join(one.error.split())[:MOST_ERROR] if with_errors else _(SEE_ERROR),
            }
        )
    return found


def order_without_events_text(number: str) -> str:
    """What to say of an order number for which there are no events: `No order 99999 is known.` One query a source, and
    those of `no_events_text`.
    """
    known = _configured()
    if not known:
        return _(NOTHING_WATCHED)
    for source in known.values():
        if (order := _found(source, number)) is not None:
            why = no_events_text(source.name, sources.WatchedModel(source).order_pk(order) or "")
            return _("Order %(number)s is known. %(why)s") % {"number": number, "why": why}
    return _("No order %(number)s is known.") % {"number": number}


def no_events_text(source: str, order_pk: str) -> str:
    """Why no event is kept of an order that exists. At most three queries."""
    known = _configured()
    if not known:
        return _(NOTHING_WATCHED)
    if source not in known:
        return _("Its changes are not captured: ORDERHOOKS['SOURCES'] has no source called “%(source)s”.") % {
            "source": source
        }
    if not Subscription.objects.exists():
        return _(
            "There is no subscription, so nothing that happens to orders is written down. Add a subscription: it gets "
            "what happens from then on."
        )
    if Change.objects.filter(source=source, order_pk=order_pk).exists():
        return _("A change of it is saved, and no worker has made an event of it yet.")
    if CaptureFailure.objects.filter(source=source, order_pk=order_pk).exists():
        return _("A change of it could not be captured. The dashboard and `manage.py orderhooks_status` say why.")
    return _(
        "No event about it is kept: nothing that is watched has changed since the first subscription was made, or its "
        "events were pruned."
    )


def standing_text(one: Standing, *, now: datetime) -> str:
    """What became of an event for one subscription, and why it was not sent yet: the same words wherever it is told."""
    delivery, label = one.delivery, str(one.reason.label)
    if one.reason == Reason.NOT_ROUTED:
        return _("waiting for a worker to take it up")
    if one.reason != Reason.WAITING or delivery is None:
        return label
    due_at = delivery.next_attempt_at or now
    circuit_open_until = one.subscription.circuit_open_until
    by_hand = delivery.trigger == delivery.Trigger.MANUAL
    if circuit_open_until is not None and circuit_open_until > max(due_at, now) and not by_hand:
        return held_text(one.subscription, now=now)
    if due_at > now:
        return _("next try %(when)s, at %(time)s") % {
            "when": relative_text(due_at, now=now),
            "time": time_text(due_at, now=now),
        }
    return _("due since %(time)s: a worker sends it next") % {"time": time_text(due_at, now=now)}


def _configured() -> dict[str, sources.OrderSource]:
    """Empty while the setting SOURCES is wrong."""
    try:
        return sources.configured()
    except Exception:
        logger.exception("no order is watched: the setting SOURCES is wrong")
        return {}


def _found(source: sources.OrderSource, number: str) -> Any:
    try:
        return source.find(number, store="", using=source.get_model()._default_manager.db)
    except Exception:
        # The store's own code; the doctor says what is wrong with it.
        logger.exception("the order source %r could not look for an order", source.name)
        return None


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {_('and')} {parts[-1]}"
