"""Sequence guards: an order's event is skipped if a newer one of the same order was already acted on.

For receivers that keep a copy of the order. A receiver that acts on single topics, such as by sending a mail, needs
every event and no such guard.
"""

import hashlib
import uuid
from collections.abc import Callable
from typing import Protocol

from django.core.cache import caches
from django.db import IntegrityError, OperationalError, models, router, transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from orderhooks import logs
from orderhooks.formats import FormText
from orderhooks.receiver.events import ReceivedEvent, UnknownOrderShapeError
from orderhooks.receiver.responses import PROCESSING_SECONDS, CallView, busy, is_success, require_tables, skipped

__all__ = ["CacheSequenceGuard", "DatabaseSequenceGuard", "SequenceGuard"]

logger = logs.get_logger("orderhooks.receiver")

# The length of the column `LatestSequence.order`.
MAX_ORDER_LENGTH = 200
# Topics of tests of an endpoint. Their order is an example, or missing.
WITHOUT_ORDER = "webhook."
# Returns a text that identifies the order of an event.
OrderKey = Callable[[ReceivedEvent], str]


class SequenceGuard(Protocol):
    """Makes sure that no event of an order is acted on after a newer one."""

    def run_unless_stale(self, event: ReceivedEvent, call_view: CallView) -> HttpResponseBase:
        """Call the view, unless a newer event of the order was already acted on.

        Returns the view's response, or another one if the view was not called. An event whose view raises or responds
        outside 2xx is not remembered: the sender tries again.
        """
        ...


def order_id(event: ReceivedEvent) -> str:
    """The source and the `id` of an event's order: orders of two sources may have the same id.

    Raises UnknownOrderShapeError if the order has no `id` that is text or a whole number, or if both are too long.
    """
    order = event.data.get("order")
    found = order.get("id") if isinstance(order, dict) else None
    key = f"{event.source}:{found}"
    if type(found) not in (str, int, FormText) or found == "" or len(key) > MAX_ORDER_LENGTH:
        raise UnknownOrderShapeError(
            "The order of this event has no short `id`, so it comes from an order source of the store. Give the guard "
            "`key=`, a function that takes the event and returns a text that identifies the order."
        )
    return key


class DatabaseSequenceGuard:
    """Remembers each order's newest sequence in the table of `LatestSequence`, in the transaction of what the view
    writes to that database.

    `name` (at most 100 characters) separates receivers that share the table. `key` returns a text of at most 200
    characters that identifies an event's order. Needs `orderhooks` in INSTALLED_APPS.
    """

    def __init__(self, name: str = "", *, key: OrderKey = order_id) -> None:
        self.name = name
        self.key = key

    def run_unless_stale(self, event: ReceivedEvent, call_view: CallView) -> HttpResponseBase:
        """As `SequenceGuard.run_unless_stale`. An event waits until the transaction of another one of its order has
        ended, or gets 409 if the database chose it as a deadlock's victim.

        Raises UnknownOrderShapeError from `key`, and ImproperlyConfigured without the app.
        """
        require_tables()
        from orderhooks.models import LatestSequence

        using = router.db_for_write(LatestSequence)
        if event.topic.startswith(WITHOUT_ORDER):
            return call_view()
        order = self.key(event)
        row = LatestSequence.objects.using(using).filter(receiver=self.name, order=order)
        try:
            with transaction.atomic(using=using):
                if not _advance(row, self.name, order, event.sequence):
                    return _stale(event, order)
                response = call_view()
                if is_success(response):
                    # Raises if the view has swallowed a database error: the commit would be a rollback under a 2xx
                    # status.
                    row.get()
                else:
                    transaction.set_rollback(True, using=using)
        except _DeadlockError:
            return busy("Other events of this order are being processed.")
        return response


class _DeadlockError(Exception):
    """The database ended the transaction in favour of another event's, as InnoDB does with a deadlock's victim."""


def _advance(row: "models.QuerySet[models.Model]", receiver: str, order: str, sequence: int) -> bool:
    """Store this as the order's newest sequence, after waiting for other transactions that store one.

    False if the stored one is equal or newer. Raises _DeadlockError.
    """
    older = row.filter(sequence__lt=sequence)
    values = {"sequence": sequence, "updated_at": timezone.now()}
    try:
        if older.update(**values):
            return True
        try:
            with transaction.atomic(using=row.db):
                row.create(receiver=receiver, order=order, **values)
        except IntegrityError:
            # Another transaction may have created the row meanwhile, with an older sequence.
            return bool(older.update(**values))
    except OperationalError as error:
        raise _DeadlockError from error
    return True


class CacheSequenceGuard:
    """Remembers each order's newest sequence in a cache that all of the receiver's processes share, for `ttl_seconds`
    (7 days).

    `name` separates receivers that share the cache; `cache` is an alias of the setting CACHES; `key` returns a text
    that identifies an event's order. Needs no database.
    """

    def __init__(
        self, name: str = "", *, cache: str = "default", ttl_seconds: float = 7 * 24 * 3600, key: OrderKey = order_id
    ) -> None:
        self.name = name
        self.cache = cache
        self.ttl_seconds = ttl_seconds
        self.key = key

    def run_unless_stale(self, event: ReceivedEvent, call_view: CallView) -> HttpResponseBase:
        """As `SequenceGuard.run_unless_stale`. While an event of the order is being processed, another one of it gets
        409, so that the sender tries again. Raises UnknownOrderShapeError from `key`.
        """
        if event.topic.startswith(WITHOUT_ORDER):
            return call_view()
        cache = caches[self.cache]
        order = self.key(event)
        # A digest, because not every cache accepts every character or length in a key.
        newest = "orderhooks:sequence:" + hashlib.sha256(f"{self.name}\0{order}".encode()).hexdigest()
        lock, owner = f"{newest}:processing", str(uuid.uuid4())
        if not cache.add(lock, owner, PROCESSING_SECONDS):
            return busy("Another event of this order is being processed.")
        try:
            if cache.get(newest, 0) >= event.sequence:
                return _stale(event, order)
            response = call_view()
            if is_success(response):
                # A newer event may have overtaken a view that took too long: the sequence never goes back.
                cache.set(newest, max(event.sequence, cache.get(newest, 0)), self.ttl_seconds)
            return response
        finally:
            # A view that took too long has lost its lock, and the one there now is another request's.
            if cache.get(lock) == owner:
                cache.delete(lock)


def _stale(event: ReceivedEvent, order: str) -> HttpResponse:
    logger.info("webhook skipped: it or a newer one was already acted on", event=event.id, order=order)
    return skipped("This event, or a newer one of its order, was already acted on.")
