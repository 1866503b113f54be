"""Shaping: the body of an event, and the headers that depend on it, as a subscription gets them. For `sending`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orderhooks import formats, logs, payloads, selection, transport, versions
from orderhooks.db.encrypted_records import require_readable
from orderhooks.encryption import UndecryptableError
from orderhooks.models import Event, Subscription
from orderhooks.payloads import REDACTED, EventLike

__all__ = ["Shaped", "ShapingError", "envelope", "shape"]

logger = logs.get_logger(__name__)


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


def envelope(event: EventLike, version: str, *, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body in that version, which filters and projections read, as a dict of JSON values.

    `changes`: in place of the event's.

    Raises:
        ShapingError: it can't be decrypted, or not converted to the version.
    """
    try:
        require_readable(event.payload)
        require_readable(changes)
    except UndecryptableError as error:
        raise ShapingError(str(error), kind="key") from None
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
    if subscription.projection and event.topic != REDACTED:
        _require_readable(subscription.projection, event, subscription.api_version)
        try:
            # A body of its own: a projection may hold the whole body, such as `{whole: @}`.
            body = {**body, "data": selection.project(subscription.projection, body)}
        except selection.ProjectionError as error:
            raise ShapingError(f"The projection fails on this event. {error}", kind="projection") from None
    return _encode(body, event, subscription)


def _require_readable(projection: str, event: Event, version: str) -> None:
    """Raises ShapingError if the projection is for a newer version, and reads what the event's version does not have.

    There is no way up: a field that came later would be null.
    """
    if event.api_version >= version:
        return
    if fault := selection.misfit(projection, event.topic, event.api_version):
        raise ShapingError(
            f"The event was made in the version {event.api_version} of the body, older than {version}, which the "
            f"projection reads: {fault} Send it to a subscription on {event.api_version}, or skip this delivery.",
            kind="version",
        )


def _encode(body: Mapping[str, Any], event: Event, subscription: Subscription) -> Shaped:
    """The body in the subscription's format. Raises ShapingError."""
    name = subscription.format
    outgoing = formats.OutgoingEvent(body, _order_id(event), event.order_number)
    try:
        chosen = formats.get(name)
        encoded: object = chosen.encode(outgoing)
        headers = dict(chosen.headers(outgoing))
        transport.check_own_headers(headers)
    except formats.UnknownFormatError as error:
        raise ShapingError(str(error), kind="format") from None
    except transport.InvalidHeaderError as error:
        raise ShapingError(f"A header of the format {name!r} can't be sent. {error}", kind="format") from None
    except Exception as error:
        # The log alone has the error's text, because that may quote the order, which not everybody may see.
        logger.warning("a format can't encode an event", format=name, event=event.public_id, exc_info=True)
        raise ShapingError(
            f"The format {name!r} can't encode this event: {type(error).__name__}. The worker's log has the details.",
            kind="format",
        ) from error
    if not isinstance(encoded, bytes):
        raise ShapingError(
            f"encode() of the format {name!r} returned {type(encoded).__name__}. It must return bytes.", kind="format"
        )
    announced = versions.require(subscription.api_version).headers
    return Shaped(encoded, {"content-type": chosen.content_type, **announced, **headers})


def _order_id(event: Event) -> str | int:
    order = event.payload.get("order") if isinstance(event.payload, dict) else None
    found: object = order.get("id") if isinstance(order, dict) else None
    if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
        return found
    return event.order_pk
