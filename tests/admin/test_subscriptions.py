"""Subscriptions in the admin: the secret is shown once, a worker is not overwritten."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.utils import timezone

from orderhooks.admin.subscriptions import SubscriptionForm
from orderhooks.models import Subscription
from tests.admin.visits import errors_of, page, run, staff
from tests.factories import (
    make_attempt,
    make_delivery,
    make_subscription,
)

pytestmark = pytest.mark.django_db


SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


def subscription_form(**fields: Any) -> dict[str, Any]:
    given = {
        "name": "CRM",
        "store": "",
        "url": "https://crm.example/hooks",
        "topics": "order.paid",
        "headers": "",
        "signature": "standard",
        "state": "active",
    }
    return {**given, **fields}


def test_the_secret_is_shown_once_and_kept_nowhere_in_the_clear(operator):
    answer = operator.post("/admin/orderhooks/subscription/add/", subscription_form(), follow=True)
    shown = SECRET.findall(answer.content.decode())
    subscription = Subscription.objects.get()
    assert shown == [one.reveal() for one in subscription.secrets.all()]
    for path in (
        "subscription/",
        f"subscription/{subscription.pk}/change/",
        f"subscription/{subscription.pk}/history/",
    ):
        assert not SECRET.search(page(operator, path))
    assert not any(SECRET.search(f"{entry.change_message}{entry.object_repr}") for entry in LogEntry.objects.all())
    assert not any(SECRET.search(str(session.get_decoded())) for session in Session.objects.all())
    assert not any(SECRET.search(cookie.value) for cookie in operator.cookies.values())


@pytest.mark.parametrize("button", ["_continue", "_addanother"])
def test_the_secret_is_shown_whichever_button_saved(operator, button):
    answer = operator.post("/admin/orderhooks/subscription/add/", subscription_form(**{button: "1"}), follow=True)
    assert len(SECRET.findall(answer.content.decode())) == 1


def test_editing_makes_no_other_secret_and_shows_none(operator):
    subscription = make_subscription()
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    answer = operator.post(path, subscription_form(name="ERP"), follow=True)
    assert not SECRET.search(answer.content.decode())
    subscription.refresh_from_db()
    assert (subscription.name, subscription.secrets.count()) == ("ERP", 1)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("order.paid", ["order.paid"]),
        ("order.paid\r\norder.closed\r\n", ["order.paid", "order.closed"]),
        ("order.paid, order.closed,order.paid", ["order.paid", "order.closed"]),
        ("*", ["*"]),
    ],
)
def test_topics_are_written_one_per_line_or_with_commas(operator, typed, stored):
    operator.post("/admin/orderhooks/subscription/add/", subscription_form(topics=typed))
    subscription = Subscription.objects.get()
    assert subscription.topics == stored
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert "\n".join(stored) in text


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"topics": "order.pay"}, "topics"),
        ({"topics": ""}, "topics"),
        ({"topics": " , "}, "topics"),
        ({"url": "crm.example"}, "url"),
        ({"url": "https://user:word@crm.example/"}, "url"),
        ({"name": ""}, "name"),
        ({"state": "disabled"}, "state"),
    ],
)
def test_a_bad_subscription_is_refused_at_its_field(operator, fields, where):
    assert list(errors_of(operator, "subscription/add/", subscription_form(**fields))) == [where]
    assert not Subscription.objects.exists()


def test_pausing_and_resuming_are_actions(operator):
    active, disabled = make_subscription(), make_subscription(state="disabled", state_reason="It answered 410.")
    Subscription.objects.filter(pk=disabled.pk).update(failing_since=timezone.now(), consecutive_failures=9)
    assert "1 subscription is paused" in run(operator, "subscription", "pause", active, disabled)
    active.refresh_from_db()
    disabled.refresh_from_db()
    assert (active.state, disabled.state) == ("paused", "disabled")
    assert "2 subscriptions are active again" in run(operator, "subscription", "resume", active, disabled)
    disabled.refresh_from_db()
    assert (disabled.state, disabled.state_reason) == ("active", "")
    assert (disabled.failing_since, disabled.consecutive_failures) == (None, 0)


def test_resuming_works_in_a_list_that_is_filtered_by_state(operator):
    subscription = make_subscription(state="paused")
    data = {"action": "resume", "_selected_action": [subscription.pk]}
    operator.post("/admin/orderhooks/subscription/?state__exact=paused", data)
    subscription.refresh_from_db()
    assert subscription.state == "active"


def test_saving_the_page_does_not_undo_what_a_worker_wrote_meanwhile(operator, monkeypatch):
    subscription = make_subscription()
    clean = SubscriptionForm.clean

    def clean_while_a_worker_disables(form: Any) -> Any:
        Subscription.objects.update(state="disabled", state_reason="It answered 410.")
        return clean(form)

    monkeypatch.setattr(SubscriptionForm, "clean", clean_while_a_worker_disables)
    operator.post(f"/admin/orderhooks/subscription/{subscription.pk}/change/", subscription_form(name="ERP"))
    subscription.refresh_from_db()
    assert (subscription.name, subscription.state) == ("ERP", "disabled")


def test_a_disabled_subscription_may_be_edited_and_stays_disabled(operator):
    subscription = make_subscription(state="disabled", state_reason="It answered 410.")
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    assert operator.post(path, subscription_form(name="ERP", state="disabled")).status_code == 302
    subscription.refresh_from_db()
    assert (subscription.name, subscription.state, subscription.state_reason) == ("ERP", "disabled", "It answered 410.")
    operator.post(path, subscription_form(name="ERP", state="active"))
    subscription.refresh_from_db()
    assert (subscription.state, subscription.state_reason) == ("active", "")


def test_a_subscription_can_be_deleted_with_its_log(operator):
    subscription = make_subscription()
    make_attempt(make_delivery(subscription=subscription))
    path = f"/admin/orderhooks/subscription/{subscription.pk}/delete/"
    assert "deliveries: 1" in operator.get(path).content.decode().lower()
    operator.post(path, {"post": "yes"})
    assert not Subscription.objects.exists()


HEADERS = "Authorization: Bearer tok_s3cr3t\r\nX-Team: shop"


def test_headers_are_typed_as_lines_and_shown_without_their_values(operator):
    operator.post("/admin/orderhooks/subscription/add/", subscription_form(headers=HEADERS))
    subscription = Subscription.objects.get()
    assert subscription.own_headers() == {"Authorization": "Bearer tok_s3cr3t", "X-Team": "shop"}
    change = f"subscription/{subscription.pk}/change/"
    text = page(operator, change)
    assert "Authorization: (hidden)\nX-Team: (hidden)" in text
    assert "s3cr3t" not in text
    kept = subscription_form(headers="Authorization: (hidden)\r\nX-Team: ops", name="ERP")
    operator.post(f"/admin/orderhooks/{change}", kept)
    assert Subscription.objects.get().own_headers() == {"Authorization": "Bearer tok_s3cr3t", "X-Team": "ops"}
    operator.post(f"/admin/orderhooks/{change}", subscription_form(headers=""))
    assert Subscription.objects.get().own_headers() == {}


def test_a_page_saved_as_it_is_leaves_the_headers_alone(operator):
    subscription = make_subscription(headers={"X-Key": "tok_s3cr3t"})
    before = Subscription.objects.get().headers
    operator.post(
        f"/admin/orderhooks/subscription/{subscription.pk}/change/",
        subscription_form(headers="X-Key: (hidden)"),
    )
    assert Subscription.objects.get().headers == before
    assert "eaders" not in LogEntry.objects.get().change_message


@pytest.mark.parametrize(
    "headers", ["no colon", "Host: evil.example", "X-Key: ключ", "X-Key: (hidden)", "X-Key: a\nX-Key: b", "X Key: v"]
)
def test_headers_that_can_not_be_sent_are_refused_at_their_field(operator, headers):
    assert list(errors_of(operator, "subscription/add/", subscription_form(headers=headers))) == ["headers"]


def test_a_new_secret_is_shown_once_beside_the_former_one(operator):
    first, second = make_subscription(), make_subscription()
    shown = SECRET.findall(run(operator, "subscription", "rotate_secret", first, second))
    assert len(shown) == 2
    assert "24 hours more" in run(operator, "subscription", "rotate_secret", first)
    assert not SECRET.search(page(operator, f"subscription/{first.pk}/change/"))
    assert "signs until" in page(operator, f"subscription/{first.pk}/change/")
    assert (first.secrets.count(), second.secrets.count()) == (3, 2)
    assert "2 former secrets are revoked" in run(operator, "subscription", "revoke_former_secrets", first)
    assert first.secrets.count() == 1


def test_a_secret_can_be_replaced_at_once(operator):
    subscription = make_subscription()
    [shown] = SECRET.findall(run(operator, "subscription", "replace_secret", subscription))
    assert [one.reveal() for one in subscription.secrets.all()] == [shown]


@pytest.mark.parametrize("action", ["rotate_secret", "replace_secret", "revoke_former_secrets"])
def test_who_may_only_look_is_not_offered_secrets(action):
    client = staff("view_subscription")
    subscription = make_subscription()
    assert action not in page(client, "subscription/")
    run(client, "subscription", action, subscription)
    assert subscription.secrets.get().expires_at is None


def test_choosing_a_public_key_shows_it(operator):
    subscription = make_subscription()
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    answer = operator.post(path, subscription_form(signature="ed25519"), follow=True).content.decode()
    [public] = re.findall(r"whpk_[A-Za-z0-9+/=]+", answer)
    assert "whsk_" not in answer
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert public in text
    assert "whsk_" not in text


def test_the_page_with_a_secret_is_kept_by_no_cache(operator):
    answer = operator.post("/admin/orderhooks/subscription/add/", subscription_form())
    assert "no-store" in answer["cache-control"]


def test_resuming_may_skip_what_was_held(operator):
    subscription = make_subscription(state="paused")
    delivery = make_delivery(subscription=subscription)
    assert "Deliveries that were held are skipped" in run(operator, "subscription", "resume_and_skip", subscription)
    delivery.refresh_from_db()
    subscription.refresh_from_db()
    assert (delivery.state, subscription.state) == ("skipped", "active")
