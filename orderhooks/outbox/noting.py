"""Noting: what a save did, written down in its transaction. `publishing` calls it for each save."""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, models
from django.db.models import Exists

from orderhooks import sources
from orderhooks.db import DatabaseNow
from orderhooks.models import Change, Subscription
from orderhooks.outbox.guarding import survivable
from orderhooks.sources import OrderSource, Role

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """Where a change is noted: the transaction, the order, and the line or blank for the order itself."""

    transaction_id: UUID
    source: OrderSource
    order_pk: Any
    subject: str = ""


def anyone_listens(using: str) -> bool:
    """Whether there is any subscription, in any state: without one nothing is written down."""
    with survivable(using, "listen"):
        return Subscription.objects.using(using).exists()


@dataclass(frozen=True, slots=True)
class Stored:
    """Watched values as the database has them, by field name, and the key, as text, of the order that has them."""

    values: dict[str, Any]
    order_pk: str | None


HEARD = "_orderhooks_heard"


def read_before(role: Role, instance: models.Model, watched: Sequence[str], *, using: str) -> Stored | None:
    """The stored values of the watched fields, locked where the database can, or None if there is no row.

    Also None if nobody listens; one query answers both.
    """
    connection = connections[using]
    lock = connection.in_atomic_block

    def make(rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        rows = rows.annotate(**{HEARD: Exists(Subscription.objects.all())})
        if lock:
            # Two saves of the same order would else both read the same `before` and tell the same change twice. The
            # lock is the one that the UPDATE takes a moment later anyway.
            rows = rows.select_for_update(no_key=connection.features.has_select_for_no_key_update)
        return rows

    columns = (*_columns(role, watched), HEARD)
    with survivable(using, "before", role.model, columns):
        row = sources.read_columns(
            role.model,
            columns,
            role.where(instance),
            "before",
            lock,
            using=using,
            make=make,
        )
        return _stored(role, watched, row, using=using) if row is not None and row[HEARD] else None


def read_after(role: Role, instance: models.Model, watched: Sequence[str], *, using: str) -> Stored:
    """The watched fields as the save left them; asks the database only for what the instance does not hold.

    That is what an expression (`F(…) + 1`), a default or a generated column of the database set.
    """
    columns = _columns(role, watched)
    held = instance.__dict__
    if role.is_part(instance) or any(
        name not in held or hasattr(held[name], "resolve_expression") or _is_generated(role, name) for name in columns
    ):
        with survivable(using, "after", role.model, columns):
            row = sources.read_columns(role.model, columns, role.where(instance), "after", using=using)
            if row is None:
                raise LookupError("The row is gone already.")
            return _stored(role, watched, row, using=using)
    row = {name: getattr(instance, name) for name in columns}
    if not role.lines:
        return _stored(role, watched, row, using=using)
    with survivable(using, "order", role):
        return _stored(role, watched, row, using=using)


def _columns(role: Role, watched: Sequence[str]) -> tuple[str, ...]:
    """The attnames of what is read: the watched columns, and those that tell which order it is."""
    return _columns_of(role, tuple(watched))


@functools.cache
def _columns_of(role: Role, watched: tuple[str, ...]) -> tuple[str, ...]:
    fields: list[Any] = [role.model._meta.get_field(name) for name in watched]
    key: list[Any] = [] if role.lines else list(role.model._meta.pk_fields)
    names = [field.attname for field in (*fields, *key) if field.column is not None]
    return tuple(dict.fromkeys((*names, *role.link_columns)))


def _is_generated(role: Role, column: str) -> bool:
    return isinstance(role.model._meta.get_field(column), models.GeneratedField)


def _stored(role: Role, watched: Sequence[str], row: dict[str, Any], *, using: str) -> Stored:
    link = role.lines.order_field if role.lines else ""
    values = sources.stored_values(role.model, [name for name in watched if name != link], row, using=using)
    return Stored(values, role.order_pk_in(row, using=using))


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


def note_explicit(note: Note, changes: Mapping[str, Sequence[Any]], *, using: str) -> Change:
    """Write down that the store published the topic in `note.subject`, and the `[old, new]` values that it gave."""
    before = {field: old for field, (old, _new) in changes.items()}
    after = {field: new for field, (_old, new) in changes.items()}
    return _insert(note, Change.Kind.EXPLICIT, using, before=before, after=after)


def _insert(note: Note, kind: Change.Kind, using: str, **fields: Any) -> Change:
    # The lengths are looked at before: what the database refuses would cost the transaction.
    for name, text in (("order_pk", str(note.order_pk)), ("subject", note.subject)):
        longest = Change._meta.get_field(name).max_length  # type: ignore[union-attr]
        if longest is not None and len(text) > longest:
            raise ValueError(f"The key {text[:50]!r}… has {len(text)} characters; at most {longest} can be kept.")
    with survivable(using, "write"):
        return _write(note, kind, using, **fields)


def _write(note: Note, kind: Change.Kind, using: str, **fields: Any) -> Change:
    return Change.objects.using(using).create(
        transaction_id=note.transaction_id,
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
