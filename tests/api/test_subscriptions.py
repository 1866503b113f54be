"""Subscriptions in the API: the secret is shown once, bad fields are named."""

import json
from typing import Any

import pytest

from orderhooks.api.subscriptions import SubscriptionSerializer
from orderhooks.models import Subscription
from tests.api.calls import has_key, patch, post
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db

ENDPOINT = {"name": "CRM", "url": "https://crm.example/hooks", "topics": ["order.paid", "order.*"]}


def test_the_secret_is_in_the_answer_that_made_it_and_in_no_other(api):
    created = post(api, "/subscriptions/", ENDPOINT)
    assert created.status_code == 201
    assert created.data["secret"].startswith("whsec_")
    subscription = Subscription.objects.get()
    assert [one.reveal() for one in subscription.secrets.all()] == [created.data["secret"]]
    path = f"/subscriptions/{created.data['public_id']}/"
    for answer in (
        api.get(f"/api{path}"),
        api.get("/api/subscriptions/"),
        patch(api, path, {"name": "ERP"}),
        api.put(f"/api{path}", ENDPOINT, format="json"),
    ):
        assert answer.status_code == 200
        assert "whsec_" not in answer.content.decode()
        assert not has_key(json.loads(answer.content), "secret")
        assert not has_key(json.loads(answer.content), "id")


def test_a_secret_can_not_be_brought_along(api):
    assert post(api, "/subscriptions/", {**ENDPOINT, "secret": "whsec_abc"}).data["secret"] != "whsec_abc"


REFUSED_SUBSCRIPTIONS = [
    ({"topics": ["order.pay"]}, "topics", "Use one of"),
    ({"topics": ["nothing.*"]}, "topics", "order.*"),
    ({"topics": []}, "topics", "at least one"),
    ({"topics": "order.paid"}, "topics", "list"),
    ({"topics": [{"a": 1}]}, "topics", "string"),
    ({"topics": ["order.paid\x00"]}, "topics", "Null"),
    ({"url": "crm.example"}, "url", "https://example.com"),
    ({"url": "ftp://crm.example/"}, "url", "https"),
    ({"url": "https://user:word@crm.example/"}, "url", "password"),
    ({"url": "https://crm.example/" + "x" * 2000}, "url", "2000"),
    ({"url": "https://crm.example/\x00"}, "url", "Null"),
    ({"url": ""}, "url", "blank"),
    ({"url": None}, "url", "null"),
    ({"state": "disabled"}, "state", "active, paused"),
    ({"state": "asleep"}, "state", "active, paused"),
    ({"name": ""}, "name", "blank"),
    ({"name": "x" * 201}, "name", "200"),
    ({"store": "x" * 65}, "store", "64"),
]


@pytest.mark.parametrize(("fields", "where", "piece"), REFUSED_SUBSCRIPTIONS)
def test_a_bad_subscription_is_refused_at_its_field(api, fields, where, piece):
    answer = post(api, "/subscriptions/", {**ENDPOINT, **fields})
    assert answer.status_code == 400
    assert list(answer.data) == [where]
    assert piece in str(answer.data[where])
    assert not Subscription.objects.exists()


def test_resuming_forgets_the_failures(api):
    subscription = make_subscription(
        state="disabled",
        state_reason="Every attempt has failed for 5 days.",
        failing_since="2026-01-01T00:00:00Z",
        consecutive_failures=10,
    )
    answer = patch(api, f"/subscriptions/{subscription.public_id}/", {"state": "active"})
    assert (answer.data["state"], answer.data["state_reason"]) == ("active", "")
    assert (answer.data["failing_since"], answer.data["consecutive_failures"]) == (None, 0)


def test_renaming_a_disabled_subscription_leaves_it_disabled(api):
    subscription = make_subscription(state="disabled", state_reason="It answered 410.", consecutive_failures=3)
    answer = patch(api, f"/subscriptions/{subscription.public_id}/", {"name": "New", "consecutive_failures": 0})
    assert (answer.data["name"], answer.data["state"], answer.data["state_reason"]) == (
        "New",
        "disabled",
        "It answered 410.",
    )
    assert answer.data["consecutive_failures"] == 3


def test_an_edit_does_not_undo_what_a_worker_wrote_meanwhile(api, monkeypatch):
    subscription = make_subscription()
    update = SubscriptionSerializer.update

    def update_after_a_worker_disabled(serializer: Any, instance: Any, data: Any) -> Any:
        Subscription.objects.get().disable("It answered 410.")
        return update(serializer, instance, data)

    monkeypatch.setattr(SubscriptionSerializer, "update", update_after_a_worker_disabled)
    answer = patch(api, f"/subscriptions/{subscription.public_id}/", {"name": "ERP"})
    assert (answer.data["name"], answer.data["state"]) == ("ERP", "disabled")
