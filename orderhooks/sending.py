"""Sending: claims due deliveries, signs and posts them side by side on threads, records what came of each.

The pump calls `claim` and `collect` in turn. Threads only talk to endpoints; the database is the calling thread's.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

import orderhooks
from orderhooks import conf, payloads, retries, signing, transport
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.signals import (
    announce,
    delivery_failed,
    delivery_succeeded,
    subscription_disabled,
    subscription_recovered,
)
from orderhooks.transport import Outcome

logger = logging.getLogger(__name__)

# What a lease lasts beyond the attempt's own deadline: time to write the result down.
LEASE_MARGIN_SECONDS = 15.0
GONE = 410


@dataclass(frozen=True, slots=True)
class Request:
    """A signed request, ready to go out: its headers, the same as they are stored, and what an answer must not echo."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    kept_headers: Mapping[str, str]
    redact: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt that was made and waits to be recorded."""

    delivery: Delivery
    headers: Mapping[str, str]
    started_at: datetime
    outcome: Outcome


@sensitive_variables()
def prepare(delivery: Delivery, *, now: datetime) -> Request:
    """Sign a delivery's request. Raises what a missing key or secret raises."""
    event, subscription = delivery.event, delivery.subscription
    secrets = subscription.live_secrets(now=now)
    if not secrets:
        raise signing.InvalidSecretError("The subscription has no signing secret in force. Give it a new one.")
    own = subscription.own_headers()
    transport.check_own_headers(own)
    body = payloads.body(event)
    timestamp = int(now.timestamp())
    message = signing.Message(event.public_id, event.topic, timestamp, body)
    signatures = signing.profile_headers(subscription.signature, message, secrets)
    headers = {
        **own,
        "content-type": "application/json",
        "user-agent": f"orderhooks/{orderhooks.__version__}",
        "webhook-id": event.public_id,
        "webhook-timestamp": str(timestamp),
        "webhook-topic": event.topic,
        "webhook-attempt": str(delivery.attempts_made),
        **signatures,
    }
    kept = {
        name: transport.REDACTED if name in own or transport.is_credential(name) else value
        for name, value in headers.items()
    }
    signed = [value for name, value in signatures.items() if transport.is_credential(name)]
    return Request(subscription.url, body, headers, kept, [*own.values(), *secrets, *signed])


class Sender:
    """A pool of threads and the deliveries that it has under way. A context manager: leaving it waits for them."""

    def __init__(self, *, threads: int) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="orderhooks")
        self.under_way: dict[Future[Sent], Delivery] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: BaseException | TracebackType | None) -> None:
        while self.under_way and kind is None:
            self.collect(wait_seconds=1.0)
        # After an error nobody can record a result: the leases run out, and the deliveries are due again.
        self.pool.shutdown(wait=kind is None, cancel_futures=True)

    def claim(self, *, now: datetime) -> int:
        """Claim due deliveries for the threads that are free, and set off. Returns how many."""
        free = self.threads - len(self.under_way)
        if free <= 0:
            return 0
        timeout = conf.current().timeout_seconds
        lease_until = now + timedelta(seconds=timeout + LEASE_MARGIN_SECONDS)
        claimed = Delivery.objects.claim(now=now, limit=free, lease_until=lease_until)
        for delivery in claimed:
            self.under_way[self.pool.submit(_attempt, delivery, timeout)] = delivery
        return len(claimed)

    def collect(self, *, wait_seconds: float) -> int:
        """Record the attempts that have ended, waiting for the first that long. Returns how many."""
        if not self.under_way:
            return 0
        done = wait(self.under_way, timeout=wait_seconds, return_when=FIRST_COMPLETED).done
        if done:
            record([future.result() for future in done], now=timezone.now())
        for future in done:
            del self.under_way[future]
        return len(done)


def recover(*, now: datetime) -> int:
    """Record the attempts whose worker died or hung: they count, so that poison ends. Returns how many."""
    outcome = Outcome(
        error="internal",
        detail="The worker died or hung before it could write down the answer; the receiver may have got the request.",
    )
    lost = list(Delivery.objects.lease_expired(now=now).select_related("event", "subscription")[:500])
    record([Sent(delivery, {}, now, outcome) for delivery in lost], now=now)
    return len(lost)


