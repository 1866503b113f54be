"""Subscriptions in the API: the secret is shown once, bad fields are named."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orderhooks import signing
from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.models import Subscription
from tests.api.calls import client_with, errors_of, has_key, patch, post
from tests.factories import make_delivery, make_subscription

pytestmark = pytest.mark.django_db

ENDPOINT = {"name": "CRM", "url": "https://crm.example/hooks", "topics": ["order.paid", "order.*"]}


def test_the_secret_is_in_the_response_that_made_it_and_in_no_other(api):
    created = post(api, "/subscriptions/", ENDPOINT)
    assert created.status_code == 201
    assert created.data["secret"].startswith("whsec_")
    subscription = Subscription.objects.get()
    assert [one.reveal() for one in subscription.secrets.all()] == [created.data["secret"]]
    path = f"/subscriptions/{created.data['public_id']}/"
    for response in (
        api.get(f"/api{path}"),
        api.get("/api/subscriptions/"),
        patch(api, path, {"name": "ERP"}),
        api.put(f"/api{path}", ENDPOINT, format="json"),
    ):
        assert response.status_code == 200
        assert "whsec_" not in response.content.decode()
        assert not has_key(json.loads(response.content), "secret")
        assert not has_key(json.loads(response.content), "id")


def test_a_secret_can_not_be_brought_along(api):
    response = post(api, "/subscriptions/", {**ENDPOINT, "secret": "whsec_abc"})
    assert response.status_code == 400
    assert "Unknown member" in errors_of(response)["/secret"]


UNFIT_SUBSCRIPTIONS = [
    ({"topics": []}, "topics", "at least one"),
    ({"topics": "order.paid"}, "topics", "list"),
    ({"topics": [{"a": 1}]}, "topics", "string"),
    ({"topics": ["order.paid\x00"]}, "topics/0", "NUL"),
    ({"url": "https://crm.example/" + "x" * 2000}, "url", "2000"),
    ({"url": "https://crm.example/\x00"}, "url", "NUL"),
    ({"url": ""}, "url", "blank"),
    ({"url": None}, "url", "null"),
    ({"state": "disabled"}, "state", "active, paused"),
    ({"state": "asleep"}, "state", "active, paused"),
    ({"name": ""}, "name", "blank"),
    ({"name": "x" * 201}, "name", "200"),
    ({"store": "x" * 256}, "store", "255"),
    ({"name": 5}, "name", "valid string"),
    ({"ordered": "yes"}, "ordered", "boolean"),
    ({"max_in_flight": "5"}, "max_in_flight", "integer"),
    ({"max_in_flight": 2**31}, "max_in_flight", "less than or equal"),
    ({"timeout_seconds": 1.5}, "timeout_seconds", "integer"),
    ({"headers": {"X-Key": 5}}, "headers", "string"),
]
REFUSED_SUBSCRIPTIONS = [
    ({"topics": ["order.pay"]}, "topics", "Use one of"),
    ({"topics": ["nothing.*"]}, "topics", "order.*"),
    ({"url": "crm.example"}, "url", "https://example.com"),
    ({"url": "ftp://crm.example/"}, "url", "https"),
    ({"url": "https://user:word@crm.example/"}, "url", "password"),
    ({"name": "  "}, "name", "white space"),
    ({"contact_email": "nobody"}, "contact_email", "valid email"),
    ({"headers": {"Host": "evil.example"}}, "headers", "set by orderhooks"),
]


@pytest.mark.parametrize(
    ("status", "fields", "where", "piece"),
    [*((400, *row) for row in UNFIT_SUBSCRIPTIONS), *((422, *row) for row in REFUSED_SUBSCRIPTIONS)],
)
def test_a_bad_subscription_is_refused_at_its_field(api, status, fields, where, piece):
    response = post(api, "/subscriptions/", {**ENDPOINT, **fields})
    assert response.status_code == status
    [(place, text)] = errors_of(response).items()
    assert place.startswith(f"/{where}")
    assert piece in text
    assert not Subscription.objects.exists()


def test_headers_are_written_and_read_back_without_their_values(api):
    created = post(api, "/subscriptions/", {**ENDPOINT, "headers": {"Authorization": "tok_s3cr3t", "X-Team": "shop"}})
    path = f"/subscriptions/{created.data['public_id']}/"
    hidden = {"Authorization": "(hidden)", "X-Team": "(hidden)"}
    for response in (created, api.get(f"/api{path}"), patch(api, path, {"name": "ERP"})):
        assert response.data["headers"] == hidden
        assert "s3cr3t" not in response.content.decode()
    # What was read can be sent back: a hidden value stays, another is replaced, one that is left out goes.
    for given, expected in [
        ({**hidden, "X-Team": "ops"}, {"Authorization": "tok_s3cr3t", "X-Team": "ops"}),
        ({"authorization": "(hidden)"}, {"authorization": "tok_s3cr3t"}),
        ({}, {}),
    ]:
        assert patch(api, path, {"headers": given}).status_code == 200
        assert Subscription.objects.get().own_headers() == expected


@pytest.mark.parametrize(
    ("headers", "piece"),
    [
        ({"Host": "evil.example"}, "set by orderhooks"),
        ({"X-Key": "v\r\nHost: evil"}, "line break"),
        ({"X-Key": "(hidden)"}, "text as its value"),
        ({"X-Key": ["a"]}, "string"),
        (["X-Key"], "dictionary"),
    ],
)
def test_bad_headers_are_refused_at_their_field(api, headers, piece):
    response = post(api, "/subscriptions/", {**ENDPOINT, "headers": headers})
    [(place, text)] = errors_of(response).items()
    assert place.startswith("/headers")
    assert piece in text
    assert not Subscription.objects.exists()


def test_rotating_shows_the_new_secret_once(api):
    subscription = make_subscription()
    path = f"/subscriptions/{subscription.public_id}/"
    response = post(api, f"{path}rotate-secret/", {})
    secrets = subscription.live_secrets(now=timezone.now())
    assert (response.status_code, response.data["secret"], len(secrets)) == (200, secrets[0], 2)
    assert not has_key(json.loads(api.get(f"/api{path}").content), "secret")
    assert post(api, f"{path}revoke-former-secrets/", {}).data == {"revoked": 1}
    assert subscription.live_secrets(now=timezone.now()) == secrets[:1]
    assert post(api, f"{path}rotate-secret/", {"overlap_hours": 0}).status_code == 200
    assert len(subscription.live_secrets(now=timezone.now())) == 1


@pytest.mark.parametrize("hours", [-1, 169, 10**400, "soon", "1", True, None])
def test_an_overlap_that_makes_no_sense_is_refused(api, hours):
    subscription = make_subscription()
    response = post(api, f"/subscriptions/{subscription.public_id}/rotate-secret/", {"overlap_hours": hours})
    assert list(errors_of(response)) == ["/overlap_hours"]
    assert subscription.secrets.count() == 1


@pytest.mark.parametrize("action", ["rotate-secret", "revoke-former-secrets"])
def test_secrets_are_changed_by_those_who_may_change_subscriptions(action):
    subscription = make_subscription()
    path = f"/subscriptions/{subscription.public_id}/{action}/"
    assert (
        post(client_with("view_subscription", "add_subscription", "manage_all_subscriptions"), path, {}).status_code
        == 403
    )
    assert (
        post(client_with("view_subscription", "change_subscription", "manage_all_subscriptions"), path, {}).status_code
        == 200
    )


def test_choosing_ed25519_makes_a_key_and_shows_its_public_half(api):
    created = post(api, "/subscriptions/", {**ENDPOINT, "signature": "ed25519"})
    assert "secret" not in created.data
    path = f"/subscriptions/{created.data['public_id']}/"
    [private] = Subscription.objects.get().live_secrets(now=timezone.now())
    assert private.startswith("whsk_")
    assert api.get(f"/api{path}").data["public_keys"] == created.data["public_keys"] == [signing.public_key(private)]
    # Another profile needs a shared secret, and the response to the change shows it.
    changed = patch(api, path, {"signature": "github"})
    assert changed.data["secret"].startswith("whsec_")
    assert "secret" not in patch(api, path, {"signature": "stripe"}).data
    assert patch(api, path, {"signature": "wax"}).status_code == 400


def test_resuming_forgets_the_failures(api):
    subscription = make_subscription(
        state="disabled",
        state_reason="Every attempt has failed for 5 days.",
        failing_since="2026-01-01T00:00:00Z",
        consecutive_failures=10,
    )
    response = patch(api, f"/subscriptions/{subscription.public_id}/", {"state": "active"})
    assert (response.data["state"], response.data["state_reason"]) == ("active", "")
    assert (response.data["failing_since"], response.data["consecutive_failures"]) == (None, 0)


def test_renaming_a_disabled_subscription_leaves_it_disabled(api):
    subscription = make_subscription(state="disabled", state_reason="It responded with 410.", consecutive_failures=3)
    response = patch(api, f"/subscriptions/{subscription.public_id}/", {"name": "New", "consecutive_failures": 0})
    assert (response.data["name"], response.data["state"], response.data["state_reason"]) == (
        "New",
        "disabled",
        "It responded with 410.",
    )
    assert response.data["consecutive_failures"] == 3


def test_an_edit_does_not_undo_what_a_worker_wrote_meanwhile(api, monkeypatch):
    subscription = make_subscription()
    is_valid = SubscriptionSerializer.is_valid

    def is_valid_while_a_worker_disables(serializer: Any, **options: Any) -> bool:
        Subscription.objects.update(state="disabled", state_reason="It responded with 410.")
        return is_valid(serializer, **options)

    monkeypatch.setattr(SubscriptionSerializer, "is_valid", is_valid_while_a_worker_disables)
    response = patch(api, f"/subscriptions/{subscription.public_id}/", {"name": "ERP"})
    assert (response.data["name"], response.data["state"]) == ("ERP", "disabled")


def test_pausing_and_resuming_with_a_choice_of_what_was_held(api):
    subscription = make_subscription()
    path = f"/subscriptions/{subscription.public_id}"
    assert post(api, f"{path}/pause/", {}).data["state"] == "paused"
    old = make_delivery(subscription=subscription, created_at=timezone.now() - timedelta(hours=2))
    young = make_delivery(subscription=subscription)
    bad = post(api, f"{path}/resume/", {"skip_before": "yesterday"})
    assert bad.status_code == 400
    an_hour_ago = (timezone.now() - timedelta(hours=1)).isoformat()
    to_come = (timezone.now() + timedelta(hours=1)).isoformat()
    refused = post(api, f"{path}/resume/", {"skip_before": to_come})
    assert (refused.status_code, "a time that is past" in str(refused.data)) == (422, True)
    assert post(api, f"{path}/resume/", {"skip_before": an_hour_ago}).data["state"] == "active"
    old.refresh_from_db()
    young.refresh_from_db()
    assert (old.state, young.state) == ("skipped", "pending")


def test_limits_order_and_contact_are_set_and_judged(api):
    subscription = make_subscription()
    path = f"/subscriptions/{subscription.public_id}/"
    given = {
        "ordered": True,
        "update_interval_seconds": 60,
        "max_in_flight": 3,
        "max_per_second": 10,
        "timeout_seconds": 30,
        "objective_seconds": 60,
        "objective_share": 99.5,
        "contact_email": "team@example.com",
        "mail_failing": False,
    }
    response = patch(api, path, given)
    assert {name: response.data[name] for name in given} == given
    for bad in (
        {"max_in_flight": 0},
        {"max_per_second": -1},
        {"timeout_seconds": 0},
        {"timeout_seconds": 31},
        {"update_interval_seconds": 0},
        {"update_interval_seconds": 86401},
        {"update_interval_seconds": "60"},
        {"objective_seconds": 0},
        {"objective_seconds": 604801},
        {"objective_share": 0.5},
        {"objective_share": 100.1},
        {"objective_share": "99"},
        {"objective_share": None},
    ):
        assert patch(api, path, bad).status_code == 400
    assert "circuit_open_until" in response.data
