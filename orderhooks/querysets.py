"""Querysets whose `update()` and bulk methods are captured, though Django sends no signals for them.

    class Purchase(models.Model):
        objects = TrackedQuerySet.as_manager()

        class Meta:
            base_manager_name = "objects"  # also what Django itself updates, such as SET_NULL

`signal_handlers` sets what captures the changes, so that models can be defined without importing the outbox.
"""

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from django.db import models
from django.db.models import Q

__all__ = ["TrackedQuerySet", "use_tracker"]

Row = TypeVar("Row", bound=models.Model)
# Objects whose unique values are looked up by one statement. SQLite limits the depth of a condition.
AT_ONCE = 200


class Inserts(Protocol):
    """Takes the rows that a block has inserted, as instances or primary keys."""

    def add(self, rows: Iterable[Any]) -> None: ...


class Tracker(Protocol):
    """Captures what a block changes in the rows, or in those with the primary keys `keys`."""

    def __call__(
        self, rows: "models.QuerySet[Any]", *, fields: Iterable[str] | None = None, keys: Sequence[Any] | None = None
    ) -> AbstractContextManager[Inserts]: ...


_tracker: Tracker | None = None


def use_tracker(tracker: Tracker) -> None:
    """Have the changes of all tracked querysets captured by this tracker."""
    global _tracker
    _tracker = tracker


class TrackedQuerySet(models.QuerySet[Row]):
    """A queryset for orders and related rows. Use it as the model's manager, by `as_manager()`, or subclass it.

    What it captures: `update`, `bulk_create` with and without conflicts, `bulk_update`, and their asynchronous forms.
    `delete` and the methods that save instances send signals and need nothing.
    """

    def update(self, **values: Any) -> int:
        if _tracker is None:
            return super().update(**values)
        with _tracker(self, fields=values):
            return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(
        self,
        objs: Iterable[Row],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Iterable[str] | None = None,
        unique_fields: Iterable[str] | None = None,
    ) -> list[Row]:
        rows = list(objs)

        def create() -> list[Row]:
            return super(TrackedQuerySet, self).bulk_create(
                rows,
                batch_size=batch_size,
                ignore_conflicts=ignore_conflicts,
                update_conflicts=update_conflicts,
                update_fields=update_fields,  # type: ignore[arg-type]
                unique_fields=unique_fields,  # type: ignore[arg-type]
            )

        if _tracker is None or not rows:
            return create()
        may_conflict = ignore_conflicts or update_conflicts
        existing = self._keys_in_conflict(rows) if may_conflict else []
        with _tracker(self, keys=existing) as inserts:
            created = create()
            if may_conflict or any(row.pk is None for row in created):
                known = set(existing)
                inserts.add(key for key in self._keys_in_conflict(rows) if key not in known)
            else:
                inserts.add(created)
        return created

    def _keys_in_conflict(self, rows: Sequence[Row]) -> list[Any]:
        """The primary keys of the stored rows that have a unique value of one of these."""
        found: dict[Any, None] = {}
        stored: models.QuerySet[Row] = models.QuerySet(self.model, using=self._writing_database()).order_by()
        for names in _unique_sets(self.model):
            conditions = [one for row in rows if (one := _condition(row, names)) is not None]
            for start in range(0, len(conditions), AT_ONCE):
                some = functools.reduce(operator.or_, conditions[start : start + AT_ONCE])
                found |= dict.fromkeys(stored.filter(some).values_list("pk", flat=True))
        return list(found)

    def _writing_database(self) -> str:
        writing = self._chain()  # type: ignore[attr-defined]
        writing._for_write = True
        return str(writing.db)


def _unique_sets(model: type[models.Model]) -> Iterator[tuple[str, ...]]:
    """The names of the fields of each unique key. Keys by expressions are left out: their values are not known."""
    yield tuple(field.name for field in model._meta.pk_fields)
    yield from ((field.name,) for field in model._meta.concrete_fields if field.unique and not field.primary_key)
    yield from (tuple(names) for names in model._meta.unique_together)
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint) and constraint.fields:
            yield tuple(constraint.fields)


def _condition(row: models.Model, names: Sequence[str]) -> Q | None:
    values = {name: getattr(row, row._meta.get_field(name).attname) for name in names}  # type: ignore[union-attr]
    if any(value is None or hasattr(value, "resolve_expression") for value in values.values()):
        return None
    return Q(**values)
