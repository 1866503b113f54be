"""Which sources there are, and what a model's instance is to them."""

import functools
import logging
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models
from django.utils.module_loading import import_string

from orderhooks import conf
from orderhooks.sources.describing import Lines, OrderSource
from orderhooks.sources.values import watched_values

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
    def watched(self) -> tuple[str, ...]:
        return (*self.lines.watched, self.lines.order_field) if self.lines else self.source.watched

    def order_pk(self, instance: models.Model) -> Any:
        if self.lines is None:
            return instance.pk
        field = instance._meta.get_field(self.lines.order_field)
        return getattr(instance, field.attname)  # type: ignore[union-attr]

    def subject(self, instance: models.Model) -> str:
        return str(instance.pk) if self.lines else ""

    def defaults(self) -> dict[str, Any]:
        """The values of the fields with transitions that a new order has unless told otherwise."""
        names = tuple(self.source.transitions)
        return watched_values(self.source.get_model()(), names)


def role_of(instance: models.Model) -> Role | None:
    """The role of a model instance, also of a proxy or a child model; None if no source watches it."""
    for model, role in _roles(conf.current().sources):
        if isinstance(instance, model):
            return role
    return None


def watched_models() -> list[type[models.Model]]:
    """The models of orders and lines, with their proxies and child models. Empty while SOURCES is wrong."""
    try:
        roots = tuple(model for model, _role in _roles(conf.current().sources))
    except Exception:
        logger.exception("no order is watched: the setting SOURCES is wrong")
        return []
    return [model for model in apps.get_models() if issubclass(model, roots)]


@functools.cache
def _roles(paths: tuple[str, ...]) -> tuple[tuple[type[models.Model], Role], ...]:
    roles = []
    for source in configured().values():
        roles.append((source.get_model(), Role(source)))
        if source.lines:
            roles.append((source.lines.get_model(), Role(source, source.lines)))
    return tuple(roles)
