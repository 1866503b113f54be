"""Signed requests for the tests of receivers, as a store would send them."""

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE, settings

import orderhooks
from orderhooks import catalogue, conf, formats, operational, signing, sources, spelling, topics, versions
from orderhooks.sources import BuiltInOrders, OrderSource

__all__ = ["SignedRequest", "signed_request"]


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request's body and headers; `event` is what the body of the standard format holds."""

    event: Mapping[str, Any]
    body: bytes
    headers: Mapping[str, str]

    def for_client(self) -> dict[str, Any]:
        """Arguments of Django's test client: `client.post("/hooks/", **request.for_client())`."""
        rest = {name: value for name, value in self.headers.items() if name != "content-type"}
        return {"data": self.body, "content_type": self.headers["content-type"], "headers": rest}


def signed_request(
    secret: str,
    topic: str = "order.paid",
    *,
    order: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    sequence: int = 1,
    store: str = "",
    event_id: str = "",
    at: float | None = None,
    attempt: int = 1,
    source: OrderSource | None = None,
    format: str = formats.STANDARD,
    api_version: str = "",
) -> SignedRequest:
    """What a store that shares the `secret` (`whsec_…`, or `whsk_…` of a key pair) would send.

    The order is the example of `source` with the fields in `order` laid over it; without a source, of the first in
    ORDERHOOKS["SOURCES"], or of the built-in orders where this project has none. `at` is in Unix seconds, now if not
    given. Without an `event_id` each request has one of its own. `format` is the name of one: "thin", "cloudevents" …
    `api_version` is the version of the body, the newest if not given; `order` and `changes` are those of the newest.

    Raises signing.InvalidSecretError, formats.UnknownFormatError, versions.VersionError, and topics.UnknownTopicError
    if this project has no such topic. A project that only receives may use topics of its store's own.
    """
    _require(topic)
    chosen_source = source or _first_source()
    event = catalogue.example(topic, chosen_source)
    data = event["data"]
    event |= {"id": event_id or f"evt_{uuid.uuid4().hex[:26].upper()}", "sequence": sequence, "store": store}
    identity: tuple[Any, str] = ("1", "")
    # An alarm is about no order.
    if topic not in operational.TOPICS:
        event["data"] = {
            **data,
            "order": {**data["order"], **(order or {})},
            "changes": data["changes"] if changes is None else changes,
        }
        full = event["data"]["order"]
        identity = full.get("id") or "1", catalogue.number_of(full, chosen_source)
    version = versions.require(api_version or versions.newest())
    event = versions.convert(event, version.name)
    outgoing = formats.OutgoingEvent(event, *identity)
    chosen = formats.get(format)
    body = chosen.encode(outgoing)
    timestamp = int(time.time() if at is None else at)
    headers = {
        "content-type": chosen.content_type,
        **version.headers,
        **chosen.headers(outgoing),
        **({"webhook-request-origin": "shop.example.com"} if chosen.asks_consent else {}),
        "user-agent": f"orderhooks/{orderhooks.__version__}",
        "webhook-id": event["id"],
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature_header([secret], event["id"], timestamp, body),
        "webhook-topic": topic,
        **({"webhook-source": event["source"]} if event["source"] else {}),
        "webhook-attempt": str(attempt),
    }
    return SignedRequest(event, body, headers)


def _require(topic: str) -> None:
    if topic in operational.TOPICS:
        return
    try:
        topics.require(topic)
    except topics.UnknownTopicError:
        # A store's own topics are in the settings of the store.
        if _is_store() or spelling.nearest(topic, topics.catalogue()):
            raise


def _is_store() -> bool:
    return apps.ready and apps.is_installed("orderhooks") and bool(conf.current().sources)


def _first_source() -> OrderSource:
    # A receiver may be tested in a project without settings of Django.
    known = sources.configured().values() if settings.configured or os.environ.get(ENVIRONMENT_VARIABLE) else ()
    return next(iter(known), BuiltInOrders())
