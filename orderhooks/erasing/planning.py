"""Planning: which orders an erasure is about, and how much there is of them."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models, router
from django.db.models import Q
from django.db.models.functions import Cast, Lower
from django.utils.crypto import salted_hmac

from orderhooks import sources, spelling
from orderhooks.models import Attempt, Change, Delivery, Erasure, Event, Order
from orderhooks.models.erasures import ErasedOrder
from orderhooks.sources import OrderSource, WatchedModel

__all__ = ["ErasureError", "Estimate", "estimate", "plan"]

logger = logging.getLogger(__name__)

# Characters that each database keeps as they are in the text of JSON.
PLAIN = re.compile(r"[a-z0-9@.+_-]+")
EVENTS_AT_ONCE = 100
MOST_NAMED = 5


class ErasureError(ValueError):
    """An erasure that is not possible. Its text says what to change."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much an erasure goes through."""

    orders: int
    events: int
    deliveries: int
    attempts: int


def plan(*, customer: str, order: str, store: str, source: str, stores: Collection[str] | None = None) -> Erasure:
    """An erasure that is not saved yet, or the running one that the same request began before.

    `customer`: an e-mail address; `order`: a number. With both, the order has to be the customer's. `store` and
    `source`: blank for any. `stores`: the stores whose orders may be erased; None for all.

    Raises:
        ErasureError: an argument is not valid, no order was found, or several orders have the number.
    """
    customer, order = customer.strip(), order.strip()
    _require_valid(customer, order, source)
    limits = ["all"] if stores is None else sorted(stores)
    digest = _digest("\n".join((customer.casefold(), order, store, source, *limits)))
    if begun := Erasure.objects.running().filter(request_digest=digest).first():
        return begun
    found = _of_number(order, source) if order else set()
    if customer:
        of_customer = _of_customer(customer, source)
        keys = {(one.source, one.order_pk) for one in of_customer}
        found = {one for one in found if (one.source, one.order_pk) in keys} if order else of_customer
    found = {one for one in found if store in ("", one.store) and (stores is None or one.store in stores)}
    _require_found(found, customer, order)
    planned = Erasure(request_digest=digest)
    planned.set_orders(sorted(found, key=lambda one: (one.source, len(one.order_pk), one.order_pk)))
    return planned


def estimate(erasure: Erasure) -> Estimate:
    """Count what it goes through. A few queries for each order."""
    orders = [ErasedOrder(**one) for one in erasure.orders]
    events = deliveries = attempts = 0
    for order in orders:
        events += Event.objects.filter(source=order.source, order_pk=order.order_pk).count()
        of_order = Delivery.objects.of_orders(order.source, [order.order_pk])
        deliveries += of_order.count()
        attempts += Attempt.objects.filter(delivery__in=of_order).count()
    return Estimate(len(orders), events, deliveries, attempts)


def _require_valid(customer: str, order: str, source: str) -> None:
    if not customer and not order:
        raise ErasureError("Say whose data is to be erased: a customer's e-mail address, or an order's number.")
    if customer and "@" not in customer:
        raise ErasureError(f"{customer!r} is not an e-mail address.")
    known = list(sources.configured())
    if source and source not in known and not Event.objects.filter(source=source).exists():
        near = spelling.nearest(source, known)
        hint = f"Did you mean {near!r}?" if near else f"Choose one of: {', '.join(known)}."
        raise ErasureError(f"There is no order source {source!r}. {hint}")


def _require_found(found: set[ErasedOrder], customer: str, order: str) -> None:
    if not found:
        # What was looked for is in the message for who asked; it is stored nowhere.
        whose = " of ".join([*([f"the order {order}"] if order else []), *([customer] if customer else [])])
        raise ErasureError(
            f"Nothing is stored of {whose}. If the number, the address, the store and the source are right, it was "
            "erased or deleted before."
        )
    places = sorted({(one.source, one.store) for one in found})
    if order and not customer and len(places) > 1:
        named = "; ".join(f"source {source!r}, store {store!r}" for source, store in places[:MOST_NAMED])
        raise ErasureError(f"Several orders have the number {order}: {named}. Name the source or the store.")


