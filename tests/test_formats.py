"""Formats: what each makes of one event, to the byte, and what is made of a format that fails."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

import orderhooks
from orderhooks import catalogue, formats, sending, shaping
from orderhooks.formats import BUILT_IN, OutgoingEvent
from orderhooks.models import Delivery, Subscription
from orderhooks.sources import BuiltInOrders
from tests.factories import make_delivery, make_event, make_subscription, send_due
from tests.receivers import RecordingReceiver
from tests.store_formats import BYTES, ERP

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 23, 10, 0, 1, tzinfo=UTC)
SECRET = "whsec_" + "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4"
BASE_URL = "https://shop.example.com"


@pytest.fixture
def store(settings: Any) -> Iterator[Any]:
    """The settings of a store with an address and two formats of its own."""
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "BASE_URL": BASE_URL, "FORMATS": {"erp": ERP, "bytes": BYTES}}
    return settings


def fixed_delivery(format: str, **fields: Any) -> Delivery:
    """The first attempt of the catalogue's example of `order.paid`, whose customer has a name in two scripts."""
    shown = catalogue.example("order.paid", BuiltInOrders())
    order = shown["data"]["order"]
    order["customer"]["name"] = 'Zoë "東京" 100%'
    event = make_event(
        public_id=shown["id"],
        sequence=shown["sequence"],
        source=shown["source"],
        store="Köln",
        order_pk="7",
        order_number=order["number"],
        payload=shown["data"],
        occurred_at=datetime.fromisoformat(shown["timestamp"]),
    )
    subscription = make_subscription(format=format, created_at=NOW - timedelta(days=1), **fields)
    subscription.secrets.all().delete()
    subscription.add_secret(SECRET)
    return make_delivery(event=event, subscription=subscription, attempts_made=1)


@pytest.mark.django_db
@pytest.mark.parametrize("format", [*BUILT_IN, "erp"])
def test_a_format_makes_the_same_request_byte_for_byte(store: Any, format: str) -> None:
    request = sending.prepare(fixed_delivery(format), now=NOW)
    lines = "".join(f"{name}: {value}\n" for name, value in request.headers.items())
    lines = lines.replace(f"orderhooks/{orderhooks.__version__}", "orderhooks/VERSION")
    found = b"POST /webhooks HTTP/1.1\n" + lines.encode() + b"\n" + request.body
    path = GOLDEN / f"{format}.http"
    if not path.exists():
        path.write_bytes(found)
        pytest.fail(f"{path} was missing. Read what was written there, and commit it if it is right.")
    assert found == path.read_bytes(), f"If this change is meant, delete {path} and run the test again."


@pytest.mark.django_db
def test_the_standard_format_is_the_whole_event() -> None:
    delivery = fixed_delivery("standard")
    shown = json.loads(shaping.shape(delivery.event, delivery.subscription).body)
    assert shown["data"] == delivery.event.payload


@pytest.mark.django_db
def test_the_thin_format_has_no_order_and_a_link_to_the_event(store: Any, client: Any) -> None:
    delivery = fixed_delivery("thin")
    body = shaping.shape(delivery.event, delivery.subscription).body
    assert "Zoë" not in body.decode()
    data = json.loads(body)["data"]
    assert data["order"] == {"id": "ord_01KAR58K00W5QZ4N3XJ7T2M9CE", "number": "1001"}
    assert data["url"] == f"{BASE_URL}/api/events/{delivery.event.public_id}/"
    assert client.get(data["url"]).status_code in (401, 403), "the API is there, and asks for a login"


@pytest.mark.django_db
def test_without_a_base_url_the_link_is_a_path_and_without_an_api_there_is_none(settings: Any) -> None:
    delivery = fixed_delivery("thin")
    assert json.loads(shaping.shape(delivery.event, delivery.subscription).body)["data"]["url"].startswith("/api/")
    settings.ROOT_URLCONF = "tests.test_testing"
    assert json.loads(shaping.shape(delivery.event, delivery.subscription).body)["data"]["url"] is None


@pytest.mark.django_db
def test_an_order_without_an_id_is_known_by_its_primary_key() -> None:
    event = make_event(payload={"order": {"number": "A-7", "id": True}}, order_pk="7")
    body = shaping.shape(event, make_subscription(format="thin")).body
    assert json.loads(body)["data"]["order"]["id"] == "7"


