"""Deduplication: a webhook that comes twice is acted on once. The sender repeats one whose response it did not get."""

import hashlib
import uuid
from typing import Protocol

from django.core.cache import caches
from django.db import IntegrityError, router, transaction
from django.http.response import HttpResponseBase

from orderhooks.receiver.responses import PROCESSING_SECONDS, CallView, busy, is_success, require_tables, skipped

__all__ = ["CacheDeduplicator", "DatabaseDeduplicator", "Deduplicator"]

DUPLICATE = "This webhook was already acted on."


class Deduplicator(Protocol):
    """Makes sure that a webhook that was acted on is not acted on again."""

    def run_once(self, webhook_id: str, call_view: CallView) -> HttpResponseBase:
        """Call the view, unless this webhook was already acted on.

        Returns the view's response, or another one if the view was not called. A webhook whose view raises or responds
        outside 2xx is not remembered: the sender tries again.
        """
        ...


class DatabaseDeduplicator:
    """Remembers webhooks in the table of `Receipt`, in the transaction of what the view writes to that database.

    Either both are committed or neither is, even if the process dies. `name` (at most 100 characters) separates
    receivers that share the table. Needs `orderhooks` in INSTALLED_APPS.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name

    def run_once(self, webhook_id: str, call_view: CallView) -> HttpResponseBase:
        """As `Deduplicator.run_once`. A duplicate that comes meanwhile waits until this transaction has ended.

        Raises ImproperlyConfigured without the app.
        """
        require_tables()
        from orderhooks.models import Receipt

        using = router.db_for_write(Receipt)
        with transaction.atomic(using=using):
            try:
                # The INSERT comes first: a second request with this id waits here until the first one has finished,
                # and SQLite takes its write lock before anything was read.
                with transaction.atomic(using=using):
                    receipt = Receipt.objects.using(using).create(receiver=self.name, webhook_id=webhook_id)
            except IntegrityError:
                return skipped(DUPLICATE)
            response = call_view()
            if is_success(response):
                # Raises if the view has swallowed a database error: the commit would be a rollback under a 2xx status.
                receipt.refresh_from_db(using=using)
            else:
                transaction.set_rollback(True, using=using)
        return response


class CacheDeduplicator:
    """Remembers webhooks in a cache that all of the receiver's processes share, for `ttl_seconds` (7 days).

    `name` separates receivers that share the cache; `cache` is an alias of the setting CACHES. Needs no database.
    """

    def __init__(self, name: str = "", *, cache: str = "default", ttl_seconds: float = 7 * 24 * 3600) -> None:
        self.name = name
        self.cache = cache
        self.ttl_seconds = ttl_seconds

    def run_once(self, webhook_id: str, call_view: CallView) -> HttpResponseBase:
        """As `Deduplicator.run_once`. A duplicate that comes meanwhile gets 409, so that the sender tries again."""
        cache = caches[self.cache]
        # A digest, because not every cache accepts every character or length in a key.
        key = "orderhooks:receipt:" + hashlib.sha256(f"{self.name}\0{webhook_id}".encode()).hexdigest()
        processing = f"processing {uuid.uuid4()}"
        if not cache.add(key, processing, PROCESSING_SECONDS):
            if cache.get(key) == "done":
                return skipped(DUPLICATE)
            return busy("This webhook is being processed.")
        is_done = False
        try:
            response = call_view()
            is_done = is_success(response)
        finally:
            # A view that took too long has lost its entry, and the one there now is another request's.
            if not is_done and cache.get(key) == processing:
                cache.delete(key)
        if is_done:
            cache.set(key, "done", self.ttl_seconds)
        return response
