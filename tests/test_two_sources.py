"""A project with two order sources: receivers, programs and operators tell their orders apart."""

import json
import re
from typing import Any

import pytest
from django.db import transaction
from jsonschema import Draft202012Validator

from orderhooks import catalogue, payloads, signal_handlers, signing
from orderhooks.models import Delivery, Event
from orderhooks.receiver import verify
from orderhooks.sources import BuiltInOrders
from orderhooks.testing import signed_request
from tests.admin.visits import client_of, page
from tests.api.calls import EVERYTHING, client_with, errors_of, ids
from tests.factories import make_delivery, make_event, make_order, make_subscription, make_user
from tests.shapes.models import Purchase
from tests.test_catalogue import UsersWithAnExample
from tests.test_field_payload import Watched

pytestmark = pytest.mark.django_db
SECRET = signing.generate_secret()
SOURCES = ["orderhooks.sources.BuiltInOrders", "tests.test_field_payload.Watched"]


@pytest.fixture
def two(settings: Any) -> None:
    settings.ORDERHOOKS = {
        **settings.ORDERHOOKS,
        "SOURCES": SOURCES,
        "TOPICS": dict.fromkeys(Watched().own_topics(), "Something happened."),
    }
    signal_handlers.connect()


@pytest.fixture
def events() -> dict[str, Event]:
    return {name: make_event(source=name) for name in ("orderhooks", "watched")}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("two")
def test_a_receiver_gets_the_name_of_the_source() -> None:
    make_subscription()
    with transaction.atomic():
        make_order()
        Purchase.objects.create()
    received = []
    for event in Event.objects.filter(topic="order.created").order_by("sequence"):
        body = payloads.encode(payloads.envelope(event))
        assert list(Draft202012Validator(schema_of("order.created")).iter_errors(json.loads(body))) == []
        signed = signed_request(SECRET, source=BuiltInOrders()).headers
        timestamp = int(signed["webhook-timestamp"])
        signature = signing.signature_header([SECRET], event.public_id, timestamp, body)
        headers = {**signed, "webhook-id": event.public_id, "webhook-signature": signature}
        received.append(verify(body, headers, SECRET).source)
    assert sorted(received) == ["orderhooks", "watched"]


def schema_of(topic: str) -> Any:
    return next(entry.schema for entry in catalogue.entries() if entry.name == topic)


def test_the_schema_names_the_sources_of_the_project(settings: Any, two: None) -> None:
    example = next(entry.example for entry in catalogue.entries() if entry.name == "order.paid")
    assert example["source"] == "orderhooks"
    validator = Draft202012Validator(schema_of("order.paid"))
    assert [validator.is_valid({**example, "source": name}) for name in ("watched", "orderhooks", "shop", "")] == [
        True,
        True,
        False,
        False,
    ]
    test = next(entry.example for entry in catalogue.entries() if entry.name == catalogue.TEST)
    assert test["source"] == ""
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": []}
    assert schema_of("order.paid")["properties"]["source"] == {"type": "string"}


def test_a_signed_request_for_tests_has_the_source() -> None:
    assert signed_request(SECRET, source=UsersWithAnExample()).event["source"] == "users"
    assert signed_request(SECRET, catalogue.TEST).event["source"] == ""


def test_the_api_filters_events_and_deliveries_by_source(events: dict[str, Event]) -> None:
    api = client_with(*EVERYTHING)
    deliveries = {name: make_delivery(event=event) for name, event in events.items()}
    for name, event in events.items():
        assert ids(api.get(f"/api/events/?source={name}")) == [event.public_id]
        assert ids(api.get(f"/api/deliveries/?source={name}")) == [deliveries[name].public_id]
        assert api.get(f"/api/events/{event.public_id}/").data["source"] == name
        assert api.get(f"/api/deliveries/{deliveries[name].public_id}/").data["source"] == name
    assert ids(api.get("/api/events/?source=shop")) == ids(api.get("/api/deliveries/?source=shop")) == []
    assert "no such filter" in errors_of(api.get("/api/events/?after=0&source=shop"))["?source"]


def test_the_report_of_an_order_has_the_source_of_each_event() -> None:
    order = make_order()
    make_event(order_pk=str(order.pk), source="watched")
    own = make_event(order_pk=str(order.pk))
    [event] = client_with(*EVERYTHING).get(f"/api/orders/{order.public_id}/webhooks/").data
    assert (event["public_id"], event["source"]) == (own.public_id, "orderhooks")


def shown(client: Any, record: str, query: str = "") -> list[Any]:
    response = client.get(f"/admin/orderhooks/{record}/?{query}")
    assert response.status_code == 200
    return [row.pk for row in response.context["cl"].result_list]


@pytest.fixture
def operator() -> Any:
    return client_of(make_user(is_staff=True, is_superuser=True))


@pytest.mark.usefixtures("two")
def test_the_admin_filters_events_and_deliveries_by_source(operator: Any, events: dict[str, Event]) -> None:
    deliveries = {name: make_delivery(event=event) for name, event in events.items()}
    make_delivery(event=events["watched"])
    for name, event in events.items():
        assert shown(operator, "event", f"source={name}") == [event.pk]
        assert f"source={name}" in page(operator, "event/")
        found = shown(operator, "delivery", f"source={name}")
        assert deliveries[name].pk in found
        assert set(found) == set(Delivery.objects.filter(event=event).values_list("pk", flat=True))
        link = re.search(rf'<a href="\?source={name}">{name} \((\d)\)</a>', page(operator, "delivery/"))
        assert link, "each choice has its count"
        assert int(link[1]) == len(found)
    for nothing in ("shop", "%00"):
        assert shown(operator, "event", f"source={nothing}") == shown(operator, "delivery", f"source={nothing}") == []


@pytest.mark.parametrize("sources", [SOURCES[:1], [], ["nowhere.Orders"]])
def test_a_project_with_one_source_has_no_such_filter(
    settings: Any, operator: Any, events: dict[str, Event], sources: list[str]
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": sources}
    for record in ("event", "delivery"):
        assert "source=" not in page(operator, f"{record}/")
        asked = operator.get(f"/admin/orderhooks/{record}/?source=watched")
        assert asked.status_code == 400
        assert "It has no parameter “source”." in asked.content.decode()


@pytest.mark.usefixtures("two")
def test_the_page_of_an_event_and_the_export_have_the_source(operator: Any, events: dict[str, Event]) -> None:
    text = page(operator, f"event/{events['watched'].pk}/change/")
    assert re.search(r'field-source".*?readonly">watched<', text, re.DOTALL)
    make_delivery(event=events["watched"])
    response = operator.post("/admin/orderhooks/delivery/", {"action": "export", "index": "0"})
    head, row = b"".join(response.streaming_content).decode("utf-8-sig").splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["source"] == "watched"
