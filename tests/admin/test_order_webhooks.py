"""Webhooks of an order: did it reach the warehouse, why not, and a button that makes it so."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks.admin import webhooks
from orderhooks.models import Delivery, Event, Order
from tests.admin.visits import page, staff
from tests.factories import make_delivery, make_event, make_order, make_subscription

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

NOW = timezone.now()
VIEW = ("view_order", "view_delivery")


def event_of(order: Order, **fields) -> Event:
    return make_event(order_pk=str(order.pk), order_number=order.number, **fields)


def of(order: Order) -> str:
    return f"order/{order.pk}/change/"


def webhooks_text(client, order: Order) -> str:
    """The text of the part of the page that is about webhooks."""
    text = page(client, of(order))
    return text.split("Webhooks of this order")[1].split("</fieldset>")[0].replace("\xa0", " ")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "delivered", "attempts_made": 1}, ["delivered"]),
        ({"state": "delivered", "attempts_made": 3}, ["delivered", "at attempt 3"]),
        (
            {
                "next_attempt_at": NOW + timedelta(hours=4, minutes=30),
                "last_detail": "The endpoint responded with 503.",
            },
            ["waiting for the next try", "next try in 4 h", "The endpoint responded with 503."],
        ),
        ({"next_attempt_at": NOW - timedelta(minutes=4)}, ["due since"]),
        (
            {"state": "failed", "last_detail": "The endpoint responded with 500."},
            ["failed", "The endpoint responded with 500."],
        ),
        ({"state": "skipped"}, ["skipped by an operator"]),
        ({"state": "sending"}, ["being sent"]),
    ],
)
def test_what_came_of_it_with_a_link_to_the_delivery(operator, fields, words) -> None:
    order = make_order()
    delivery = make_delivery(event=event_of(order), **fields)
    text = webhooks_text(operator, order)
    for some in (*words, "order.paid", f"/admin/orderhooks/delivery/{delivery.pk}/change/"):
        assert some in text


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"topics": ["order.created"]}, "topic not wanted"),
        ({"store": "south"}, "for another store: it gets only orders of south"),
        ({"created_at": NOW + timedelta(hours=1)}, "happened before it subscribed"),
    ],
)
def test_why_nothing_came_of_it(operator, fields, why) -> None:
    order = make_order()
    event_of(order)
    make_subscription(name="Warehouse", **fields)
    text = webhooks_text(operator, order)
    assert "1 subscription did not get it: why" in text
    assert f"<li>Warehouse: {why}</li>" in text


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_what_is_held_says_so(operator, state) -> None:
    order = make_order()
    make_delivery(event=event_of(order), subscription=make_subscription(state=state))
    assert f"held: the subscription is {state}" in webhooks_text(operator, order)


def test_an_event_that_could_not_be_published_says_why(operator) -> None:
    order = make_order()
    event_of(order, payload=None, published_at=None, routed_at=None, error="ValueError: <b>no</b>")
    for name in ("Warehouse", "CRM"):
        make_subscription(name=name)
    text = webhooks_text(operator, order)
    assert "1 the event could not be published" in text
    assert "Not published:" in text
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in text


def test_an_order_without_events(operator) -> None:
    order = make_order()
    assert "There is no subscription, so nothing that happens" in webhooks_text(operator, order)
    make_subscription()
    assert "No event about it is kept" in webhooks_text(operator, order)


def test_only_its_own_events_are_shown(operator) -> None:
    order = make_order()
    make_delivery(event=make_event(order_pk=str(order.pk), source="another model"), state="failed")
    make_delivery(event=event_of(make_order()), state="failed")
    assert "failed" not in webhooks_text(operator, order)


def test_only_the_newest_events_are_shown(operator, monkeypatch) -> None:
    monkeypatch.setattr(webhooks, "NEWEST_EVENTS", 2)
    order = make_order()
    for topic in ("order.created", "order.paid", "order.fulfilled"):
        event_of(order, topic=topic)
    text = webhooks_text(operator, order)
    assert text.index("order.fulfilled") < text.index("order.paid")
    assert "order.created" not in text
    assert f"/admin/orderhooks/event/?order_number__exact={order.number}" in text


def test_a_button_sends_again_what_failed_and_says_who(operator, monkeypatch) -> None:
    order = make_order()
    event = event_of(order)
    failed = make_delivery(event=event, state="failed")
    delivered = make_delivery(event=event, state="delivered")
    assert "Redeliver what failed" in webhooks_text(operator, order)
    response = operator.post(f"/admin/orderhooks/order/{order.pk}/webhooks/redeliver/", follow=True)
    assert "1 delivery is sent again." in response.content.decode()
    failed.refresh_from_db()
    delivered.refresh_from_db()
    assert (failed.state, failed.trigger, failed.requested_by) == (
        "pending",
        "manual",
        response.wsgi_request.user.get_username(),
    )
    assert delivered.state == "delivered"
    assert LogEntry.objects.get().object_id == str(order.pk)
    assert "Redeliver what failed" not in webhooks_text(operator, order)


class TestWhoMay:
    def test_a_viewer_reads_it_and_does_nothing(self) -> None:
        order = make_order()
        make_delivery(event=event_of(order), state="failed")
        viewer = staff(*VIEW)
        assert "1 failed" in webhooks_text(viewer, order)
        assert "Redeliver what failed" not in webhooks_text(viewer, order)
        assert viewer.post(f"/admin/orderhooks/order/{order.pk}/webhooks/redeliver/").status_code == 403
        assert Delivery.objects.get().state == "failed"

    def test_who_may_redeliver_has_the_button_without_changing_the_order(self) -> None:
        order = make_order()
        make_delivery(event=event_of(order), state="failed")
        redeliverer = staff(*VIEW, "redeliver_delivery")
        assert "Redeliver what failed" in webhooks_text(redeliverer, order)
        assert redeliverer.post(f"/admin/orderhooks/order/{order.pk}/webhooks/redeliver/").status_code == 302
        assert Delivery.objects.get().state == "pending"

    def test_who_may_not_see_the_log_sees_nothing_of_it(self) -> None:
        order = make_order()
        make_delivery(event=event_of(order), state="failed")
        for client in (staff("view_order"), staff("view_order", "redeliver_delivery")):
            assert "Webhooks of this order" not in page(client, of(order))
            assert "1 failed" not in page(client, "order/")
            assert client.post(f"/admin/orderhooks/order/{order.pk}/webhooks/redeliver/").status_code == 403

    def test_a_new_order_has_none(self, operator) -> None:
        assert "Webhooks of this order" not in page(operator, "order/add/")


class TestTheList:
    def test_shows_the_states_of_each_order(self, operator) -> None:
        order, other = make_order(), make_order()
        event, another = event_of(order), event_of(order)
        for state in ("failed", "pending", "delivered"):
            make_delivery(event=event, state=state)
        make_delivery(event=another, state="delivered")
        make_delivery(event=event_of(other), state="delivered")
        text = page(operator, "order/")
        assert [text.count(words) for words in ("1 failed", "1 pending", "2 delivered", "1 delivered")] == [1, 1, 1, 1]

    def test_takes_the_same_queries_however_long(self, operator) -> None:
        def grow(count: int) -> int:
            for _ in range(count):
                make_delivery(event=event_of(make_order()))
            page(operator, "order/")
            with CaptureQueriesContext(connection) as captured:
                page(operator, "order/")
            return len(captured)

        assert grow(2) == grow(7)


def test_the_page_takes_the_same_queries_however_much_happened(operator) -> None:
    order = make_order()

    def grow(count: int) -> int:
        for _ in range(count):
            make_delivery(event=event_of(order))
        page(operator, of(order))
        with CaptureQueriesContext(connection) as captured:
            page(operator, of(order))
        return len(captured)

    assert grow(2) == grow(7)


def test_hostile_text_is_shown_and_not_run(operator) -> None:
    hostile = "<script>alert(1)</script>"
    order = make_order(customer_name=hostile)
    subscription = make_subscription(name=hostile)
    make_delivery(event=event_of(order), subscription=subscription, state="failed", last_detail=hostile)
    make_subscription(name=hostile, topics=["order.created"])
    text = webhooks_text(operator, order)
    assert "<script>alert(1)" not in text
    assert text.count("&lt;script&gt;alert(1)") == 3
