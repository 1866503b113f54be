"""Shaping: the body of an event, and the headers that depend on it, as a subscription gets them. For `sending`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orderhooks import formats, payloads, selection, transport
from orderhooks.models import Event, Subscription
from orderhooks.payloads import EventLike

__all__ = ["Shaped", "ShapingError", "envelope", "shape"]

logger = logging.getLogger(__name__)


class ShapingError(ValueError):
    """An event can't take the shape that a subscription asks for. The message says why and what to do.

    `kind`: the kind of the outcome, a key of `transport.NEXT_STEPS`.
    """

    def __init__(self, text: str, *, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Shaped:
    """The body, and the headers that describe it: its content type, and those that a format adds."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        return self.headers["content-type"]

    @property
    def text(self) -> str:
        """The body for people. Bytes that are not UTF-8, which a store's own format may make, are replaced."""
        return self.body.decode(errors="replace")


def envelope(event: EventLike) -> dict[str, Any]:
    """The body that filters and projections read, as a dict of JSON values."""
    return payloads.envelope(event)


def shape(event: Event, subscription: Subscription) -> Shaped:
    """The same bytes for every attempt, because an event never changes.

    Raises:
        ShapingError: the event can't take this shape.
    """
    body = envelope(event)
    if subscription.projection:
        try:
            body["data"] = selection.project(subscription.projection, body)
        except selection.ProjectionError as error:
            raise ShapingError(f"The projection fails on this event. {error}", kind="projection") from None
    return _encode(body, event, name=subscription.format)


def _encode(body: Mapping[str, Any], event: Event, *, name: str) -> Shaped:
    """The body in the format of that name. Raises ShapingError."""
    outgoing = formats.OutgoingEvent(body, _order_id(event), event.order_number)
    try:
        chosen = formats.get(name)
        encoded: object = chosen.encode(outgoing)
        headers = dict(chosen.headers(outgoing))
        transport.check_own_headers(headers)
    except formats.UnknownFormatError as error:
        raise ShapingError(str(error), kind="format") from None
    except Exception as error:
        logger.warning("the format %r can't encode %s", name, event.public_id, exc_info=True)
        raise ShapingError(
            f"The format {name!r} can't encode this event: {type(error).__name__}: {error} The log has the details.",
            kind="format",
        ) from error
    if not isinstance(encoded, bytes):
        raise ShapingError(
            f"encode() of the format {name!r} returned {type(encoded).__name__}. It must return bytes.", kind="format"
        )
    return Shaped(encoded, {"content-type": chosen.content_type, **headers})


def _order_id(event: Event) -> str | int:
    order = event.payload.get("order") if isinstance(event.payload, dict) else None
    found: object = order.get("id") if isinstance(order, dict) else None
    if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
        return found
    return event.order_pk
