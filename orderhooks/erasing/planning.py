"""Planning: which orders an erasure is about, and how much there is of them."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import models, router
from django.db.models import Q
from django.db.models.functions import Cast, Lower
from django.utils.crypto import salted_hmac

from orderhooks import logs, sources, spelling
from orderhooks.db.encrypted_records import maybe_encrypted, require_readable
from orderhooks.encryption import UndecryptableError
from orderhooks.models import Attempt, CaptureFailure, Change, Delivery, Erasure, Event, Order
from orderhooks.models.erasures import ErasedOrder
from orderhooks.models.events import EventQuerySet
from orderhooks.payloads import REDACTED
from orderhooks.sources import Erased, OrderSource, WatchedModel

__all__ = ["ErasureError", "Estimate", "configured_source", "estimate", "paths", "plan"]

logger = logs.get_logger(__name__)

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
        ErasureError: an argument is not valid, no order was found, several orders have the number, or SOURCES does not
            have the source of an order.
    """
    customer, order = customer.strip(), order.strip()
    _require_valid(customer, order, source)
    limits = ["all"] if stores is None else sorted(stores)
    digest = _digest("\n".join((customer.casefold(), order, store, source, *limits)))
    if begun := Erasure.objects.running().filter(request_digest=digest).first():
        return begun
    # A source may find one order of a number, although other stores have theirs.
    looked_in = [store] if store else ["", *sorted(stores or ())]
    named = _as_last_named(_of_number(order, source, looked_in)) if order else {}
    if customer:
        of_customer = _as_last_named(_of_customer(customer, source))
        named = {key: one for key, one in named.items() if key in of_customer} if order else of_customer
    found = {one for one in named.values() if store in ("", one.store) and (stores is None or one.store in stores)}
    _require_found(found, customer, order, place=_place(store, source, stores))
    for one in found:
        configured_source(one.source)
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


def paths(erasure: Erasure) -> list[str]:
    """The paths of stored payloads at which it erases something. Reads all payloads of its orders."""
    erased = Erased()
    for order in (ErasedOrder(**one) for one in erasure.orders):
        of_payload, _of_changes = sources.personal_data_of(configured_source(order.source))
        events = _events().filter(source=order.source, order_pk=order.order_pk, payload__isnull=False)
        for payload in events.order_by().values_list("payload", flat=True).iterator(EVENTS_AT_ONCE):
            of_payload.erase((payload or {}).get("order"), erased)
    return sorted(erased.paths)


def configured_source(name: str) -> OrderSource:
    """The order source of that name, which says what is personal.

    Raises:
        ErasureError: this process does not have it.
    """
    source = sources.configured().get(name)
    if source is None:
        raise ErasureError(
            f"The order source {name!r} is not in SOURCES here, so nothing says which data of its orders is personal. "
            "Run the erasure where SOURCES has it."
        )
    return source


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


def _place(store: str, source: str, stores: Collection[str] | None) -> str:
    """Where alone was looked for orders; blank for everywhere."""
    limits = [f"the store {store}"] if store else ["the stores that you may see"] if stores is not None else []
    return " and ".join([*limits, *([f"the source {source}"] if source else [])])


def _require_found(found: set[ErasedOrder], customer: str, order: str, *, place: str) -> None:
    if not found:
        # What was looked for is in the message for who asked; it is stored nowhere.
        whose = " of ".join([*([f"the order {order}"] if order else []), *([customer] if customer else [])])
        which = (f"order {order}" if order else "order") + (f" of {place}" if place else "")
        by_number = f" No stored {which} contains this address; where payloads hold none, erase by order number alone."
        nothing = f"Of {place}, nothing" if place else "Nothing"
        raise ErasureError(
            f"{nothing} is stored of {whose}.{by_number if customer else ''} If the number, the address, the store and "
            "the source are right, it was erased or deleted before."
        )
    places = sorted({(one.source, one.store) for one in found})
    if order and not customer and len(places) > 1:
        named = "; ".join(f"source {source!r}, store {store!r}" for source, store in places[:MOST_NAMED])
        raise ErasureError(f"Several orders have the number {order}: {named}. Name the source or the store.")


def _events() -> EventQuerySet:
    """Those that may hold personal data."""
    return Event.objects.of_orders().exclude(topic=REDACTED)


def _as_last_named(found: Iterable[ErasedOrder]) -> dict[tuple[str, str], ErasedOrder]:
    """Each order once, by source and key, with the number and the store of its newest event: both may have changed."""
    once = {(one.source, one.order_pk): one for one in found}
    return {key: _with_last_names(one) for key, one in once.items()}


def _with_last_names(order: ErasedOrder) -> ErasedOrder:
    about = {"source": order.source, "order_pk": order.order_pk}
    # Newer than all events.
    waiting = Change.objects.filter(**about).order_by("-id").first()
    if waiting is not None:
        named = _order_of(waiting)
        if named.number or named.store:
            return replace(order, number=named.number, store=named.store)
    for number, store in _events().filter(**about).order_by("-sequence").values_list("order_number", "store")[:1]:
        return replace(order, number=number, store=store)
    return order


