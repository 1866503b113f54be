"""Webhooks as a sender would send them, for tests of the receiver's side."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest
from django.test import RequestFactory

from orderhooks import catalogue, signing
from orderhooks.receiver import ReceivedEvent
from orderhooks.sources import BuiltInOrders

SECRET = signing.generate_secret()
OTHER = signing.generate_secret()
NOW = 1_764_000_000
ID = "evt_01KAV0000000000000000000AA"
CONTENT: dict[str, Any] = {
    "id": ID,
    "type": "order.paid",
    "timestamp": "2026-11-23T10:00:00.000000Z",
    "api_version": "2026-11-01",
    "sequence": 812,
    "source": "orderhooks",
    "store": "berlin",
    "data": {"order": {"number": "1001"}, "changes": {"payment_status": ["pending", "paid"]}},
}
BODY = json.dumps(CONTENT, separators=(",", ":")).encode()


def body_of(topic: str = "order.paid", **changes: Any) -> bytes:
    """The example of a topic; keywords replace its fields."""
    return json.dumps({**catalogue.example(topic, BuiltInOrders()), **changes}).encode()


def signed(
    body: bytes = BODY,
    *,
    at: int = NOW,
    secrets: Iterable[str] = (SECRET,),
    webhook_id: str = ID,
    attempt: str | None = None,
) -> dict[str, str]:
    """The headers that a sender would make."""
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signing.signature_header(secrets, webhook_id, at, body),
    }
    return headers if attempt is None else {**headers, "webhook-attempt": attempt}


def request_of(
    body: bytes = BODY, *, method: str = "POST", secrets: Iterable[str] = (SECRET,), webhook_id: str = ID
) -> HttpRequest:
    """A request that was signed this moment."""
    headers = signed(body, at=int(datetime.now(UTC).timestamp()), secrets=secrets, webhook_id=webhook_id)
    return RequestFactory().generic(method, "/hooks/", body, content_type="application/json", headers=headers)


class Handler:
    """A view that counts its calls and answers as told."""

    __name__ = "handler"

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.events: list[ReceivedEvent] = []

    def __call__(self, request: HttpRequest, event: ReceivedEvent) -> Any:
        self.events.append(event)
        response = self.answers.pop(0) if self.answers else None
        if isinstance(response, Exception):
            raise response
        return response
