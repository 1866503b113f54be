"""What a format encodes, and the class that formats derive from."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise

from orderhooks import conf

__all__ = ["Format", "OutgoingEvent"]


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event on its way to a subscription.

    `envelope`: the body of the standard format, as a dict of JSON values. Its `data` is as the subscription gets it, so
    it need not hold an order. `order_id`: the `id` in the order's payload, or the order's primary key as text if it has
    none. `order_number`: "" if the order has none.
    """

    envelope: Mapping[str, Any]
    order_id: str | int
    order_number: str

    @property
    def base_url(self) -> str:
        """The setting BASE_URL. "" in a receiver's tests without settings of Django."""
        try:
            return conf.current().base_url
        except ImproperlyConfigured:
            return ""

    @property
    def url(self) -> str:
        """Where the API shows the event: a path if BASE_URL is blank, and "" if the project has no API."""
        try:
            return self.base_url + reverse("orderhooks:event-detail", args=[self.envelope["id"]])
        except (NoReverseMatch, ImproperlyConfigured):
            return ""


class Format:
    """A way to write the body of a request. Derive from it, and name the class in the setting FORMATS.

    One instance is made in each process and used by all threads. Each attempt of a delivery encodes the event anew, so
    the bytes must be the same each time. An error that `encode` or `headers` raises holds that delivery alone: it is
    tried again by the retry table, and the log shows the error.
    """

    # What people choose it by.
    label: str | Promise = ""
    content_type: str = "application/json"
    # Whether endpoints must allow the requests first, by the handshake of the CloudEvents specification for webhooks.
    asks_consent: bool = False
    # Whether it sends the event's data, so that a projection may change it.
    has_data: bool = True
    # The names, in small letters, of headers that it may set. A subscription may not have such headers of its own.
    header_names: Collection[str] = frozenset()

    def encode(self, event: OutgoingEvent) -> bytes:
        """The body. It is signed and sent exactly so."""
        raise NotImplementedError

    def headers(self, event: OutgoingEvent) -> Mapping[str, str]:
        """Headers that the format adds, at most 20. They are not signed. The default adds none."""
        return {}
