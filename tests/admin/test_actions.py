"""Testing, pausing and resuming a subscription: buttons, actions, permissions, history."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from orderhooks.models import Delivery, Subscription
from tests.admin.visits import page, run, staff
from tests.factories import make_delivery, make_subscription, make_user
from tests.receivers import Answer

pytestmark = pytest.mark.django_db

MANAGE = ("view_subscription", "change_subscription")


def press(client: Client, subscription: Subscription, button: str, **data: Any) -> str:
    """Press a button on the page of a subscription and return the page that follows."""
    path = f"/admin/orderhooks/subscription/{subscription.pk}/{button}/"
    response = client.post(path, data, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def history(subscription: Subscription) -> list[str]:
    entries = LogEntry.objects.filter(object_id=subscription.pk).order_by("pk")
    return [entry.get_change_message() for entry in entries]


def confirmed(form: str) -> dict[str, Any]:
    """The hidden fields of a page that asks for confirmation, as a browser would send them back."""
    data: dict[str, Any] = {}
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form):
        data.setdefault(name, []).append(value)
    return data


def test_a_test_shows_the_response_at_once(operator, receiver):
    receiver.answer = lambda _count: Answer(503, b"<script>alert(1)</script>", (("x-who", "<b>me</b>"),))
    subscription = make_subscription(url=receiver.url, state="paused")
    text = press(operator, subscription, "test")
    delivery = Delivery.objects.get()
    assert "It did not arrive." in text
    assert "<td>503</td>" in text
    assert re.search(r"<td>0\.\d{3} s</td>", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;b&gt;me&lt;/b&gt;" in text
    assert f'href="/admin/orderhooks/delivery/{delivery.pk}/change/"' in text
    assert not re.search("<script>alert|<b>me|whsec_", text)
    assert history(subscription) == ["Sent a test: 503."]
    assert (delivery.trigger, delivery.state, delivery.requested_by) == ("test", "failed", User.objects.get().username)


def test_a_test_that_arrives_says_so_and_can_be_sent_again(operator, receiver):
    subscription = make_subscription(url=receiver.url)
    text = press(operator, subscription, "test")
    assert "It arrived." in text
    assert "None came." in text
    press(operator, subscription, "test")
    assert len(receiver.received) == 2


def test_a_test_without_a_response_is_described_in_words(operator):
    text = press(operator, make_subscription(url="http://127.0.0.1:1/"), "test")
    assert "belongs to another protocol" in text
    assert "<td>blocked</td>" in text


@pytest.mark.parametrize(
    ("permission", "shown"), [("view_payload", "hello"), ("view_delivery", "/admin/orderhooks/delivery/")]
)
def test_the_response_is_for_those_who_may_see_it(receiver, permission, shown):
    receiver.answer = lambda _count: Answer(200, b"hello", (("x-who", "me"),))
    subscription = make_subscription(url=receiver.url)
    assert shown in press(staff(*MANAGE, permission), subscription, "test")
    text = press(staff(*MANAGE), subscription, "test")
    assert "It arrived." in text
    assert "shown to users who may see payloads" in text
    for hidden in ("hello", "x-who", "webhook-id", "/admin/orderhooks/delivery/"):
        assert hidden not in text


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_test_waits(operator, receiver, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    subscription = make_subscription(url=receiver.url)
    # In a transaction of the request's, send_test would raise.
    assert "It arrived." in press(operator, subscription, "test")
    assert history(subscription) == ["Sent a test: 200."]


def test_pausing_is_a_button_and_an_action(operator):
    one, two = make_subscription(), make_subscription()
    assert "1 subscription is paused" in press(operator, one, "pause")
    assert "1 subscription is paused" in run(operator, "subscription", "pause", one, two)
    assert set(Subscription.objects.values_list("state", flat=True)) == {"paused"}
    assert history(one) == history(two) == ["Paused."]


def test_buttons_are_there_where_they_make_sense(operator):
    buttons = {"active": ["test", "pause"], "paused": ["test", "resume"], "disabled": ["test", "resume"]}
    for state, expected in buttons.items():
        subscription = make_subscription(state=state)
        text = page(operator, f"subscription/{subscription.pk}/change/")
        offered = [name for name in ("test", "pause", "resume") if f"/{subscription.pk}/{name}/" in text]
        assert offered == expected


@pytest.mark.parametrize(
    ("state", "button", "message"),
    [
        ("paused", "pause", "It was already paused."),
        ("disabled", "pause", "It was already disabled: nothing is sent to it."),
        ("active", "resume", "It is already active."),
    ],
)
def test_a_button_of_a_page_that_is_out_of_date_leads_back_with_the_reason(operator, state, button, message):
    subscription = make_subscription(state=state)
    assert message in press(operator, subscription, button, confirmed="1", choice="none", newer_than="")
    subscription.refresh_from_db()
    assert subscription.state == state
    assert history(subscription) == []
    path = f"/admin/orderhooks/subscription/{subscription.pk}/{button}/"
    assert staff("view_subscription").post(path).status_code == 403


def held_by(subscription: Subscription) -> tuple[Delivery, Delivery]:
    old = make_delivery(subscription=subscription, created_at=timezone.now() - timedelta(days=3))
    return old, make_delivery(subscription=subscription)


@pytest.mark.parametrize(
    ("choice", "states", "message"),
    [
        ({"choice": "all"}, ["pending", "pending"], "What was held for it is sent now."),
        ({"choice": "newer"}, ["skipped", "pending"], "Deliveries skipped: 1."),
        ({"choice": "none"}, ["skipped", "skipped"], "Deliveries skipped: 2."),
    ],
)
def test_resuming_offers_a_choice_for_the_held_deliveries(operator, choice, states, message):
    subscription = make_subscription(state="disabled", state_reason="It responded with 410.", consecutive_failures=9)
    held = held_by(subscription)
    confirmation = press(operator, subscription, "resume")
    assert "Deliveries held: 2." in confirmation
    subscription.refresh_from_db()
    assert subscription.state == "disabled"
    newer_than = {"newer_than": (timezone.localtime() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")}
    assert message in press(operator, subscription, "resume", **confirmed(confirmation), **choice, **newer_than)
    subscription.refresh_from_db()
    assert (subscription.state, subscription.state_reason, subscription.consecutive_failures) == ("active", "", 0)
    assert list(Delivery.objects.order_by("pk").values_list("state", flat=True)) == states
    skipped = states.count("skipped")
    assert history(subscription) == [f"Resumed; {skipped} {'delivery' if skipped == 1 else 'deliveries'} skipped."]
    assert len(held) == len(states)


@pytest.mark.parametrize(
    "data", [{}, {"choice": "newer"}, {"choice": "newer", "newer_than": "soon"}, {"choice": "some"}]
)
def test_a_confirmation_that_makes_no_sense_is_shown_again(operator, data):
    subscription = make_subscription(state="paused")
    text = press(operator, subscription, "resume", confirmed="1", **data)
    assert "errorlist" in text
    subscription.refresh_from_db()
    assert (subscription.state, history(subscription)) == ("paused", [])


def test_resuming_newer_than_a_time_to_come_is_refused_and_skips_nothing(operator):
    subscription = make_subscription(state="paused")
    held_by(subscription)
    to_come = (timezone.localtime() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    text = press(operator, subscription, "resume", confirmed="1", choice="newer", newer_than=to_come)
    assert "Choose a time that is past." in text
    subscription.refresh_from_db()
    assert subscription.state == "paused"
    assert set(Delivery.objects.values_list("state", flat=True)) == {"pending"}
    # The time counts for that choice alone.
    assert "What was held for it is sent now." in press(
        operator, subscription, "resume", confirmed="1", choice="all", newer_than=to_come
    )


def test_several_are_resumed_by_an_action_with_one_confirmation(operator):
    one, two, active = (make_subscription(state=state) for state in ("paused", "disabled", "active"))
    for subscription in (one, two):
        held_by(subscription)
    confirmation = run(operator, "subscription", "resume", one, two, active)
    assert "Deliveries held: 4." in confirmation
    data = {**confirmed(confirmation), "choice": "none"}
    assert set(data["_selected_action"]) == {str(one.pk), str(two.pk), str(active.pk)}
    # The list is filtered by the very state that changes.
    response = operator.post("/admin/orderhooks/subscription/?state__exact=paused", data, follow=True)
    assert "1 subscription is active again" in response.content.decode()
    response = operator.post("/admin/orderhooks/subscription/", data, follow=True)
    assert "1 subscription is active again. Deliveries skipped: 2." in response.content.decode()
    assert set(Subscription.objects.values_list("state", flat=True)) == {"active"}
    assert (history(one), history(two), history(active)) == (
        ["Resumed; 2 deliveries skipped."],
        ["Resumed; 2 deliveries skipped."],
        [],
    )


def test_resuming_what_is_active_does_nothing(operator):
    subscription = make_subscription()
    assert "0 subscriptions are active again" in run(operator, "subscription", "resume", subscription)
    assert history(subscription) == []


@pytest.mark.parametrize("button", ["test", "pause", "resume", "rotate", "revoke", "reveal"])
def test_who_may_only_look_is_offered_nothing_and_gets_nothing(receiver, button):
    client = staff("view_subscription", "view_delivery", "view_payload")
    subscription = make_subscription(url=receiver.url, state="paused" if button == "resume" else "active")
    subscription.rotate_secret(now=timezone.now())
    assert "orderhooks-button" not in page(client, f"subscription/{subscription.pk}/change/")
    path = f"/admin/orderhooks/subscription/{subscription.pk}/{button}/"
    data = {"confirmed": "1", "choice": "all", "hours": "0"}
    assert client.post(path, data).status_code == 403
    assert client.get(path).status_code in (302, 403)
    before = Subscription.objects.values().get()
    for action in ("pause", "resume", "rotate_secret", "revoke_former_secrets"):
        client.post(
            "/admin/orderhooks/subscription/", {"action": action, "_selected_action": [subscription.pk], **data}
        )
    assert Subscription.objects.values().get() == before
    assert (receiver.received, subscription.secrets.count(), LogEntry.objects.count()) == ([], 2, 0)


def test_a_link_presses_no_button(operator, receiver):
    subscription = make_subscription(url=receiver.url)
    for button in ("test", "pause", "rotate", "reveal"):
        before = Subscription.objects.values().get()
        response = operator.get(f"/admin/orderhooks/subscription/{subscription.pk}/{button}/", follow=True)
        assert response.redirect_chain == [(f"/admin/orderhooks/subscription/{subscription.pk}/change/", 302)]
        assert "Nothing was done. If you pressed “" in response.content.decode()
        assert Subscription.objects.values().get() == before
    assert (receiver.received, subscription.secrets.count()) == ([], 1)


def test_a_button_pressed_after_the_session_ended_leads_back_to_the_page(receiver):
    """As a browser goes: the log-in page, the button's address by GET, the page."""
    subscription, user = make_subscription(url=receiver.url), make_user(is_staff=True, is_superuser=True)
    user.set_password("a password for tests alone")
    user.save()
    browser = Client()
    login = browser.post(f"/admin/orderhooks/subscription/{subscription.pk}/pause/")
    assert login.status_code == 302
    form = {"username": user.get_username(), "password": "a password for tests alone"}
    response = browser.post(login["location"], form, follow=True)
    assert response.status_code == 200
    warning = "Nothing was done. If you pressed “Pause” after you had been logged out, press it again."
    assert warning in response.content.decode()
    assert Subscription.objects.get().state == "active"
