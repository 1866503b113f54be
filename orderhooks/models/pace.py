"""Pace: how fast requests may go to one endpoint, over all workers. Claiming reads it, with the row locked.

People limit requests at once and requests a second; the endpoint may limit requests a minute. The lower of two rates
counts. It is kept by GCRA, the generic cell rate algorithm (ITU-T Recommendation I.371; a leaky bucket as a meter),
which needs one timestamp in place of a bucket.
"""

from datetime import datetime, timedelta

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["HasPace", "after_requests", "requests_in_time"]

NO_LIMIT = 1_000_000_000
# What a rate lets out at once, at least one request: the time between two looks of a pump.
BURST_SECONDS = 0.05


def requests_in_time(rate: float, *, paced_until: datetime | None, now: datetime) -> int:
    """How many requests GCRA lets out now, of `rate` a second.

    `paced_until`: its theoretical arrival time; None: nothing was sent yet.
    """
    burst = max(1.0, rate * BURST_SECONDS)
    ahead = max(0.0, (paced_until - now).total_seconds()) if paced_until else 0.0
    return int(burst - ahead * rate + 1e-6)


def after_requests(requests: int, rate: float, *, paced_until: datetime | None, now: datetime) -> datetime:
    """GCRA's theoretical arrival time after `requests` requests went out now."""
    start = max(paced_until, now) if paced_until else now
    return start + timedelta(seconds=requests / rate)


class HasPace(models.Model):
    """A row whose requests keep to limits of its own."""

    max_in_flight = models.PositiveIntegerField(
        _("requests at once"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("The most requests at once, over all workers. Blank: no limit of its own."),
    )
    max_per_second = models.PositiveIntegerField(
        _("requests a second"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("The most requests a second, over all workers. Blank: no limit."),
    )
    # GCRA's theoretical arrival time: when the next request would be on time. Null: no rate let one out yet.
    paced_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def max_per_minute(self) -> int | None:
        """How many requests a minute the endpoint allows. None: no limit of this kind."""
        return None

    @property
    def rate(self) -> float | None:
        """The most requests a second. None: no limit."""
        rates = [self.max_per_second, self.max_per_minute and self.max_per_minute / 60]
        return min((rate for rate in rates if rate is not None), default=None)

    @property
    def is_paced(self) -> bool:
        """Whether all workers together have to keep to a limit of its own."""
        return self.max_in_flight is not None or self.rate is not None

    def pace_capacity(self, in_flight: int, *, now: datetime) -> int:
        """How many more requests its limits let out now; below 0 if too many are in flight."""
        limits = [NO_LIMIT]
        if self.max_in_flight is not None:
            limits.append(self.max_in_flight - in_flight)
        if (rate := self.rate) is not None:
            limits.append(requests_in_time(rate, paced_until=self.paced_until, now=now))
        return min(limits)

    def spend(self, requests: int, *, now: datetime) -> None:
        """Record on the locked row that this many requests go out."""
        if (rate := self.rate) is None or not requests:
            return
        self.paced_until = after_requests(requests, rate, paced_until=self.paced_until, now=now)
        self.save(update_fields=["paced_until"])
