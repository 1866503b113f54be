"""A delivery's summary in plain words: the result of its attempts, what it waits for, and what happens next.

The admin and the API show it. Everything but `summarize` is pure: the caller brings the rows and the clock.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from orderhooks import conf, retries, transport
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import relative_text, span_text, time_text
from orderhooks.reporting.endpoint_health import OUTCOMES, held_text, outcome_text

__all__ = ["MOST_BEHIND", "attempt_text", "interval_text", "is_seen", "most_attempts", "sentences", "summarize"]

State = Delivery.State
# A pump runs within a minute and a half, whatever has died.
OVERDUE = timedelta(minutes=2)
MOST_BEHIND = 100

TIMES = {
    1: gettext_lazy("once"),
    2: gettext_lazy("twice"),
    3: gettext_lazy("three times"),
    4: gettext_lazy("four times"),
    5: gettext_lazy("five times"),
    6: gettext_lazy("six times"),
    7: gettext_lazy("seven times"),
    8: gettext_lazy("eight times"),
    9: gettext_lazy("nine times"),
    10: gettext_lazy("ten times"),
}


def summarize(
    delivery: Delivery, attempts: Sequence[Attempt], *, now: datetime, stores: Collection[str] | None = None
) -> list[str]:
    """The sentences of a delivery's summary. Looks up what they need in at most three queries.

    `stores`: the stores whose events the reader may see; None for all.
    """
    blocker = None
    if delivery.state == State.PENDING:
        blocker = delivery.blockers().select_related("event").defer("event__payload", "event__changes").first()
    behind = delivery.held_up().about_stores(stores)[: MOST_BEHIND + 1].count()
    return sentences(
        delivery,
        attempts,
        now=now,
        most=most_attempts(delivery),
        blocker=blocker,
        behind=behind,
        carrier=delivery.carrier(),
        carried=delivery.carried().about_stores(stores)[: MOST_BEHIND + 1].count(),
        stores=stores,
    )


def is_seen(delivery: Delivery, stores: Collection[str] | None) -> bool:
    """Whether it is about an order of one of these stores; None for all. The order may have been of another before."""
    return stores is None or delivery.event.store in stores


def most_attempts(delivery: Delivery) -> int:
    """How many attempts the delivery may have, by the retry table in force. A test has one."""
    if delivery.trigger == Delivery.Trigger.TEST:
        return 1
    return retries.most_attempts(conf.current().retry_schedule)


def sentences(
    delivery: Delivery,
    attempts: Sequence[Attempt],
    *,
    now: datetime,
    most: int,
    blocker: Delivery | None = None,
    behind: int = 0,
    carrier: Delivery | None = None,
    carried: int = 0,
    stores: Collection[str] | None = None,
) -> list[str]:
    """The sentences of a delivery's summary.

    `most`: the number of attempts in the retry table. `blocker`: the delivery that an ordered one waits for. `behind`:
    how many deliveries wait for this one, counted up to MOST_BEHIND + 1. `carrier`: the delivery that one was merged
    into; `carried`: how many were merged into this one, counted likewise. `stores`: the stores whose events are named
    by their ids, which hold their times; None for all.
    """
    if carrier is not None and not is_seen(carrier, stores):
        carrier = None
    ended = _ENDED[State(delivery.state)](delivery, now) if delivery.state in _ENDED else ""
    if delivery.is_merged:
        ended = _merged(delivery, carrier, now)
    found = [
        ended,
        _carried(carried),
        _results(delivery, attempts),
        "" if attempts else _reason(delivery),
        _requested_by(delivery),
        "" if ended else _next(delivery, now=now, most=most, blocker=blocker, stores=stores),
        _held_up(delivery, behind),
    ]
    return [sentence for sentence in found if sentence]


def _results(delivery: Delivery, attempts: Sequence[Attempt]) -> str:
    delivered = delivery.state == State.DELIVERED
    outcomes = Counter(
        outcome_text(one.status_code, one.error)
        for one in sorted(attempts, key=lambda one: one.number)
        if one.error or not delivered
    )
    if not outcomes:
        return "" if delivery.attempts_made or delivery.state in _ENDED else _("Nothing has been sent yet.")
    parts = [f"{outcome} {_times(count)}" for outcome, count in outcomes.items()]
    sentence = _("Before that, %(name)s %(outcomes)s.") if delivered else _("%(name)s %(outcomes)s.")
    return sentence % {"name": delivery.subscription.name, "outcomes": get_text_list(parts, _("and"))}


def _reason(delivery: Delivery) -> str:
    """Why it has not arrived, with what to do, where no attempt says so."""
    if not delivery.last_error or delivery.is_merged or delivery.state not in (State.FAILED, State.SKIPPED):
        return ""
    outcome = outcome_text(delivery.last_status_code, delivery.last_error)
    happened = _("%(name)s %(outcomes)s.") % {"name": delivery.subscription.name, "outcomes": outcome}
    known = delivery.last_error in {*OUTCOMES, "status"}
    remedy = transport.next_step(delivery.last_error, delivery.last_status_code) if known else ""
    parts = [happened if known and delivery.last_error != transport.FILTERED else "", delivery.last_detail]
    if delivery.state == State.FAILED and remedy not in delivery.last_detail:
        parts.append(remedy)
    return " ".join(part for part in parts if part)


def _requested_by(delivery: Delivery) -> str:
    if delivery.trigger == Delivery.Trigger.AUTOMATIC:
        return _by_job(delivery.requested_by) if delivery.requested_by else ""
    sentence = _("%(user)s sent it as a test.")
    if delivery.trigger == Delivery.Trigger.MANUAL:
        sentence = _("%(user)s had it sent by hand.")
        if delivery.is_held:
            sentence = _("%(user)s asked for it to be sent; it goes out when the subscription is resumed.")
        elif delivery.state == State.PENDING:
            sentence = _("%(user)s asked for it to be sent.")
    return sentence % {"user": delivery.requested_by or _("An operator")}


def _by_job(label: str) -> str:
    sentence = _("It is sent by %(job)s.") if label.startswith("backfill") else _("It is sent again by %(job)s.")
    return sentence % {"job": label}


def _next(
    delivery: Delivery, *, now: datetime, most: int, blocker: Delivery | None, stores: Collection[str] | None
) -> str:
    subscription = delivery.subscription
    attempt = _attempt(delivery, most)
    if delivery.state == State.SENDING:
        if delivery.lease_expires_at is None or delivery.lease_expires_at > now:
            return _("It is being sent now (%(attempt)s).") % {"attempt": attempt}
        ago = relative_text(delivery.lease_expires_at, now=now)
        return _("The worker that sends it should have finished %(ago)s. Another worker takes it over.") % {"ago": ago}
    if subscription.state != Subscription.State.ACTIVE:
        return held_text(subscription, now=now)
    if blocker is not None:
        if not is_seen(blocker, stores):
            return _("Waits for another event of order %(order)s: the subscription is ordered.") % {
                "order": delivery.event.order_number
            }
        return _blocked(delivery, blocker)
    due_at = delivery.next_attempt_at or now
    by_hand = delivery.trigger == Delivery.Trigger.MANUAL
    if subscription.is_circuit_open(at=max(now, due_at)) and not by_hand:
        sentence = _("Then it is sent (%(attempt)s). Redeliver it to send it at once.")
        return f"{held_text(subscription, now=now)} {sentence % {'attempt': attempt}}"
    if due_at > now and delivery.waits_for_interval:
        return interval_text(delivery, now=now)
    if due_at > now:
        relative = relative_text(due_at, now=now)
        return _("The next try is %(relative)s (%(attempt)s).") % {"relative": relative, "attempt": attempt}
    if not by_hand and subscription.slow_start_limit is not None and (until := subscription.circuit_open_until):
        # Its turn comes when the endpoint has responded, and no worker is late.
        return _(
            "It waits for %(name)s to respond again (%(attempt)s): the endpoint was cooling down until %(time)s, and"
            " few requests at a time try it."
        ) % {"name": subscription.name, "attempt": attempt, "time": time_text(until, now=now)}
    if due_at > now - OVERDUE:
        return _("It is due: a worker sends it next (%(attempt)s).") % {"attempt": attempt}
    span = span_text(now - due_at)
    return _(
        "It has been due for %(span)s (%(attempt)s), and no worker has sent it: either none is running, or the"
        " endpoint has a backlog or limits of its own."
    ) % {"span": span, "attempt": attempt}


def interval_text(delivery: Delivery, *, now: datetime) -> str:
    """Why an update waits whose interval is not over."""
    due_at = delivery.next_attempt_at or now
    sentence = _(
        "Waits until %(time)s, %(relative)s: %(name)s gets at most one order.updated of an order in %(interval)s."
    )
    return sentence % {
        "time": time_text(due_at, now=now),
        "relative": relative_text(due_at, now=now),
        "name": delivery.subscription.name,
        "interval": span_text(delivery.subscription.update_interval or timedelta(0)),
    }


def _attempt(delivery: Delivery, most: int) -> str:
    """Which attempt comes next. One that a person requested does not count in the retry table."""
    if delivery.planned_at is not None:
        return _("by hand; if it fails, the retries go on as planned")
    is_next = delivery.state == State.PENDING
    if not delivery.uncounted_attempts:
        return attempt_text(delivery.table_attempts + is_next, most)
    # The page numbers all attempts; the retry table counts its own.
    if delivery.trigger == Delivery.Trigger.MANUAL:
        return _("attempt %(number)d, by hand") % {"number": delivery.attempts_made + is_next}
    return _("automatic %(attempt)s") % {"attempt": attempt_text(delivery.table_attempts + is_next, most)}


def _blocked(delivery: Delivery, blocker: Delivery) -> str:
    if blocker.event_id > delivery.event_id:
        sentence = _("Waits while order %(order)s's later event %(event)s is under way: the subscription is ordered.")
    elif blocker.state == State.FAILED:
        sentence = _(
            "Waits for order %(order)s's earlier event %(event)s, which failed: the subscription is ordered."
            " Redeliver or skip that one first."
        )
    else:
        sentence = _(
            "Waits for order %(order)s's earlier event %(event)s, which has not finished: the subscription is ordered."
        )
    return sentence % {"order": delivery.event.order_number, "event": blocker.event.public_id}


def _held_up(delivery: Delivery, behind: int) -> str:
    if not behind:
        return ""
    sentence = ngettext(
        "It holds up %(count)s later delivery of order %(order)s: the subscription is ordered.",
        "It holds up %(count)s later deliveries of order %(order)s: the subscription is ordered.",
        behind,
    )
    return sentence % {"count": count_text(behind, bound=MOST_BEHIND), "order": delivery.event.order_number}


def _delivered(delivery: Delivery, now: datetime) -> str:
    when = time_text(delivery.finished_at or now, now=now)
    return _("Delivered at %(when)s on attempt %(number)d.") % {"when": when, "number": delivery.attempts_made}


def _failed(delivery: Delivery, now: datetime) -> str:
    if delivery.trigger == Delivery.Trigger.TEST:
        return _("Failed at %(when)s: a test is tried once.") % {
            "when": time_text(delivery.finished_at or now, now=now)
        }
    if not delivery.attempts_made:
        return _("Failed at %(when)s without an attempt: nothing is sent until it is redelivered.") % {
            "when": time_text(delivery.finished_at or now, now=now)
        }
    sentence = ngettext(
        "Given up at %(when)s after %(count)d attempt: nothing more is sent until it is redelivered.",
        "Given up at %(when)s after %(count)d attempts: nothing more is sent until it is redelivered.",
        delivery.attempts_made,
    )
    return sentence % {"when": time_text(delivery.finished_at or now, now=now), "count": delivery.attempts_made}


def _skipped(delivery: Delivery, now: datetime) -> str:
    when = time_text(delivery.finished_at or now, now=now)
    if delivery.last_error == transport.FILTERED:
        return _("Skipped at %(when)s: the subscription's filter leaves the event out.") % {"when": when}
    return _("Skipped at %(when)s: an operator decided not to send it.") % {"when": when}


def _merged(delivery: Delivery, carrier: Delivery | None, now: datetime) -> str:
    when = time_text(delivery.finished_at or now, now=now)
    if carrier is None:
        return _("Merged at %(when)s into a later update of the order, which carried its changes.") % {"when": when}
    sentence = _("Merged at %(when)s into %(event)s, a later update of the order, which carries its changes.")
    if carrier.state == State.FAILED:
        sentence = _(
            "Merged at %(when)s into %(event)s, a later update of the order, which failed: its changes have not"
            " arrived. Redeliver that one."
        )
    elif carrier.state == State.SKIPPED:
        sentence = _(
            "Merged at %(when)s into %(event)s, a later update of the order, which was skipped: its changes are not"
            " sent. Redeliver that one if they should be."
        )
    return sentence % {"when": when, "event": carrier.event.public_id}


def _carried(carried: int) -> str:
    if not carried:
        return ""
    sentence = ngettext(
        "It carries the changes of %(count)s earlier update of the order, too.",
        "It carries the changes of %(count)s earlier updates of the order, too.",
        carried,
    )
    return sentence % {"count": count_text(carried, bound=MOST_BEHIND)}


_ENDED = {State.DELIVERED: _delivered, State.FAILED: _failed, State.SKIPPED: _skipped}


def attempt_text(number: int, most: int) -> str:
    """`attempt 4 of 10`, or `attempt 11` for one that comes after the retry table, by hand."""
    if number > most:
        return _("attempt %(number)d") % {"number": number}
    return _("attempt %(number)d of %(most)d") % {"number": number, "most": most}


def _times(count: int) -> str:
    return str(TIMES[count]) if count in TIMES else _("%(count)d times") % {"count": count}
