"""The registry: the configured order sources, and which of their watched models an instance belongs to."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, router
from django.utils.module_loading import import_string

from orderhooks import conf, logs
from orderhooks.sources import keys, reading
from orderhooks.sources.built_in import BuiltInOrders
from orderhooks.sources.order_source import OrderSource
from orderhooks.sources.related import Link, Related
from orderhooks.sources.values import stored_values, with_partners

logger = logs.get_logger(__name__)


class UnknownSourceError(LookupError):
    """The source is not in the setting SOURCES, or no longer."""


def configured() -> dict[str, OrderSource]:
    """The sources of the setting SOURCES, by name. Raises what importing or creating one raises."""
    return {source.name: source for source in (import_string(path)() for path in conf.current().sources)}


def names() -> list[str]:
    """The names of the configured sources. Empty, with an error in the log, if the setting SOURCES is wrong."""
    try:
        return list(configured())
    except Exception:
        logger.exception("the order sources have no names: the setting SOURCES is wrong")
        return []


def by_name(name: str) -> OrderSource:
    """The source with that name. Raises UnknownSourceError."""
    try:
        return configured()[name]
    except KeyError:
        raise UnknownSourceError(
            f'The order source {name!r} is not in ORDERHOOKS["SOURCES"]. Put it back and publish the event again.'
        ) from None


@dataclass(frozen=True, slots=True)
class WatchedModel:
    """A model that a source watches: the model of its orders, or, with `related`, of rows that belong to them."""

    source: OrderSource
    related: Related | None = None

    @property
    def model(self) -> type[models.Model]:
        """The model itself, which may have proxies, children and parents."""
        return self.related.get_model() if self.related else self.source.get_model()

    @property
    def watched(self) -> tuple[str, ...]:
        """The names of all watched fields.

        These are the declared ones; an order's fields in `transitions` and `only`, and those that point to related
        rows; a related row's `order_field`; and fields that belong to a watched one, such as the currency of an amount
        (django-money).
        """
        return _watched(self)

    @property
    def key(self) -> str:
        """The key of the related rows in `changes`. Blank for orders."""
        return self.related.key if self.related else ""

    @property
    def link_field(self) -> str:
        """A related row's foreign key that leads to the order. Blank for orders and for rows that orders point to."""
        return self.related.order_field if self.related else ""

    def is_part(self, model: type[models.Model]) -> bool:
        """Whether an instance of that model is only the row of a parent (multi-table inheritance)."""
        return not issubclass(model, _concrete(self.model))

    def where(self, instance: models.Model) -> dict[str, Any]:
        """The columns and values that find the row of `model` to which the instance belongs."""
        of = self.model if isinstance(instance, _concrete(self.model)) else type(instance)
        return {field.attname: getattr(instance, field.attname) for field in keys.key_fields(of)}

    @property
    def identifying_columns(self) -> tuple[str, ...]:
        """The attnames of the columns that identify the order: its key, or those that lead a related row to it."""
        if self.related:
            return Link.of(self.related, self.source.get_model()).columns
        return tuple(field.attname for field in keys.key_fields(self.model))

    @property
    def is_direct(self) -> bool:
        """Whether an instance itself names its order, so that no query is needed."""
        return self.related is None or Link.of(self.related, self.source.get_model()).is_direct

    def order_pks(self, instance: models.Model, *, using: str | None = None) -> tuple[str, ...]:
        """The primary keys, as text, of the orders that the instance is or belongs to."""
        using = using or instance._state.db or router.db_for_write(type(instance), instance=instance)
        names = self.identifying_columns
        if self.is_part(type(instance)):
            row = reading.read_columns(self.model, names, self.where(instance), using=using)
            return () if row is None else self.order_pks_in(row, using=using)
        return self.order_pks_in({name: getattr(instance, name) for name in names}, using=using)

    def order_pk(self, order: models.Model) -> str:
        """The primary key, as text, of an order."""
        return keys.text_of(order, self.source.get_model())

    def order_pks_in(self, row: Mapping[str, Any], *, using: str) -> tuple[str, ...]:
        """The same for a row with the identifying columns, by attname."""
        if self.related:
            return Link.of(self.related, self.source.get_model()).order_pks(row, using=using)
        return (keys.as_text(self.model, [row[name] for name in self.identifying_columns]),)

    def orders_of(self, pks: Sequence[Any], *, using: str) -> Mapping[str, Sequence[str]]:
        """The primary keys, as text, of the orders of many related rows, by the row's key as text."""
        if self.related is None:
            return {}
        return Link.of(self.related, self.source.get_model()).orders_of(self.model, pks, using=using)

    def subject(self, instance: models.Model) -> str:
        """A related row's primary key as text, or blank for the order itself."""
        return keys.as_text(self.model, list(self.where(instance).values())) if self.related else ""

    def defaults(self) -> dict[str, Any]:
        """The default values of the fields in `transitions`, as JSON values by name.

        No order is created to find them: its constructor, and the defaults of other fields, may have side effects.
        """
        values: dict[str, Any] = {}
        for name in self.source.transitions:
            field: Any = self.model._meta.get_field(name)
            value = field.db_default if field.has_db_default() else field.get_default()
            value = getattr(value, "value", None) if hasattr(value, "resolve_expression") else value
            values[field.attname] = value
        return stored_values(self.model, tuple(self.source.transitions), values)


