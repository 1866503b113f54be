"""Pumps at work: who is moving events along at this moment, and when each was last heard of."""

import uuid
from datetime import datetime, timedelta

from django.db import connections, models, router
from django.utils import timezone

from orderhooks.models.bell import CHANNEL
from orderhooks.models.clock import DatabaseNow

# A pump beats each second; one that was silent for five is taken for dead.
FRESH = timedelta(seconds=5)


class PumpQuerySet(models.QuerySet["Pump"]):
    def fresh(self) -> "PumpQuerySet":
        """Pumps that are alive, as far as can be told."""
        return self.filter(beat_at__gt=DatabaseNow() - FRESH)


class Pump(models.Model):
    """A running pump's heartbeat. The row goes when the pump ends; one that was killed leaves it behind, stale."""

    token = models.UUIDField(primary_key=True, default=uuid.uuid4)
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)

    objects = PumpQuerySet.as_manager()

    def __str__(self) -> str:
        return f"pump {self.token}"

    @classmethod
    def ring(cls) -> bool:
        """Whether a pump is alive. Where the database can tell it, it is told to look (see `bell`). One query."""
        using = router.db_for_write(cls)
        if connections[using].vendor != "postgresql":
            return cls.objects.using(using).fresh().exists()
        with connections[using].cursor() as cursor:
            cursor.execute(RING, [CHANNEL, FRESH.total_seconds()])
            return cursor.fetchone() is not None

    @classmethod
    def start(cls, *, now: datetime) -> "Pump":
        """A new pump's first heartbeat, by the database's clock."""
        return cls.objects.create(started_at=now, beat_at=now)

    def beat(self, *, now: datetime) -> None:
        """Tell the others that this pump is alive."""
        Pump.objects.filter(pk=self.pk).update(beat_at=now)


# Written out, as each save asks it.
RING = """
SELECT pg_notify(%s, '') FROM orderhooks_pump WHERE beat_at > clock_timestamp() - make_interval(secs => %s) LIMIT 1
"""
