"""Capture failures: changes of orders that could not be captured, counted by what went wrong.

`outbox` records them; status and doctor show them. Such a change was saved, but no event was made of it.
"""

import hashlib
import re
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, models, router, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks import logs
from orderhooks.models.metric_totals import MetricTotal

logger = logs.get_logger(__name__)

AT_MOST = 100
ERROR_LENGTH = 2000
ORDER_PK_LENGTH = 255
SOURCE_LENGTH = 64


class CaptureFailureQuerySet(models.QuerySet["CaptureFailure"]):
    def recent(self, *, since: datetime | None = None) -> "CaptureFailureQuerySet":
        """The newest hundred failures, the latest first. `since`: only those that happened again since then."""
        rows = self.filter(last_at__gte=since) if since else self
        return rows.order_by("-last_at", "-pk")[:AT_MOST]

    def record(self, *, source: str, error: str, order_pk: str = "", using: str | None = None) -> None:
        """Count one change that could not be captured. Never raises.

        `source` is the source's name, or blank; `error` says in plain words what went wrong and what to do; `order_pk`
        is the order's primary key as text, or blank if it is not known; `using` is the database in which the order is
        being saved. Written once that database's transaction has committed, because a rollback loses nothing. Nothing
        is written if the table is missing.
        """
        try:
            write = partial(_write_and_count, source=source, order_pk=order_pk, error=error)
            transaction.on_commit(write, using=using or router.db_for_write(self.model), robust=True)
        except Exception as problem:
            _log_unwritten(problem)


class CaptureFailure(models.Model):
    """What went wrong while changes of a source's orders were captured, how often, and for which order last."""

    source = models.CharField(_("source"), max_length=SOURCE_LENGTH, blank=True)
    # Of the source and the error without its numbers and names: one row for each kind of failure, however many orders.
    fingerprint = models.CharField(max_length=64, unique=True)
    # The last order to which it happened.
    order_pk = models.CharField(max_length=ORDER_PK_LENGTH, blank=True)
    error = models.TextField(_("error"))
    count = models.PositiveBigIntegerField(_("count"), default=1)
    first_at = models.DateTimeField(_("first at"), default=timezone.now)
    last_at = models.DateTimeField(_("last at"), default=timezone.now)

    objects = CaptureFailureQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("capture failure")
        verbose_name_plural = _("capture failures")

    def __str__(self) -> str:
        return f"{self.source}: {self.error}"


# The parts of an error that differ from order to order: quoted texts, and words with a digit (numbers, keys, dates).
PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|\w*\d\w*")


def _fingerprint(source: str, error: str) -> str:
    return hashlib.sha256(f"{source}\n{PARTICULARS.sub('?', error)}".encode(errors="replace")).hexdigest()


def _clean(text: str, length: int) -> str:
    # What PostgreSQL can't store: NUL, and halves of surrogate pairs.
    return text.replace("\x00", "").encode(errors="replace").decode()[:length]


def _write(*, source: str, order_pk: str, error: str) -> None:
    try:
        now = timezone.now()
        using = router.db_for_write(CaptureFailure)
        error = _clean(error, ERROR_LENGTH)
        fingerprint = _fingerprint(source, error)
        seen: dict[str, Any] = {"order_pk": _clean(order_pk, ORDER_PK_LENGTH), "error": error, "last_at": now}
        same = CaptureFailure.objects.using(using).filter(fingerprint=fingerprint)
        # Atomic, so that a missing table spoils no transaction that this may run in.
        with transaction.atomic(using=using):
            if same.update(count=F("count") + 1, **seen):
                return
        row = CaptureFailure(source=_clean(source, SOURCE_LENGTH), fingerprint=fingerprint, first_at=now, **seen)
        try:
            with transaction.atomic(using=using):
                row.save(using=using, force_insert=True)
        except IntegrityError:  # another process was first
            with transaction.atomic(using=using):
                same.update(count=F("count") + 1, **seen)
    except Exception as problem:
        _log_unwritten(problem)


def _write_and_count(**failure: str) -> None:
    _write(**failure)
    try:
        with transaction.atomic(using=router.db_for_write(MetricTotal)):
            MetricTotal.objects.count_one(MetricTotal.Metric.CAPTURE_FAILURE)
    except Exception as problem:
        _log_unwritten(problem)


def _log_unwritten(problem: Exception) -> None:
    # The failure itself is in the log already.
    logger.debug("could not record that a change was not captured: %s", problem)
