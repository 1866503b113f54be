"""The formats in JSON that are our own: the whole event, and the thin one that only points to it."""

from django.utils.translation import gettext_lazy as _

from orderhooks import operational, payloads
from orderhooks.formats.outgoing import Format, OutgoingEvent

__all__ = ["StandardFormat", "ThinFormat"]


class StandardFormat(Format):
    """The envelope with the order and its changes, in JSON."""

    label = _("JSON: the whole event")

    def encode(self, event: OutgoingEvent) -> bytes:
        return payloads.encode(event.envelope)


class ThinFormat(Format):
    """The envelope with ids and a link, in JSON. The receiver gets the event from the API, with a login of its own."""

    label = _("JSON: ids and a link to the API, without the order")
    has_data = False

    def encode(self, event: OutgoingEvent) -> bytes:
        is_operational = event.envelope["type"] in operational.TOPICS
        order = {} if is_operational else {"order": {"id": event.order_id, "number": event.order_number}}
        data = {**order, "url": event.url or None}
        return payloads.encode({**event.envelope, "data": data})
