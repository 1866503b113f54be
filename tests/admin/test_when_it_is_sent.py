"""When a delivery is sent next: its page, its button and its order's page agree."""

from datetime import timedelta

import pytest
from django.test import override_settings
from django.utils import timezone
from django.utils.formats import date_format

from orderhooks.admin import webhooks
from orderhooks.models import Delivery
from orderhooks.reporting import Reason, SubscriptionOutcome
from tests.admin.visits import page, part
from tests.factories import make_delivery, make_event, make_order, make_subscription

pytestmark = pytest.mark.django_db


def text_of(client, delivery: Delivery) -> str:
    return page(client, f"delivery/{delivery.pk}/change/").replace("\xa0", " ")


def hint_of(client, delivery: Delivery) -> str:
    """The sentence below the buttons."""
    return part(r'<p class="orderhooks-hint">Redelivering.*?</p>', text_of(client, delivery))


def next_attempt_of(client, delivery: Delivery) -> str:
    return part(r'<div class="[^"]*field-due_at.*?</div>\s*</div>', text_of(client, delivery))


def test_no_page_promises_an_attempt_before_the_endpoint_has_cooled_down(operator) -> None:
    now = timezone.now()
    cooled_down = now + timedelta(minutes=30, seconds=20)
    subscription = make_subscription(circuit_open_until=cooled_down)
    order = make_order()
    delivery = make_delivery(
        subscription=subscription,
        event=make_event(order_pk=str(order.pk), order_number=order.number),
        attempts_made=1,
        next_attempt_at=now + timedelta(minutes=5),
    )
    assert "in 30 min" in next_attempt_of(operator, delivery)
    assert "the next is in 30 min" in hint_of(operator, delivery)
    time = date_format(timezone.localtime(cooled_down), "DATETIME_FORMAT")
    assert f"<td>{time}</td>" in page(operator, f"order/{order.pk}/change/")


def test_an_attempt_by_hand_does_not_wait_for_the_endpoint_to_cool_down(operator) -> None:
    now = timezone.now()
    subscription = make_subscription(circuit_open_until=now + timedelta(minutes=30, seconds=20))
    delivery = make_delivery(
        subscription=subscription,
        trigger="manual",
        attempts_made=1,
        next_attempt_at=now - timedelta(minutes=1),
        planned_at=now + timedelta(minutes=5),
    )
    assert "now, by the next worker" in next_attempt_of(operator, delivery)
    assert "the next is in 30 min" in hint_of(operator, delivery)


@override_settings(TIME_ZONE="UTC", LANGUAGE_CODE="en-us")
def test_the_time_beside_the_link_to_a_delivery_keeps_its_last_point() -> None:
    now = timezone.now()
    subscription = make_subscription(
        circuit_open_until=now + timedelta(minutes=30), failing_since=now, consecutive_failures=3
    )
    delivery = make_delivery(subscription=subscription)
    text, _at = webhooks._details(SubscriptionOutcome(subscription, Reason.WAITING, delivery))
    assert text.endswith(".m.")
    delivery.last_detail = "The endpoint responded with 503."
    text, _at = webhooks._details(SubscriptionOutcome(subscription, Reason.WAITING, delivery))
    assert text.endswith(".m. The endpoint responded with 503.")


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("failed", "makes one attempt as soon as the subscription is resumed. If it fails, "),
        ("pending", "makes one attempt more, as soon as the subscription is resumed. The 10 automatic attempts stay"),
    ],
)
def test_a_subscription_that_is_paused_gets_nothing_before_it_is_resumed(operator, state, hint) -> None:
    delivery = make_delivery(state=state, subscription=make_subscription(state="paused"))
    assert hint in hint_of(operator, delivery)
    expected = {"failed": ">-<", "pending": "when the subscription is resumed"}[state]
    assert expected in next_attempt_of(operator, delivery)
