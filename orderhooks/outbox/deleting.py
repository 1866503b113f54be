"""Deleting: orders and lines that are about to be deleted, written down together while there is something to read.

`publishing` collects them; see Note [Deletions]. The number of statements grows by the hundred, not by the row; where
nobody wants to hear of it, next to nothing is asked.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connections, models, transaction

from orderhooks import payloads, sources, topics
from orderhooks.db import DatabaseNow
from orderhooks.models import Change, Subscription
from orderhooks.outbox.noting import anyone_listens, describe
from orderhooks.outbox.reading import check_identifiers
from orderhooks.outbox.rewinding import capture_order, captured_values, relation_of
from orderhooks.sources import OrderSource, Role
from orderhooks.sources.keys import text_of
from orderhooks.sources.keys import values_of as keys_of

logger = logging.getLogger(__name__)

__all__ = ["note_deletions"]

AT_ONCE = 100
DELETED = "order.deleted"


def note_deletions(transaction_id: UUID, gone: Sequence[tuple[Role, models.Model]], *, using: str) -> list[Change]:
    """Write down in the running transaction that these orders and lines are about to be deleted."""
    orders: dict[str, dict[str, OrderSource]] = {}
    lines: list[tuple[Role, models.Model]] = []
    for role, instance in gone:
        if role.lines is None:
            orders.setdefault(role.source.name, {})[str(role.order_pk(instance, using=using))] = role.source
        else:
            lines.append((role, instance))
    # What happens to the lines of an order that goes as well is nobody's news.
    lines = [(role, one) for role, one in lines if not _goes_too(role, one, orders, using=using)]
    changes = _note_lines(transaction_id, lines, using=using) if lines else []
    if orders:
        patterns = list(Subscription.objects.using(using).values_list("topics", flat=True))
        wanted = any(topics.matches(one, DELETED) for one in patterns)
        for keys in orders.values() if patterns else ():
            source = next(iter(keys.values()))
            for chunk in _chunks(keys):
                changes += _note_orders(transaction_id, source, chunk, wanted=wanted, using=using)
    return changes


def _goes_too(role: Role, line: models.Model, orders: dict[str, dict[str, OrderSource]], *, using: str) -> bool:
    deleted = orders.get(role.source.name)
    return bool(deleted) and role.order_pk(line, using=using) in deleted  # type: ignore[operator]


def _chunks(many: Iterable[Any]) -> Iterator[list[Any]]:
    rows = list(many)
    return (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))


def _note_lines(transaction_id: UUID, lines: Sequence[tuple[Role, models.Model]], *, using: str) -> list[Change]:
    if not anyone_listens(using):
        return []
    changes: list[Change] = []
    roles = {(role.source.name, type(one)): role for role, one in lines}
    for (name, model), role in roles.items():
        keys = [one.pk for of, one in lines if of.source.name == name and type(one) is model]
        for chunk in _chunks(keys):
            # A line that belongs to no order, as in a cart, is nobody's news.
            changes += [
                _line_gone(transaction_id, role, line, order_pk)
                for line in _locked(model, chunk, using=using)
                if (order_pk := role.order_pk(line, using=using)) is not None
            ]
    return Change.objects.using(using).bulk_create(changes)


def _line_gone(transaction_id: UUID, role: Role, line: models.Model, order_pk: str) -> Change:
    before: dict[str, Any] = {}
    error = ""
    try:
        link = role.lines.order_field if role.lines else ""
        before = sources.watched_values(line, tuple(name for name in role.watched if name != link))
    except Exception as problem:
        logger.exception("could not read what is deleted of %s:%s", role.source.name, line.pk)
        error = describe(problem)
    return Change(
        transaction_id=transaction_id,
        source=role.source.name,
        order_pk=order_pk,
        kind=Change.Kind.UPDATED,
        subject=role.subject(line),
        before=before,
        snapshot=captured_values(line),
        error=error,
        created_at=DatabaseNow(),
    )


def _note_orders(
    transaction_id: UUID, source: OrderSource, keys: list[str], *, wanted: bool, using: str
) -> list[Change]:
    model = source.get_model()
    if not wanted:
        # But what happened to them before, in this transaction or in one that is not coalesced yet, is to be told with
        # the order as it was. Locked, so that nothing more happens.
        if connections[using].features.has_select_for_update:
            rows = sources.plain(model, using).filter(pk__in=keys_of(model, keys))
            list(_lock(rows, using=using).values_list("pk"))
        told = Change.objects.using(using).filter(source=source.name, order_pk__in=keys)
        keys = list(told.order_by().values_list("order_pk", flat=True).distinct())
    if not keys:
        return []
    orders = {text_of(order, model): order for order in _locked(model, keys_of(model, keys), using=using)}
    if type(source).fetch is not OrderSource.fetch:
        orders = {key: order for key in orders if (order := source.fetch(key, using=using)) is not None}
    relation = relation_of(source.lines)
    try:
        with transaction.atomic(using=using):
            if relation is not None:
                models.prefetch_related_objects(list(orders.values()), relation)
            changes = [_order_gone(transaction_id, source, key, order) for key, order in orders.items()]
    except DatabaseError:
        # The store's own code spoilt the transaction for the others: each by itself.
        changes = [_order_gone_alone(transaction_id, source, key, order, using=using) for key, order in orders.items()]
    return Change.objects.using(using).bulk_create(changes)


def _order_gone(transaction_id: UUID, source: OrderSource, key: str, order: Any) -> Change:
    """Raises DatabaseError: the transaction may be spoilt."""
    change = Change(
        transaction_id=transaction_id,
        source=source.name,
        order_pk=key,
        kind=Change.Kind.DELETED,
        created_at=DatabaseNow(),
    )
    try:
        change.before = capture_order(source, order)
        number, store = source.number(order), source.store(order)
        check_identifiers(number=number, store=store)
        change.order_number, change.store = str(number), str(store)
        snapshot = source.payload(order)
        payloads.check(snapshot)
        change.snapshot = snapshot
    except DatabaseError:
        raise
    except Exception as error:
        logger.exception("could not take the last snapshot of order %s:%s", source.name, key)
        change.error = describe(error)
    return change


def _order_gone_alone(transaction_id: UUID, source: OrderSource, key: str, order: Any, *, using: str) -> Change:
    try:
        with transaction.atomic(using=using):
            return _order_gone(transaction_id, source, key, order)
    except DatabaseError as error:
        logger.exception("could not take the last snapshot of order %s:%s", source.name, key)
        return Change(
            transaction_id=transaction_id,
            source=source.name,
            order_pk=key,
            kind=Change.Kind.DELETED,
            before=capture_order(source, order),
            error=describe(error),
            created_at=DatabaseNow(),
        )


def _locked(model: type[models.Model], keys: list[Any], *, using: str) -> list[Any]:
    """The rows, locked: whoever changes them now waits, and then finds them gone."""
    return list(_lock(sources.plain(model, using).filter(pk__in=keys), using=using))


def _lock(rows: "models.QuerySet[Any]", *, using: str) -> "models.QuerySet[Any]":
    features = connections[using].features
    # SQLite has but one writer, and Django leaves the lock out there.
    return rows.select_for_update(of=("self",) if features.has_select_for_update_of else ())
