"""Related rows: the rows beside an order whose changes are changes of the order, and how they lead to it."""

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from django.apps import apps
from django.db import models

from orderhooks.sources import keys, reading

__all__ = ["FROM_ORDER", "ROW_TOPICS", "Lines", "Link", "Related", "TooManyOrdersError"]

# The beginning of a path that leads from the order to the row.
FROM_ORDER = "order."
# The keys of `Related.topics`.
ROW_TOPICS = ("created", "updated", "deleted")
# A row that more orders point at, such as a country, is not part of an order.
MOST_ORDERS = 1000


class TooManyOrdersError(LookupError):
    """So many orders point at a row that its changes can't be changes of each of them."""


@dataclass(frozen=True, slots=True)
class Related:
    """Rows of one model that belong to an order: payments, shipments, an address.

        Related("payments", model="shop.Payment", path="order", watched=("amount", "method"),
                topics={"created": "order.payment_created"})

    `key`: the name under which the rows appear in `changes`, as `[[old rows], [new rows]]` with the `id` of each row.
    `model`: as `app.Model`.
    `path`: how a row leads to its order. A foreign key of the row (`order`); several, one after the other
    (`line__order`); or a foreign key of the order to the row (`order.shipping_address`). The last form also captures
    that the order points to another row.
    `watched`: the row's fields whose changes are events.
    `topics`: the topics of a row that was `created`, `updated` or `deleted`, published in addition to `order.updated`.
    """

    key: str
    model: str
    path: str
    watched: tuple[str, ...]
    topics: Mapping[str, str] = field(default_factory=dict, hash=False)

    def get_model(self) -> type[models.Model]:
        """The model of the rows. Raises LookupError if the app or the model is not installed."""
        return apps.get_model(self.model)

    @property
    def order_field(self) -> str:
        """The foreign key of the row with which its path begins. Blank if the order points to the row."""
        return "" if self.pointer else self.path.split("__")[0]

    @property
    def pointer(self) -> str:
        """The foreign key of the order that points to the row. Blank if the row leads to the order."""
        return self.path.removeprefix(FROM_ORDER) if self.path.startswith(FROM_ORDER) else ""

    @property
    def relation(self) -> str | None:
        """The name by which an order reaches its rows.

        None if it has none, if it points to the row, or if the rows lead to it by several foreign keys.
        """
        if self.pointer or "__" in self.path:
            return None
        relation: Any = self.get_model()._meta.get_field(self.order_field).remote_field
        return None if relation is None or relation.hidden or not relation.multiple else relation.get_accessor_name()


class Lines(Related):
    """The lines of an order: their model (`app.Model`), its foreign key to the order, and the watched fields.

    The same as `Related("lines", …)`.
    """

    def __init__(self, model: str, order_field: str, watched: tuple[str, ...]) -> None:
        super().__init__("lines", model, order_field, watched)


