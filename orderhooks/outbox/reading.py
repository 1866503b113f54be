"""Reading: an order as its transaction committed it, by the store's own code, or the reason why that is not possible.

`coalescing` calls it. Errors of the database that pass by themselves are raised. Errors of the store's code become the
event's error.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from orderhooks import logs, payloads, sources, triggers
from orderhooks.db.encrypted_records import require_readable
from orderhooks.db.savepoints import undone_if_it_fails
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change
from orderhooks.models.events import IDENTIFIER_LENGTH, check_identifiers
from orderhooks.outbox.fetching import fetch_together
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.rewinding import hold_rows, rewind
from orderhooks.sources import OrderSource, WatchedModel

logger = logs.get_logger(__name__)

__all__ = [
    "OrderRead",
    "by_transaction",
    "deleted_order",
    "read_order",
    "read_order_before",
    "reader_of",
    "restored_order",
]


GONE = "The order is no longer in the database, and its deletion was not captured."
Fetch = Callable[[OrderSource], Any]
Prepare = Callable[[OrderSource, Any], Any]


@dataclass(frozen=True, slots=True)
class OrderRead:
    """The order as it was committed, with its payload in `snapshot`, or the `error` that prevents one.

    Neither is there if the row is no order: see Note [Rows that are no orders].
    """

    source: OrderSource | None
    instance: Any = None
    number: str = ""
    store: str = ""
    snapshot: dict[str, Any] | None = None
    error: str = ""
    is_gone: bool = False


def read_order(
    source_name: str, order_pk: str, *, using: str, fetch: Fetch | None = None, prepare: Prepare | None = None
) -> OrderRead:
    """The order as the database has it now, or the instance that `prepare(source, order)` makes of it.

    `fetch(source)` returns the order if it has been fetched already; None if it is gone. What the store's code raises
    is in `error`. Raises an error for which `is_transient` is true if the same may succeed a little later.
    """
    source, order = None, None
    number: Any = ""
    store: Any = ""
    try:
        # Inside a transaction, a query that fails would spoil what is written there.
        with undone_if_it_fails(using):
            source = sources.by_name(source_name)
            order = fetch(source) if fetch else source.fetch(order_pk, using=using)
            if prepare is not None:
                order = prepare(source, order)
            if order is None:
                return OrderRead(source, error=GONE, is_gone=True)
            if not source.is_order(order):
                return OrderRead(source, order)
            number, store = source.number(order), source.store(order)
            check_identifiers(number=number, store=store)
            snapshot = source.payload(order)
            payloads.check(snapshot)
            return OrderRead(source, order, str(number), str(store), snapshot)
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception(
            "could not read an order; fix its source, then publish its events again", source=source_name, order=order_pk
        )
        return OrderRead(source, order, _kept(number), _kept(store), None, describe_error(error))


def reader_of(source_name: str, order_pks: Sequence[str], *, using: str) -> Callable[[str], OrderRead]:
    """What `read_order` does, for each of many orders, which are fetched in a few queries if that is possible."""
    orders = fetch_together(source_name, order_pks, using=using)

    def read(order_pk: str) -> OrderRead:
        order = orders.get(order_pk)
        found = read_order(source_name, order_pk, using=using, fetch=None if order is None else lambda _source: order)
        # As it would be stored: the payloads of other orders may alter what this one holds.
        return found if found.snapshot is None else replace(found, snapshot=json.loads(payloads.encode(found.snapshot)))

    return read


def read_order_before(
    source_name: str, order_pk: str, later: Sequence[Change], *, known: Collection[int] = (), using: str
) -> OrderRead:
    """The order as it was before the `later` changes, oldest first, and before those in the outbox that are not among
    the `known` ones, by their keys.

    The latter were committed after the others were listed, maybe before the order was read. So they are read after the
    order. To undo a change that the order does not show yet alters nothing.
    """

    def prepare(source: OrderSource, order: Any) -> Any:
        if order is not None:
            hold_rows(source, order, using=using)
        newer = [
            change
            for changes in by_transaction(Change.objects.using(using).of_order(source_name, order_pk))
            for change in changes
            if change.pk not in known
        ]
        return rewind(source, order, [*later, *newer], using=using)

    return read_order(source_name, order_pk, using=using, prepare=prepare)


def by_transaction(changes: Iterable[Change]) -> list[list[Change]]:
    """The changes of each transaction, in the order of the commits.

    That is the order of their last changes. Of two transactions that change the same row, the later one can write its
    change of the row only after the other one has ended.
    """
    transactions: dict[Any, list[Change]] = {}
    for change in sorted(changes, key=lambda change: change.pk):
        transactions.setdefault(change.transaction_id, []).append(_converted(change) if change.is_raw else change)
    return sorted(transactions.values(), key=lambda captured: captured[-1].pk)


def _converted(change: Change) -> Change:
    """What a trigger wrote, as signals would have captured it. What can't be converted is the change's error."""
    using = change._state.db or Change.objects.db
    change = copy(change)  # it may be converted again, if the order has to be read again
    try:
        source = sources.by_name(change.source)
        related = next((one for one in source.all_related if one.key == change.related), None)
        watched_model = WatchedModel(source, related)
        names = [name for name in watched_model.watched if name != watched_model.link_field]
        if change.kind == Change.Kind.DELETED:
            every = [field.name for field in watched_model.model._meta.concrete_fields]
            restored = triggers.converted(watched_model.model, every, change.before["order"], using=using)
            change.before = {"order": restored, "related": {}}
            return change
        after = triggers.converted(watched_model.model, names, change.after, using=using)
        if change.kind == Change.Kind.CREATED:
            before = {name: value for name, value in watched_model.defaults().items() if name in after}
        else:
            before = triggers.converted(watched_model.model, names, change.before, using=using)
        if not change.related:
            before, after = _differing(before, after)
        change.before, change.after = before, after
    except Exception as error:
        logger.exception("could not convert what a trigger captured", source=change.source, order=change.order_pk)
        change.before, change.after = {}, {}
        change.error = describe_error(error)
    return change


def _differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [name for name, value in before.items() if name in after and after[name] != value]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def restored_order(source_name: str, captured: Sequence[Change], *, using: str) -> OrderRead:
    """The order as it was just before a statement deleted it, from what triggers captured in that transaction."""

    def prepare(source: OrderSource, _order: Any) -> Any:
        return rewind(source, None, captured, using=using)

    return read_order(source_name, captured[0].order_pk, using=using, prepare=prepare)


def deleted_order(source_name: str, deletion: Change) -> OrderRead:
    """The order as it was just before its deletion. Raises UndecryptableError."""
    require_readable(deletion.snapshot)
    error = deletion.error
    source = None
    try:
        source = sources.by_name(source_name)
    except Exception as problem:
        error = error or describe_error(problem)
    return OrderRead(source, None, deletion.order_number, deletion.store, deletion.snapshot, error)


def _kept(identifier: Any) -> str:
    """As much of it as can be stored, so that people find the event of an order that can't be read."""
    text = str(identifier).encode(errors="replace").decode().replace("\x00", "")
    return text[:IDENTIFIER_LENGTH]
