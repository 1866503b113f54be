"""What an order source is: the class that a store subclasses for orders in a model of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections, models

from orderhooks.sources import keys, reading


@dataclass(frozen=True, slots=True)
class Lines:
    """The rows that belong to an order: their model, the foreign key to the order, and the fields watched."""

    model: str
    order_field: str
    watched: tuple[str, ...]

    def get_model(self) -> type[models.Model]:
        return apps.get_model(self.model)


class OrderSource:
    """Describes one kind of order; subclass it and name the subclass in ORDERHOOKS["SOURCES"].

    `name` marks the source's events and must not change. `watched` are the model fields whose change is an event.
    `transitions` says which topic a field's new value stands for, beside `order.updated`; its fields are watched too.
    With multi-table inheritance saves through parent models are told as well, of `model` and of the lines' model.

    `atomic_saves`: a save of the orders and lines is made a transaction, so that a change is never saved without being
    captured, whatever another handler of `post_save` raises and wherever the process dies. Set it to False if such
    handlers rely on autocommit; then changes can be lost outside `transaction.atomic()`.
    """

    name: str
    model: str
    watched: tuple[str, ...] = ()
    transitions: Mapping[str, Mapping[str, str]] = {}
    lines: Lines | None = None
    atomic_saves: bool = True
    # How the orders are put in order, the newest first, as in `order_by()`. Empty: see `newest`.
    newest_first: tuple[str, ...] = ()

    def get_model(self) -> type[models.Model]:
        return apps.get_model(self.model)

    def fetch(self, order_pk: str, *, using: str) -> Any:
        """The order as the database has it now, or None. Its primary key is text, as `sources.keys` writes it.

        Called after the commit, and before a deletion in its transaction, on the connection `using`. It asks no manager
        of the model, so that none can hide an order, and gives an instance of `get_model()`. Override it where
        `payload` needs another class, as with django-polymorphic:

            def fetch(self, order_pk, *, using):
                order = super().fetch(order_pk, using=using)
                return order and order.get_real_instance()
        """
        model = self.get_model()
        if len(keys.key_fields(model)) > 1:
            return next(iter(reading.plain(model, using).filter(**keys.from_text(model, order_pk))), None)
        last = model._meta.pk.get_db_prep_value(order_pk, connections[using])
        found = reading.rows(model, "order", using=using, make=lambda rows: rows.filter(pk=order_pk), last=last)
        return next(iter(found), None)

    def find(self, number: str, *, store: str, using: str) -> Any:
        """The order that people call so, in that store or, if it is blank, in any; or None.

        Looks among primary keys. Override it together with `number`.
        """
        order = by_key(self, number, using=using)
        fits = order is not None and self.number(order) == number and store in ("", self.store(order))
        return order if fits else None

    def newest(self, *, using: str) -> "models.QuerySet[Any]":
        """The orders, the newest first, for previews and tests of the source.

        By `newest_first`; else by `Meta.get_latest_by`; else by a primary key that counts up; else by the field that
        notes when an order was made (`auto_now_add`); else by the primary key, whatever it is.
        """
        return reading.plain(self.get_model(), using).order_by(*(self.newest_first or self._newest_first()))

    def _newest_first(self) -> tuple[str, ...]:
        options = self.get_model()._meta
        if latest := options.get_latest_by:
            names = (latest,) if isinstance(latest, str) else tuple(latest)
            return tuple(name[1:] if name.startswith("-") else f"-{name}" for name in names)
        if not isinstance(options.pk, models.AutoField | models.SmallAutoField | models.BigAutoField):
            made = (field.name for field in options.concrete_fields if getattr(field, "auto_now_add", False))
            if name := next(made, None):
                return (f"-{name}", "-pk")
        return ("-pk",)

    def number(self, order: Any) -> str:
        """What people call the order."""
        return str(order.pk)

    def store(self, order: Any) -> str:
        """The store that it belongs to; blank where there is only one."""
        return ""

    def payload(self, order: Any) -> dict[str, Any]:
        """The `order` object that receivers get: JSON values only. What it raises never reaches the save."""
        raise NotImplementedError(f"{type(self).__name__} needs a method payload(order).")

    def schema(self) -> dict[str, Any]:
        """What `payload` returns, as JSON Schema (draft 2020-12). For the catalogue of topics."""
        return {"type": "object"}

    def example(self) -> dict[str, Any]:
        """What `payload` could return: it fits `schema`, is shown in the catalogue, and sent by tests."""
        return {}

    def present(self, order: Any, field: str, value: Any) -> Any:
        """How `changes` shows a watched field's value."""
        return value


def by_key(source: OrderSource, text: str, *, using: str) -> Any:
    """The order of that primary key as the database has it now, or None; also for text that no key looks like."""
    model = source.get_model()
    try:
        if not reading.plain(model, using).filter(**keys.from_text(model, text)).exists():
            return None
    except (ValueError, TypeError, ValidationError):
        return None
    return source.fetch(text, using=using)
