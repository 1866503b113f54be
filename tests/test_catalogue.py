"""The catalogue in full: examples and real events fit the schemas that receivers read."""

import json
from copy import deepcopy
from typing import Any

import pytest
from django.db import transaction
from jsonschema import Draft202012Validator

from orderhooks import catalogue, operational, operations, payloads, topics
from orderhooks.models import Event, Order
from orderhooks.publishing import publish
from orderhooks.sources import BuiltInOrders
from tests.factories import make_fulfillment, make_order, make_payment, make_refund, make_subscription
from tests.test_sources import Users

RELATED = ("order.fulfillment_created", "order.fulfillment_updated", "order.payment_created", "order.refund_created")
ENTRIES = {entry.name: entry for entry in catalogue.entries()}


class UsersWithAnExample(Users):
    transitions = {"is_active": {"true": "order.closed"}}

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

    def example(self) -> dict[str, Any]:
        return {"name": "ada"}


def strict(schema: Any) -> Any:
    """The schema, but objects whose properties it names may have no others: what it forgot is found."""
    if isinstance(schema, dict):
        closed = {name: strict(part) for name, part in schema.items()}
        return closed | ({"additionalProperties": False} if "properties" in schema else {})
    return [strict(part) for part in schema] if isinstance(schema, list) else schema


def faults(topic: str, body: Any) -> list[str]:
    validator = Draft202012Validator(strict(ENTRIES[topic].schema), format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]


def test_every_topic_has_an_entry() -> None:
    assert list(ENTRIES) == [*topics.catalogue(), *operational.TOPICS]


@pytest.mark.parametrize("topic", ENTRIES)
def test_a_schema_is_one_and_its_example_fits(topic: str) -> None:
    Draft202012Validator.check_schema(ENTRIES[topic].schema)
    assert faults(topic, ENTRIES[topic].example) == []
    # As JSON too, since that is how they are shown.
    assert json.loads(json.dumps(ENTRIES[topic].example)) == ENTRIES[topic].example


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("id",), "1"),
        (("type",), "order.created"),
        (("timestamp",), "2026-11-23T10:00:00+01:00"),
        (("timestamp",), "yesterdayZ"),
        (("sequence",), "812"),
        (("data", "order", "total"), 24.8),
        (("data", "order", "total"), "24,80"),
        (("data", "order", "status"), "lost"),
        (("data", "order", "surprise"), 1),
        (("data", "order", "lines", 0, "quantity"), 0),
        (("data", "order", "paid_at"), "yesterday"),
        (("data", "order", "fulfillments", 0, "lines", 0, "quantity"), 0),
        (("data", "order", "payments", 0, "amount"), 24.8),
        (("data", "order", "refunds", 0, "reason"), None),
        (("data", "changes", "status"), ["open"]),
    ],
)
def test_what_does_not_fit_is_reported(path: tuple[Any, ...], value: Any) -> None:
    body = deepcopy(ENTRIES["order.paid"].example)
    inner: Any = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert len(faults("order.paid", body)) >= 1


def test_an_example_shows_its_own_change() -> None:
    shown = {name: entry.example["data"] for name, entry in ENTRIES.items()}
    assert shown["order.paid"]["changes"] == {"payment_status": ["pending", "paid"]}
    assert shown["order.paid"]["order"]["payment_status"] == "paid"
    assert shown["order.reopened"]["changes"] == {"status": ["cancelled", "open"]}
    assert shown["order.updated"]["changes"] != {}
    assert shown["order.deleted"]["changes"] == shown["webhook.test"]["changes"] == {}


def _happen(topic: str) -> None:
    """Bring the topic about, the way a store would."""
    order = make_order(
        customer_name="Ada Byron", shipping_address={"city": "London"}, metadata={"gift": True}, discount="1.5"
    )
    for field, by_value in BuiltInOrders.transitions.items():
        for value, meant in by_value.items():
            if meant == topic:
                if topic == "order.reopened":
                    Order.objects.filter(pk=order.pk).update(status="closed")
                    order.refresh_from_db()
                setattr(order, field, value)
                order.save()
    if topic == "order.updated":
        with transaction.atomic():
            order.total, order.currency, order.note = "1990", "JPY", "ring twice"
            order.save()
            line = order.lines.get()
            line.quantity = 3
            line.save()
            order.lines.create(sku="CUP", name="Cup")
    if topic in RELATED:
        with transaction.atomic():
            fulfillment = make_fulfillment(order, shipped_at=order.placed_at)
            make_payment(order)
            make_refund(order)
        fulfillment.delivered_at = order.placed_at
        fulfillment.save()
    if topic == "order.deleted":
        order.delete()
    if topic == payloads.REDACTED:
        list(operations.carry_out(operations.erase(order=order.number)))
    if topic in ("webhook.test", "order.gift_wrapped"):
        publish(topic, order)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("topic", topics.catalogue())
def test_a_real_event_fits_its_topics_schema(topic: str) -> None:
    make_subscription()
    _happen(topic)
    event = Event.objects.filter(topic=topic).latest("sequence")
    assert faults(topic, json.loads(payloads.encode(payloads.envelope(event)))) == []


@pytest.mark.django_db(transaction=True)
def test_events_of_one_transaction_fit_too() -> None:
    make_subscription()
    _happen("order.updated")
    updated = Event.objects.filter(topic="order.updated").latest("sequence")
    assert set(updated.changes) == {"total", "currency", "note", "lines"}
    for event in Event.objects.all():
        assert faults(event.topic, json.loads(payloads.encode(payloads.envelope(event)))) == []


def test_the_stores_own_topics_and_sources_have_schemas(settings) -> None:
    settings.ORDERHOOKS = {
        "TOPICS": {"order.gift_wrapped": "It was wrapped."},
        "SOURCES": ["tests.test_catalogue.UsersWithAnExample", "orderhooks.sources.BuiltInOrders"],
    }
    entries = {entry.name: entry for entry in catalogue.entries()}
    wrapped = entries["order.gift_wrapped"]
    validator = Draft202012Validator(wrapped.schema)
    assert wrapped.example["data"] == {"order": {"name": "ada"}, "changes": {}}
    assert validator.is_valid(wrapped.example)
    assert validator.is_valid({**wrapped.example, "data": ENTRIES["webhook.test"].example["data"]})
    assert not validator.is_valid({**wrapped.example, "data": {"order": {}, "changes": {}}})
    # A topic that stands for a field which the example does not show.
    assert entries["order.closed"].example["data"]["changes"] == {}


@pytest.mark.parametrize("sources", [[], ["tests.test_sources.Users"]])
def test_a_source_that_says_nothing_and_no_source_are_fine(settings, sources: list[str]) -> None:
    settings.ORDERHOOKS = {"SOURCES": sources}
    for entry in catalogue.entries():
        Draft202012Validator(entry.schema).validate(entry.example)
        if entry.name not in (payloads.REDACTED, *operational.TOPICS):
            assert entry.example["data"] == {"order": {}, "changes": {}}
    assert catalogue.test_data() == {"order": {}, "changes": {}}


def test_a_source_that_only_writes_its_payload_promises_nothing() -> None:
    assert (Users().schema(), Users().example()) == ({"type": "object"}, {})
