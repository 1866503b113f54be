"""CloudEvents: what our sender posts to a real server is read by the specification's own library for Python."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent

from orderhooks.formats import BUILT_IN, OutgoingEvent
from orderhooks.models import Delivery
from orderhooks.receiver import verify
from tests.factories import make_delivery, make_event, make_subscription, send_due
from tests.receivers import Answer, RecordingReceiver

MODES = ["cloudevents", "cloudevents_binary"]
ALLOWED = Answer(200, headers=(("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "*")))
PAYLOAD: dict[str, Any] = {"order": {"id": "ord_1", "number": "1001"}, "changes": {"total": ["1.00", "2.00"]}}
AT = datetime(2026, 11, 23, 10, 0, 0, 250_000, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


def received(
    receiver: RecordingReceiver, format: str, *, projection: str = "", **fields: Any
) -> tuple[BaseCloudEvent, Delivery]:
    """What the library reads of a request that a worker has sent."""
    receiver.permission = lambda _count: ALLOWED
    event = make_event(**{"payload": PAYLOAD, "occurred_at": AT, **fields})
    subscription = make_subscription(url=receiver.url, format=format, projection=projection)
    delivery = make_delivery(event=event, subscription=subscription)
    send_due()
    got = receiver.received[-1]
    headers = {name.lower(): value for name, value in got.headers.items()}
    return from_http_event(HTTPMessage(headers=headers, body=got.body)), delivery


@pytest.mark.parametrize("format", MODES)
def test_the_official_library_reads_every_attribute(receiver: RecordingReceiver, settings: Any, format: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "BASE_URL": "https://shop.example.com/de"}
    event, delivery = received(receiver, format, store='Köln 100% "A"', order_number="A 7/8")
    assert isinstance(event, CloudEvent), "of version 1.0"
    assert event.get_id() == delivery.event.public_id
    assert event.get_source() == "https://shop.example.com/de/orderhooks"
    assert (event.get_type(), event.get_subject()) == ("order.paid", "A 7/8")
    assert event.get_time() == AT
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == PAYLOAD
    assert event.get_extension("sequence") == f"{delivery.event.sequence:019d}"
    assert event.get_extension("ordersource") == "orderhooks"
    assert event.get_extension("apiversion") == "2026-11-01"
    assert event.get_extension("store") == 'Köln 100% "A"'


@pytest.mark.parametrize("format", MODES)
def test_attributes_without_a_value_are_left_out(receiver: RecordingReceiver, format: str) -> None:
    event, _delivery = received(receiver, format, order_number="", source="", topic="webhook.test")
    assert not {"subject", "store", "ordersource"} & event.get_attributes().keys()
    assert event.get_source() == "/orderhooks", "a reference, because there is no address"


@pytest.mark.parametrize("format", MODES)
def test_characters_that_no_attribute_may_have_are_left_out(receiver: RecordingReceiver, format: str) -> None:
    event, _delivery = received(receiver, format, order_number="A\n7\x85\ufffe\N{GRINNING FACE}")
    assert event.get_subject() == "A7\N{GRINNING FACE}"


def test_a_later_sequence_is_the_greater_text() -> None:
    def sequence(number: int) -> str:
        envelope = {"id": "evt_1", "type": "t", "timestamp": "x", "api_version": "1", "source": "", "store": ""}
        event = OutgoingEvent({**envelope, "sequence": number, "data": {}}, "1", "1")
        return BUILT_IN["cloudevents_binary"].headers(event)["ce-sequence"]

    assert sequence(9) < sequence(10) < sequence(99_999) < sequence(2**63 - 1)


def test_binary_headers_are_those_that_the_library_writes(receiver: RecordingReceiver) -> None:
    event, _delivery = received(receiver, "cloudevents_binary", store="Köln", order_number='A "7" 100%')
    written = to_binary_event(event).headers
    got = {name.lower(): value for name, value in receiver.received[-1].headers.items()}
    times = {name for name in written if name == "ce-time"}
    assert {name: got[name] for name in written.keys() - times} == {
        name: value for name, value in written.items() if name not in times
    }


@pytest.mark.parametrize("format", MODES)
def test_the_receiver_kit_reads_them_back(receiver: RecordingReceiver, format: str) -> None:
    _event, delivery = received(receiver, format, store="Köln 100%")
    got = receiver.received[-1]
    [secret] = [row.reveal() for row in delivery.subscription.secrets.all()]
    event = verify(got.body, dict(got.headers), secret, binary_mode=format == "cloudevents_binary")
    assert (event.id, event.topic, event.store) == (delivery.event.public_id, "order.paid", "Köln 100%")
    assert (event.source, event.sequence, event.occurred_at) == ("orderhooks", delivery.event.sequence, AT)
    assert (event.data, event.api_version, event.attempt) == (PAYLOAD, "2026-11-01", 1)


@pytest.mark.parametrize("format", MODES)
def test_a_projection_changes_the_data_and_no_attribute(receiver: RecordingReceiver, format: str) -> None:
    event, _delivery = received(receiver, format, projection="{n: data.order.number}")
    assert event.get_data() == {"n": "1001"}
    assert (event.get_subject(), event.get_type()) == ("1001", "order.paid")