@functools.cache
def _watched(watched_model: WatchedModel) -> tuple[str, ...]:
    source, related = watched_model.source, watched_model.related
    if related:
        own = (*related.watched, related.order_field)
    else:
        pointers = (one.pointer for one in source.all_related)
        own = (*source.watched, *source.transitions, *source.only_fields, *pointers)
    names = tuple(name for name in dict.fromkeys(own) if name)
    return with_partners(watched_model.model, names)


def watched_models(instance: models.Model) -> tuple[WatchedModel, ...]:
    """The watched models of an instance of them, or of their proxies, children and parents.

    Several if one source reaches a model on several paths, such as a billing and a shipping address.
    """
    return watched_models_of(type(instance))


def watched_models_of(model: type[models.Model]) -> tuple[WatchedModel, ...]:
    """The same for all instances of a model."""
    return _watched_models(conf.current().sources, model)


def watched_order(instance: Any) -> WatchedModel | None:
    """The watched model of an instance that is an order. None if it is none."""
    return watched_order_model(type(instance)) if isinstance(instance, models.Model) else None


def watched_order_model(model: type[models.Model]) -> WatchedModel | None:
    """The same for all instances of a model."""
    return next((one for one in watched_models_of(model) if one.related is None), None)


def order_source_of(model: type[models.Model]) -> OrderSource | None:
    """The source that describes the orders of a model. None if there is none, and if the setting SOURCES is wrong."""
    try:
        found = watched_order_model(model)
    except Exception:
        logger.exception("orders have no source: the setting SOURCES is wrong", model=model._meta.label)
        return None
    return found.source if found else None


def built_in_orders_are_used() -> bool:
    """Whether a source describes the built-in `Order`, so that its pages and its part of the API make sense.

    True, with an error in the log, if the setting SOURCES is wrong.
    """
    try:
        return watched_order_model(apps.get_model(BuiltInOrders.model)) is not None
    except Exception:
        logger.exception("the pages of the built-in orders stay: the setting SOURCES is wrong")
        return True


@functools.cache
def _watched_models(paths: tuple[str, ...], model: type[models.Model]) -> tuple[WatchedModel, ...]:
    registry = [(_concrete(of), watched) for of, watched in _registry(paths)]
    # The nearest model wins if sources watch a model and its parent. A proxy stands for its concrete model.
    nearest = min((model.__mro__.index(of) for of, _watched in registry if of in model.__mro__), default=None)
    if nearest is not None:
        return tuple(watched for of, watched in registry if of is model.__mro__[nearest])
    concrete = _concrete(model)
    below = next((of for of, _watched in registry if issubclass(of, concrete)), None)
    return tuple(watched for of, watched in registry if of is below)


def saved_models() -> list[type[models.Model]]:
    """The models whose saves are captured: of orders and lines, their proxies, children and parents.

    Empty, with an error in the log, if the setting SOURCES is wrong.
    """
    roots = _roots()
    return [model for model in apps.get_models() if issubclass(model, roots) or _is_above(model, roots)]


def deleted_models() -> list[type[models.Model]]:
    """The models whose deletions are captured: the same without parents, because Django reports the child's row too."""
    roots = _roots()
    return [model for model in saved_models() if issubclass(model, roots)]


def _roots() -> tuple[type[models.Model], ...]:
    try:
        return tuple(_concrete(model) for model, _watched in _registry(conf.current().sources))
    except Exception:
        logger.exception("no orders are watched: the setting SOURCES is wrong")
        return ()


def _is_above(model: type[models.Model], roots: Sequence[type[models.Model]]) -> bool:
    return any(issubclass(root, _concrete(model)) for root in roots)


def _concrete(model: type[models.Model]) -> type[models.Model]:
    """The model whose table holds the rows: of a proxy, the one that it stands for."""
    return model._meta.concrete_model or model


@functools.cache
def _registry(paths: tuple[str, ...]) -> tuple[tuple[type[models.Model], WatchedModel], ...]:
    found = []
    for source in configured().values():
        found.append((source.get_model(), WatchedModel(source)))
        found += [(related.get_model(), WatchedModel(source, related)) for related in source.all_related]
    return tuple(found)
