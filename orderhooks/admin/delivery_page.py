"""A delivery's page: its summary, its attempts and its request, looked up once for each request."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from orderhooks import reporting, retention_periods, sending, shaping, tasks, transport
from orderhooks.admin import bodies
from orderhooks.admin.health import badge
from orderhooks.admin.stores import stores_of
from orderhooks.models import Attempt, Delivery
from orderhooks.reporting import delivery_summary, durations

# The newest attempts that a page shows; the retry table makes ten.
MOST_ATTEMPTS = 100
# The kinds of failure before which no request to the endpoint is made.
NOT_SENT = transport.NOT_REQUESTED | {"payload", "login"}
TEMPLATES = "admin/orderhooks/delivery"


@dataclass(frozen=True)
class DeliveryPage:
    """Made for one request. `site`: the admin site's name, for links."""

    request: HttpRequest
    delivery: Delivery
    site: str
    now: datetime

    @cached_property
    def attempts(self) -> list[Attempt]:
        return list(self.delivery.attempts.order_by("-number")[:MOST_ATTEMPTS])

    @cached_property
    def blocker(self) -> Delivery | None:
        """What it waits for."""
        if self.delivery.state != Delivery.State.PENDING:
            return None
        return self.delivery.blockers().select_related("event").defer("event__payload", "event__changes").first()

    @cached_property
    def held_up(self) -> list[int]:
        """What waits for it."""
        seen = self.delivery.held_up().about_stores(stores_of(self.request))
        return list(seen.values_list("pk", flat=True)[: delivery_summary.MOST_BEHIND + 1])

    @cached_property
    def carrier(self) -> Delivery | None:
        """What it was merged into."""
        return self.delivery.carrier()

    @cached_property
    def problems(self) -> list[str]:
        """Why nothing at all is sent, where it waits to be sent."""
        if self.delivery.state != Delivery.State.PENDING:
            return []
        return reporting.worker_problems(tasks.look_at_worker(), now=self.now)

    def summary(self) -> SafeString:
        stores = stores_of(self.request)
        sentences = delivery_summary.sentences(
            self.delivery,
            self.attempts,
            now=self.now,
            most=delivery_summary.most_attempts(self.delivery),
            blocker=self.blocker,
            behind=len(self.held_up),
            carrier=self.carrier,
            carried=self.delivery.carried().about_stores(stores)[: delivery_summary.MOST_BEHIND + 1].count(),
            stores=stores,
        )
        context = {
            "problems": self.problems,
            "badge": state_badge(self.delivery),
            "sentences": sentences,
            "blocker": self.blocker and self._is_seen(self.blocker) and self.url(self.blocker.pk),
            "held_up": self.held_up and self.url(self.held_up[0]),
            "carrier": self.carrier and self._is_seen(self.carrier) and self.url(self.carrier.pk),
        }
        return _drawn("summary.html", context)

    def attempt_log(self, *, confidential: bool) -> SafeString:
        """`confidential`: with headers and bodies of requests and responses."""
        # After a redelivery an attempt's number is no longer its place in the retry table.
        table = 0 if self.delivery.uncounted_attempts else delivery_summary.most_attempts(self.delivery)
        periods = retention_periods.current()
        kept_since = periods.cutoffs(now=self.now)["attempt_bodies"]
        attempts = [
            {
                "row": attempt,
                "was_blanked": attempt.started_at < kept_since and not attempt.request_headers,
                "badge": badge("failed" if attempt.error else "delivered", result_text(attempt)),
                "was_sent": attempt.error not in NOT_SENT,
                "title": delivery_summary.attempt_text(attempt.number, table),
                "when": time_html(attempt.started_at, now=self.now),
                # Not left to the template, which would look up a header that is called "items".
                "request_headers": list(attempt.request_headers.items()),
                "response_headers": list(attempt.response_headers.items()),
                "response_body": confidential and attempt.response_body and self._response_body(attempt),
            }
            for attempt in self.attempts
        ]
        most = MOST_ATTEMPTS if len(attempts) == MOST_ATTEMPTS else 0
        context = {
            "attempts": attempts,
            "made": self.delivery.attempts_made,
            "confidential": confidential,
            "most": most,
            "days": periods.attempt_bodies,
        }
        return _drawn("attempts.html", context)

    def _response_body(self, attempt: Attempt) -> SafeString:
        return bodies.draw(attempt.response_body, label=_("Response body of attempt %d") % attempt.number)

    def request_body(self) -> SafeString:
        try:
            delivery = self.delivery
            shaped = shaping.shape(delivery.event, delivery.subscription, changes=delivery.merged_changes)
        except shaping.ShapingError as error:
            return format_html("{}", str(error))
        drawn = bodies.draw(shaped.text, label=_("Body as it is sent"), content_type=shaped.content_type)
        of_format = "\n".join(f"{name}: {value}" for name, value in shaped.headers.items())
        # Attributes of a CloudEvent, or when the version of the body ends.
        headers = format_html('<pre class="orderhooks-text" tabindex="0">{}</pre>', of_format)
        return headers + drawn if len(shaped.headers) > 1 else drawn

    def curl(self) -> SafeString:
        try:
            script = sending.curl_script(self.delivery)
        except shaping.ShapingError:
            # The body, above it, says why.
            return SafeString("-")
        return _drawn("curl.html", {"script": script, "url": self.url(self.delivery.pk, "curl")})

    def _is_seen(self, delivery: Delivery) -> bool:
        return delivery_summary.is_seen(delivery, stores_of(self.request))

    def url(self, key: int, name: str = "change") -> str:
        return reverse(f"{self.site}:orderhooks_delivery_{name}", args=[key])


def result_text(attempt: Attempt) -> str:
    """The status, or the kind of failure if that says more: a 200 without permission is no success."""
    return attempt.error if attempt.error not in ("", "status") else str(attempt.status_code or "")


def state_badge(delivery: Delivery) -> SafeString:
    if delivery.is_held:
        return badge("held", _("held"))
    if delivery.is_merged:
        return badge(delivery.state, _("merged"))
    return badge(delivery.state, Delivery.State(delivery.state).label)


def time_html(at: datetime, *, now: datetime | None = None) -> SafeString:
    """Relative and absolute: `in 4 min (3:04 a.m.)`."""
    now = now or timezone.now()
    relative, absolute = durations.relative_text(at, now=now), durations.time_text(at, now=now)
    return format_html('{} <span class="orderhooks-hint">({})</span>', relative, absolute)


def compact_time_html(at: datetime) -> SafeString:
    """The same for a narrow column: `in 4 min`, with the time itself as a tooltip."""
    now = timezone.now()
    absolute, relative = durations.time_text(at, now=now), durations.relative_text(at, now=now)
    return format_html('<time class="orderhooks-time" title="{}">{}</time>', absolute, relative)


def _drawn(template: str, context: dict[str, Any]) -> SafeString:
    return SafeString(render_to_string(f"{TEMPLATES}/{template}", context))