KEYS = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(["0", "1", "00", "%30", "%2530", "²"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
DATA = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def as_texts(value: Any) -> Any:
    match value:
        case dict() if value:
            return {name: as_texts(member) for name, member in value.items()}
        case list() if value:
            return [as_texts(member) for member in value]
        case str():
            return value
        case None | {} | []:
            return ""
        case _:
            return json.dumps(value)


@given(DATA)
def test_a_form_is_read_as_it_was_written_but_for_its_types(data: Any) -> None:
    event = OutgoingEvent({"id": "evt_1", "data": {"order": data}}, "1", "1")
    assert formats.decode_form(BUILT_IN["form"].encode(event)) == {"id": "evt_1", "data": {"order": as_texts(data)}}


@pytest.mark.parametrize(
    "body", [b"", b"a", b"a=1&a=2", b"a=1&a[b]=2", b"a[b]=2&a=1", b"a[b=1", b"a[b]c=1", b"a=%ff", b"\xff=1"]
)
def test_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        formats.decode_form(body)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Raises", "can't encode this event: KeyError. The worker's log has the details."),
        ("Text", "returned str. It must return bytes"),
        ("BadHeader", "webhook-id is set by orderhooks itself"),
        ("BreaksLines", "line break"),
        ("Gone", "can't be imported"),
    ],
)
def test_a_format_that_fails_holds_its_delivery_and_no_other(
    settings: Any, receiver: RecordingReceiver, name: str, says: str
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"erp": f"tests.store_formats.{name}"}}
    bad = make_delivery(subscription=make_subscription(url=receiver.url, format="erp"))
    good = make_delivery(subscription=make_subscription(url=receiver.url))
    send_due()
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.state, bad.last_error, good.state) == ("pending", "format", "delivered")
    assert says in bad.last_detail
    assert "colour" not in bad.last_detail, "an error's text may quote the order"
    assert bad.next_attempt_at is not None
    assert bad.next_attempt_at > bad.created_at
    assert Subscription.objects.get(pk=bad.subscription_id).consecutive_failures == 0, "the endpoint is not to blame"
    assert len(receiver.received) == 1


@pytest.mark.django_db
def test_once_the_format_works_the_delivery_arrives(settings: Any, receiver: RecordingReceiver) -> None:
    subscription = make_subscription(url=receiver.url, format="erp")
    delivery = make_delivery(subscription=subscription)
    send_due()
    delivery.refresh_from_db()
    assert "There is no format 'erp'" in delivery.last_detail
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"erp": ERP}}
    send_due(now=delivery.next_attempt_at)
    [got] = receiver.received
    assert got.headers["content-type"] == "application/xml; charset=utf-8"
    assert (got.headers["x-erp-order"], got.body) == ("1001", b'<order number="1001" topic="order.paid"/>')


@pytest.mark.django_db
def test_a_header_of_the_subscription_does_not_take_the_place_of_the_formats(store: Any) -> None:
    with pytest.raises(shaping.ShapingError, match="sets the header X-ERP-Order itself"):
        sending.prepare(fixed_delivery("erp", headers={"X-ERP-Order": "1"}), now=NOW)


@pytest.mark.django_db
def test_an_unknown_format_is_refused_with_the_nearest_one() -> None:
    fields: dict[str, Any] = {"name": "ERP", "url": "http://127.0.0.1:8000/", "topics": ["*"]}
    with pytest.raises(ValidationError) as refused:
        Subscription.create_with_secret(**fields, format="cloudevent")
    assert "Did you mean 'cloudevents'?" in refused.value.message_dict["format"][0]
    subscription, _secret = Subscription.create_with_secret(**fields, format="thin")
    subscription.format = "xml"
    with pytest.raises(ValidationError, match="The formats are: standard, thin"):
        subscription.save()


@pytest.mark.django_db
def test_a_format_that_the_settings_have_no_more_bars_no_other_change(store: Any) -> None:
    subscription, _secret = Subscription.create_with_secret(
        name="ERP", url="http://127.0.0.1:8000/", topics=["*"], format="erp"
    )
    store.ORDERHOOKS = {**store.ORDERHOOKS, "FORMATS": {}}
    subscription.name = "Other"
    subscription.save()


def test_the_names_that_can_be_chosen_include_the_stores(store: Any) -> None:
    assert [name for name, _label in formats.choices()] == [*BUILT_IN, "erp", "bytes"]
    assert dict(formats.choices())["erp"] == "ERP (XML)"
