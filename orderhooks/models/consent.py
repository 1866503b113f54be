"""Consent: endpoints of CloudEvents formats allow the requests before they get any, and say how many a minute.

Source: https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md, section 4. Who asks is
`sending.handshake`.

# Note [One handshake at a time]
Until its URL has allowed the requests, at most one delivery of a subscription is under way, over all workers, as while
its circuit is half-open. That delivery's attempt asks first. A refusal opens the circuit, so that the deliveries that
wait do not ask one after the other.
"""

import functools
import socket
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.db import models
from django.utils import timezone

from orderhooks import conf, formats
from orderhooks.models.pace import HasPace

__all__ = ["HasConsent"]

# While the endpoint has not allowed requests yet.
AT_ONCE = 1
ASKED_AGAIN_AFTER = timedelta(days=1)
TOO_MANY = 429


class HasConsent(HasPace):
    """A row whose endpoint may have to allow requests first. What it allowed holds for that URL and origin alone."""

    consented_url = models.CharField(max_length=2000, blank=True, editable=False)
    consented_origin = models.CharField(max_length=253, blank=True, editable=False)
    consented_at = models.DateTimeField(null=True, editable=False)
    # WebHook-Allowed-Rate; null: as many as we like.
    consented_per_minute = models.PositiveIntegerField(null=True, editable=False)

    if TYPE_CHECKING:
        # Of HasCircuitBreaker.
        last_failure_at: models.DateTimeField[datetime | None, datetime | None]
        last_failure_status: models.PositiveSmallIntegerField[int | None, int | None]
        url: models.CharField[str, str]
        format: models.CharField[str, str]

    class Meta:
        abstract = True

    @property
    def request_origin(self) -> str:
        """The DNS name that its requests come from: as configured; or the name that was allowed; or this machine's."""
        return _configured_origin() or self.consented_origin or _machine_name()

    @property
    def asks_consent(self) -> bool:
        """Whether its format needs the endpoint's consent."""
        return formats.asks_consent(self.format)

    @property
    def has_consent(self) -> bool:
        """Whether the endpoint has allowed the requests that would go out now."""
        return self.consented_url == self.url and self.consented_origin == self.request_origin

    @property
    def lacks_consent(self) -> bool:
        """Whether the endpoint has to be asked before the next request: for the first time; or again, because it may
        allow another rate by now.
        """
        return self.asks_consent and not (self.has_consent and self._consent_is_recent)

    @property
    def _consent_is_recent(self) -> bool:
        """Whether the endpoint was asked within a day, and has not said since that it wants fewer requests (429)."""
        asked = self.consented_at
        if asked is None:
            return True
        if timezone.now() - asked >= ASKED_AGAIN_AFTER:
            return False
        return not (self.last_failure_status == TOO_MANY and self.last_failure_at and self.last_failure_at > asked)

    @property
    def max_per_minute(self) -> int | None:
        """How many requests a minute the endpoint allows. None: no limit of this kind."""
        return self.consented_per_minute if self.asks_consent and self.has_consent else None

    def record_consent(self, url: str, origin: str, *, per_minute: int | None, now: datetime) -> None:
        """Save on the locked row that the endpoint allows requests to this URL from this origin."""
        self.consented_url, self.consented_origin, self.consented_at = url, origin, now
        self.consented_per_minute = per_minute
        self.save(update_fields=["consented_url", "consented_origin", "consented_at", "consented_per_minute"])
        # The request that followed the handshake was claimed before the rate was known.
        self.spend(1, now=now)

    def pace_capacity(self, in_flight: int, *, now: datetime) -> int:
        """See HasPace. See Note [One handshake at a time]."""
        capacity = super().pace_capacity(in_flight, now=now)
        return min(capacity, AT_ONCE - in_flight) if self.lacks_consent else capacity

    @property
    def is_paced(self) -> bool:
        """See HasPace."""
        return super().is_paced or self.lacks_consent


def _configured_origin() -> str:
    settings = conf.current()
    return (settings.request_origin or urlsplit(settings.base_url).hostname or "").lower()


@functools.cache
def _machine_name() -> str:
    # Not getfqdn, which may wait for a name server.
    return socket.gethostname().lower()
