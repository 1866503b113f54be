"""Leasing: a worker keeps changes that were left behind from the other workers while it coalesces them.

See Note [One worker at a time] in `left_behind`.
"""

from datetime import datetime

from django.db import connections
from django.db.models import F

from orderhooks.db.locks import brief_transaction, locked_if_free
from orderhooks.models import Change
from orderhooks.outbox import leasing_postgresql

__all__ = ["lease", "lease_portably", "put_back"]


def lease(*, before: datetime | None, now: datetime, until: datetime, at_most: int, using: str) -> list[Change]:
    """Lease `ChangeQuerySet.left_behind` until then, the oldest first, and count it as an attempt of each."""
    lease = leasing_postgresql.lease if connections[using].vendor == "postgresql" else lease_portably
    return lease(before=before, now=now, until=until, at_most=at_most, using=using)


def lease_portably(
    *, before: datetime | None, now: datetime, until: datetime, at_most: int, using: str
) -> list[Change]:
    """What `lease` does, for any database."""
    left = Change.objects.using(using).left_behind(before=before, now=now).order_by("id")
    keys = list(left.values_list("pk", flat=True)[:at_most])
    if not keys:
        return []
    with brief_transaction(using, durable=False):
        changes = list(locked_if_free(left.filter(pk__in=keys)))
        keys = [change.pk for change in changes]
        Change.objects.using(using).filter(pk__in=keys).update(
            coalesce_attempts=F("coalesce_attempts") + 1, lease_expires_at=until
        )
    for change in changes:
        change.coalesce_attempts += 1
        change.lease_expires_at = until
    return changes


def put_back(changes: "list[Change]", *, until: datetime | None = None, counts: bool = False, using: str) -> None:
    """End the lease of changes, for all workers but until then. Their attempt stays counted only if it `counts`."""
    rows = Change.objects.using(using).filter(pk__in=[change.pk for change in changes])
    if not counts:
        # One that was coalesced meanwhile is gone.
        rows.filter(coalesce_attempts__gt=0).update(
            lease_expires_at=until, coalesce_attempts=F("coalesce_attempts") - 1
        )
    else:
        rows.update(lease_expires_at=until)