@dataclass(frozen=True, slots=True)
class Link:
    """The foreign keys from a related row to its order, or the one from the order to the row."""

    order: type[models.Model]
    steps: tuple[Any, ...]
    from_order: bool

    @classmethod
    @functools.cache
    def of(cls, related: Related, order: type[models.Model]) -> "Link":
        """The link of these rows to orders of that model. Raises FieldDoesNotExist if the path is wrong."""
        if related.pointer:
            return cls(order, (order._meta.get_field(related.pointer),), True)
        model: Any = related.get_model()
        steps = []
        for name in related.path.split("__"):
            step: Any = model._meta.get_field(name)
            steps.append(step)
            model = step.related_model
        return cls(order, tuple(steps), False)

    @property
    def is_direct(self) -> bool:
        """Whether the row holds the order's primary key."""
        targets = {target for _own, target in self.steps[0].related_fields}
        return not self.from_order and len(self.steps) == 1 and targets == set(keys.key_fields(self.order))

    @property
    def columns(self) -> tuple[str, ...]:
        """The attnames of the row's columns that lead to the order."""
        pairs = self.steps[0].related_fields
        return tuple(target.attname if self.from_order else own.attname for own, target in pairs)

    def order_pks(self, row: Mapping[str, Any], *, using: str) -> tuple[str, ...]:
        """The primary keys, as text, of the orders of a row with these columns, by attname.

        A row of a cart, for example, leads to no order. Only one that the order points to can have several.

        Raises:
            TooManyOrdersError: more than MOST_ORDERS orders point to the row.
        """
        if self.from_order:
            return self._pointing(row, using=using)
        for step, following in pairwise(self.steps):
            values = _targets(step, row)
            names = tuple(own.attname for own, _target in following.related_fields)
            found = None if values is None else reading.read_columns(step.related_model, names, values, using=using)
            if found is None:
                return ()
            row = found
        return self._last(row, using=using)

    def orders_of(self, row: type[models.Model], pks: Sequence[Any], *, using: str) -> Mapping[str, Sequence[str]]:
        """The primary keys, as text, of the orders of many rows of that model, by the row's key as text.

        One query; two if the foreign key to the order holds another value than its primary key.

        Raises:
            TooManyOrdersError: more than MOST_ORDERS orders point to one of the rows.
        """
        own = [one.attname for one in keys.key_fields(row)]
        found: dict[str, list[str]] = {}
        if self.from_order:
            name = self.steps[0].name
            rows = reading.plain(self.order, using).filter(**{f"{name}__in": pks})
            of_order = [one.attname for one in keys.key_fields(self.order)]
            pairs = rows.values_list(*(f"{name}__{one.name}" for one in keys.key_fields(row)), *of_order)
            for values in pairs.iterator():
                orders = found.setdefault(keys.as_text(row, values[: len(own)]), [])
                orders.append(keys.as_text(self.order, values[len(own) :]))
                self._check_count(len(orders))
            return found
        before = "".join(f"{step.name}__" for step in self.steps[:-1])
        links = [before + column.attname for column, _target in self.steps[-1].related_fields]
        linked = dict(self._by_key(row, own, links, pks, using=using))
        texts = self._texts_of(set(linked.values()), using=using)
        return {text: (texts[link],) for text, link in linked.items() if link in texts}

    @staticmethod
    def _by_key(
        row: type[models.Model], own: Sequence[str], links: Sequence[str], pks: Sequence[Any], *, using: str
    ) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """The values of the foreign key to the order, by the row's key as text. Rows without an order are left out."""
        for values in reading.plain(row, using).filter(pk__in=pks).values_list(*own, *links):
            link = values[len(own) :]
            if None not in link:
                yield keys.as_text(row, values[: len(own)]), link

    def _texts_of(self, links: Collection[tuple[Any, ...]], *, using: str) -> dict[tuple[Any, ...], str]:
        """The orders' keys as text, by the values of the foreign key that leads to them."""
        targets = [target for _own, target in self.steps[-1].related_fields]
        key = keys.key_fields(self.order)
        if set(targets) == set(key):
            places = [targets.index(one) for one in key]
            return {link: keys.as_text(self.order, [link[place] for place in places]) for link in links}
        # It points at another column (`to_field`), or at a parent of the order's model.
        (target,) = targets
        names = [target.attname, *(one.attname for one in key)]
        rows = reading.plain(self.order, using).filter(**{f"{target.attname}__in": [value for (value,) in links]})
        return {(value,): keys.as_text(self.order, pk) for value, *pk in rows.values_list(*names)}

    def _check_count(self, orders: int) -> None:
        if orders > MOST_ORDERS:
            raise TooManyOrdersError(
                f"More than {MOST_ORDERS} orders point to this row by {self.steps[0].name!r}. Take it out of the "
                "source's `related`, or write the values into the orders."
            )

    def _last(self, columns: Mapping[str, Any], *, using: str) -> tuple[str, ...]:
        values = _targets(self.steps[-1], columns)
        if values is None:
            return ()
        key = keys.key_fields(self.order)
        if {target for _own, target in self.steps[-1].related_fields} == set(key):
            return (keys.as_text(self.order, [values[one.attname] for one in key]),)
        # The foreign key points at another column (`to_field`), or at a parent of the order's model.
        names = tuple(one.attname for one in key)
        found = reading.read_columns(self.order, names, values, using=using)
        return () if found is None else (keys.as_text(self.order, [found[name] for name in names]),)

    def _pointing(self, row: Mapping[str, Any], *, using: str) -> tuple[str, ...]:
        pairs = self.steps[0].related_fields
        if any(row.get(target.attname) is None for _own, target in pairs):
            return ()
        where = {own.attname: row[target.attname] for own, target in pairs}
        key = [one.attname for one in keys.key_fields(self.order)]
        found = list(reading.plain(self.order, using).filter(**where).values_list(*key)[: MOST_ORDERS + 1])
        self._check_count(len(found))
        return tuple(keys.as_text(self.order, one) for one in found)


def _targets(step: Any, columns: Mapping[str, Any]) -> dict[str, Any] | None:
    """The columns, by attname, of the row that a foreign key with these values points at. None if it is empty."""
    values = {target.attname: columns.get(own.attname) for own, target in step.related_fields}
    return None if any(value is None for value in values.values()) else values