def _of_number(number: str, source: str, stores: Sequence[str]) -> Iterator[ErasedOrder]:
    """The orders of that number, in events, in captured deletions and as their sources find them."""
    for named in (_events().filter(order_number=number), Change.objects.filter(order_number=number)):
        rows = (named.filter(source=source) if source else named).order_by()
        for row in rows.values_list("source", "order_pk", "order_number", "store").distinct():
            yield ErasedOrder(*row)
    for name, one in sources.configured().items():
        if source in ("", name):
            yield from _in_built_in_orders(one, number=number)
            yield from _found_by_source(one, number, stores)


def _found_by_source(source: OrderSource, number: str, stores: Sequence[str]) -> Iterator[ErasedOrder]:
    using = router.db_for_write(source.get_model())
    try:
        for store in stores:
            order = source.find(number, store=store, using=using)
            if order is not None:
                found = ErasedOrder(source.name, WatchedModel(source).order_pk(order), number, source.store(order))
                if _is_stored(found, source):
                    yield found
    except Exception:
        # The store's code. What was published of the order is found without it.
        logger.exception("an order source could not look for an order by its number", source=source.name)


def _is_stored(order: ErasedOrder, source: OrderSource) -> bool:
    """Whether our tables hold anything of an order that its source has found."""
    about = {"source": order.source, "order_pk": order.order_pk}
    kept = (_events(), Change.objects, CaptureFailure.objects)
    return source.get_model()._meta.concrete_model is Order or any(rows.filter(**about).exists() for rows in kept)


def _of_customer(customer: str, source: str) -> Iterator[ErasedOrder]:
    """The orders that hold the e-mail address among their personal data: in events, in captured changes, or in the
    built-in order itself.
    """
    found = (*_in_orders(customer), *_in_events(customer), *_in_changes(customer))
    return (one for one in found if source in ("", one.source))


def _in_orders(customer: str) -> Iterator[ErasedOrder]:
    for source in sources.configured().values():
        yield from _in_built_in_orders(source, customer_email__iexact=customer)


def _in_built_in_orders(source: OrderSource, **wanted: str) -> Iterator[ErasedOrder]:
    model: Any = source.get_model()
    if model._meta.concrete_model is Order:
        rows = sources.plain(model, router.db_for_write(model)).filter(**wanted)
        for pk, number, store in rows.values_list("pk", "number", "store"):
            yield ErasedOrder(source.name, str(pk), number, store)


def _in_events(customer: str) -> Iterator[ErasedOrder]:
    personal = {name: sources.personal_data_of(source) for name, source in sources.configured().items()}
    rows = _mentioning(_events(), customer, "payload", "changes").order_by()
    for event in rows.only("source", "order_pk", "order_number", "store", "payload", "changes").iterator(
        EVENTS_AT_ONCE
    ):
        _require_readable(event)
        if event.source in personal:
            of_payload, of_changes = personal[event.source]
            values = of_payload.values((event.payload or {}).get("order")) | _of_sides(of_changes, event.changes)
        else:
            # Any text counts, so that the erasure is refused.
            values = {*sources.texts_of([event.payload, event.changes])}
        if any(value.casefold() == customer.casefold() for value in values):
            yield ErasedOrder(event.source, event.order_pk, event.order_number, event.store)


def _require_readable(event: Event) -> None:
    try:
        require_readable(event.payload)
        require_readable(event.changes)
    except UndecryptableError as error:
        raise ErasureError(f"Nobody can say whose data an event holds. {error}") from None


def _of_sides(personal: sources.PersonalData, changes: Mapping[str, Any]) -> set[str]:
    sides = ({name: pair[side] for name, pair in changes.items() if len(pair) == 2} for side in (0, 1))
    return {value for side in sides for value in personal.values(side)}


def _in_changes(customer: str) -> Iterator[ErasedOrder]:
    """Of captured changes, which have the columns' names: any text that is the address."""
    rows = _mentioning(Change.objects.all(), customer, "before", "after", "snapshot").order_by()
    for change in rows:
        texts = sources.texts_of([change.before, change.after, change.snapshot])
        if any(text.casefold() == customer.casefold() for text in texts):
            yield _order_of(change)


def _order_of(change: Change) -> ErasedOrder:
    """The order of a captured change, which may be all that is stored of it. Its source says how it is named."""
    number, store = change.order_number, change.store
    source = sources.configured().get(change.source)
    if source is not None and change.kind != Change.Kind.DELETED:
        try:
            order = source.fetch(change.order_pk, using=router.db_for_write(source.get_model()))
            if order is not None:
                number, store = str(source.number(order)), str(source.store(order))
        except Exception:
            # The store's code. The order is erased all the same.
            logger.exception("an order source could not read an order", source=source.name, order=change.order_pk)
    return ErasedOrder(change.source, change.order_pk, number, store)


def _mentioning(rows: "models.QuerySet[Any]", text: str, *fields: str) -> "models.QuerySet[Any]":
    """The rows in whose JSON the longest part of the text occurs that each database writes in the same way, and those
    that are encrypted.
    """
    part = max(PLAIN.findall(text.lower()), key=len)
    texts = {f"{name}_text": Lower(Cast(name, models.TextField())) for name in fields}
    mentions = Q()
    for name in texts:
        mentions |= Q(**{f"{name}__contains": part}) | maybe_encrypted(name)
    found: models.QuerySet[Any] = rows.alias(**texts).filter(mentions)
    return found


def _digest(request: str) -> str:
    """Keyed, because an e-mail address can be guessed."""
    return salted_hmac("orderhooks.erasure", request, algorithm="sha256").hexdigest()
