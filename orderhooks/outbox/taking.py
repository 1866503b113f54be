"""Taking: an order's changes are read and deleted in the transaction that makes events of them, so that no other
process can coalesce them too.
"""

from collections.abc import Sequence

from django.db import connections

from orderhooks.models import Change
from orderhooks.outbox import taking_postgresql

__all__ = ["take", "take_many", "take_portably"]


def take(source_name: str, order_pk: str, *, using: str) -> list[Change]:
    """Delete an order's changes in the running transaction, and return them, oldest first."""
    return _take(source_name, [order_pk], using=using)


def take_many(source_name: str, order_pks: Sequence[str], *, using: str) -> dict[str, list[Change]]:
    """What `take` does, for many orders of a source at once: the changes of each order that has any."""
    by_order: dict[str, list[Change]] = {}
    for change in _take(source_name, order_pks, using=using):
        by_order.setdefault(change.order_pk, []).append(change)
    return by_order


def _take(source_name: str, order_pks: Sequence[str], *, using: str) -> list[Change]:
    take = taking_postgresql.take if connections[using].vendor == "postgresql" else take_portably
    return take(source_name, order_pks, using=using)


def take_portably(source_name: str, order_pks: Sequence[str], *, using: str) -> list[Change]:
    """Delete the orders' changes, and return them, oldest first; for any database."""
    changes = Change.objects.using(using)
    taken = list(changes.filter(source=source_name, order_pk__in=order_pks).order_by("id").select_for_update())
    changes.filter(pk__in=[change.pk for change in taken]).delete()
    return taken
