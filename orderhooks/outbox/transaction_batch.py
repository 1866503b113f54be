"""Transaction batches: which changes a running transaction has captured, and what happens once it has committed.

`capturing` and `deletions` put changes into a batch. After the commit it has `coalescing` make events of them; with
COALESCE_IN_WORKER it calls for a worker that does so.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID, uuid4

from django.db import connections, transaction
from django.utils import timezone

from orderhooks import conf, logs, tracing, triggers
from orderhooks.compiled_queries import CompiledQuery
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Event, Subscription
from orderhooks.outbox.coalescing import coalesce, coalesce_many
from orderhooks.outbox.guarding import survivable

__all__ = ["OnEvents", "TransactionBatch", "coalesce_here", "coalesce_now", "has_subscribers", "is_wanted"]

logger = logs.get_logger(__name__)

# Each order is read to make its events. So many would keep the store's process from its work; a worker does it.
MOST_ORDERS = 1000
# Called in the store's process with the events of a transaction that has committed. Called with none of them if the
# pump has to coalesce the changes instead.
OnEvents = Callable[[Sequence[Event]], None]
SUBSCRIPTIONS = CompiledQuery(lambda: Subscription.objects.all())


def has_subscribers(using: str) -> bool:
    """Whether there is any subscription, in any state. Without one, nothing is captured."""
    with survivable(using, "listen"):
        return SUBSCRIPTIONS.exists(using=using)


def is_wanted(using: str) -> bool:
    """What `has_subscribers` says, without a query if the running transaction has captured something already."""
    batch = TransactionBatch.find(using)
    return (batch is not None and bool(batch.captured)) or has_subscribers(using)


def coalesce_here(using: str) -> None:
    """Have the events of what the running transaction has captured made by this process, whatever COALESCE_IN_WORKER
    says. For commands that show them.
    """
    batch = TransactionBatch.find(using)
    if batch is not None:
        batch.coalesces_here = True


def coalesce_now(using: str) -> list[Event]:
    """Make events at once of what the running transaction has captured so far, and call nobody. Returns the events.

    For tests, whose transactions are rolled back. In a store it would publish what may still be rolled back.
    """
    batch = TransactionBatch.find(using)
    events: list[Event] = []
    if batch is not None:
        hooks = connections[using].run_on_commit
        hooks[:] = [entry for entry in hooks if entry[1] is not batch]
        events = batch.coalesce()
    if triggers.any_are_used(using):
        captured = Change.objects.using(using).filter(is_raw=True).order_by()
        for source, order_pk in captured.values_list("source", "order_pk").distinct():
            events += coalesce(source, order_pk, now=timezone.now(), using=using)
    return events


class TransactionBatch:
    """The changes that a transaction has captured. As an on-commit hook, it coalesces them, then calls `on_events`.

    See Note [Changes and transactions]. A connection has at most one batch among its hooks. Django drops a hook
    together with the savepoint in which it was registered, and every change of the batch was written inside that
    savepoint. So the batch that is found, or a new one, is the right one.
    """

    def __init__(self, using: str, on_events: OnEvents) -> None:
        self.transaction_id = uuid4()
        self.using = using
        self.on_events = on_events
        # By source and order. A rollback to a savepoint may have taken some of the changes back.
        self.captured: dict[tuple[str, str], list[Change]] = {}
        self.registered = False
        # The database's own number of the transaction, once it was needed.
        self.database_id: UUID | None = None
        self.coalesces_here = False
        # Whether the pump has to coalesce what this process could not.
        self.is_left_behind = False

    @classmethod
    def find(cls, using: str) -> "TransactionBatch | None":
        """The batch of the running transaction, if it has one."""
        hooks = (entry[1] for entry in connections[using].run_on_commit)
        return next((hook for hook in hooks if isinstance(hook, cls)), None)

    @classmethod
    def current(cls, using: str, on_events: OnEvents) -> "TransactionBatch":
        """The batch of the running transaction, or a new one that is not registered yet."""
        return cls.find(using) or cls(using, on_events)

    def coalesce_on_commit(self, change: Change) -> None:
        """Add a change that has been written in the running transaction."""
        captured = self.captured.setdefault((change.source, change.order_pk), [])
        # SQLite gives a key out again if the savepoint that took it was rolled back.
        captured[:] = [*(one for one in captured if one.pk != change.pk), change]
        self.register()

    def transaction_id_for(self, source_name: str) -> UUID:
        """The `transaction_id` of changes of a source: the one that triggers write, if the source uses them."""
        if not triggers.are_used_for(source_name, self.using):
            return self.transaction_id
        if self.database_id is None:
            with connections[self.using].cursor() as cursor:
                cursor.execute("SELECT pg_current_xact_id()::text")
                self.database_id = UUID(int=int(cursor.fetchone()[0]))
        return self.database_id

    def leave_to_worker(self) -> None:
        """Have a worker woken after the commit, for changes that a trigger captures of orders not known here."""
        self.is_left_behind = True
        self.register()

    def coalesce_order_on_commit(self, source_name: str, order_pk: str) -> None:
        """Have an order's changes coalesced that a trigger captures in the running transaction."""
        self.captured.setdefault((source_name, order_pk), [])
        self.register()

    def drop(self, pks: Collection[int]) -> None:
        """Delete changes of this batch again, because another change covers them."""
        Change.objects.using(self.using).filter(pk__in=pks).delete()
        for captured in self.captured.values():
            captured[:] = [change for change in captured if change.pk not in pks]
        self.captured = {order: captured for order, captured in self.captured.items() if captured}

    def register(self) -> None:
        """Have the batch called after the commit, before the store's own hooks: if one of them raises, Django calls no
        further hook.
        """
        if self.registered:
            return
        self.registered = True
        transaction.on_commit(self, using=self.using, robust=True)
        hooks = connections[self.using].run_on_commit
        # A test case never commits, and `captureOnCommitCallbacks` counts the hooks from the front.
        if not any(getattr(block, "_from_testcase", False) for block in connections[self.using].atomic_blocks):
            hooks.insert(0, hooks.pop())

    def __call__(self) -> None:
        if conf.current().coalesce_in_worker and not self.coalesces_here:
            self.is_left_behind, events = True, []
        else:
            events = self.coalesce()
        if events or self.is_left_behind:
            self.on_events(events)

    def coalesce(self) -> list[Event]:
        """Make events of the changes. What fails is logged and left to the pump."""
        with tracing.span("orderhooks publish") as span:
            events = self._coalesce()
            span.set({"orderhooks.events": len(events)})
        return events

    def _coalesce(self) -> list[Event]:
        captured, self.captured = self.captured, {}
        if len(captured) > MOST_ORDERS:
            self.is_left_behind = True
            return []
        # What triggers have captured is not known here, and is coalesced order by order.
        if len(captured) > 1 and all(captured.values()):
            events: list[Event] = []
            try:
                for made in coalesce_many(captured, now=timezone.now(), using=self.using):
                    events += made
                self.is_left_behind |= not events
                return events
            except Exception:
                logger.exception("could not coalesce the changes of several orders together", orders=len(captured))
            done = {(event.source, event.order_pk) for event in events}
            return events + self._coalesce_each({order: captured[order] for order in captured if order not in done})
        return self._coalesce_each(captured)

    def _coalesce_each(self, captured: Mapping[tuple[str, str], Sequence[Change]]) -> list[Event]:
        events: list[Event] = []
        for (source, order_pk), changes in captured.items():
            try:
                events += coalesce(source, order_pk, now=timezone.now(), using=self.using, captured=changes)
            except Exception as error:
                # The order is saved and its changes are on record: the pump coalesces them.
                self.is_left_behind = True
                logger.log(
                    logging.WARNING if is_transient(error) else logging.ERROR,
                    "could not coalesce the changes of an order yet",
                    source=source,
                    order=order_pk,
                    exc_info=True,
                )
        return events
