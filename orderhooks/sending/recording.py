"""Recording: stores the results of attempts in batches, updates the endpoints' health, and sends the public signals."""

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.dispatch import Signal

from orderhooks import conf, logs, retries, tracing
from orderhooks.db.locks import brief_transaction, is_about_content, locked_if_free
from orderhooks.matching import KEY_ERROR
from orderhooks.models import Delivery, Subscription
from orderhooks.models.attempt_stats import StatsBuffer
from orderhooks.models.metric_totals import kind_of
from orderhooks.sending import finishing
from orderhooks.sending.finishing import Result
from orderhooks.sending.handshake import Consent
from orderhooks.signals import (
    announce,
    delivery_failed,
    delivery_succeeded,
    subscription_disabled,
    subscription_recovered,
)
from orderhooks.transport import ABORTED, FILTERED, UNSENT, Instruction, Outcome

logger = logs.get_logger(__name__)

GONE = 410
RECOVER_AT_ONCE = 500
# A healthy endpoint's last success is not written more often.
RECORD_SUCCESS_EVERY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt that was made and waits to be recorded."""

    delivery: Delivery
    headers: Mapping[str, str]
    started_at: datetime
    outcome: Outcome
    # As it was requested; "" if it is unknown.
    url: str = ""
    # OPTIONS if the attempt ended with the handshake.
    method: str = "POST"
    # What the endpoint allowed in this attempt; None: it was not asked.
    consent: Consent | None = None


def recover(*, now: datetime, stats: StatsBuffer | None = None) -> int:
    """Record the attempts whose worker died or hung: they count, so that a delivery that kills workers ends.
    Returns how many."""
    outcome = Outcome(
        error="internal",
        detail="The worker died or hung before it could record the response; the receiver may have got the request.",
    )
    lost = list(Delivery.objects.lease_expired(now=now).select_related("event", "subscription")[:RECOVER_AT_ONCE])
    record([Sent(delivery, {}, now, outcome) for delivery in lost], now=now, stats=stats)
    return len(lost)


def record(sent: Sequence[Sent], *, now: datetime, stats: StatsBuffer | None = None) -> list[Sent]:
    """Store the results of attempts, each only if its lease is still held; then send the public signals.

    Returns those to record later, because another session has locked their rows. The others are added to `stats`,
    which the caller writes.
    """
    results = [(one, _as_result(one, now=now)) for one in sent]
    written, locked = ({result.lease for result in some} for some in _finish([result for _one, result in results]))
    done = [(one, result) for one, result in results if result.lease in written]
    for one, result in results:
        if result.lease in written:
            one.delivery.state, one.delivery.next_attempt_at = result.state, result.next_attempt_at
            _log(one, result)
            if stats is not None:
                stats.add(one.delivery, one.outcome, now=now, started_at=one.started_at)
        elif result.lease not in locked:
            delivery = one.delivery
            logger.warning("attempt came back too late", delivery=delivery.public_id, attempt=delivery.attempts_made)
    _record_consent({one.delivery.subscription_id: one.consent for one, _result in done if one.consent}, now=now)
    health = _record_health([one for one, _result in done], now=now)
    for one, result in done:
        if one.delivery.trigger == Delivery.Trigger.TEST:
            continue  # nothing that the store sends
        if result.state == Delivery.State.DELIVERED:
            announce(delivery_succeeded, sender=Delivery, delivery=one.delivery)
        elif result.state == Delivery.State.FAILED:
            announce(delivery_failed, sender=Delivery, delivery=one.delivery)
    for signal, subscription in health:
        announce(signal, sender=Subscription, subscription=subscription)
    return [one for one, result in results if result.lease in locked]


def _finish(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """`finishing.finish`; what the database refuses for its content is written without it, and keeps back no other."""
    try:
        return finishing.finish(results)
    except DatabaseError as error:
        if not is_about_content(error):
            raise
        logger.exception("the database refused a result; each is written by itself", results=len(results))
    written, locked = [], []
    for result in results:
        for attempt in (result, _without_content(result)):
            try:
                done, later = finishing.finish([attempt])
            except DatabaseError as error:
                if not is_about_content(error):
                    raise
                logger.exception("the database refused the result of an attempt", delivery=result.delivery.public_id)
            else:
                # As it was handed in, so that the caller recognizes it.
                written += [result] * len(done)
                locked += [result] * len(later)
                break
    return written, locked


def _without_content(result: Result) -> Result:
    """The same decision, and nothing that came from the receiver."""
    detail = "The database refused to store the receiver's response. See the worker's log."
    plain: dict[str, object] = {
        "duration_ms": 0,
        "status_code": None,
        "error": "internal",
        "detail": detail,
        "url": "",
        "request_headers": {},
        "response_headers": {},
        "response_body": "",
    }
    attempt = {**result.attempt, **plain}
    failed = result.state != Delivery.State.DELIVERED
    return replace(
        result,
        last_status_code=None,
        last_error="internal" if failed else "",
        last_detail=detail,
        attempt=attempt if failed else {**attempt, "error": ""},
    )


def _as_result(sent: Sent, *, now: datetime) -> Result:
    delivery, outcome = sent.delivery, sent.outcome
    state, next_at = _decide(delivery, outcome, now=now)
    finished = state != Delivery.State.PENDING
    return Result(
        delivery=delivery,
        state=state,
        # After a manual attempt that failed it goes on by the retry table.
        trigger=delivery.trigger if finished else Delivery.Trigger.AUTOMATIC,
        requested_by=delivery.requested_by if finished else "",
        next_attempt_at=next_at,
        # An attempt that a person requested does not count in the retry table if one of the table's is planned;
        # otherwise it is the table's first.
        uncounted_attempts=delivery.uncounted_attempts + (delivery.planned_at is not None),
        finished_at=now if finished else None,
        last_status_code=outcome.status_code,
        last_error=outcome.error,
        last_detail=outcome.detail[:500],
        due_by=None if finished else delivery.due_by,
        attempt={
            "trigger": delivery.trigger,
            "requested_by": delivery.requested_by,
            "started_at": sent.started_at,
            "duration_ms": outcome.duration_ms,
            "method": sent.method,
            "url": sent.url,
            "status_code": outcome.status_code,
            "error": outcome.error,
            "detail": outcome.detail,
            "request_headers": dict(sent.headers),
            "response_headers": dict(outcome.response_headers),
            "response_body": outcome.response_body,
        },
    )


def _decide(delivery: Delivery, outcome: Outcome, *, now: datetime) -> tuple[Delivery.State, datetime | None]:
    if outcome.succeeded:
        return Delivery.State.DELIVERED, None
    if delivery.trigger == Delivery.Trigger.TEST:
        return Delivery.State.FAILED, None
    if outcome.error == FILTERED:
        return Delivery.State.SKIPPED, None
    if outcome.error == ABORTED:
        return Delivery.State.FAILED, None
    schedule = conf.current().retry_schedule
    used = delivery.table_attempts
    if outcome.error == KEY_ERROR and schedule:
        # It waits until the key is back: given up, it would be lost to who does not look.
        used = min(used, len(schedule))
    # A person's attempt does not postpone the planned one.
    next_at = delivery.planned_at or retries.next_attempt_at(
        used,
        schedule=schedule,
        now=now,
        jitter=_jitter(),
        retry_after=outcome.retry_after,
    )
    return (Delivery.State.PENDING, next_at) if next_at else (Delivery.State.FAILED, None)


def _log(sent: Sent, result: Result) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    delivery, outcome = sent.delivery, sent.outcome
    logger.info(
        "attempt",
        subscription=delivery.subscription.public_id,
        event=delivery.event.public_id,
        delivery=delivery.public_id,
        attempt=delivery.attempts_made,
        topic=delivery.event.topic,
        outcome=kind_of(outcome),
        status=outcome.status_code,
        seconds=outcome.duration_ms / 1000,
        state=str(result.state),
        next=result.next_attempt_at.isoformat(timespec="seconds") if result.next_attempt_at else None,
        trace=tracing.trace_id(delivery.event.traceparent) or None,
    )


def _record_consent(consents: Mapping[int, Consent], *, now: datetime) -> None:
    """Remember what endpoints allowed, if their URLs are still the same."""
    if not consents:
        return
    with brief_transaction(Subscription.objects.db):
        # One that another session has locked is left out: the next attempt asks again.
        for subscription in locked_if_free(Subscription.objects.filter(pk__in=consents).order_by("pk"), no_key=True):
            consent = consents[subscription.pk]
            if consent.url == subscription.url:
                subscription.record_consent(consent.url, consent.origin, per_minute=consent.per_minute, now=now)


def _record_health(sent: Iterable[Sent], *, now: datetime) -> list[tuple[Signal, Subscription]]:
    """Only automatic attempts change an endpoint's health, because people also try endpoints that are broken.

    A 410, or a request to be disabled, counts for any attempt except a test.
    """
    outcomes: dict[int, list[Outcome]] = {}
    for one in sent:
        automatic = one.delivery.trigger == Delivery.Trigger.AUTOMATIC
        telling = (
            one.outcome.endpoint_is_to_blame
            or one.outcome.error in UNSENT
            or not _is_known_to_be_healthy(one.delivery.subscription, now=now)
        )
        gone = bool(_wants_no_more(one.outcome)) and one.delivery.trigger != Delivery.Trigger.TEST
        if gone or (automatic and telling):
            outcomes.setdefault(one.delivery.subscription_id, []).append(one.outcome)
    if not outcomes:
        return []
    news = []
    with brief_transaction(Subscription.objects.db):
        # One that another session has locked is left out: the next attempt will show the same.
        for subscription in locked_if_free(Subscription.objects.filter(pk__in=outcomes).order_by("pk"), no_key=True):
            signals = _judge(subscription, outcomes[subscription.pk], now=now)
            subscription.save(update_fields=Subscription.HEALTH)
            news += [(signal, subscription) for signal in signals]
    return news


def _wants_no_more(outcome: Outcome) -> str:
    """The reason to disable a subscription whose receiver asks for it; otherwise "". OPTIONS can't ask for it."""
    if outcome.status_code == GONE and outcome.error in ("status", ABORTED):
        return "The endpoint responded with 410 Gone: it wants no more webhooks."
    if outcome.instruction is Instruction.DISABLE:
        return "The receiver asked to be disabled (webhook-delivery: disable): it wants no more webhooks."
    return ""


