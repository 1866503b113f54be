"""Noting: what a save did, written down in its transaction. `publishing` calls it for each save."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, models
from django.db.models import Exists

from orderhooks import sources
from orderhooks.models import Change, DatabaseNow, Subscription
from orderhooks.sources import OrderSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """Where a change is noted: the transaction's unit, the order, and the line or blank for the order itself."""

    unit: UUID
    source: OrderSource
    order_pk: Any
    subject: str = ""


def anyone_listens(using: str) -> bool:
    """Whether there is any subscription, in any state: without one nothing is written down."""
    return Subscription.objects.using(using).exists()


def read_before(instance: models.Model, watched: Sequence[str], *, using: str) -> dict[str, Any] | None:
    """The stored values of the watched fields, locked where the database can, or None if there is no row.

    Also None if nobody listens; one query answers both.
    """
    connection, model = connections[using], type(instance)
    lock = connection.in_atomic_block

    def make(rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        rows = rows.annotate(_heard=Exists(Subscription.objects.all())).only("pk", *watched)
        if lock:
            # Two saves of the same order would else both read the same `before` and tell the same change twice. The
            # lock is the one that the UPDATE takes a moment later anyway.
            rows = rows.select_for_update(no_key=connection.features.has_select_for_no_key_update)
        return rows.filter(pk=instance.pk)

    pk = model._meta.pk.get_db_prep_value(instance.pk, connection)
    found = sources.rows(model, "before", tuple(watched), lock, using=using, make=make, last=pk)
    stored = next(iter(found), None)
    if stored is None or not vars(stored)["_heard"]:
        return None
    return sources.watched_values(stored, tuple(watched))


def read_after(instance: models.Model, watched: Sequence[str], *, using: str) -> dict[str, Any]:
    """The watched fields as the save left them; asks the database only for what an expression (`F(…) + 1`) set."""
    row = instance
    values = [instance.__dict__.get(type(instance)._meta.get_field(name).attname) for name in watched]  # type: ignore[union-attr]
    if any(hasattr(value, "resolve_expression") for value in values):
        row = type(instance)._base_manager.using(using).get(pk=instance.pk)
    return sources.watched_values(row, tuple(watched))


def note_change(
    note: Note,
    kind: Change.Kind,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    error: str = "",
    using: str,
) -> Change | None:
    """Write a change down in the running transaction. None if nothing watched has changed."""
    if kind == Change.Kind.UPDATED and before == after and not error:
        return None
    return _insert(note, kind, using, before=before, after=after, error=error)


def note_moment(note: Note, changes: Mapping[str, Sequence[Any]], *, using: str) -> Change:
    """Write down that the store published the topic in `note.subject`, and the [old, new] that it tells of fields."""
    before = {field: old for field, (old, _new) in changes.items()}
    after = {field: new for field, (_old, new) in changes.items()}
    return _insert(note, Change.Kind.MOMENT, using, before=before, after=after)


def _insert(note: Note, kind: Change.Kind, using: str, **fields: Any) -> Change:
    return Change.objects.using(using).create(
        unit=note.unit,
        source=note.source.name,
        order_pk=str(note.order_pk),
        kind=kind,
        subject=note.subject,
        # The clock that all share: what happened is held against when a subscription began.
        created_at=DatabaseNow(),
        **fields,
    )


def describe(error: Exception) -> str:
    """What went wrong in a line, for the event's page."""
    return f"{type(error).__name__}: {error}".replace("\x00", "")[:2000]