def record(sent: Sequence[Sent], *, now: datetime) -> None:
    """Write down what came of attempts, each only if its lease is still held; then tell the public signals."""
    news: list[tuple[Signal, Delivery | Subscription]] = []
    with transaction.atomic():
        for one in sent:
            news += _record(one, now=now)
    for signal, record in news:
        name = "delivery" if isinstance(record, Delivery) else "subscription"
        announce(signal, sender=type(record), **{name: record})


@sensitive_variables("request")
def _attempt(delivery: Delivery, timeout_seconds: float) -> Sent:
    started_at = timezone.now()
    headers: Mapping[str, str] = {}
    try:
        request = prepare(delivery, now=started_at)
        headers = request.kept_headers
        outcome = transport.post(
            request.url, request.body, request.headers, timeout_seconds=timeout_seconds, redact=request.redact
        )
    except Exception as error:
        # Whatever it is, it is an outcome: a thread's exception would stop the pump and hide itself in a log.
        logger.exception("attempt delivery=%s n=%d could not be made", delivery.public_id, delivery.attempts_made)
        outcome = Outcome(error="internal", detail=transport.safe_text(f"{type(error).__name__}: {error}")[:500])
    return Sent(delivery, headers, started_at, outcome)


def _record(sent: Sent, *, now: datetime) -> list[tuple[Signal, Delivery | Subscription]]:
    delivery, outcome = sent.delivery, sent.outcome
    trigger = delivery.trigger
    state, next_at = _decide(delivery, outcome, now=now)
    finished = state != Delivery.State.PENDING
    mine = delivery.finish_claim(
        state=state,
        next_attempt_at=next_at,
        finished_at=now if finished else None,
        # A manual attempt that failed goes on by the retry table.
        trigger=trigger if finished else Delivery.Trigger.AUTOMATIC,
        last_status_code=outcome.status_code,
        last_error=outcome.error,
        last_detail=outcome.detail[:500],
    )
    if not mine:
        logger.warning("attempt delivery=%s n=%d came back too late", delivery.public_id, delivery.attempts_made)
        return []
    Attempt.objects.create(
        delivery=delivery,
        number=delivery.attempts_made,
        trigger=trigger,
        started_at=sent.started_at,
        duration_ms=outcome.duration_ms,
        status_code=outcome.status_code,
        error=outcome.error,
        detail=outcome.detail,
        request_headers=dict(sent.headers),
        response_headers=dict(outcome.response_headers),
        response_body=outcome.response_body,
    )
    logger.info(
        "attempt delivery=%s n=%d status=%s error=%s ms=%d next=%s",
        delivery.public_id,
        delivery.attempts_made,
        outcome.status_code or "-",
        outcome.error or "-",
        outcome.duration_ms,
        next_at.isoformat(timespec="seconds") if next_at else "-",
    )
    delivery.state, delivery.next_attempt_at = state, next_at
    news: list[tuple[Signal, Delivery | Subscription]] = []
    if state == Delivery.State.DELIVERED:
        news.append((delivery_succeeded, delivery))
    elif state == Delivery.State.FAILED:
        news.append((delivery_failed, delivery))
    return news + _note_health(delivery.subscription, trigger, outcome, now=now)


def _decide(delivery: Delivery, outcome: Outcome, *, now: datetime) -> tuple[Delivery.State, datetime | None]:
    if outcome.succeeded:
        return Delivery.State.DELIVERED, None
    next_at = retries.next_attempt_at(
        delivery.attempts_made,
        schedule=conf.current().retry_schedule,
        now=now,
        dice=random.random(),  # noqa: S311 - spreads the load, guards nothing
        retry_after=outcome.retry_after,
    )
    return (Delivery.State.PENDING, next_at) if next_at else (Delivery.State.FAILED, None)


def _note_health(
    subscription: Subscription, trigger: str, outcome: Outcome, *, now: datetime
) -> list[tuple[Signal, Delivery | Subscription]]:
    """Only automatic attempts tell about an endpoint's health: people try what they know to be broken."""
    if outcome.status_code == GONE:
        if subscription.disable("The endpoint answered 410 Gone: it wants no more webhooks."):
            return [(subscription_disabled, subscription)]
        return []
    if trigger != Delivery.Trigger.AUTOMATIC:
        return []
    if outcome.succeeded:
        return [(subscription_recovered, subscription)] if subscription.note_success(now=now) else []
    if outcome.endpoint_is_to_blame:
        subscription.note_failure(now=now)
        if subscription.disable_if_failing(now=now, longer_than=timedelta(days=conf.current().disable_after_days)):
            return [(subscription_disabled, subscription)]
    return []
