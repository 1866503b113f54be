"""Running pumps: each writes a heartbeat, by which other processes see whether a worker is at work."""

import uuid
from datetime import datetime, timedelta

from django.db import connections, models, router
from django.db.models import Max, Q
from django.utils import timezone

from orderhooks.db.clock import DatabaseNow
from orderhooks.db.locks import brief_transaction, locked_if_free
from orderhooks.db.wakeup import notify_pumps

# A pump beats each second; one that was silent for five is taken for dead.
FRESH = timedelta(seconds=5)
STALE = timedelta(days=1)


class PumpQuerySet(models.QuerySet["Pump"]):
    def fresh(self) -> "PumpQuerySet":
        """Pumps whose heartbeat is recent."""
        return self.filter(ended=False, beat_at__gt=DatabaseNow() - FRESH)

    def last_seen_at(self) -> datetime | None:
        """The time of the latest heartbeat, whether its pump is still alive or not."""
        last: datetime | None = self.aggregate(last=Max("beat_at"))["last"]
        return last


class Pump(models.Model):
    """A running pump's heartbeat. One that was killed leaves it behind, stale.

    The row of the last one that ended is kept, to show when a worker was last seen.
    """

    token = models.UUIDField(primary_key=True, default=uuid.uuid4)
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)
    ended = models.BooleanField(default=False)

    objects = PumpQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"pump {self.token}"

    @classmethod
    def notify(cls) -> bool:
        """Whether a pump is alive. On PostgreSQL it is also woken to look for work (see `db.wakeup`). One query."""
        using = router.db_for_write(cls)
        if connections[using].vendor != "postgresql":
            return cls.objects.using(using).fresh().exists()
        return notify_pumps(fresh=FRESH, using=using)

    @classmethod
    def start(cls, *, now: datetime) -> "Pump":
        """A new pump's first heartbeat, by the database's clock."""
        return cls.objects.create(started_at=now, beat_at=now)

    def beat(self, *, now: datetime) -> None:
        """Record that this pump is alive."""
        Pump.objects.filter(pk=self.pk).update(beat_at=now)

    def end(self, *, now: datetime) -> None:
        """Mark this pump as ended. Deletes pumps that ended before, and those that were killed long ago."""
        using = Pump.objects.db
        gone = Pump.objects.filter(Q(ended=True) | Q(beat_at__lt=now - STALE)).exclude(pk=self.pk)
        # A host may be lost while it deletes them. The database keeps its transaction open, and nobody waits for it.
        with brief_transaction(using):
            keys = list(locked_if_free(gone).values_list("pk", flat=True))
            Pump.objects.filter(pk__in=keys).delete()
        Pump.objects.filter(pk=self.pk).update(beat_at=now, ended=True)
