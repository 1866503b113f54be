"""The whole flow once: an order is placed, paid and cancelled, and its receiver hears of it, signed, over HTTP."""

import pytest
from django.db import transaction
from django.utils import timezone

from orderhooks import pumping, tasks
from orderhooks.models import Attempt, Delivery, Event, Order, OrderLine, Subscription
from orderhooks.receiver import verify
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_order_change_reaches_its_receiver(receiver: RecordingReceiver) -> None:
    subscription, secret = Subscription.create_with_secret(
        name="Warehouse", url=receiver.url, topics=["order.created", "order.paid", "order.cancelled"]
    )
    receiver.answer = lambda count: Answer(503 if count == 2 else 200)

    with transaction.atomic():
        order = Order.objects.create(customer_email="ada@example.com", currency="EUR", shipping="4.90")
        line = OrderLine.objects.create(order=order, sku="TEA-1", name="Green tea", quantity=2, unit_price="9.95")
        order.recalculate()
        order.save()
    tasks.pump()
    order.payment_status = "paid"
    order.save()
    tasks.pump()

    assert receiver.topics == ["order.created", "order.paid"]
    created = verify(receiver.received[0].body, dict(receiver.received[0].headers), secret)
    assert created.topic == "order.created"
    assert created.data["order"]["number"] == order.number
    assert created.data["order"]["total"] == "24.80"
    assert created.data["order"]["lines"] == [
        {
            "id": line.pk,
            "sku": "TEA-1",
            "name": "Green tea",
            "quantity": 2,
            "fulfilled_quantity": 0,
            "unit_price": "9.95",
        }
    ]

    waiting = Delivery.objects.get(state="pending")
    assert waiting.last_detail.startswith("The endpoint responded with 503; only 2xx is success.")
    Delivery.objects.filter(pk=waiting.pk).update(next_attempt_at=timezone.now())
    Subscription.objects.update(circuit_open_until=timezone.now())
    order.status = "cancelled"
    order.save()
    tasks.pump()

    assert sorted(receiver.topics[2:]) == ["order.cancelled", "order.paid"]
    assert receiver.received[1].headers["webhook-id"] in [one.headers["webhook-id"] for one in receiver.received[2:]]
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
    assert Attempt.objects.count() == 4
    # No subscription got order.updated, and it is on record all the same.
    assert Event.objects.filter(topic="order.updated", deliveries=None).count() == 2
    subscription.refresh_from_db()
    assert subscription.last_success_at is not None


def test_a_new_order_is_published_at_once_beside_a_request_that_hangs(receiver: RecordingReceiver, monkeypatch) -> None:
    monkeypatch.setattr(pumping, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(pumping, "ROUTE_SECONDS", 3600.0)  # how long one that is busy does not look for new events
    Subscription.create_with_secret(name="Warehouse", url=receiver.url, topics=["order.created"])
    told = []

    def hang_until_another_comes(count: int) -> Answer:
        with receiver.arrived:
            told.append(receiver.arrived.wait_for(lambda: len(receiver.received) > 1, 10))
        return Answer()

    receiver.answer = hang_until_another_comes
    beat = pumping.Turn._beat

    def place_an_order_while_it_hangs(*arguments) -> None:
        if len(receiver.received) == 1 and Order.objects.count() == 1:
            Order.objects.create()
        beat(*arguments)

    monkeypatch.setattr(pumping.Turn, "_beat", place_an_order_while_it_hangs)
    Order.objects.create()
    tasks.pump()
    assert told == [True, True]
