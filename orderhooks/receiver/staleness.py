"""Staleness: passes an order's event over if one that is newer was acted on already.

For receivers that keep a copy of the order: whoever acts on single topics, by mail for one, wants every event.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable
from typing import Protocol

from django.core.cache import caches
from django.db import IntegrityError, OperationalError, models, router, transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from orderhooks.receiver.answers import WORKING_SECONDS, Act, busy, passed_over, succeeded, table
from orderhooks.receiver.events import ReceivedEvent, UnknownOrderShapeError

__all__ = ["CacheSequences", "DatabaseSequences", "Sequences"]

logger = logging.getLogger("orderhooks.receiver")

# What `LatestSequence.order` holds.
MAX_ORDER_LENGTH = 200
# The family of topics that tests of an endpoint have: their order is an example, and may be none at all.
OF_NO_ORDER = "webhook."
Key = Callable[[ReceivedEvent], str]


class Sequences(Protocol):
    """Sees to it that no older event of an order is acted on after a newer one."""

    def in_turn(self, event: ReceivedEvent, act: Act) -> HttpResponseBase:
        """What `act` answers, or an answer in its place. An `act` that raises or answers outside 2xx leaves no mark."""


def order_id(event: ReceivedEvent) -> str:
    """What tells the built-in orders apart. Raises UnknownOrderShapeError."""
    order = event.data.get("order")
    found = order.get("id") if isinstance(order, dict) else None
    if not isinstance(found, str) or not 0 < len(found) <= MAX_ORDER_LENGTH:
        raise UnknownOrderShapeError(
            "The order of this event has no text `id`: it comes from an order source of the store's own. Give the "
            "guard a function `key=` of the event that tells orders apart."
        )
    return found


class DatabaseSequences:
    """Remembers each order's newest sequence in the table of `LatestSequence`, in one transaction with what the view
    writes to that database. An older event waits until the newer one's transaction has ended.

    `name` tells receivers that share the table apart, `key` the orders.
    """

    def __init__(self, name: str = "", *, key: Key = order_id) -> None:
        self.name = name
        self.key = key

    def in_turn(self, event: ReceivedEvent, act: Act) -> HttpResponseBase:
        rows = table("LatestSequence")
        using = router.db_for_write(rows.model)
        if event.topic.startswith(OF_NO_ORDER):
            return act()
        order = self.key(event)
        mine = rows.using(using).filter(receiver=self.name, order=order)
        try:
            with transaction.atomic(using=using):
                if not _advance(mine, self.name, order, event.sequence):
                    return _passed_over(event, order)
                response = act()
                if succeeded(response):
                    # Raises if the view has swallowed a database error: the commit would be a rollback under a 2xx
                    # answer.
                    mine.get()
                else:
                    transaction.set_rollback(True, using=using)
        except _BusyError:
            return busy("Other events of this order are being worked on.")
        return response


class _BusyError(Exception):
    """The database gave the transaction up for that of another event, as InnoDB does with a deadlock's victim."""


def _advance(rows: "models.QuerySet[models.Model]", receiver: str, order: str, sequence: int) -> bool:
    """Make it the order's newest sequence. False if there is one as new; waits for whoever is about to say.

    Raises _BusyError.
    """
    older = rows.filter(sequence__lt=sequence)
    values = {"sequence": sequence, "updated_at": timezone.now()}
    try:
        if older.update(**values):
            return True
        try:
            with transaction.atomic(using=rows.db):
                rows.create(receiver=receiver, order=order, **values)
        except IntegrityError:
            # There is one, perhaps only since this moment and older.
            return bool(older.update(**values))
    except OperationalError as error:
        raise _BusyError from error
    return True


class CacheSequences:
    """Remembers each order's newest sequence in a cache that all of the receiver's processes share, for `ttl_seconds`.

    While an event of the order is being worked on, others of it are answered 409, so that the sender comes again.
    `name` tells receivers that share the cache apart, `key` the orders.
    """

    def __init__(
        self, name: str = "", *, cache: str = "default", ttl_seconds: float = 7 * 24 * 3600, key: Key = order_id
    ) -> None:
        self.name = name
        self.cache = cache
        self.ttl_seconds = ttl_seconds
        self.key = key

    def in_turn(self, event: ReceivedEvent, act: Act) -> HttpResponseBase:
        if event.topic.startswith(OF_NO_ORDER):
            return act()
        cache = caches[self.cache]
        order = self.key(event)
        # A digest, since not every cache takes every character or length as a key.
        newest = "orderhooks:sequence:" + hashlib.sha256(f"{self.name}\0{order}".encode()).hexdigest()
        lock, mine = f"{newest}:working", str(uuid.uuid4())
        if not cache.add(lock, mine, WORKING_SECONDS):
            return busy("Another event of this order is being worked on.")
        try:
            if cache.get(newest, 0) >= event.sequence:
                return _passed_over(event, order)
            response = act()
            if succeeded(response):
                # A view that took too long may have been overtaken: the mark never goes back.
                cache.set(newest, max(event.sequence, cache.get(newest, 0)), self.ttl_seconds)
            return response
        finally:
            # A view that took too long has lost its mark; another request's is not ours to take away.
            if cache.get(lock) == mine:
                cache.delete(lock)


def _passed_over(event: ReceivedEvent, order: str) -> HttpResponse:
    logger.info("webhook passed over event=%s order=%s: it or a newer one was acted on", event.id, order)
    return passed_over("This event, or a newer one of its order, was acted on before.")
