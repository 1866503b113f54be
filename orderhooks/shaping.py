"""Shaping: the body of an event, and the headers that depend on it, as a subscription gets them. For `sending`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orderhooks import payloads, selection, versions
from orderhooks.models import Event, Subscription
from orderhooks.payloads import EventLike

__all__ = ["Shaped", "ShapingError", "envelope", "shape"]


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


def envelope(event: EventLike, version: str, *, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body in that version, which filters and projections read, as a dict of JSON values.

    `changes`: in place of the event's.

    Raises:
        ShapingError: it can't be converted to the version.
    """
    body = payloads.envelope(event)
    if changes is not None:
        body["data"] = {**body["data"], "changes": changes}
    try:
        return versions.convert(body, version)
    except versions.VersionError as error:
        raise ShapingError(str(error), kind="version") from None


def shape(event: Event, subscription: Subscription, *, changes: Mapping[str, Any] | None = None) -> Shaped:
    """The same bytes for every attempt, because an event never changes.

    `changes`: those of all updates that merged into this one, in place of the event's; see `Delivery.merged_changes`.

    Raises:
        ShapingError: the event can't take this shape.
    """
    body = envelope(event, subscription.api_version, changes=changes)
    if subscription.projection:
        try:
            body["data"] = selection.project(subscription.projection, body)
        except selection.ProjectionError as error:
            raise ShapingError(f"The projection fails on this event. {error}", kind="projection") from None
    announced = versions.require(subscription.api_version).headers
    return Shaped(payloads.encode(body), {"content-type": "application/json", **announced})
