"""Repetition: sees to it that a webhook is acted on once, though it may come twice."""

import hashlib
import uuid
from typing import Protocol

from django.core.cache import caches
from django.db import IntegrityError, router, transaction
from django.http.response import HttpResponseBase

from orderhooks.receiver.answers import WORKING_SECONDS, Act, busy, passed_over, succeeded, table

__all__ = ["CacheReplays", "DatabaseReplays", "Replays"]

ACTED_ON = "This webhook was acted on before."


class Replays(Protocol):
    """Sees to it that a webhook that was acted on is not acted on again."""

    def once(self, webhook_id: str, act: Act) -> HttpResponseBase:
        """What `act` answers, or an answer in its place. An `act` that raises or answers outside 2xx leaves no mark."""
        ...


class DatabaseReplays:
    """Remembers webhooks in the table of `Receipt`, in one transaction with what the view writes to that database.

    So both are there or neither is, whatever dies in between. `name` tells receivers that share the table apart.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name

    def once(self, webhook_id: str, act: Act) -> HttpResponseBase:
        receipts = table("Receipt")
        using = router.db_for_write(receipts.model)
        with transaction.atomic(using=using):
            try:
                # The INSERT comes first: a second request with this id waits here until the first one is through,
                # and SQLite takes its write lock before anything was read.
                with transaction.atomic(using=using):
                    receipt = receipts.using(using).create(receiver=self.name, webhook_id=webhook_id)
            except IntegrityError:
                return passed_over(ACTED_ON)
            response = act()
            if succeeded(response):
                # Raises if the view has swallowed a database error: the commit would be a rollback under a 2xx answer.
                receipt.refresh_from_db(using=using)
            else:
                transaction.set_rollback(True, using=using)
        return response


class CacheReplays:
    """Remembers webhooks in a cache that all of the receiver's processes share, for `ttl_seconds`.

    A request whose twin is still being worked on is answered 409, so that the sender comes again. `name` tells
    receivers that share the cache apart.
    """

    def __init__(self, name: str = "", *, cache: str = "default", ttl_seconds: float = 7 * 24 * 3600) -> None:
        self.name = name
        self.cache = cache
        self.ttl_seconds = ttl_seconds

    def once(self, webhook_id: str, act: Act) -> HttpResponseBase:
        cache = caches[self.cache]
        # A digest, since not every cache takes every character or length as a key.
        key = "orderhooks:receipt:" + hashlib.sha256(f"{self.name}\0{webhook_id}".encode()).hexdigest()
        working = f"working {uuid.uuid4()}"
        if not cache.add(key, working, WORKING_SECONDS):
            if cache.get(key) == "done":
                return passed_over(ACTED_ON)
            return busy("This webhook is being worked on.")
        done = False
        try:
            response = act()
            done = succeeded(response)
        finally:
            # A view that took too long has lost its mark; another request's is not ours to take away.
            if not done and cache.get(key) == working:
                cache.delete(key)
        if done:
            cache.set(key, "done", self.ttl_seconds)
        return response
