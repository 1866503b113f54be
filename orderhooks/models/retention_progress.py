"""Retention progress: how far `retention` has got in a table whose rows it changes and keeps."""

from django.db import IntegrityError, models, transaction

__all__ = ["RetentionProgress"]


class RetentionProgressQuerySet(models.QuerySet["RetentionProgress"]):
    def reached(self, kind: str) -> int:
        """The primary key of the last row that was gone through; 0 if none was."""
        return self.filter(kind=kind).values_list("reached", flat=True).first() or 0

    def move(self, kind: str, *, start: int, end: int) -> None:
        """Move from the row `start` to the row `end`, unless another process has moved it."""
        if self.filter(kind=kind, reached=start).update(reached=end) or start:
            return
        try:
            with transaction.atomic(using=self.db):
                self.create(kind=kind, reached=end)
        except IntegrityError:
            pass  # another process was first, with the same rows


class RetentionProgress(models.Model):
    """One kind of record: the primary keys up to `reached` need not be looked at again."""

    kind = models.CharField(max_length=32, unique=True)
    reached = models.BigIntegerField()

    objects = RetentionProgressQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"{self.kind} up to {self.reached}"
