"""Which sources there are, and what a model's instance is to them."""

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
from orderhooks.sources.describing import Lines, OrderSource
from orderhooks.sources.values import stored_values

logger = logging.getLogger(__name__)


class UnknownSourceError(LookupError):
    """A source that is not (or no longer) in the setting SOURCES."""


def configured() -> dict[str, OrderSource]:
    """The sources of the setting SOURCES, by name."""
    return {source.name: source for source in (import_string(path)() for path in conf.current().sources)}


def by_name(name: str) -> OrderSource:
    """Raises UnknownSourceError."""
    try:
        return configured()[name]
    except KeyError:
        raise UnknownSourceError(
            f'The order source {name!r} is not in ORDERHOOKS["SOURCES"]. Put it back and publish the event again.'
        ) from None


@dataclass(frozen=True, slots=True)
class Role:
    """What a saved instance is to a source: its order, or a line of one."""

    source: OrderSource
    lines: Lines | None = None

    @property
    def model(self) -> type[models.Model]:
        """The model of the orders, or of the lines."""
        return self.lines.get_model() if self.lines else self.source.get_model()

    @property
    def watched(self) -> tuple[str, ...]:
        """The names of the watched fields: with the field that leads from a line to its order, or the order's fields that
        `transitions` names; and with the columns that belong to a watched one, such as the currency of an amount.
        """
        return _watched(self)

    def is_part(self, instance: models.Model) -> bool:
        """Whether the instance is the row of a parent model only: multi-table inheritance."""
        concrete = type(instance)._meta.concrete_model
        return not isinstance(instance, self.model) and concrete is not self.model._meta.concrete_model

    def where(self, instance: models.Model) -> dict[str, Any]:
        """The columns, and their values, by which the row of `model` is found that this instance is or is a part of."""
        of = self.model if isinstance(instance, self.model) else type(instance)
        return {field.attname: getattr(instance, field.attname) for field in keys.key_fields(of)}

    def order_pk(self, instance: models.Model, *, using: str | None = None) -> str | None:
        """The key of the order, as text, that the instance is or belongs to; None if it belongs to none."""
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
        """The key of the order, as text, that a row with these columns is or belongs to; None if it belongs to none."""
        if self.lines:
            return self.order_pk_of(row, using=using)
        return keys.as_text(self.model, [row[field.attname] for field in keys.key_fields(self.model)])

    def order_pk_of(self, columns: dict[str, Any], *, using: str) -> str | None:
        """The key of the order, as text, to which a line with these columns belongs; None if it belongs to none."""
        order, links = self.source.get_model(), self._links()
        values = {target.attname: columns.get(field.attname) for field, target in links}
        if any(value is None for value in values.values()):
            return None
        key = keys.key_fields(order)
        if {target for _field, target in links} == set(key):
            return keys.as_text(order, [values[field.attname] for field in key])
        # It points at another column (`to_field`), or at a parent of the order's model.
        names = tuple(field.attname for field in key)
        row = reading.read_columns(order, names, values, using=using)
        return None if row is None else keys.as_text(order, [row[name] for name in names])

    @property
    def link_columns(self) -> tuple[str, ...]:
        """The attnames of the columns by which a line points at its order."""
        return tuple(field.attname for field, _target in self._links()) if self.lines else ()

    def subject(self, instance: models.Model) -> str:
        """Blank for an order, the key of a line as text."""
        return keys.as_text(self.model, list(self.where(instance).values())) if self.lines else ""

    def defaults(self) -> dict[str, Any]:
        """The values of the fields with transitions that a new order has unless told otherwise.

        No order is made to learn them: its constructor, and the defaults of other fields, may have side effects.
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
def _watched(role: Role) -> tuple[str, ...]:
    own = (*role.lines.watched, role.lines.order_field) if role.lines else role.source.watched
    names = tuple(dict.fromkeys((*own, *(() if role.lines else role.source.transitions))))
    # A column that points at a watched one, as django-money's currencies at their amounts, is a part of its value.
    partners = [
        field.name
        for field in role.model._meta.concrete_fields
        if any(isinstance(of, models.Field) and of is not field and of.name in names for of in vars(field).values())
    ]
    return tuple(dict.fromkeys((*names, *partners)))


def role_of(instance: models.Model) -> Role | None:
    """The role of a model instance, also of a proxy, a child or a parent model; None if no source watches it."""
    return _role_of(conf.current().sources, type(instance))


@functools.cache
def _role_of(paths: tuple[str, ...], model: type[models.Model]) -> Role | None:
    roles = _roles(paths)
    # The nearest model first, where sources describe a model and its parent.
    ancestors = [(model.__mro__.index(of), role) for of, role in roles if of in model.__mro__]
    if ancestors:
        return min(ancestors, key=lambda one: one[0])[1]
    concrete: Any = model._meta.concrete_model
    return next((role for of, role in roles if issubclass(of, concrete)), None)


def watched_models() -> list[type[models.Model]]:
    """The models of orders and lines, with proxies, children and parents. Empty while SOURCES is wrong."""
    roots = _roots()
    return [model for model in apps.get_models() if issubclass(model, roots) or _is_above(model, roots)]


def deleted_models() -> list[type[models.Model]]:
    """Those whose deletion is told. Without parent models: Django tells of the child's row itself."""
    roots = _roots()
    concrete = {root._meta.concrete_model for root in roots}
    return [model for model in watched_models() if issubclass(model, roots) or model._meta.concrete_model in concrete]


def _roots() -> tuple[type[models.Model], ...]:
    try:
        return tuple(model for model, _role in _roles(conf.current().sources))
    except Exception:
        logger.exception("no order is watched: the setting SOURCES is wrong")
        return ()


def _is_above(model: type[models.Model], roots: Sequence[type[models.Model]]) -> bool:
    concrete: Any = model._meta.concrete_model
    return any(issubclass(root, concrete) for root in roots)


@functools.cache
def _roles(paths: tuple[str, ...]) -> tuple[tuple[type[models.Model], Role], ...]:
    roles = []
    for source in configured().values():
        roles.append((source.get_model(), Role(source)))
        if source.lines:
            roles.append((source.lines.get_model(), Role(source, source.lines)))
    return tuple(roles)