def _is_known_to_be_healthy(subscription: Subscription, *, now: datetime) -> bool:
    return (
        not subscription.consecutive_failures
        and subscription.circuit_open_until is None
        and subscription.slow_start_limit is None
        and subscription.last_success_at is not None
        and subscription.last_success_at > now - RECORD_SUCCESS_EVERY
    )


def _judge(subscription: Subscription, outcomes: Sequence[Outcome], *, now: datetime) -> list[Signal]:
    """What a batch's outcomes, in the order in which they came, say about an endpoint."""
    news = []
    for outcome in outcomes:
        if _works(subscription, outcome, now=now):
            news.append(subscription_recovered)
        if reason := _wants_no_more(outcome):
            if subscription.disable(reason):
                news.append(subscription_disabled)
            continue
        if outcome.succeeded:
            continue
        if outcome.error in UNSENT:
            subscription.last_unsent, subscription.last_unsent_at = outcome.detail[:500], now
        if not outcome.endpoint_is_to_blame:
            continue
        subscription.record_failure(now=now, detail=outcome.detail, kind=outcome.error, status=outcome.status_code)
        if outcome.endpoint_is_overloaded:
            retry_after = retries.retry_after_seconds(outcome.retry_after, now=now)
            subscription.open_circuit(now=now, jitter=_jitter(), at_least_seconds=retry_after)
    days = conf.current().disable_after_days
    # An error of our own, such as a worker's death, must not disable it.
    failed = any(outcome.endpoint_is_to_blame for outcome in outcomes)
    hopeless = failed and subscription.has_failed_for(timedelta(days=days), now=now)
    if hopeless and subscription.disable(f"Every attempt has failed for {days:g} days."):
        news.append(subscription_disabled)
    return news


def _works(subscription: Subscription, outcome: Outcome, *, now: datetime) -> bool:
    """Record that an endpoint works, if it does. True if it had been failing."""
    if outcome.succeeded:
        return subscription.record_success(now=now)
    # Who asks for no retry has read what was sent.
    return outcome.error == ABORTED and subscription.record_answer(now=now)


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads the load, guards nothing