def _of_number(number: str, source: str) -> set[ErasedOrder]:
    """The orders of that number, in events and as their sources find them."""
    events = Event.objects.filter(order_number=number)
    rows = (events.filter(source=source) if source else events).of_orders().order_by()
    found = {ErasedOrder(*row) for row in rows.values_list("source", "order_pk", "order_number", "store").distinct()}
    for name, one in sources.configured().items():
        if source in ("", name):
            found |= set(_found_by_source(one, number))
    return _without_former_names(found)


def _found_by_source(source: OrderSource, number: str) -> Iterator[ErasedOrder]:
    using = router.db_for_write(source.get_model())
    try:
        order = source.find(number, store="", using=using)
        if order is not None:
            yield ErasedOrder(source.name, WatchedModel(source).order_pk(order), number, source.store(order))
    except Exception:
        # The store's code. What was published of the order is found without it.
        logger.exception("the order source %s could not look for an order by its number", source.name)


def _without_former_names(found: set[ErasedOrder]) -> set[ErasedOrder]:
    """Each order once, though its number or its store may have changed between its events."""
    return set({(one.source, one.order_pk): one for one in sorted(found, key=repr)}.values())


def _of_customer(customer: str, source: str) -> set[ErasedOrder]:
    """The orders that hold the e-mail address among their personal data: in events, in captured changes, or in the
    built-in order itself.
    """
    found = {(one.source, one.order_pk): one for one in _in_orders(customer)}
    for one in (*_in_events(customer), *_in_changes(customer)):
        found.setdefault((one.source, one.order_pk), one)
    return {one for one in found.values() if source in ("", one.source)}


def _in_orders(customer: str) -> Iterator[ErasedOrder]:
    for source in sources.configured().values():
        model: Any = source.get_model()
        if model._meta.concrete_model is Order:
            rows = sources.plain(model, router.db_for_write(model)).filter(customer_email__iexact=customer)
            for pk, number, store in rows.values_list("pk", "number", "store"):
                yield ErasedOrder(source.name, str(pk), number, store)


def _in_events(customer: str) -> Iterator[ErasedOrder]:
    personal = {name: sources.personal_data_of(source) for name, source in sources.configured().items()}
    unknown = (sources.PersonalData(None, {}), sources.PersonalData(None, {}))
    rows = _mentioning(Event.objects.of_orders(), customer, "payload", "changes").order_by()
    for event in rows.only("source", "order_pk", "order_number", "store", "payload", "changes").iterator(
        EVENTS_AT_ONCE
    ):
        of_payload, of_changes = personal.get(event.source, unknown)
        values = of_payload.values((event.payload or {}).get("order")) | _of_sides(of_changes, event.changes)
        if any(value.casefold() == customer.casefold() for value in values):
            yield ErasedOrder(event.source, event.order_pk, event.order_number, event.store)


def _of_sides(personal: sources.PersonalData, changes: Mapping[str, Any]) -> set[str]:
    sides = ({name: pair[side] for name, pair in changes.items() if len(pair) == 2} for side in (0, 1))
    return {value for side in sides for value in personal.values(side)}


def _in_changes(customer: str) -> Iterator[ErasedOrder]:
    """Of captured changes, which have the columns' names: any text that is the address."""
    rows = _mentioning(Change.objects.all(), customer, "before", "after", "snapshot").order_by()
    for change in rows:
        texts = sources.texts_of([change.before, change.after, change.snapshot])
        if any(text.casefold() == customer.casefold() for text in texts):
            yield ErasedOrder(change.source, change.order_pk, change.order_number, change.store)


def _mentioning(rows: "models.QuerySet[Any]", text: str, *fields: str) -> "models.QuerySet[Any]":
    """The rows in whose JSON the longest part of the text occurs that each database writes in the same way."""
    part = max(PLAIN.findall(text.lower()), key=len)
    texts = {f"{name}_text": Lower(Cast(name, models.TextField())) for name in fields}
    mentions = Q()
    for name in texts:
        mentions |= Q(**{f"{name}__contains": part})
    found: models.QuerySet[Any] = rows.alias(**texts).filter(mentions)
    return found


def _digest(request: str) -> str:
    """Keyed, because an e-mail address can be guessed."""
    return salted_hmac("orderhooks.erasure", request, algorithm="sha256").hexdigest()
