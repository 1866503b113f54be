"""Payloads made from the model: the payload, its schema and an example, for sources that name fields.

`order_source` calls it. What each type of field looks like in JSON is in `field_types`.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from orderhooks.sources import field_types, keys, reading
from orderhooks.sources.related import Related
from orderhooks.sources.values import watched_values, with_partners

__all__ = ["FieldPayload", "Rows", "rows_of"]


class Source(Protocol):
    """What is used of an `OrderSource`."""

    watched: tuple[str, ...]
    transitions: Mapping[str, Mapping[str, str]]

    def get_model(self) -> type[models.Model]: ...

    @property
    def all_related(self) -> tuple[Related, ...]: ...


@dataclass(frozen=True, init=False, slots=True)
class FieldPayload:
    """The payload in fields: first those of the order, then, by name, those of the rows beside it.

        payload_fields = FieldPayload("reference", "state", "total", items=("sku", "amount"), customer=("name",))

    A name of rows is a key of the source's `lines` or `related`, or the name by which the order reaches them. Reverse
    foreign keys (`order.items`), and all keys of rows that lead to the order, become lists of objects; a foreign key of
    the order (`order.customer`) becomes an object, or null. The order and each row begin with `id`, their primary key
    as in `changes`. Values are as in `changes`: decimals as text, times in UTC, a foreign key as the key that it holds.
    """

    fields: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    def __init__(self, /, *fields: str, **rows: tuple[str, ...]) -> None:
        for name, of_rows in rows.items():
            if isinstance(of_rows, str):
                raise TypeError(f'`{name}` of FieldPayload is the text {of_rows!r}. Write {name}=("{of_rows}",).')
            if name in fields:
                raise TypeError(f"FieldPayload has {name!r} as a field and as the name of rows. Remove one.")
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "rows", tuple((name, tuple(of_rows)) for name, of_rows in rows.items()))

    @classmethod
    def of_watched(cls, source: Source) -> "FieldPayload":
        """All watched fields of a source, and those of its related rows."""
        model = source.get_model()
        own = with_partners(model, tuple(dict.fromkeys((*source.watched, *source.transitions))))
        rows = {one.key: with_partners(one.get_model(), one.watched) for one in source.all_related}
        return cls(*own, **rows)

    def payload(self, source: Source, order: Any) -> dict[str, Any]:
        """The payload of an order. One query for each name of rows that the order does not hold yet."""
        held = {name: rows_of(source, name).read(order, names) for name, names in self.rows}
        return {**_object(order, source.get_model(), self.fields), **held}

    def schema(self, source: Source) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of `payload`. No database."""
        properties = _schemas(source.get_model(), self.fields)
        return _whole(properties | {name: rows_of(source, name).schema(names) for name, names in self.rows})

    def example(self, source: Source) -> dict[str, Any]:
        """An example that fits `schema`, the same each time. No database."""
        shown = _examples(source.get_model(), self.fields)
        return shown | {name: rows_of(source, name).example(names) for name, names in self.rows}


@dataclass(frozen=True, slots=True)
class Rows:
    """How an order reaches the rows that a payload shows under one name."""

    model: type[models.Model]
    kind: Literal["many", "one", "path"]
    # For a path, the foreign keys from the row to the order. Otherwise the attribute of the order.
    by: str
    # Whether there may be no row to show as an object.
    optional: bool = False

    @property
    def are_listed(self) -> bool:
        """Whether they are shown as a list of objects, and not as one object."""
        return self.kind in ("many", "path")

    def read(self, order: Any, names: tuple[str, ...]) -> Any:
        """The rows as JSON: a list of objects, or an object or None."""
        if self.are_listed:
            return [_object(row, self.model, names) for row in self._many(order)]
        row = reading.related_row(order, self.by)
        return None if row is None else _object(row, self.model, names)

    def schema(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The JSON Schema of what `read` returns."""
        whole = _whole(_schemas(self.model, names))
        if self.are_listed:
            return {"type": "array", "items": whole}
        return field_types.nullable(whole) if self.optional else whole

    def example(self, names: tuple[str, ...]) -> Any:
        """An example of what `read` returns."""
        shown = _examples(self.model, names)
        return [shown] if self.are_listed else shown

    def _many(self, order: Any) -> Iterable[Any]:
        if self.kind == "path":
            return reading.plain(self.model, order._state.db).filter(**{self.by: order}).order_by("pk")
        rows = reading.related_rows(order, self.by)
        if not rows.ordered:
            return _by_key(rows)
        return rows if rows._result_cache is not None else reading.in_one_order(rows)


def rows_of(source: Source, name: str) -> Rows:
    """How orders of a source reach the rows of that name. Raises FieldDoesNotExist, with the names that there are."""
    return _rows_of(source.get_model(), source.all_related, name)


@functools.cache
def _rows_of(order: type[models.Model], all_related: tuple[Related, ...], name: str) -> Rows:
    related = next((one for one in all_related if one.key == name), None)
    if related is not None and not related.pointer:
        model, relation = related.get_model(), related.relation
        return Rows(model, "many", relation) if relation else Rows(model, "path", related.path)
    relations = dict(_relations(order))
    by = related.pointer if related is not None else name
    field = relations.get(by)
    if field is None:
        known = dict.fromkeys((*(one.key for one in all_related), *relations))
        raise FieldDoesNotExist(f"{order._meta.label} reaches no rows by {name!r}. Name one of: {', '.join(known)}.")
    if field.one_to_many or field.many_to_many:
        return Rows(field.related_model, "many", by)
    return Rows(field.related_model, "one", by, optional=not field.concrete or field.null)


def _relations(order: type[models.Model]) -> Iterator[tuple[str, Any]]:
    """The relations of a model, by the attribute that reads them."""
    fields: Iterable[Any] = order._meta.get_fields()
    for field in fields:
        if field.is_relation and isinstance(field.related_model, type):
            is_reverse = field.auto_created and not field.concrete
            yield field.get_accessor_name() if is_reverse else field.name, field


def _by_key(rows: Iterable[Any]) -> list[Any]:
    found = list(rows)
    try:
        return sorted(found, key=lambda row: row.pk)
    except TypeError:
        return found


def _object(instance: Any, model: type[models.Model], names: tuple[str, ...]) -> dict[str, Any]:
    return {"id": keys.as_json(model, keys.text_of(instance, model)), **watched_values(instance, names)}


def _schemas(model: type[models.Model], names: tuple[str, ...]) -> dict[str, Any]:
    return {"id": field_types.key_schema(model)} | {
        field.name: field_types.schema_of(field) for field in _fields(model, names)
    }


def _examples(model: type[models.Model], names: tuple[str, ...]) -> dict[str, Any]:
    return {"id": field_types.key_example(model)} | {
        field.name: field_types.example_of(field) for field in _fields(model, names)
    }


def _fields(model: type[models.Model], names: Iterable[str]) -> list[Any]:
    return [model._meta.get_field(name) for name in names]


def _whole(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
