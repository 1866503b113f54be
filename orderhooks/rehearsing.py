"""Rehearsing: what an endpoint says to a test, what an order's request would be, and events made by hand for one alone.

For `publishing`, `operations`, the admin and the commands.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import router, transaction
from django.views.decorators.debug import sensitive_variables

from orderhooks import catalogue, payloads, sending, signing, sources, topics, transport
from orderhooks.db import DatabaseClock
from orderhooks.encryption import HIDDEN, UndecryptableError
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.models.deliveries import REQUESTED_BY_LENGTH
from orderhooks.sources import OrderSource, Role

__all__ = ["Preview", "PreviewError", "find_order", "owe", "preview", "send_test", "topics_to_preview"]


def send_test(subscription: Subscription, *, by: str = "") -> Delivery:
    """Send an example order as `webhook.test` now, also to a paused or disabled subscription, and wait for the answer.

    Returns the delivery, delivered or failed, with its one attempt in the log; it is never tried again and says nothing
    about the endpoint's health. `by`: who wants to know. Takes as long as an attempt may. Raises RuntimeError in a
    transaction, which the wait would hold open.
    """
    clock = DatabaseClock()
    now = clock.now()
    with transaction.atomic(using=Delivery.objects.db, durable=True):
        # Its deliveries are made here, so it counts as routed.
        event = Event(
            topic=catalogue.TEST,
            store=subscription.store,
            payload=catalogue.test_data(),
            occurred_at=now,
            published_at=now,
            routed_at=now,
        )
        # An order of its own, so that in an ordered subscription it waits for no other test.
        event.order_pk = event.public_id
        event.save()
        # Claimed from the beginning: no pump takes it. If this process dies, the lease runs out, and it has failed.
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


# Among so many a store's newest order is looked for.
NEWEST_LOOKED_AT = 1000
# What stands in the way of any request to a subscription.
UNSENDABLE = (
    signing.InvalidSecretError,
    UndecryptableError,
    transport.InvalidHeaderError,
    transport.UrlRefusedError,
)


class PreviewError(ValueError):
    """There is no request to show; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The request that an order would send, truly signed. Values of the subscription's own headers are `(hidden)`."""

    order_number: str
    topic: str
    # Whether the subscription would get this event of this order's store at all.
    wanted: bool
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def target(self) -> str:
        """What the request line names."""
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
    """The request if that topic happened now to the order of that number, as it is. Nothing is sent or written.

    `stores`: those whose orders may be shown; None: any. Its event has an id of its own and the sequence that comes
    next. Raises PreviewError and topics.UnknownTopicError.
    """
    topics.require(topic)
    event = _event(*find_order(order_number, store=subscription.store), topic, now=now)
    if stores is not None and event.store not in stores:
        raise PreviewError(_no_order(order_number, subscription.store))
    delivery = Delivery(event=event, subscription=subscription, attempts_made=1)
    try:
        request = sending.prepare(delivery, now=now)
        url = transport.check_url(request.url)
    except UNSENDABLE as error:
        raise PreviewError(str(error)) from None
    own = {name.lower() for name in subscription.headers}
    headers = {"host": urlsplit(url).netloc, **transport.with_framing_headers(request.headers, request.body)}
    return Preview(
        order_number=event.order_number,
        topic=topic,
        wanted=subscription.wants(topic, store=event.store, at=now),
        url=url,
        headers={name: HIDDEN if name.lower() in own else value for name, value in headers.items()},
        body=request.body,
    )


def owe(subscription: Subscription, order: str, *, topic: str, by: str = "", now: datetime) -> Delivery:
    """Owe the subscription, and nobody else, an event of that topic about the order as it is, wanted or not.

    `order` is its number, or its primary key; blank: the newest order. It is due at once, also while the endpoint cools
    down. Raises PreviewError and topics.UnknownTopicError.
    """
    topics.require(topic)
    event = _event(*find_order(order, store=subscription.store, or_by_key=True), topic, now=now)
    # Its one delivery is made here, so it counts as routed; and the database gives out sequences.
    event.sequence, event.published_at, event.routed_at = None, now, now
    with transaction.atomic(using=Event.objects.db):
        event.save(force_insert=True)
        return Delivery.objects.create(
            event=event,
            subscription=subscription,
            trigger=Delivery.Trigger.MANUAL,
            requested_by=by[:REQUESTED_BY_LENGTH],
            next_attempt_at=now,
        )


def topics_to_preview(subscription: Subscription) -> list[str]:
    """The topics that a preview can show, those that the subscription wants first."""
    names = [name for name in topics.catalogue() if name != catalogue.TEST]
    return sorted(names, key=lambda name: not topics.matches(subscription.topics, name))


def _event(source: OrderSource, order: Any, topic: str, *, now: datetime) -> Event:
    try:
        # A savepoint: the store's own code may spoil a transaction.
        with transaction.atomic(using=Event.objects.db):
            snapshot = {"order": source.payload(order), "changes": {}}
            payloads.check(snapshot)
            number, of_store = source.number(order), source.store(order)
    except Exception as error:
        raise PreviewError(
            f"The order can't be told: {type(error).__name__}: {error}. Mend the method payload() of its source."
        ) from error
    last = Event.objects.order_by("-sequence").values_list("sequence", flat=True).first()
    return Event(
        sequence=(last or 0) + 1,
        topic=topic,
        source=source.name,
        order_pk=Role(source).order_pk(order) or "",
        order_number=number,
        store=of_store,
        payload=Event.as_stored(snapshot, using=Event.objects.db),
        occurred_at=now,
    )


def find_order(order_number: str = "", *, store: str = "", or_by_key: bool = False) -> tuple[OrderSource, Any]:
    """The order that people call so, in that store or, if it is blank, in any; without a number the newest.

    With the source that describes it. `or_by_key`: where no order is called so, the one of that primary key. Raises
    PreviewError.
    """
    known = sources.configured()
    if not order_number:
        return _newest(known.values(), store=store)
    for source in known.values():
        using = router.db_for_write(source.get_model())
        if (order := source.find(order_number, store=store, using=using)) is not None:
            return source, order
    # A source that can't find orders by number may have told of this one before.
    told = Event.objects.filter(order_number=order_number, source__in=known)
    event = (told.filter(store=store) if store else told).order_by("-sequence").first()
    if event is not None:
        source = known[event.source]
        order = source.fetch(event.order_pk, using=router.db_for_write(source.get_model()))
        # As it is now it may have left the store.
        if order is not None and store in ("", source.store(order)):
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
            f"There is no order {key!r}{where}: it is neither the number nor the primary key of one. Look its number "
            "up in the list of orders."
        )
    if len(found) > 1:
        numbers = ", ".join(f"{source.number(order)} ({source.name})" for source, order in found)
        raise PreviewError(f"{len(found)} orders have the primary key {key!r}. Give the number of one: {numbers}.")
    return found[0]


def _no_order(order_number: str, store: str) -> str:
    where = f" in the store {store!r}" if store else ""
    return f"There is no order {order_number!r}{where}. Look its number up in the list of orders."


def _newest(known: Iterable[OrderSource], *, store: str) -> tuple[OrderSource, Any]:
    for source in known:
        # Where it was written: on a replica the newest order may not be there yet.
        orders = source.newest(using=router.db_for_write(source.get_model()))[:NEWEST_LOOKED_AT]
        if (order := next((one for one in orders.iterator() if store in ("", source.store(one))), None)) is not None:
            return source, order
    where = f" of the store {store!r}" if store else ""
    raise PreviewError(f"There is no order{where} to tell of. Name one by its number, or place one first.")
