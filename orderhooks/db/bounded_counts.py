"""Counts that cost the same however long the log is: exact up to a bound."""

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from django.db import models
from django.db.models import Subquery

__all__ = ["counts_up_to"]

Key = TypeVar("Key", bound=Hashable)


class _Count(Subquery):
    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = models.IntegerField()


def counts_up_to(bound: int, rows: "Mapping[Key, models.QuerySet[Any]]") -> dict[Key, int]:
    """How many of each there are, in one query; one more than `bound` stands for all that are more.

    The rows are ordered querysets of one model, so that an index is followed, not the table read.
    """
    # One row of the model carries them; where there is none, there is nothing to count.
    table = next(iter(rows.values())).model._default_manager.order_by("-pk")
    columns = [_Count(one.values("pk")[: bound + 1]) for one in rows.values()]
    found = table.values_list(*columns)[:1]
    counts = next(iter(found), (0,) * len(rows))
    return {key: count or 0 for key, count in zip(rows, counts, strict=True)}
