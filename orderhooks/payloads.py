"""The body that receivers get: an envelope with the event's stored data. Used by `outbox` and `sending`."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import rfc8785

__all__ = [
    "API_VERSION",
    "MAX_DEPTH",
    "MAX_PASSED_THROUGH_DEPTH",
    "REDACTED",
    "canonical",
    "check",
    "digest",
    "encode",
    "envelope",
    "timestamp",
]

# The first version of the body's format. `versions` has the newer ones.
API_VERSION = "2026-11-01"
# The topic of an order whose personal data was erased. Its body has ids alone, in every version.
REDACTED = "order.redacted"
# Some receivers' parsers refuse 128 levels, and Python's recursion is limited.
MAX_DEPTH = 100
# For fields of an order that are passed through unchanged, such as `metadata`.
MAX_PASSED_THROUGH_DEPTH = 50
# Half of MariaDB's default limit for a statement.
MAX_BYTES = 8 * 1024 * 1024
LARGEST_DOUBLE = int(sys.float_info.max)
# As many digits as a number that no double holds has at least.
LONG_NUMBER = re.compile(rb"\d{309}")


class EventLike(Protocol):
    """The attributes of an event that the envelope uses."""

    public_id: Any
    topic: Any
    sequence: Any
    source: Any
    store: Any
    payload: Any
    occurred_at: Any
    api_version: Any


def timestamp(at: datetime) -> str:
    """A time as the body has it: UTC, with microseconds."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def envelope(event: EventLike) -> dict[str, Any]:
    """The body as a dict of JSON values."""
    return {
        "id": event.public_id,
        "type": event.topic,
        "timestamp": timestamp(event.occurred_at),
        "api_version": event.api_version,
        "sequence": event.sequence,
        "source": event.source,
        "store": event.store,
        "data": event.payload,
    }


def check(data: Any, *, depth: int = MAX_DEPTH) -> None:
    """Raises ValueError or TypeError, with a sentence, if JSON, a database or a receiver can't hold the data.

    They can't hold NaN, numbers beyond a double, types that JSON lacks, lone surrogates, NUL, more than `depth` levels,
    or more than MAX_BYTES.
    """
    _check_depth(data, depth)
    try:
        encoded = encode(data)
    except UnicodeEncodeError:
        raise ValueError("It holds half of a surrogate pair, which is not text. Remove it from the order.") from None
    except ValueError as error:
        raise ValueError(f"It holds a number that JSON can't express ({error}). Give it as text.") from None
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"It takes {len(encoded)} bytes, more than {MAX_BYTES}. Make the payload smaller.")
    if LONG_NUMBER.search(encoded) and _any(data, lambda one: isinstance(one, int) and abs(one) > LARGEST_DOUBLE):
        raise ValueError("It holds a number with more than 308 digits, which receivers can't read. Give it as text.")
    # JSON writes NUL like this. A text with these characters has one more backslash, which `_any` recognizes.
    if rb"\u0000" in encoded and _any(data, lambda one: isinstance(one, str) and "\x00" in one):
        raise ValueError("It holds a NUL character, which PostgreSQL can't store. Remove it from the order.")


def _check_depth(data: Any, most: int) -> None:
    # Level by level, so that deep or circular data does not exceed the recursion limit.
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


def _any(data: Any, test: Callable[[Any], bool]) -> bool:
    """Whether the test is true of any value or key of the data."""
    match data:
        case dict():
            return any(_any(key, test) or _any(value, test) for key, value in data.items())
        case list() | tuple():
            return any(_any(one, test) for one in data)
        case _:
            return test(data)


def encode(data: Any) -> bytes:
    """Compact JSON in UTF-8. Raises ValueError or TypeError for values that JSON lacks."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def digest(order: Mapping[str, Any], *, without: Collection[str] = ()) -> str:
    """The digest of an order's payload: SHA-256, as 64 hexadecimal digits, of its canonical JSON.

    `without`: keys of the payload that it leaves out, see `OrderSource.not_in_digest`.
    """
    counted = {key: value for key, value in order.items() if key not in without}
    return hashlib.sha256(canonical(counted)).hexdigest()


def canonical(data: Any) -> bytes:
    """JSON data in the one form that RFC 8785 (JSON Canonicalization Scheme) gives it.

    There a number is a double, as in JavaScript, so a whole number beyond 2^53 counts as the double next to it. One
    that no double holds, which `check` refuses, counts as text.
    """
    try:
        return rfc8785.dumps(data)
    except rfc8785.IntegerDomainError:
        return rfc8785.dumps(_in_doubles(data))


def _in_doubles(data: Any) -> Any:
    match data:
        case dict():
            return {key: _in_doubles(value) for key, value in data.items()}
        case list() | tuple():
            return [_in_doubles(one) for one in data]
        case int() if abs(data) >= 2**53:
            return float(data) if abs(data) <= LARGEST_DOUBLE else str(data)
        case _:
            return data
