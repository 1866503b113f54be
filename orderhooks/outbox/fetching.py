"""Fetching: many orders with what belongs to them, in a few queries."""

from collections.abc import Sequence
from typing import Any

from django.db import models

from orderhooks import sources
from orderhooks.db.savepoints import undone_if_it_fails
from orderhooks.db.transient_errors import is_transient
from orderhooks.sources import OrderSource, keys

__all__ = ["fetch_together", "hold_together"]


def fetch_together(source_name: str, order_pks: Sequence[str], *, using: str) -> dict[str, Any] | None:
    """The orders as the database has them now, by key as text, with their related rows. None stands for one that is
    gone.

    None if they have to be fetched one by one: the store fetches orders in its own way, or it is not known which one
    can't be read. Raises an error for which `is_transient` is true if the same may succeed a little later.
    """
    if len(order_pks) < 2:
        return None
    try:
        source = sources.by_name(source_name)
        if type(source).fetch is not OrderSource.fetch:
            return None
        model = source.get_model()
        # Inside a transaction, a query that fails would spoil what follows.
        with undone_if_it_fails(using):
            orders = list(sources.plain(model, using).filter(pk__in=keys.values_of(model, order_pks)))
            hold_together(source, orders, using=using)
    except Exception as error:
        if is_transient(error):
            raise
        return None
    return {**dict.fromkeys(order_pks), **{keys.text_of(order, model): order for order in orders}}


def hold_together(source: OrderSource, orders: Sequence[Any], *, using: str) -> None:
    """Read the related rows of all orders, and keep them as `prefetch_related` does: a query for each kind of rows.

    From that database: Django would ask the routers, and a replica may have older rows.
    """
    for related in source.all_related:
        rows: models.QuerySet[Any]
        if related.pointer:
            rows = sources.plain(related.get_model(), using)
        elif related.relation:
            rows = related.get_model()._default_manager.using(using)
        else:
            continue
        models.prefetch_related_objects(orders, models.Prefetch(related.pointer or related.relation, queryset=rows))
