"""Deletions: orders and related rows that are about to be deleted, captured together while they can be read.

`signal_handlers` calls `before_delete` for each row. The number of statements grows with each hundred rows, not with
each row, and it is small where no subscription wants `order.deleted`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db import DatabaseError, connections, models, transaction

from orderhooks import logs, payloads, sources, topics, triggers
from orderhooks.db import DatabaseNow
from orderhooks.db.locks import locked
from orderhooks.models import Change, Subscription
from orderhooks.models.events import check_identifiers
from orderhooks.outbox.capturing import is_elsewhere
from orderhooks.outbox.fetching import hold_together
from orderhooks.outbox.guarding import describe_error, mark_missed
from orderhooks.outbox.membership import without_changes
from orderhooks.outbox.rewinding import capture_order, captured_values
from orderhooks.outbox.transaction_batch import OnEvents, TransactionBatch, has_subscribers
from orderhooks.sources import OrderSource, WatchedModel
from orderhooks.sources.keys import text_of
from orderhooks.sources.keys import values_of as keys_of

logger = logs.get_logger(__name__)

__all__ = ["before_delete"]

# Rows for each set of statements.
AT_ONCE = 100
# Deleted rows that are marked as missed when they could not be captured together. One says what is wrong with all.
MARKED_AT_ONCE = 1
DELETED = "order.deleted"


def before_delete(watched_model: WatchedModel, instance: models.Model, *, using: str, on_events: OnEvents) -> None:
    """Capture a deletion while there is still something to read. See Note [Deletions]."""
    if instance.pk is None or is_elsewhere(watched_model, instance, using=using):
        return
    if watched_model.related and triggers.are_used(watched_model.source, using):
        return
    # Django deletes in a transaction. A store that sends the signal itself may not.
    is_alone = not connections[using].in_atomic_block
    with transaction.atomic(using=using, savepoint=False):
        pending = _PendingDeletions.current(using, on_events)
        pending.rows.append((watched_model, instance))
        if is_alone:
            pending.capture()


class _PendingDeletions:
    """The rows that are about to be deleted on a connection. Captured right before the statement that deletes them.

    # Note [Deletions]
    Django sends a signal for each row that it is about to delete, then deletes all of them. To read the rows one by one
    would take about ten statements a row. So the rows are kept in memory until the next statement of the connection,
    whatever it is, and are then captured together. A rollback drops the batch that they belong to, and they are
    forgotten.
    """

    def __init__(self, using: str, batch: TransactionBatch) -> None:
        self.using = using
        self.batch = batch
        self.rows: list[tuple[WatchedModel, models.Model]] = []

    @classmethod
    def current(cls, using: str, on_events: OnEvents) -> "_PendingDeletions":
        wrappers = connections[using].execute_wrappers
        batch = TransactionBatch.current(using, on_events)
        batch.register()
        for pending in [one for one in wrappers if isinstance(one, cls)]:
            if pending.batch is batch:
                return pending
            wrappers.remove(pending)
        deletions = cls(using, batch)
        wrappers.append(deletions)
        return deletions

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self.capture()
        return execute(sql, params, many, context)

    def capture(self) -> None:
        connection = connections[self.using]
        if self in connection.execute_wrappers:
            connection.execute_wrappers.remove(self)
        rows, self.rows = self.rows, []
        if not rows or connection.needs_rollback or TransactionBatch.find(self.using) is not self.batch:
            return
        try:
            with transaction.atomic(using=self.using):
                changes = _capture(self.batch, rows, using=self.using)
        except Exception as error:
            for watched_model, instance in rows[:MARKED_AT_ONCE]:
                mark_missed(watched_model, instance, describe_error(error), using=self.using, error=error)
            return
        for change in changes:
            self.batch.coalesce_on_commit(change)


def _capture(batch: TransactionBatch, rows: Sequence[tuple[WatchedModel, models.Model]], *, using: str) -> list[Change]:
    """Write into the running transaction that these orders and related rows are about to be deleted."""
    orders: dict[str, dict[str, OrderSource]] = {}
    related: list[tuple[WatchedModel, models.Model]] = []
    for watched_model, instance in rows:
        if watched_model.related is None:
            (order_pk,) = watched_model.order_pks(instance, using=using)
            orders.setdefault(watched_model.source.name, {})[order_pk] = watched_model.source
        else:
            related.append((watched_model, instance))
    changes = _capture_related(batch, related, orders, using=using) if related else []
    if orders:
        patterns = list(Subscription.objects.using(using).values_list("topics", flat=True))
        wanted = any(topics.matches(one, DELETED) for one in patterns)
        for keys in orders.values() if patterns else ():
            source = next(iter(keys.values()))
            for chunk in _chunks(keys):
                changes += _capture_orders(batch, source, chunk, wanted=wanted, using=using)
    return changes


def _chunks(many: Iterable[Any]) -> Iterator[list[Any]]:
    rows = list(many)
    return (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))


def _capture_related(
    batch: TransactionBatch,
    rows: Sequence[tuple[WatchedModel, models.Model]],
    orders: dict[str, dict[str, OrderSource]],
    *,
    using: str,
) -> list[Change]:
    """A row of an order that is deleted with it needs no change of its own."""
    by_model: dict[tuple[WatchedModel, type[models.Model]], list[models.Model]] = {}
    for watched_model, one in rows:
        by_model.setdefault((watched_model, type(one)), []).append(one)
    left: list[tuple[WatchedModel, type[models.Model], list[Any]]] = []
    for (watched_model, model), instances in by_model.items():
        gone = orders.get(watched_model.source.name, {})
        for chunk in _chunks(instances):
            found = _orders_of(watched_model, chunk, using=using)
            # A line of a cart, for example, belongs to no order.
            pks = [one.pk for one in chunk if any(order_pk not in gone for order_pk in found[one.pk])]
            if pks:
                left.append((watched_model, model, pks))
    if not left or not has_subscribers(using):
        return []
    changes = []
    for watched_model, model, pks in left:
        gone = orders.get(watched_model.source.name, {})
        held = _locked(model, pks, using=using)
        found = _orders_of(watched_model, held, using=using)
        changes += [
            _row_gone(batch, watched_model, row, order_pk)
            for row in held
            for order_pk in found[row.pk]
            if order_pk not in gone
        ]
    return Change.objects.using(using).bulk_create(changes)


def _orders_of(watched_model: WatchedModel, rows: Sequence[models.Model], *, using: str) -> Mapping[Any, Sequence[str]]:
    """The primary keys, as text, of the orders of these rows, by the row's key. At most one query."""
    if watched_model.is_direct or watched_model.is_part(type(rows[0])):
        return {row.pk: watched_model.order_pks(row, using=using) for row in rows}
    found = watched_model.orders_of([row.pk for row in rows], using=using)
    return {row.pk: found.get(text_of(row, watched_model.model), ()) for row in rows}


