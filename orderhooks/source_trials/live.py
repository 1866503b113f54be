"""Live trials: read a source's newest order from the database, as capturing and previews do. Nothing is written."""

import json
from collections.abc import Sequence
from typing import Any

from django.db import connections, models, router, transaction

from orderhooks import triggers
from orderhooks.models import Change
from orderhooks.source_trials.running import Fault, Faults, Trial, misfit, most_characters
from orderhooks.sources import OrderSource, Related, WatchedModel, plain, read_columns, stored_values

__all__ = ["LIVE", "isolated", "left_over"]

MOST_DIFFERENCES = 3


def isolated(trial: Trial) -> Trial:
    """The trial in its own transaction or savepoint, so that a statement that fails does not break anything else."""

    def run(path: str, source: OrderSource) -> Faults:
        with transaction.atomic(using=router.db_for_write(source.get_model())):
            return iter(list(trial(path, source)))

    return run


def _newest(model: type[models.Model]) -> Any:
    # Without the model's managers, which may hide rows or join tables.
    return plain(model, router.db_for_write(model)).order_by("-pk").first()


def _newest_order(source: OrderSource) -> Any:
    return source.orders(using=router.db_for_write(source.get_model())).order_by("-pk").first()


def _fetched(source: OrderSource, newest: Any) -> Any:
    (order_pk,) = WatchedModel(source).order_pks(newest)
    return source.fetch(order_pk, using=newest._state.db)


def _statements(path: str, source: OrderSource) -> Faults:
    """The tables, and all columns that are read, must exist."""
    owners: list[OrderSource | Related] = [source, *source.all_related]
    for owner in owners:
        model = owner.get_model()
        list(plain(model, router.db_for_write(model))[:1])
    return
    yield


def _captured(path: str, source: OrderSource) -> Faults:
    """The watched columns of the newest order and related rows must be readable, as they are read before a save."""
    for watched_model in (WatchedModel(source), *(WatchedModel(source, related) for related in source.all_related)):
        newest = _newest(watched_model.model)
        if newest is None:
            continue
        using, where = newest._state.db, watched_model.where(newest)
        fields: list[Any] = [watched_model.model._meta.get_field(name) for name in watched_model.watched]
        # A foreign key of several columns has no column of its own.
        columns = [field.attname for field in fields if field.column is not None]
        names = tuple(dict.fromkeys((*columns, *watched_model.identifying_columns)))
        row = read_columns(watched_model.model, names, where, "trial", using=using)
        if row is None:
            text = f"The newest row of {watched_model.model._meta.label} is not found by its key."
            yield Fault(path, "E046", text, "Give the model a plain key.")
            continue
        watched = [name for name in watched_model.watched if name != watched_model.link_field]
        values = stored_values(watched_model.model, watched, row, using=using)
        order_pks = watched_model.order_pks_in(row, using=using)
        order = source.fetch(order_pks[0], using=using) if order_pks else None
        order = order if order is not None and source.is_order(order) else None
        before = f"{watched_model.key}." if watched_model.related else ""
        presented = {name: source.present(order, before + name, value) for name, value in values.items() if order}
        json.dumps([values, presented], allow_nan=False)


def _identified(path: str, source: OrderSource) -> Faults:
    """The newest order must be found by its key, and its number and store must fit their columns."""
    newest = _newest_order(source)
    if newest is None:
        return
    order = _fetched(source, newest)
    if order is None or order.pk != newest.pk:
        remedy = "Let fetch() return the order of that primary key."
        yield Fault(path, "E046", f"fetch() does not find its newest order, {newest.pk}.", remedy)
        return
    if not source.is_order(order):
        text = f"The database takes its newest row, {newest.pk}, for an order by `only`, and its values say it is none."
        yield Fault(path, "E046", text, "Compare columns whose values the database compares as Python does.")
        return
    number, store = source.number(order), source.store(order)
    for what, value, column in (("number", number, "order_number"), ("store", store, "store")):
        if not isinstance(value, str):
            text = f"{what}() of its newest order returns {value!r:.60}, not text."
            yield Fault(path, "E046", text, "Return str(…).")
        elif len(value) > most_characters(column):
            text = f"{what}() of its newest order returns {len(value)} characters."
            yield Fault(path, "E046", text, f"Return at most {most_characters(column)}.")


def _ordered(path: str, source: OrderSource) -> Faults:
    """The orders must be sortable by `newest`."""
    list(source.newest(using=router.db_for_write(source.get_model()))[:1])
    return
    yield


def _findable(path: str, source: OrderSource) -> Faults:
    newest = _newest_order(source)
    if newest is None:
        return
    order = _fetched(source, newest)
    if source.find(source.number(order), store=source.store(order), using=newest._state.db) is None:
        text = f"find() does not find its newest order, {newest.pk}, by its number."
        yield Fault(
            path,
            "W047",
            text,
            "Override find() together with number(): people look for orders by number.",
        )


def _newest_payload(path: str, source: OrderSource) -> Faults:
    newest = _newest_order(source)
    if newest is None:
        return
    order = _fetched(source, newest)
    what = f"The payload() of its newest order, {newest.pk}, does not fit its schema()"
    yield from misfit(path, "E046", what, source.payload(order), source.schema())


def _triggers(path: str, source: OrderSource) -> Faults:
    """The triggers in the database must be those that the source needs."""
    using = router.db_for_write(source.get_model())
    if connections[using].vendor == "postgresql":
        yield from _differences(path, triggers.differences_by_source(using).get(source.name, ()))
    elif source.capture == "triggers":
        remedy = "Remove `capture`, or move the orders to PostgreSQL."
        text = f"The database {using!r} has no triggers for it, so changes are captured by signals."
        yield Fault(path, "W049", text, remedy)


def left_over() -> list[Fault]:
    """The fault that triggers are in the database that belong to no source."""
    using = router.db_for_write(Change)
    if connections[using].vendor != "postgresql":
        return []
    try:
        return list(_differences("", triggers.differences_by_source(using).get("", ())))
    except Exception:
        return []  # a source is wrong, and its trials say how


def _differences(path: str, found: Sequence[str]) -> Faults:
    if found:
        more = len(found) - MOST_DIFFERENCES
        others = f" {more} more {'differs' if more == 1 else 'differ'}." if more > 0 else ""
        # A warning: an error would stop `migrate`, which runs the checks before it puts the triggers in place.
        remedy = "Run `manage.py migrate`, which puts the triggers in place, and takes away those of no source."
        text = f"Triggers in the database differ. {' '.join(found[:MOST_DIFFERENCES])}{others}"
        yield Fault(path, "W049", text, remedy)


LIVE: Sequence[tuple[str, str, Trial]] = (
    ("E046", "table", _statements),
    ("E046", "present() or its reading of watched fields", _captured),
    ("E046", "fetch(), number() or store()", _identified),
    ("E046", "payload() of its newest order", _newest_payload),
    ("E046", "newest()", _ordered),
    ("W047", "find()", _findable),
    ("W049", "triggers", _triggers),
)
