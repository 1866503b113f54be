"""The body that receivers get: an event's envelope round its stored data. Used by `outbox` and `sending`."""

import json
from datetime import UTC, datetime
from typing import Any, Protocol

__all__ = ["API_VERSION", "body", "check", "encode", "envelope"]

# Of the payload's shape; a change that could break a receiver gets a new date.
API_VERSION = "2026-11-01"


class EventLike(Protocol):
    """What the envelope reads of an event."""

    public_id: Any
    topic: Any
    sequence: Any
    store: Any
    payload: Any
    occurred_at: Any


def envelope(event: EventLike) -> dict[str, Any]:
    """The body as a dict."""
    moment: datetime = event.occurred_at
    return {
        "id": event.public_id,
        "type": event.topic,
        "timestamp": moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        "api_version": API_VERSION,
        "sequence": event.sequence,
        "store": event.store,
        "data": event.payload,
    }


def body(event: EventLike) -> bytes:
    """The body as bytes: the same for every attempt, since the event does not change."""
    return encode(envelope(event))


def check(data: Any) -> None:
    """Raises ValueError or TypeError for what JSON or a database can't hold: NaN, odd types, lone surrogates, NUL."""
    encode(data)
    if _holds_nul(data):
        raise ValueError("The payload holds a NUL character, which PostgreSQL can't store. Remove it from the order.")


def _holds_nul(data: Any) -> bool:
    match data:
        case str():
            return "\x00" in data
        case dict():
            return any(_holds_nul(key) or _holds_nul(value) for key, value in data.items())
        case list() | tuple():
            return any(_holds_nul(one) for one in data)
        case _:
            return False


def encode(data: Any) -> bytes:
    """Compact JSON in UTF-8. Raises ValueError or TypeError for what JSON can't hold."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
