"""Circuit breaker: what attempts show about an endpoint, and when nothing is sent to it because of that.

# Note [Circuit breaker]
An endpoint that responds with 429, 502, 503 or 504, times out or refuses connections is overloaded or away. More
requests make it worse and use up their deliveries' attempts. So its circuit opens: nothing automatic is sent to it
until `circuit_open_until` (operators read "cooling down"). Then it is half-open: `slow_start_limit` lets one probe out.
If that succeeds, the circuit closes, and the backlog drains at a rising rate (slow start); if not, it opens for twice
as long. Sources: Michael Nygard, Release It!, "Circuit Breaker"; slow start: RFC 5681, section 3.1.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["HasCircuitBreaker", "after_successes", "open_seconds"]

# How long a circuit is open at first. The time doubles up to the longest.
FIRST_OPEN_SECONDS = 1.0
LONGEST_OPEN_SECONDS = 300.0
MOST_OPENINGS = 100
# A slow start ends above this number of requests at once.
SLOW_START_TOP = 128


def open_seconds(openings: int, *, jitter: float) -> float:
    """How many seconds a circuit stays open that has opened `openings` times in a row (from 1).

    `jitter` is a number from 0 to 1 that spreads the time by 20 % either way.
    """
    return min(FIRST_OPEN_SECONDS * 2.0 ** (openings - 1), LONGEST_OPEN_SECONDS) * (0.8 + 0.4 * jitter)


def after_successes(slow_start_limit: int, count: int) -> int | None:
    """The limit after `count` successes: each lets one more out, so it doubles with every round. None: no limit."""
    return slow_start_limit + count if slow_start_limit + count <= SLOW_START_TOP else None


class HasCircuitBreaker(models.Model):
    """A row that records whether its endpoint responds. See Note [Circuit breaker]."""

    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    consecutive_failures = models.PositiveIntegerField(_("consecutive failures"), default=0, editable=False)
    last_success_at = models.DateTimeField(_("last success"), null=True, blank=True, editable=False)
    # In plain words. Both stay when it has recovered.
    last_failure = models.CharField(_("last error"), max_length=500, blank=True, editable=False)
    last_failure_at = models.DateTimeField(_("time of the last error"), null=True, blank=True, editable=False)
    # The same for programs: the outcome's kind (see `transport.NEXT_STEPS`), and the status of the response if any.
    last_failure_kind = models.CharField(max_length=32, blank=True, editable=False)
    last_failure_status = models.PositiveSmallIntegerField(null=True, editable=False)
    # The last success that came after failures.
    recovered_at = models.DateTimeField(_("recovered at"), null=True, blank=True, editable=False)
    # Nothing automatic is sent before: the endpoint is overloaded or away. Null: the circuit is closed.
    circuit_open_until = models.DateTimeField(_("cooling down until"), null=True, blank=True, editable=False)
    # How often the circuit opened in a row.
    circuit_openings = models.PositiveSmallIntegerField(default=0, editable=False)
    # Requests at once while it comes back; null: no limit.
    slow_start_limit = models.PositiveSmallIntegerField(null=True, editable=False)

    class Meta:
        abstract = True

    # What attempts change, and people do not.
    RECORDED = (
        "failing_since",
        "consecutive_failures",
        "last_success_at",
        "last_failure",
        "last_failure_at",
        "last_failure_kind",
        "last_failure_status",
        "recovered_at",
        "circuit_open_until",
        "circuit_openings",
        "slow_start_limit",
    )
    # What these columns are when failures are over. A slow start goes on.
    CLOSED: dict[str, Any] = {
        "failing_since": None,
        "consecutive_failures": 0,
        "circuit_open_until": None,
        "circuit_openings": 0,
    }

    def is_circuit_open(self, *, at: datetime) -> bool:
        """Whether nothing automatic may be sent at that time."""
        return self.circuit_open_until is not None and self.circuit_open_until > at

    def after_cooling_down(self, at: datetime) -> datetime:
        """The time, or when the endpoint has cooled down, if that is later."""
        return at if self.circuit_open_until is None else max(at, self.circuit_open_until)

    def circuit_capacity(self, in_flight: int, *, now: datetime) -> int | None:
        """How many more automatic requests it lets out now; None: no limit."""
        if self.slow_start_limit is None:
            return None
        return 0 if self.is_circuit_open(at=now) else self.slow_start_limit - in_flight

    def record_success(self, *, now: datetime, count: int = 1) -> bool:
        """The endpoint responded with 2xx. True if it had been failing before. To be saved."""
        self.last_success_at = now
        return self.record_answer(now=now, count=count)

    def record_answer(self, *, now: datetime, count: int = 1) -> bool:
        """The endpoint works, whether it took what it was sent or not. True if it had been failing. To be saved."""
        failing = self.consecutive_failures > 0
        if failing:
            self.recovered_at = now
        for name, value in self.CLOSED.items():
            setattr(self, name, value)
        if self.slow_start_limit is not None:
            self.slow_start_limit = after_successes(self.slow_start_limit, count)
        return failing

    def record_failure(
        self, *, now: datetime, count: int = 1, detail: str = "", kind: str = "", status: int | None = None
    ) -> None:
        """The endpoint failed attempts; `detail`, `kind` and `status` describe the last one. To be saved."""
        self.consecutive_failures += count
        self.failing_since = self.failing_since or now
        self.last_failure, self.last_failure_at = detail[:500], now
        # A number outside this range comes from an invalid response, and does not fit the column.
        is_status = status is not None and 100 <= status <= 999
        self.last_failure_kind, self.last_failure_status = kind[:32], status if is_status else None

    def open_circuit(self, *, now: datetime, jitter: float, at_least_seconds: float = 0.0) -> None:
        """Send nothing to the endpoint for a while, longer each time; then one probe. To be saved.

        `jitter` is as in `open_seconds`; `at_least_seconds` comes from the endpoint's `Retry-After`.
        """
        if not self.is_circuit_open(at=now):
            self.circuit_openings = min(self.circuit_openings + 1, MOST_OPENINGS)
        until = now + timedelta(seconds=max(open_seconds(self.circuit_openings, jitter=jitter), at_least_seconds))
        self.circuit_open_until = max(self.circuit_open_until, until) if self.circuit_open_until else until
        self.slow_start_limit = 1

    def has_failed_for(self, longer_than: timedelta, *, now: datetime) -> bool:
        """Whether every attempt has failed for that long."""
        return self.failing_since is not None and self.failing_since <= now - longer_than
