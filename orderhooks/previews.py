"""Previews and tests: show the request that an order would cause, send a test, and create one delivery by hand.

For `publishing`, `operations`, the admin and the commands.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import router, transaction
from django.views.decorators.debug import sensitive_variables

from orderhooks import catalogue, matching, payloads, reporting, sending, shaping, signing, sources, topics, transport
from orderhooks.db import DatabaseClock
from orderhooks.db.sealed_logins import NONE
from orderhooks.encryption import HIDDEN, UndecryptableError
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.models.deliveries import REQUESTED_BY_LENGTH
from orderhooks.sources import OrderSource, WatchedModel

__all__ = [
    "Preview",
    "PreviewError",
    "create_manual_delivery",
    "find_order",
    "preview",
    "send_test",
    "topics_to_preview",
]


def send_test(subscription: Subscription, *, by: str = "") -> Delivery:
    """Send an example order as `webhook.test` now, and wait for the response.

    It is also sent to a paused or disabled subscription. Returns the delivery, delivered or failed, with its one
    attempt in the log. It is never tried again, and does not change the endpoint's health. It takes at most as long as
    an attempt (TIMEOUT_SECONDS, or the subscription's own limit). `by`: who requests the test.

    Raises:
        RuntimeError: called in a transaction, which the wait would keep open.
    """
    clock = DatabaseClock()
    now = clock.now()
    # An endpoint that has to allow requests is asked again: people test after they have changed something.
    subscription = copy(subscription)
    subscription.consented_url = ""
    with transaction.atomic(using=Delivery.objects.db, durable=True):
        # Its delivery is created here, so it counts as routed.
        data = catalogue.test_data()
        event = Event(
            topic=catalogue.TEST,
            order_number=catalogue.number_of(data["order"])[:255],
            store=subscription.store,
            payload=data,
            occurred_at=now,
            published_at=now,
            routed_at=now,
        )
        # Its own order key, so that it waits for no other test of an ordered subscription.
        event.order_pk = event.public_id
        event.save()
        # Claimed from the start, so that no pump takes it. If this process dies, the lease expires and the test fails.
        delivery = Delivery.objects.create(
            event=event,
            subscription=subscription,
            trigger=Delivery.Trigger.TEST,
            requested_by=by[:REQUESTED_BY_LENGTH],
            state=Delivery.State.SENDING,
            attempts_made=1,
            lease_token=uuid.uuid4(),
            lease_expires_at=now + sending.lease_for(subscription.attempt_seconds),
        )
    sent = sending.attempt(delivery, subscription.attempt_seconds, now=clock.now())
    sending.record([sent], now=clock.now())
    delivery.refresh_from_db()
    return delivery


# How many of the newest orders are searched for one of a store.
NEWEST_SEARCHED = 1000
# Errors that prevent any request to a subscription.
NO_ORDERS = "{} is operational: it gets no orders. Send it a test instead."
UNSENDABLE = (
    signing.InvalidSecretError,
    UndecryptableError,
    shaping.ShapingError,
    transport.InvalidHeaderError,
    transport.UrlRefusedError,
)


class PreviewError(ValueError):
    """There is no order, or no request can be made. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The signed request that an event about an order would cause.

    `wanted`: whether the subscription would get this event of this order. If not, `reason` is a Reason, or
    what the outcome of a delivery that is held is called, and `text` says it with the deciding values. The values of
    the subscription's own headers and of its login are `(hidden)`.
    """

    order_number: str
    topic: str
    wanted: bool
    reason: str
    text: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def target(self) -> str:
        """The target of the request line: the URL's path and query."""
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


@sensitive_variables("request")
def preview(
    subscription: Subscription,
    order_number: str,
    *,
    topic: str,
    now: datetime,
    stores: Collection[str] | None = None,
) -> Preview:
    """The request if an event of the topic happened to the order now. Nothing is sent or written.

    `order_number`: blank for the newest order. `stores`: the stores whose orders may be shown; None for all. The event
    gets a new id and the next sequence.

    Raises:
        PreviewError: there is no such order, or no request can be made.
        topics.UnknownTopicError: there is no such topic.
    """
    topics.require_publishable(topic)
    if subscription.operational:
        raise PreviewError(NO_ORDERS.format(subscription))
    source, order = find_order(order_number, store=subscription.store)
    # Before the payload is built: its error would say something about the order.
    if stores is not None and not _is_of_stores(source, order, stores):
        raise PreviewError(_no_order(order_number, subscription.store))
    event = _event(source, order, topic, now=now)
    delivery = Delivery(event=event, subscription=subscription, attempts_made=1)
    try:
        # Nobody is asked for a token: nothing leaves.
        login = HIDDEN if subscription.login_type != NONE else ""
        request = sending.prepare(delivery, now=now, authorization=login)
        url = transport.check_url(request.url)
    except UNSENDABLE as error:
        raise PreviewError(str(error)) from None
    reason, text = _why_not(event, subscription, now=now)
    own = {name.lower() for name in subscription.headers}
    headers = {"host": urlsplit(url).netloc, **transport.with_framing_headers(request.headers, request.body)}
    return Preview(
        order_number=event.order_number,
        topic=topic,
        wanted=not reason,
        reason=reason,
        text=text,
        url=url,
        headers={name: HIDDEN if name.lower() in own else value for name, value in headers.items()},
        body=request.body,
    )


def _why_not(event: Event, subscription: Subscription, *, now: datetime) -> tuple[str, str]:
    """Why the subscription would not get the event, for programs and for people. Blank if it would."""
    matcher = matching.Matcher()
    verdict = matcher.judge(event, subscription)
    if verdict.error:
        return verdict.kind, verdict.error
    if verdict.mismatch is None:
        return "", ""
    outcome = reporting.not_wanted(event, subscription, verdict.mismatch, matcher)
    return str(outcome.reason), reporting.subscription_outcome_text(outcome, now=now)


def create_manual_delivery(
    subscription: Subscription, order: str, *, topic: str, by: str = "", now: datetime
) -> Delivery:
    """Create an event of the topic about the order as it is now, and its delivery to this subscription alone.

    The subscription gets it even if it does not want the topic or the store. It is due at once, also while the endpoint
    is cooling down. `order`: its number or its primary key, or blank for the newest order. `by`: who requests it.

    Raises:
        PreviewError: there is no such order, or its payload can't be built.
        topics.UnknownTopicError: there is no such topic.
    """
    topics.require_publishable(topic)
    if subscription.operational:
        raise PreviewError(NO_ORDERS.format(subscription))
    event = _event(*find_order(order, store=subscription.store, or_by_key=True), topic, now=now)
    # Its only delivery is created here, so it counts as routed. The database assigns the sequence.
    event.sequence, event.published_at, event.routed_at, event.only_for = None, now, now, subscription.pk
    with transaction.atomic(using=Event.objects.db):
        event.save(force_insert=True)
        if subscription.ordered and subscription.update_interval:
            # It must not wait behind an update that waits.
            waiting = Delivery.objects.filter(subscription=subscription).of_orders(event.source, [event.order_pk])
            waiting.end_interval(now=now)
        return Delivery.objects.create(
            event=event,
            subscription=subscription,
            trigger=Delivery.Trigger.MANUAL,
            requested_by=by[:REQUESTED_BY_LENGTH],
            next_attempt_at=now,
        )


def topics_to_preview(subscription: Subscription) -> list[str]:
    """The topics of which a preview can be shown; those that the subscription wants come first."""
    names = [name for name in topics.catalogue() if name not in (catalogue.TEST, payloads.REDACTED)]
    return sorted(names, key=lambda name: not topics.matches(subscription.topics, name))


def _is_of_stores(source: OrderSource, order: Any, stores: Collection[str]) -> bool:
    """Whether the order is of one of the stores. False if it can't be known: it may be of another one."""
    try:
        with transaction.atomic(using=Event.objects.db):
            return source.store(order) in stores
    except Exception:
        return False


def _event(source: OrderSource, order: Any, topic: str, *, now: datetime) -> Event:
    try:
        # A savepoint, because an error in the store's code would break the transaction.
        with transaction.atomic(using=Event.objects.db):
            snapshot = {"order": source.payload(order), "changes": {}}
            payloads.check(snapshot)
            number, order_store = source.number(order), source.store(order)
    except Exception as error:
        raise PreviewError(
            f"The payload can't be built: {type(error).__name__}: {error}. Fix payload() of the order source."
        ) from error
    last = Event.objects.order_by("-sequence").values_list("sequence", flat=True).first()
    return Event(
        sequence=(last or 0) + 1,
        topic=topic,
        source=source.name,
        order_pk=WatchedModel(source).order_pk(order),
        order_number=number,
        store=order_store,
        payload=Event.as_stored(snapshot, using=Event.objects.db),
        occurred_at=now,
    )


def find_order(order_number: str = "", *, store: str = "", or_by_key: bool = False) -> tuple[OrderSource, Any]:
    """Find an order by its number, or the newest one if `order_number` is blank. `store`: blank for any store.

    `or_by_key`: if no order has that number, find it by its primary key. Returns the order with its source.

    Raises:
        PreviewError: there is no such order, or several have that primary key.
    """
    known = sources.configured()
    if not order_number:
        return _newest(known.values(), store=store)
    for source in known.values():
        using = router.db_for_write(source.get_model())
        order = source.find(order_number, store=store, using=using)
        if order is not None and source.is_order(order):
            return source, order
    # A source that can't find orders by number may have had an event about this one.
    events = Event.objects.filter(order_number=order_number, source__in=known)
    event = (events.filter(store=store) if store else events).order_by("-sequence").first()
    if event is not None:
        source = known[event.source]
        order = source.fetch(event.order_pk, using=router.db_for_write(source.get_model()))
        # The order may belong to another store by now.
        if order is not None and source.is_order(order) and store in ("", source.store(order)):
            return source, order
    if not or_by_key:
        raise PreviewError(_no_order(order_number, store))
    return _of_key(known.values(), order_number, store=store)


def _of_key(known: Iterable[OrderSource], key: str, *, store: str) -> tuple[OrderSource, Any]:
    found = []
    for source in known:
        order = sources.by_key(source, key, using=router.db_for_write(source.get_model()))
        if order is not None and store in ("", source.store(order)):
            found.append((source, order))
    if not found:
        where = f" in the store {store!r}" if store else ""
        raise PreviewError(
            f"There is no order {key!r}{where}: it is neither the number nor the primary key of one. Look up its "
            "number in the list of orders."
        )
    if len(found) > 1:
        numbers = ", ".join(f"{source.number(order)} ({source.name})" for source, order in found)
        raise PreviewError(f"{len(found)} orders have the primary key {key!r}. Give the number of one: {numbers}.")
    return found[0]


def _no_order(order_number: str, store: str) -> str:
    where = f" in the store {store!r}" if store else ""
    return f"There is no order {order_number!r}{where}. Look up its number in the list of orders."


def _newest(known: Iterable[OrderSource], *, store: str) -> tuple[OrderSource, Any]:
    for source in known:
        # Read from the database for writing: the newest order may not have reached a replica yet.
        orders = source.newest(using=router.db_for_write(source.get_model()))[:NEWEST_SEARCHED].iterator()
        found = (one for one in orders if source.is_order(one) and store in ("", source.store(one)))
        if (order := next(found, None)) is not None:
            return source, order
    where = f" of the store {store!r}" if store else ""
    raise PreviewError(f"There is no order{where}. Name one by its number, or place one first.")
