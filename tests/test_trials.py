"""Trials of choices on the last events: in Python and by the API."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone
from rest_framework.test import APIClient

from orderhooks import trials
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.trials import Trial
from tests.factories import make_event, make_user

pytestmark = pytest.mark.django_db

NOW = timezone.now()
EUROS = "data.order.currency == 'EUR'"
PERMISSIONS = ["view_subscription", "view_event", "view_payload"]


def make(currency: str = "EUR", **fields: Any) -> Event:
    order = {"number": "1001", "currency": currency, "metadata": fields.pop("metadata", {})}
    return make_event(payload={"order": order, "changes": fields.get("changes", {})}, **fields)


def results(choices: dict[str, Any], **options: Any) -> list[str]:
    found = trials.run(Subscription(**{"topics": ["order.*"], **choices}), now=NOW, **options)
    return [str(one.result) for one in found.events]


def test_each_event_is_sent_left_out_or_held() -> None:
    make("USD", metadata={"tags": []})
    make("EUR", metadata={"tags": []})
    make("EUR")
    filter = f"{EUROS} && !(contains(data.order.metadata.tags, 'x'))"
    found = trials.run(Subscription(topics=["*"], filter=filter), now=NOW)
    assert [one.result for one in found.events] == [Trial.HELD, Trial.SENT, Trial.LEFT_OUT]
    assert [found.count(result) for result in Trial] == [1, 1, 1]
    held, sent, left_out = found.events
    assert "contains() takes array or string, and got null here" in held.text
    assert json.loads(sent.body)["data"]["order"]["currency"] == "EUR"
    assert left_out.text == f'filtered out: {filter} (data.order.currency is "USD")'
    assert not left_out.body


def test_what_a_projection_makes_is_shown_and_what_it_cannot_make_is_held() -> None:
    make(metadata={"a": "b"})
    make(metadata={})
    found = trials.run(
        Subscription(topics=["*"], projection="data.order.metadata.a && {a: data.order.metadata.a}"), now=NOW
    )
    assert [one.result for one in found.events] == [Trial.HELD, Trial.SENT]
    assert json.loads(found.events[1].body)["data"] == {"a": "b"}
    assert "It yields null" in found.events[0].text


def test_updates_that_touch_none_of_the_fields_are_left_out() -> None:
    make(topic="order.updated", changes={"status": ["open", "closed"]})
    make(topic="order.closed", changes={"status": ["open", "closed"]})
    assert results({"changed_fields": ["lines"]}) == ["sent", "left_out"]


def test_the_newest_events_of_the_topics_and_the_store_are_tried() -> None:
    for number in range(5):
        make(store="berlin", order_number=str(number))
    make(store="bonn")
    make(topic="order.created", store="berlin")
    make(only_for=77, store="berlin")
    make_event(topic="webhook.test", store="berlin")
    # Older than any subscription.
    make(store="berlin", occurred_at=NOW - timedelta(days=900))
    found = trials.run(Subscription(topics=["order.paid"], store="berlin"), at_most=3, now=NOW)
    assert [one.event.order_number for one in found.events] == ["1001", "4", "3"]
    assert results({"topics": ["order.paid"]}, stores=["bonn"]) == ["sent"]
    assert results({"topics": ["order.paid"]}, stores=[]) == ["sent"]


def test_without_events_the_examples_are_tried() -> None:
    make(topic="order.created")
    found = trials.run(Subscription(topics=["order.paid", "order.cancelled"], filter="type == 'order.paid'"), now=NOW)
    assert found.is_example
    assert {one.event.topic: one.result for one in found.events} == {
        "order.paid": Trial.SENT,
        "order.cancelled": Trial.LEFT_OUT,
    }


def client(*permissions: str) -> APIClient:
    caller = APIClient()
    caller.force_authenticate(make_user(*permissions, "manage_all_subscriptions"))
    return caller


def test_the_api_tries_choices_and_stores_nothing() -> None:
    make("USD")
    make("EUR")
    body = {"topics": ["order.*"], "filter": EUROS, "projection": "{c: data.order.currency}", "events": 10}
    response = client(*PERMISSIONS).post("/api/subscriptions/try/", body, format="json")
    assert response.status_code == 200
    given = response.json()
    assert {name: given[name] for name in ("sent", "left_out", "held", "is_example")} == {
        "sent": 1,
        "left_out": 1,
        "held": 0,
        "is_example": False,
    }
    assert [one["result"] for one in given["results"]] == ["sent", "left_out"]
    assert json.loads(given["results"][0]["body"])["data"] == {"c": "EUR"}
    assert given["results"][1]["body"] is None
    assert not Subscription.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    ("body", "field", "fault"),
    [
        ({"filter": EUROS}, "topics", "required"),
        ({"topics": ["order.paid"], "filter": "data.order.currncy"}, "filter", "Did you mean 'currency'?"),
        ({"topics": ["order.paid"], "projection": "data.order.number"}, "projection", "It yields no object."),
        ({"topics": ["order.paid"], "changed_fields": ["statuss"]}, "changed_fields", "Did you mean 'status'?"),
        ({"topics": ["order.paid"], "events": 201}, "events", "200"),
        ({"topics": ["order.paid"], "filtr": "x"}, "filtr", "Did you mean filter?"),
    ],
)
def test_the_api_refuses_what_saving_would_refuse(body: Any, field: str, fault: str) -> None:
    response = client(*PERMISSIONS).post("/api/subscriptions/try/", body, format="json")
    assert response.status_code == (422 if field in ("changed_fields", "filter", "projection") else 400)
    assert fault in json.dumps(response.json(), ensure_ascii=False)
    assert field in json.dumps(response.json())


@override_settings(ORDERHOOKS={"STORES_FOR_USER": "tests.test_trials.only_bonn"})
def test_the_api_tries_choices_on_events_of_the_users_stores_alone() -> None:
    make(store="bonn")
    make("USD", store="berlin")
    caller = APIClient()
    caller.force_authenticate(make_user(*PERMISSIONS))
    refused = caller.post("/api/subscriptions/try/", {"topics": ["order.*"]}, format="json")
    assert refused.status_code == 422
    found = caller.post("/api/subscriptions/try/", {"topics": ["order.*"], "store": "bonn"}, format="json")
    assert "USD" not in found.content.decode()
    assert found.json()["sent"] == 1


def only_bonn(_user: Any) -> list[str]:
    return ["bonn"]
