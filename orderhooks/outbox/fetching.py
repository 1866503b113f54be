"""Fetching: many orders with what belongs to them, in a few queries."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from django.db import models

from orderhooks import sources
from orderhooks.db.savepoints import undone_if_it_fails
from orderhooks.sources import OrderSource, keys

__all__ = ["fetch_together", "hold_together"]


def fetch_together(source_name: str, order_pks: Sequence[str], *, using: str) -> dict[str, Any]:
    """The orders as the database has them now, by key as text, with their related rows.

    Those that are not among them have to be fetched one by one: the store fetches orders in its own way, it is not
    known which one can't be read, or there is none with this very key.
    """
    if len(order_pks) < 2:
        return {}
    try:
        source = sources.by_name(source_name)
        if type(source).fetch is not OrderSource.fetch:
            return {}
        model = source.get_model()
        # Inside a transaction, a query that fails would spoil what follows.
        with undone_if_it_fails(using):
            orders = list(sources.plain(model, using).filter(pk__in=keys.values_of(model, order_pks)))
            hold_together(source, orders, using=using)
    except Exception:
        return {}
    return {keys.text_of(order, model): order for order in orders}


def hold_together(source: OrderSource, orders: Sequence[Any], *, using: str) -> None:
    """Read the related rows of all orders, and keep them as `prefetch_related` does: a query for each kind of rows.

    They are what the order's own attributes give, but from that database: Django would ask the routers, and a replica
    may have older rows.
    """
    if not orders:
        return
    for related in source.all_related:
        if related.pointer:
            field: Any = source.get_model()._meta.get_field(related.pointer)
            _prefetch(orders, related.pointer, field.related_model._base_manager.using(using))
            _keep_apart(orders, related.pointer)
        elif relation := related.relation:
            manager = getattr(orders[0], relation)
            # Without the condition that the rows belong to the first order, which the class of the manager adds.
            _prefetch(orders, relation, super(type(manager), manager).get_queryset().using(using))


def _prefetch(orders: Sequence[Any], name: str, rows: "models.QuerySet[Any]") -> None:
    # A window would take in the rows of all orders.
    expressions: list[Any] = [*rows.query.annotations.values(), rows.query.where]
    sees_others = any(one.contains_over_clause for one in expressions)
    for group in [[order] for order in orders] if sees_others else [orders]:
        models.prefetch_related_objects(group, models.Prefetch(name, queryset=sources.in_one_order(rows)))


def _keep_apart(orders: Sequence[Any], pointer: str) -> None:
    """Give each order a row of its own, with all that it holds: `payload` may alter it. One that the manager does not
    show is looked for when it is needed.
    """
    seen: set[int] = set()
    for order in orders:
        held = order._state.fields_cache
        row = held.get(pointer)
        if row is None:
            held.pop(pointer, None)
        elif id(row) in seen:
            held[pointer] = deepcopy(row)
        else:
            seen.add(id(row))
