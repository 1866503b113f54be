"""The body that receivers get: an event's envelope round its stored data. Used by `outbox` and `sending`."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

__all__ = ["API_VERSION", "MAX_DEPTH", "MAX_PASSED_THROUGH_DEPTH", "body", "check", "encode", "envelope"]

# Of the payload's shape; a change that could break a receiver gets a new date.
API_VERSION = "2026-11-01"
# Parsers of receivers refuse more, some at 128 levels; and Python's own stack ends.
MAX_DEPTH = 100
# Of what a store passes through in an order, such as `metadata`.
MAX_PASSED_THROUGH_DEPTH = 50
# Half of what MariaDB takes in one statement unless told otherwise.
MAX_BYTES = 8 * 1024 * 1024


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


def check(data: Any, *, depth: int = MAX_DEPTH) -> None:
    """Raises ValueError or TypeError, with a sentence, for what JSON, a database or a receiver can't hold.

    That is NaN, odd types, lone surrogates, NUL, and what is nested deeper than `depth` or larger than MAX_BYTES.
    """
    _check_depth(data, depth)
    try:
        encoded = encode(data)
    except UnicodeEncodeError:
        raise ValueError("It holds half of a surrogate pair, which is not text. Remove it from the order.") from None
    except ValueError as error:
        raise ValueError(f"It holds a number that JSON has no way to write ({error}). Give it as text.") from None
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"It takes {len(encoded)} bytes, more than {MAX_BYTES}. Leave something out of the payload.")
    # JSON writes NUL so, and a text that spells it out with a backslash more.
    if rb"\u0000" in encoded and _holds_nul(data):
        raise ValueError("It holds a NUL character, which PostgreSQL can't store. Remove it from the order.")


def _check_depth(data: Any, most: int) -> None:
    # Level by level: what is nested deeply, or holds itself, must not exhaust the stack.
    level = [data]
    for _ in range(most):
        level = [one for value in level for one in _inside(value) if isinstance(one, dict | list | tuple)]
        if not level:
            return
    raise ValueError(f"It is nested deeper than {most} levels, which receivers can't read. Make it flatter.")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


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
