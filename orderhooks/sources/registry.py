"""The registry: the configured order sources, and which of their watched models an instance belongs to."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, router
from django.utils.module_loading import import_string

from orderhooks import conf
from orderhooks.sources import keys, reading
from orderhooks.sources.order_source import Lines, OrderSource
from orderhooks.sources.values import stored_values

logger = logging.getLogger(__name__)


class UnknownSourceError(LookupError):
    """The source is not in the setting SOURCES, or no longer."""


def configured() -> dict[str, OrderSource]:
    """The sources of the setting SOURCES, by name. Raises what importing or creating one raises."""
    return {source.name: source for source in (import_string(path)() for path in conf.current().sources)}


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
    """A model that a source watches: the model of its orders, or, with `lines`, of its lines."""

    source: OrderSource
    lines: Lines | None = None

    @property
    def model(self) -> type[models.Model]:
        """The model itself, which may have proxies, children and parents."""
        return self.lines.get_model() if self.lines else self.source.get_model()

    @property
    def watched(self) -> tuple[str, ...]:
        """The names of all watched fields.

        These are the declared ones; an order's fields in `transitions`, or a line's `order_field`; and fields that
        belong to a watched one, such as the currency of an amount (django-money).
        """
        return _watched(self)

    def is_part(self, instance: models.Model) -> bool:
        """Whether the instance is only the row of a parent model (multi-table inheritance)."""
        concrete = type(instance)._meta.concrete_model
        return not isinstance(instance, self.model) and concrete is not self.model._meta.concrete_model

    def where(self, instance: models.Model) -> dict[str, Any]:
        """The columns and values that find the row of `model` to which the instance belongs."""
        of = self.model if isinstance(instance, self.model) else type(instance)
        return {field.attname: getattr(instance, field.attname) for field in keys.key_fields(of)}

    def order_pk(self, instance: models.Model, *, using: str | None = None) -> str | None:
        """The primary key, as text, of the order that the instance is or belongs to. None if it belongs to no order."""
        if self.lines is None:
            names = [field.attname for field in keys.key_fields(self.model)]
            if self.is_part(instance):
                where = self.where(instance)
                row = reading.read_columns(self.model, tuple(names), where, using=self._using(instance, using))
                return None if row is None else keys.as_text(self.model, [row[name] for name in names])
            return keys.as_text(self.model, [getattr(instance, name) for name in names])
        columns = {field.attname: getattr(instance, field.attname) for field, _target in self._links()}
        return self.order_pk_of(columns, using=self._using(instance, using))

    def order_pk_in(self, row: dict[str, Any], *, using: str) -> str | None:
        """The same for a row with these columns, by attname."""
        if self.lines:
            return self.order_pk_of(row, using=using)
        return keys.as_text(self.model, [row[field.attname] for field in keys.key_fields(self.model)])

    def order_pk_of(self, columns: dict[str, Any], *, using: str) -> str | None:
        """The primary key, as text, of the order of a line with these columns, by attname. None if it has no order."""
        order, links = self.source.get_model(), self._links()
        values = {target.attname: columns.get(field.attname) for field, target in links}
        if any(value is None for value in values.values()):
            return None
        key = keys.key_fields(order)
        if {target for _field, target in links} == set(key):
            return keys.as_text(order, [values[field.attname] for field in key])
        # The foreign key points at another column (`to_field`), or at a parent of the order's model.
        names = tuple(field.attname for field in key)
        row = reading.read_columns(order, names, values, using=using)
        return None if row is None else keys.as_text(order, [row[name] for name in names])

    @property
    def link_columns(self) -> tuple[str, ...]:
        """The attnames of the columns that point from a line to its order. Empty for orders."""
        return tuple(field.attname for field, _target in self._links()) if self.lines else ()

    def subject(self, instance: models.Model) -> str:
        """What an event's change is about: a line's primary key as text, or blank for the order itself."""
        return keys.as_text(self.model, list(self.where(instance).values())) if self.lines else ""

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

    def _links(self) -> "list[tuple[Any, Any]]":
        if self.lines is None:
            return []
        field: Any = self.model._meta.get_field(self.lines.order_field)
        return list(field.related_fields)

    @staticmethod
    def _using(instance: models.Model, using: str | None) -> str:
        return using or instance._state.db or router.db_for_write(type(instance), instance=instance)


@functools.cache
def _watched(watched_model: WatchedModel) -> tuple[str, ...]:
    source, lines = watched_model.source, watched_model.lines
    own = (*lines.watched, lines.order_field) if lines else (*source.watched, *source.transitions)
    names = tuple(dict.fromkeys(own))
    # A field with a reference to a watched one belongs to it, such as django-money's currency to its amount.
    partners = [
        field.name
        for field in watched_model.model._meta.concrete_fields
        if any(isinstance(of, models.Field) and of is not field and of.name in names for of in vars(field).values())
    ]
    return tuple(dict.fromkeys((*names, *partners)))


def watched_model(instance: models.Model) -> WatchedModel | None:
    """The watched model of an instance of it, or of its proxies, children and parents. None if no source watches it."""
    return _watched_model(conf.current().sources, type(instance))


@functools.cache
def _watched_model(paths: tuple[str, ...], model: type[models.Model]) -> WatchedModel | None:
    registry = _registry(paths)
    # The nearest model wins if sources watch a model and its parent.
    ancestors = [(model.__mro__.index(of), watched_model) for of, watched_model in registry if of in model.__mro__]
    if ancestors:
        return min(ancestors, key=lambda one: one[0])[1]
    concrete: Any = model._meta.concrete_model
    return next((watched_model for of, watched_model in registry if issubclass(of, concrete)), None)


def saved_models() -> list[type[models.Model]]:
    """The models whose saves are captured: of orders and lines, their proxies, children and parents.

    Empty, with an error in the log, if the setting SOURCES is wrong.
    """
    roots = _roots()
    return [model for model in apps.get_models() if issubclass(model, roots) or _is_above(model, roots)]


def deleted_models() -> list[type[models.Model]]:
    """The models whose deletions are captured: the same without parents, because Django reports the child's row too."""
    roots = _roots()
    concrete = {root._meta.concrete_model for root in roots}
    return [model for model in saved_models() if issubclass(model, roots) or model._meta.concrete_model in concrete]


def _roots() -> tuple[type[models.Model], ...]:
    try:
        return tuple(model for model, _watched in _registry(conf.current().sources))
    except Exception:
        logger.exception("no orders are watched: the setting SOURCES is wrong")
        return ()


def _is_above(model: type[models.Model], roots: Sequence[type[models.Model]]) -> bool:
    concrete: Any = model._meta.concrete_model
    return any(issubclass(root, concrete) for root in roots)


@functools.cache
def _registry(paths: tuple[str, ...]) -> tuple[tuple[type[models.Model], WatchedModel], ...]:
    found = []
    for source in configured().values():
        found.append((source.get_model(), WatchedModel(source)))
        if source.lines:
            found.append((source.lines.get_model(), WatchedModel(source, source.lines)))
    return tuple(found)
