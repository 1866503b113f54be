"""Guesses of what an order source of a model could say, from the model's fields and relations.

`source_skeleton` writes them down. A person changes what is guessed wrong.
"""

import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models

from orderhooks import topics

__all__ = ["Guess", "GuessedRows", "guess"]

# By the words of a name.
ADDRESS = re.compile(r"address", re.IGNORECASE)
LINES = re.compile(r"line|item|position|entry", re.IGNORECASE)
NUMBER = re.compile(r"number|reference|code|^no$|_no$|order_id$", re.IGNORECASE)
RECORDS = re.compile(r"log|histor|audit|revision", re.IGNORECASE)
SECRET = re.compile(r"password|secret|token|session", re.IGNORECASE)
STATUS = re.compile(r"stat(e|us)(_|$)|stage|phase", re.IGNORECASE)
# Apps whose rows are no part of an order.
OTHER_APPS = frozenset({"admin", "auth", "contenttypes", "orderhooks", "sessions"})
# The topics of values that do not have the topic's name.
SYNONYMS = {
    "canceled": "order.cancelled",
    "authorised": "order.authorized",
    "shipped": "order.fulfilled",
    "sent": "order.fulfilled",
    "dispatched": "order.fulfilled",
    "complete": "order.closed",
    "completed": "order.closed",
    "done": "order.closed",
    "archived": "order.closed",
}
# Each order has these, whatever its status is.
OF_EACH_ORDER = frozenset({"order.created", "order.updated", "order.deleted"})


@dataclass(frozen=True, slots=True)
class GuessedRows:
    """Rows beside the order: the key and the path of a `Related`, and their fields."""

    key: str
    model: type[models.Model]
    path: str
    watched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Guess:
    """What a source could say of a model."""

    watched: tuple[str, ...]
    # Fields that are shown but not watched, such as the time of the last save.
    shown: tuple[str, ...]
    # By field, the topic of each value, or a blank.
    transitions: Mapping[str, Mapping[Any, str]]
    lines: GuessedRows | None
    related: tuple[GuessedRows, ...]
    # Relations that look like the records of a log.
    left_out: tuple[str, ...]
    # The field by which people know an order. Blank: its key.
    number: str


def guess(model: type[models.Model]) -> Guess:
    """Guess the source of a model. Reads no database."""
    addresses = [field for field in _columns(model) if _is_address(field)]
    own = [field for field in _columns(model) if field not in addresses]
    watched = tuple(field.name for field in own if _is_watchable(field))
    shown = tuple(field.name for field in own if _is_set_by_saves(field) and not SECRET.search(field.name))
    relations = list(_reverse_relations(model))
    left_out = [relation for relation in relations if RECORDS.search(relation.get_accessor_name())]
    found = [relation for relation in relations if relation not in left_out]
    taken = {field.name for field in own}
    rows = [_leading(relation, taken) for relation in found] + [_pointed_at(field, taken) for field in addresses]
    many = {relation.field.name for relation in found if relation.multiple}
    lines = next((one for one in rows if one.path in many and LINES.search(one.key + one.model.__name__)), None)
    return Guess(
        watched=watched,
        shown=shown,
        transitions={field.name: _topics(field) for field in own if _is_status(field)},
        lines=lines,
        related=tuple(one for one in rows if one is not lines),
        left_out=tuple(relation.get_accessor_name() for relation in left_out),
        number=_number(model),
    )


def _columns(model: type[models.Model]) -> list[Any]:
    """The columns beside the key and the links to parents."""
    keys = {field.name for field in model._meta.pk_fields}
    return [
        field
        for field in model._meta.concrete_fields
        if field.column is not None and not field.primary_key and field.name not in keys
    ]


def _is_set_by_saves(field: Any) -> bool:
    return getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)


def _is_watchable(field: Any) -> bool:
    # A time that each save sets would make an event of each save.
    return not (_is_set_by_saves(field) or SECRET.search(field.name) or isinstance(field, models.BinaryField))


def _is_address(field: Any) -> bool:
    # Of other rows that an order points to, such as a customer or a country, many orders may point to one.
    return isinstance(field, models.ForeignKey) and ADDRESS.search(field.related_model.__name__) is not None


def _is_status(field: Any) -> bool:
    """Whether it is called a status, or has choices that are called like topics."""
    is_text_or_number = isinstance(field, models.CharField | models.IntegerField)
    return is_text_or_number and (STATUS.search(field.name) is not None or any(_topics(field).values()))


def _topics(field: Any) -> dict[Any, str]:
    """The topic that each choice of a field could stand for, or a blank."""
    known = topics.catalogue().keys() - OF_EACH_ORDER
    found = {}
    for value, label in field.flatchoices:
        names = [re.sub(r"\W+", "_", str(one).lower()) for one in (value, label)]
        likely = (SYNONYMS.get(name, f"order.{name}") for name in names)
        found[value] = "" if value == field.default else next((one for one in likely if one in known), "")
    return found


def _reverse_relations(model: type[models.Model]) -> Iterator[Any]:
    """The relations of rows that lead to the order by a foreign key, which may end at a parent of the order."""
    family = (model._meta.concrete_model or model, *model._meta.all_parents)
    for relation in model._meta.related_objects:
        row: Any = relation.related_model
        is_foreign_key = isinstance(relation.field, models.ForeignKey)
        of_family = row._meta.concrete_model in family or issubclass(row, family)
        if is_foreign_key and not of_family and not row._meta.auto_created and row._meta.app_label not in OTHER_APPS:
            yield relation


def _leading(relation: Any, taken: set[str]) -> GuessedRows:
    key = relation.get_accessor_name()
    if key.endswith("_set"):
        key = f"{key.removesuffix('_set')}s"
    watched = _watched_of_rows(relation.related_model, without=relation.field.name)
    return GuessedRows(_free(key, taken), relation.related_model, relation.field.name, watched)


def _pointed_at(field: Any, taken: set[str]) -> GuessedRows:
    watched = _watched_of_rows(field.related_model)
    return GuessedRows(_free(field.name, taken), field.related_model, f"order.{field.name}", watched)


def _watched_of_rows(model: type[models.Model], *, without: str = "") -> tuple[str, ...]:
    return tuple(field.name for field in _columns(model) if field.name != without and _is_watchable(field))


def _free(key: str, taken: set[str]) -> str:
    """The key, or a longer one if it is a word of Python or already taken."""
    while keyword.iskeyword(key) or key in taken:
        key = f"{key}_rows"
    taken.add(key)
    return key


def _number(model: type[models.Model]) -> str:
    """The unique text by which people know an order. Blank if there is none."""
    names = [field.name for field in _columns(model) if isinstance(field, models.CharField) and field.unique]
    names = [name for name in names if not SECRET.search(name)]
    return next((name for name in names if NUMBER.search(name)), next(iter(names), ""))