def _row_gone(batch: TransactionBatch, watched_model: WatchedModel, row: models.Model, order_pk: str) -> Change:
    before: dict[str, Any] = {}
    error = ""
    try:
        link = watched_model.link_field
        before = sources.watched_values(row, tuple(name for name in watched_model.watched if name != link))
    except Exception as problem:
        logger.exception("could not read what is deleted", source=watched_model.source.name, key=str(row.pk))
        error = describe_error(problem)
    return Change(
        transaction_id=batch.transaction_id_for(watched_model.source.name),
        source=watched_model.source.name,
        order_pk=order_pk,
        kind=Change.Kind.UPDATED,
        related=watched_model.key,
        subject=watched_model.subject(row),
        before=before,
        snapshot=captured_values(row),
        error=error,
        created_at=DatabaseNow(),
    )


def _capture_orders(
    batch: TransactionBatch, source: OrderSource, keys: list[str], *, wanted: bool, using: str
) -> list[Change]:
    model = source.get_model()
    if not wanted:
        # But changes from before, of this transaction or of one that is not coalesced yet, still become events that
        # show the order as it was. Locked, so that no change is added.
        if connections[using].features.has_select_for_update:
            rows = sources.plain(model, using).filter(pk__in=keys_of(model, keys))
            list(locked(rows).values_list("pk"))
        captured = Change.objects.using(using).filter(source=source.name, order_pk__in=keys)
        keys = list(captured.order_by().values_list("order_pk", flat=True).distinct())
    if not keys:
        return []
    orders = {text_of(order, model): order for order in _locked(model, keys_of(model, keys), using=using)}
    # See Note [Rows that are no orders].
    others = without_changes(source, (key for key, row in orders.items() if not source.is_order(row)), using=using)
    orders = {key: order for key, order in orders.items() if key not in others}
    if type(source).fetch is not OrderSource.fetch:
        orders = {key: order for key in orders if (order := source.fetch(key, using=using)) is not None}
    try:
        with transaction.atomic(using=using):
            hold_together(source, list(orders.values()), using=using)
            changes = [_order_gone(batch, source, key, order) for key, order in orders.items()]
    except DatabaseError:
        # The store's own code has spoilt the transaction for the other orders. Capture each one by itself.
        changes = [_order_gone_alone(batch, source, key, order, using=using) for key, order in orders.items()]
    return Change.objects.using(using).bulk_create(changes)


def _order_gone(batch: TransactionBatch, source: OrderSource, key: str, order: Any) -> Change:
    """Raises DatabaseError, because the transaction may be spoilt then."""
    change = Change(
        transaction_id=batch.transaction_id_for(source.name),
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
        logger.exception("could not take the last snapshot of an order", source=source.name, order=key)
        change.error = describe_error(error)
    return change


def _order_gone_alone(batch: TransactionBatch, source: OrderSource, key: str, order: Any, *, using: str) -> Change:
    try:
        with transaction.atomic(using=using):
            return _order_gone(batch, source, key, order)
    except DatabaseError as error:
        logger.exception("could not take the last snapshot of an order", source=source.name, order=key)
        return Change(
            transaction_id=batch.transaction_id_for(source.name),
            source=source.name,
            order_pk=key,
            kind=Change.Kind.DELETED,
            before=capture_order(source, order),
            error=describe_error(error),
            created_at=DatabaseNow(),
        )


def _locked(model: type[models.Model], keys: list[Any], *, using: str) -> list[Any]:
    """The rows, locked. A transaction that wants to change them waits, and then finds them gone."""
    return list(locked(sources.plain(model, using).filter(pk__in=keys)))
