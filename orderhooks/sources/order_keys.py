"""Order keys: go through all orders of a source by primary key, in batches, for a backfill or a reconciliation."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from orderhooks.sources import keys
from orderhooks.sources.order_source import OrderSource

__all__ = ["UndatedError", "count_orders", "dated_since", "is_dated", "last_order_key", "order_keys"]


class UndatedError(ValueError):
    """The orders of the source have no date, so that those since a time are not known."""


def order_keys(
    source: OrderSource,
    *,
    after: str,
    up_to: str = "",
    at_most: int,
    since: datetime | None,
    store: str = "",
    using: str,
) -> list[str]:
    """The keys of up to `at_most` orders behind the key `after`, as text, sorted by key. `after` is blank at first.
    `up_to`: the last key; blank for all.

    `since`: only orders dated since then; None for all. `store`: only orders of that store, if the source has a
    `store_field`; blank for all. An order that is inserted meanwhile is found if its key comes
    later. Raises UndatedError; and ValueError, TypeError or ValidationError if `after` can't be a key.
    """
    model = source.get_model()
    orders = _of_store(source, _since(source, since, using=using), store)
    if after:
        orders = orders.filter(pk__gt=keys.values_of(model, [after])[0])
    if up_to:
        orders = orders.filter(pk__lte=keys.values_of(model, [up_to])[0])
    return _keys(orders.order_by("pk")[:at_most])


def last_order_key(source: OrderSource, *, since: datetime | None, store: str = "", using: str) -> str:
    """The last of the keys that `order_keys` goes through; blank if there are no orders. Raises UndatedError."""
    orders = _of_store(source, _since(source, since, using=using), store)
    return next(iter(_keys(orders.order_by("-pk")[:1])), "")


def count_orders(source: OrderSource, *, since: datetime | None, store: str = "", using: str) -> int:
    """How many orders `order_keys` goes through in all. Raises UndatedError."""
    return _of_store(source, _since(source, since, using=using), store).count()


def is_dated(source: OrderSource) -> bool:
    """Whether it is known which orders of the source are dated since a time."""
    return _date_field(source) is not None


def dated_since(source: OrderSource, order_pks: Iterable[str], since: datetime, *, using: str) -> frozenset[str]:
    """Those of the keys whose orders are dated since then. Raises UndatedError."""
    wanted = keys.values_of(source.get_model(), order_pks)
    return frozenset(_keys(_since(source, since, using=using).filter(pk__in=wanted)))


def _keys(orders: "models.QuerySet[Any]") -> list[str]:
    names = [field.attname for field in keys.key_fields(orders.model)]
    return [keys.as_text(orders.model, values) for values in orders.values_list(*names)]


def _of_store(source: OrderSource, orders: "models.QuerySet[Any]", store: str) -> "models.QuerySet[Any]":
    return orders.filter(**{source.store_field: store}) if source.store_field and store else orders


def _since(source: OrderSource, since: datetime | None, *, using: str) -> "models.QuerySet[Any]":
    orders = source.orders(using=using)
    if since is None:
        return orders
    field = _date_field(source)
    if field is None:
        raise UndatedError(
            f'The orders of the source {source.name!r} have no date. Name the field that holds it: dated_by = "…" in '
            f"{type(source).__name__}."
        )
    return orders.filter(**{f"{field.name}__gte": _as_stored(field, since)})


def _date_field(source: OrderSource) -> "models.Field[Any, Any] | None":
    options = source.get_model()._meta
    latest = options.get_latest_by or ()
    named = [source.dated_by, *source.newest_first, *((latest,) if isinstance(latest, str) else latest)]
    by_name = {field.name: field for field in options.concrete_fields}
    added = [field.name for field in options.concrete_fields if getattr(field, "auto_now_add", False)]
    for name in (*named, *added):
        # DateTimeField is a DateField.
        if isinstance(field := by_name.get(name.lstrip("-")), models.DateField):
            return field
    return None


def _as_stored(field: "models.Field[Any, Any]", since: datetime) -> date:
    if not isinstance(field, models.DateTimeField):
        return timezone.localtime(since).date() if timezone.is_aware(since) else since.date()
    if settings.USE_TZ or timezone.is_naive(since):
        return since
    return timezone.make_naive(since, timezone.get_default_timezone())
