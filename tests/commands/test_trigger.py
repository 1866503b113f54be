"""`orderhooks_trigger` publishes an event by hand: to all subscriptions that want it, or to one."""

import json
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.utils import timezone

from orderhooks import outbox, tasks
from orderhooks.models import Delivery, Event, Order, Subscription
from orderhooks.sources import BuiltInOrders, OrderSource
from tests.commands.calls import called
from tests.factories import make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver
from tests.shapes.models import CompositeOrder

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_topic_goes_to_all_who_want_it(receiver: RecordingReceiver) -> None:
    order = make_order()
    make_subscription(name="CRM", url=receiver.url, topics=["order.paid"])
    make_subscription(name="Shelf", url=receiver.url, topics=["order.cancelled"])
    printed = called("orderhooks_trigger", "order.paid")
    event = Event.objects.get(topic="order.paid")
    assert printed.splitlines()[0] == f"order.paid of order {order.number}: {event.public_id}"
    assert "  CRM: waiting for a worker to take it up" in printed
    assert "  Shelf: topic not wanted" in printed
    tasks.pump()
    assert receiver.topics == ["order.paid"]
    assert receiver.received[0].event["data"]["order"]["number"] == order.number
    assert Order.objects.get().payment_status == "pending", "nothing of the order has changed"


def test_one_subscription_alone_gets_it_wanted_or_not(receiver: RecordingReceiver) -> None:
    make_order(number="A-7")
    make_order(number="A-8")
    shelf = make_subscription(name="Shelf", url=receiver.url, topics=["order.cancelled"], created_at=timezone.now())
    make_subscription(name="CRM", url=receiver.url)
    printed = called("orderhooks_trigger", "order.paid", "--to", "Shelf", "--order", "A-7")
    delivery = Delivery.objects.get(subscription=shelf)
    assert printed == (f"order.paid of order A-7 to Shelf: {delivery.event.public_id}, delivery {delivery.public_id}\n")
    tasks.pump()
    mine = [one for one in receiver.received if one.topic == "order.paid"]
    assert [one.event["data"]["order"]["number"] for one in mine] == ["A-7"]
    assert [one.event["data"]["changes"] for one in mine] == [{}]
    delivery.refresh_from_db()
    assert delivery.state == "delivered"
    assert "at the command line" in delivery.attempts.get().requested_by


def test_without_a_number_it_is_the_newest_order_of_the_store() -> None:
    make_order(number="A-1", store="berlin")
    make_order(number="A-2", store="paris")
    make_subscription(name="CRM")
    assert "of order A-2 to CRM" in called("orderhooks_trigger", "order.paid", "--to", "CRM")
    assert "of order A-1: evt_" in called("orderhooks_trigger", "order.paid", "--store", "berlin")


class Prefixed(BuiltInOrders):
    """Its `find()` is the one that OrderSource has: it looks among keys alone."""

    find = OrderSource.find

    def number(self, order: Any) -> str:
        return f"N-{order.number}"


@pytest.mark.parametrize("to", [[], ["--to", "CRM"]], ids=["all", "one"])
def test_an_order_is_found_by_its_number_or_otherwise_by_its_key(settings, to: list[str]) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Prefixed"]}
    make_subscription(name="CRM", topics=["order.paid"])
    first = make_order(number="A-1")
    make_order(number="A-2")
    assert f"of order N-A-1 (primary key {first.pk})" in called(
        "orderhooks_trigger", "order.paid", "--order", str(first.pk), *to
    )
    # Known by its event now.
    assert "of order N-A-1" in called("orderhooks_trigger", "order.paid", "--order", "N-A-1", *to)
    with pytest.raises(CommandError, match="no order 'N-A-9': it is neither the number nor the primary key of one"):
        called("orderhooks_trigger", "order.paid", "--order", "N-A-9", *to)


def test_a_number_comes_before_a_key() -> None:
    make_subscription(name="CRM")
    first = make_order(number="A-1")
    make_order(number=str(first.pk))
    assert f"of order {first.pk}: evt_" in called("orderhooks_trigger", "order.paid", "--order", str(first.pk))


