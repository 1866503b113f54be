"""A reconciliation by hand, for `orderhooks_doctor --reconcile`: compares, shows and publishes batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from django.db.models import F
from django.utils import timezone

from orderhooks import publishing, reconciling
from orderhooks.db import DatabaseClock
from orderhooks.models import Reconciliation
from orderhooks.reconciling import Difference, Kind

__all__ = ["difference_text", "run"]

TEXTS = {
    Kind.CHANGED: "differs from what was last published",
    Kind.UNKNOWN: "no event about it was ever published",
    Kind.DELETED: "is gone, and its deletion was not published",
    Kind.UNREADABLE: "can't be read",
}


def run(
    *, since: datetime | None, publish: bool, show: Callable[[Sequence[Difference], Reconciliation, int], None]
) -> Reconciliation:
    """Compare all orders. Calls `show(differences, reconciliation, total)` after each batch.

    `publish`: publish the differences of each batch. Interrupted, the reconciliation is cancelled, and what was
    published stays published. Raises what `reconciling.advance` and `publishing.publish_differences` raise.
    """
    reconciliation = reconciling.begin(since=since)
    total = reconciling.count(reconciliation)
    try:
        for differences in _batches(reconciliation):
            if publish and differences:
                published = publishing.publish_differences(differences)
                mine = Reconciliation.objects.filter(pk=reconciliation.pk)
                mine.update(published=F("published") + published)
            show(differences, reconciliation, total)
    finally:
        unfinished = Reconciliation.objects.filter(pk=reconciliation.pk, state=Reconciliation.State.RUNNING)
        unfinished.update(state=Reconciliation.State.CANCELLED, finished_at=timezone.now())
        reconciliation.refresh_from_db()
    return reconciliation


def _batches(reconciliation: Reconciliation) -> Iterator[Sequence[Difference]]:
    while reconciliation.state == Reconciliation.State.RUNNING:
        yield reconciling.advance(reconciliation, now=DatabaseClock().now())


def difference_text(difference: Difference) -> str:
    """A line about an order that differs."""
    where = f"{difference.source}, {difference.store}" if difference.store else difference.source
    error = f": {difference.error}" if difference.error else ""
    return f"order {difference.number} ({where}): {TEXTS[difference.kind]}{error}"
