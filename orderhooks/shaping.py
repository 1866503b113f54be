"""Shaping: the body of an event, and the headers that depend on it, as a subscription gets them. For `sending`."""

from collections.abc import Mapping
from dataclasses import dataclass

from orderhooks import payloads
from orderhooks.models import Event, Subscription

__all__ = ["Shaped", "ShapingError", "shape"]


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


def shape(event: Event, subscription: Subscription) -> Shaped:
    """The same bytes for every attempt, because an event never changes.

    Raises:
        ShapingError: the event can't take this shape.
    """
    return Shaped(payloads.encode(payloads.envelope(event)), {"content-type": "application/json"})