class Second(Prefixed):
    name = "second"


def test_a_key_of_several_sources_needs_the_number(settings, monkeypatch) -> None:
    make_subscription(name="CRM")
    order = make_order(number="A-1")
    known = {"orderhooks": BuiltInOrders(), "second": Second()}
    monkeypatch.setattr("orderhooks.previews.sources.configured", lambda: known)
    with pytest.raises(CommandError, match=r"2 orders have the primary key .*: A-1 \(orderhooks\), N-A-1 \(second\)\."):
        called("orderhooks_trigger", "order.paid", "--order", str(order.pk))


def test_an_order_with_a_composite_key_makes_events(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.shapes.sources.CompositeOrder"]}
    make_subscription(name="CRM")
    CompositeOrder.objects.create(tenant="north", number=7, state="open")
    key = '["north", "7"]'
    for to in ([], ["--to", "CRM"]):
        assert f"order.paid of order {key}" in called("orderhooks_trigger", "order.paid", "--order", key, *to)
    assert set(Event.objects.values_list("order_pk", flat=True)) == {key}


def test_what_is_held_is_said_to_wait() -> None:
    make_order()
    paused = make_subscription(name="CRM", state=Subscription.State.PAUSED)
    assert "It waits: the subscription is paused." in called(
        "orderhooks_trigger", "order.paid", "--to", paused.public_id
    )


def test_a_test_is_sent_at_once_and_its_response_shown(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(200 if count == 1 else 500, b"thanks")
    make_subscription(name="CRM", url=receiver.url)
    printed = called("orderhooks_trigger", "webhook.test", "--to", "CRM")
    assert printed.startswith("The endpoint responded with 200. (")
    assert printed.endswith("thanks\n")
    assert json.loads(receiver.received[0].body)["type"] == "webhook.test"
    with pytest.raises(CommandError, match="CRM did not accept the test"):
        called("orderhooks_trigger", "webhook.test", "--to", "CRM")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["order.pade"], "order.pade"),
        (["order.paid"], "There is no order\\. Name one"),
        (["order.paid", "--store", "rome"], "There is no order of the store 'rome'"),
        (["order.paid", "--order", "9"], "There is no order '9'"),
        (["order.paid", "--to", "Nobody"], "No subscription has the id or name 'Nobody'"),
        (["order.paid", "--to", "Twin"], "2 subscriptions are called 'Twin'. Give the id of one: sub_"),
        (["webhook.test"], "name it with --to"),
    ],
)
def test_what_can_not_be_published_is_refused_with_a_remedy(arguments: list[str], words: str) -> None:
    make_subscription(name="Twin")
    make_subscription(name="Twin")
    with pytest.raises(CommandError, match=words):
        called("orderhooks_trigger", *arguments)
    assert not Event.objects.exists()


def test_without_subscriptions_it_says_so() -> None:
    make_order()
    with pytest.raises(CommandError, match="There is no subscription"):
        called("orderhooks_trigger", "order.paid")


@pytest.mark.by_hand
def test_the_event_is_shown_though_workers_make_those_of_saves(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}
    make_subscription(name="CRM", topics=["order.paid"])
    order = make_order(lines=[])
    assert not Event.objects.exists()
    printed = called("orderhooks_trigger", "order.paid")
    event = Event.objects.get(topic="order.paid")
    assert printed.splitlines()[0] == f"order.paid of order {order.number}: {event.public_id}"
    assert [one.topic for one in Event.objects.order_by("sequence")] == ["order.created", "order.paid"]


@pytest.mark.by_hand
def test_an_earlier_event_is_not_taken_for_the_new_one(monkeypatch) -> None:
    make_subscription()
    make_order()
    called("orderhooks_trigger", "order.paid")
    monkeypatch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
    with pytest.raises(CommandError, match="recorded, but not published yet"):
        called("orderhooks_trigger", "order.paid")
    assert Event.objects.filter(topic="order.paid").count() == 1
