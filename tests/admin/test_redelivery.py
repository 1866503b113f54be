"""Redelivering many: counted first, done in batches, written down, and refused where it is a replay's work."""

import re
from typing import Any

import pytest
from django.test import Client

from orderhooks.admin import redelivery
from orderhooks.models import Delivery
from tests.admin.visits import history_of, part, staff
from tests.factories import make_delivery, make_subscription

pytestmark = pytest.mark.django_db

LIST = "/admin/orderhooks/delivery/"


def choose(client: Client, *rows: Delivery, query: str = "", **data: str) -> Any:
    form = {"action": "redeliver", "_selected_action": [row.pk for row in rows], "index": "0", **data}
    return client.post(f"{LIST}?{query}", form)


def confirm(client: Client, response: Any, query: str = "") -> str:
    """Send the form of the page that asks for confirmation."""
    text = response.content.decode()
    form = part(r'<form method="post">.*?</form>', text)
    data: dict[str, list[str]] = {}
    for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form):
        data.setdefault(name, []).append(value)
    return client.post(f"{LIST}?{query}", data, follow=True).content.decode()


def states() -> dict[int, str]:
    return dict(Delivery.objects.values_list("pk", "state"))


def test_nothing_is_sent_before_the_count_is_confirmed(operator):
    failed = make_delivery(state="failed", subscription=make_subscription(name="<Warehouse>"))
    sending = make_delivery(state="sending")
    held = make_delivery(state="delivered", subscription=make_subscription(state="paused"))
    other = make_delivery(state="failed")
    test = make_delivery(state="failed", trigger="test")
    before = states()
    response = choose(operator, failed, sending, held, test)
    text = response.content.decode()
    assert states() == before
    for words in (
        "Of <strong>4</strong> deliveries, 2 are sent again now",
        "1 has arrived before",
        "1 is held until its subscription",
        "2 are left alone: they are being sent now, or are tests.",
        "<td>&lt;Warehouse&gt;</td><td>1</td>",
    ):
        assert words in text, words
    text = confirm(operator, response)
    assert "1 delivery is sent again." in text
    assert "2 were left alone: they are being sent now, or are tests." in text
    assert "1 delivery is held until its subscription is active" in text
    assert states() == {**before, failed.pk: "pending", held.pk: "pending"}
    assert [history_of(one) != [] for one in (failed, sending, held, other, test)] == [True, False, True, False, False]
    failed.refresh_from_db()
    assert (failed.trigger, history_of(failed)) == ("manual", [(failed.requested_by, "Redelivered.")])


def test_all_that_a_filter_finds_are_redelivered_beyond_the_page(operator, monkeypatch):
    monkeypatch.setattr(redelivery, "AT_ONCE", 2)
    subscription = make_subscription()
    failed = [make_delivery(state="failed", subscription=subscription) for _ in range(5)]
    other = make_delivery(state="delivered", subscription=subscription)
    response = choose(operator, failed[0], query="state__exact=failed", select_across="1")
    assert "Of <strong>5</strong> deliveries, 5 are sent" in response.content.decode()
    assert "5 deliveries are sent again." in confirm(operator, response, query="state__exact=failed")
    assert set(Delivery.objects.filter(state="pending")) == set(failed)
    assert [len(history_of(one)) for one in (*failed, other)] == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("confirmed", [{}, {"confirmed": "yes"}])
def test_more_than_a_worker_could_do_at_once_are_refused(operator, monkeypatch, confirmed):
    monkeypatch.setattr(redelivery, "MOST", 2)
    subscription = make_subscription()
    rows = [make_delivery(state="failed", subscription=subscription) for _ in range(3)]
    response = choose(operator, rows[0], select_across="1", **confirmed)
    text = operator.get(response.headers["location"]).content.decode()
    assert "2+ deliveries are too many to redeliver at once" in text
    assert "replay" in text
    assert set(states().values()) == {"failed"}


@pytest.mark.parametrize("data", [{}, {"confirmed": "yes"}, {"select_across": "1", "confirmed": "yes"}])
def test_a_forged_form_is_refused_without_the_permission(data):
    delivery = make_delivery(state="failed")
    for permissions in ([], ["change_delivery", "view_payload"]):
        client = staff("view_delivery", *permissions)
        assert choose(client, delivery, **data).status_code == 403
        assert '<option value="redeliver">' not in client.get(LIST).content.decode()
    assert states() == {delivery.pk: "failed"}
    assert '<option value="redeliver">' in staff("view_delivery", "redeliver_delivery").get(LIST).content.decode()
